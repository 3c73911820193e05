"""Where images and writable layers are on disk.

    images/
      lock                     held while a store is open: one process at a time
      index.json               names and images; replaced atomically
      index.json.old           the one before, for when the first can't be read
      blobs/sha256/HEX         manifests, configurations, layers as they came; by digest, verified
      layers/HEX/              an unpacked layer, by diff id (or by chain id, see layers.py)
        root/                  what overlayfs is given; whiteouts as overlayfs wants them
        layer.json             what is known of it
      empty/                   the lower layer of an image without layers
      work/RANDOM              what is being made or removed; emptied when the store opens
    units/
      UNIT/                    one unit's writable layer
        image.json             the digest of its image; written before anything is mounted
        upper/ work/ root/     overlayfs: changes, its own, and where the root is mounted

What is visible under its final name is whole: everything is made in work/ and renamed.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from jindou.machine.images import ImageError
from jindou.machine.images.references import is_digest
from jindou.settings import Settings

UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


class Paths:
    def __init__(self, settings: Settings) -> None:
        data = Path(settings.data).absolute()
        self.images = data / "images"
        self.lock = self.images / "lock"
        self.index = self.images / "index.json"
        self.old_index = self.images / "index.json.old"
        self.blobs = self.images / "blobs"
        self.layers = self.images / "layers"
        self.empty = self.images / "empty"
        self.work = self.images / "work"
        self.units = data / "units"

    def make(self) -> None:
        """The folders. Units' roots must be reachable for mapped users, their list must not be."""
        for folder, mode in (
            (self.images, 0o711),
            (self.blobs / "sha256", 0o700),
            (self.blobs / "sha512", 0o700),
            (self.layers, 0o711),
            (self.empty, 0o755),
            (self.work, 0o700),
            (self.units, 0o711),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)

    def blob(self, digest: str) -> Path:
        if not is_digest(digest):
            raise ImageError(f"{digest[:100]!r} is not a digest")
        algorithm, _, value = digest.partition(":")
        return self.blobs / algorithm / value

    def layer(self, key: str) -> Path:
        return self.layers / key

    def unit(self, unit: str) -> Path:
        if not UNIT.fullmatch(unit):
            raise ImageError(f"{unit[:100]!r} is not the name of a unit")
        return self.units / unit

    def fresh(self) -> Path:
        """A name in work/ that nothing has."""
        return self.work / secrets.token_hex(8)


def write_file(path: Path, data: bytes, temporary: Path) -> None:
    """Replace atomically, and durably: after a power loss it is the old or the new one."""
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
