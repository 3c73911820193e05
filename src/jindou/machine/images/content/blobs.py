"""Content by digest: what is here under a digest has it, because it was checked before it got the name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from jindou.machine.images import ImageError
from jindou.machine.images.content.paths import Paths
from jindou.machine.images.unpacking.streams import digest_of

LARGEST_DOCUMENT = 8 << 20  # of a manifest or a configuration


class Blobs:
    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def has(self, digest: str) -> bool:
        return self._paths.blob(digest).exists()

    def path(self, digest: str) -> Path:
        return self._paths.blob(digest)

    def size(self, digest: str) -> int:
        return self.path(digest).stat().st_size

    def read(self, digest: str) -> bytes:
        """A document, checked again. Raises ImageError."""
        path = self.path(digest)
        try:
            if path.stat().st_size > LARGEST_DOCUMENT:
                raise ImageError(f"{digest} is larger than a manifest or configuration may be")
            data = path.read_bytes()
        except FileNotFoundError:
            raise ImageError(f"{digest} is not here", missing=True) from None
        algorithm, _, value = digest.partition(":")
        if hashlib.new(algorithm, data).hexdigest() != value:
            raise ImageError(f"{digest} is damaged on disk: delete the image and get it again")
        return data

    def put(self, data: bytes, algorithm: str = "sha256") -> str:
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        path = self.path(digest)
        if not path.exists() or path.read_bytes() != data:
            with self.receive() as file:
                file.write(data)
                self.keep(file, digest)
        return digest

    @contextmanager
    def receive(self) -> Iterator[IO[bytes]]:
        """A file in work/ that is removed again unless `keep` gives it a name."""
        path = self._paths.fresh()
        try:
            with open(path, "x+b") as file:
                yield file
        finally:
            path.unlink(missing_ok=True)

    def keep(self, file: IO[bytes], digest: str) -> None:
        """Name a received file whose content was verified while it was written. It is safe on the
        disk when the index names it, which waits for all that came before."""
        file.flush()
        os.rename(file.name, self.path(digest))

    def all(self) -> list[str]:
        return [
            f"{folder.name}:{path.name}"
            for folder in self._paths.blobs.iterdir()
            for path in folder.iterdir()
        ]

    def damaged(self, digest: str) -> bool:
        """Read it all and compare."""
        return digest_of(self.path(digest), digest.partition(":")[0]) != digest
