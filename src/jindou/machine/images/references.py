"""Image names as people write them, made whole: "busybox" is docker.io/library/busybox:latest.

A name is registry/repository:tag, registry/repository@digest, or a bare digest. What is not one of
these is refused before it can become part of a path or a URL.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from jindou.machine.images import ImageError

DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
HOST = re.compile(
    r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)(?::[0-9]{1,5})?"
)
LONGEST_NAME = 255
HUB = "docker.io"


class Reference(NamedTuple):
    """Where an image is to be found. One of `tag` and `digest` is set, or both."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The whole name, as the index knows it. A digest wins over a tag beside it."""
        if self.digest:
            return f"{self.place}@{self.digest}"
        return f"{self.place}:{self.tag}"

    @property
    def place(self) -> str:
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What to ask the registry for."""
        return self.digest or self.tag


def is_digest(text: str) -> bool:
    return DIGEST.fullmatch(text) is not None


def parse(text: str) -> Reference:
    """Raises ImageError(invalid) for what is no image name."""
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, "what follows @ is not a digest")
    head, slash, tail = rest.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost" or head.startswith("[")):
        registry, path = head, tail
    else:
        registry, path = HUB, rest
    if registry == "index.docker.io":
        registry = HUB
    repository, colon, tag = path.partition(":")
    if colon and not TAG.fullmatch(tag):
        raise _invalid(text, "what follows : is not a tag")
    if registry == HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not HOST.fullmatch(registry):
        raise _invalid(text, "its registry is not a host name")
    if not all(COMPONENT.fullmatch(part) for part in repository.split("/")):
        raise _invalid(text, "its repository must be lowercase letters, digits, and . _ - between")
    if len(registry) + 1 + len(repository) > LONGEST_NAME:
        raise _invalid(text, f"it is longer than {LONGEST_NAME} characters")
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest)


def familiar(name: str) -> str:
    """As people write it: without what is understood anyway."""
    return name.removeprefix("docker.io/library/").removeprefix("docker.io/")


def _invalid(text: str, why: str) -> ImageError:
    shown = text if len(text) <= 100 else text[:100] + "…"
    return ImageError(f"{shown!r} is not an image name: {why}", invalid=True)
