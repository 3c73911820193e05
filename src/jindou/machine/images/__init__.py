"""Image content on disk, by digest: pull, import, export, mount, collect, and made from packages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
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


Report = Callable[[Progress], None]


class ImageError(Exception):
    """Why an image can't be had: one sentence. `missing`: there is no such image; `unreachable`:
    its registry can't be asked now (an image of that name that is here may do); `invalid`: the
    name is no image name."""

    def __init__(
        self,
        message: str,
        missing: bool = False,
        *,
        unreachable: bool = False,
        invalid: bool = False,
    ) -> None:
        super().__init__(message)
        self.missing = missing
        self.unreachable = unreachable
        self.invalid = invalid


class Images(Protocol):
    def find(self, reference: str) -> Image | None:
        """By name ("busybox", "docker.io/library/nginx:1.27"), digest, or name@digest."""
        ...

    def all(self) -> list[Image]: ...
    async def pull(
        self,
        reference: str,
        credentials: Collection[Credentials] = (),
        report: Report | None = None,
    ) -> Image:
        """From its registry. Calls for one name share one job; a cancelled one leaves nothing."""
        ...

    def bootstrap(self, name: str, force: bool = False) -> AsyncIterator[Progress]:
        """Make an image from this machine's packages; at once where it is here already."""
        ...

    def load(self, path: Path) -> AsyncIterator[Progress]:
        """The images of an archive (docker save, OCI layout; gzip and zstd too)."""
        ...

    def save(self, reference: str, path: Path, form: str = "oci") -> AsyncIterator[Progress]:
        """Write an archive: "oci" (a layout in a tar) or "docker" (for docker load)."""
        ...

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
        """Remove what no name, no mounted unit and none of `in_use` (digests or names) needs;
        returns the bytes freed."""
        ...
