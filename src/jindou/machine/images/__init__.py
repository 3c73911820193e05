"""Image content on disk, by digest: pull, import, export, mount, collect, and made from packages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class Image:
    """An image that is here, whole. `config` is the OCI image configuration (its "config" part inside)."""

    digest: str  # of the manifest
    names: tuple[str, ...]
    config: dict[str, Any]
    size: int  # bytes of all layers, unpacked


class Credentials(NamedTuple):
    username: str = ""
    password: str = ""
    token: str = ""


class Progress(NamedTuple):
    """One step of a long job, for a person to watch: `done` of `total` units (total 0: unknown)."""

    step: str
    done: int
    total: int
    detail: str = ""


class ImageError(Exception):
    """Why an image can't be had: one sentence. `missing` tells "no such image" from other causes."""

    def __init__(self, message: str, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


class Images(Protocol):
    def find(self, reference: str) -> Image | None:
        """By name ("busybox", "docker.io/library/nginx:1.27"), digest, or name@digest."""
        ...

    def all(self) -> list[Image]: ...
    async def pull(self, reference: str, credentials: Collection[Credentials] = ()) -> Image: ...
    async def bootstrap(self, name: str) -> AsyncIterator[Progress]: ...
    async def mount(self, digest: str, unit: str) -> Path:
        """A fresh writable layer over the image; the path of the root. Repeatable for one unit."""
        ...

    async def unmount(self, unit: str) -> None: ...
    async def usage(self, unit: str) -> int:
        """Bytes in the writable layer."""
        ...

    async def tag(self, reference: str, name: str) -> None: ...
    async def delete(self, reference: str) -> None: ...
    async def collect(self, in_use: Collection[str]) -> int:
        """Remove what no name and no unit needs; returns the bytes freed."""
        ...
