"""What a writable layer changed, as the tar archive of an image layer.

The other way round of unpack.py: a character device 0:0 becomes a whiteout, an opaque folder gets
its mark. Entries come in the order of their names and carry numbers only, so that the same changes
give the same bytes.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jindou.machine.images.content.layers import is_opaque
from jindou.machine.images.unpacking.inside import FOLDER

CAPABILITY = "security.capability"
OPAQUE, WHITEOUT = ".wh..wh..opq", ".wh."


def write_diff(upper: Path, file: IO[bytes]) -> None:
    with tarfile.open(
        fileobj=file, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape"
    ) as archive:
        first: dict[int, str] = {}
        for name, folder, leaf in _walk(upper):
            _write(archive, name, folder, leaf, first)


def _walk(upper: Path) -> Iterator[tuple[str, int, str]]:
    """Path in the archive, and the descriptor and name to reach it by; folders before what they hold."""
    for place, folders, files, folder in os.fwalk(upper):
        folders.sort()
        below = os.path.relpath(place, upper)
        prefix = "" if below == "." else f"{below}/"
        if not prefix:
            yield ".", folder, "."
        for name in sorted((*folders, *files)):
            yield f"{prefix}{name}", folder, name


def _write(
    archive: tarfile.TarFile, name: str, folder: int, leaf: str, first: dict[int, str]
) -> None:
    found = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFSOCK:
        return
    if kind == stat.S_IFCHR and found.st_rdev == 0:
        above, slash, last = name.rpartition("/")
        archive.addfile(tarfile.TarInfo(f"{above}{slash}{WHITEOUT}{last}"))
        return
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
    info.uid, info.gid = found.st_uid, found.st_gid
    if kind == stat.S_IFDIR:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
        if name != "." and _opaque(folder, leaf):
            archive.addfile(tarfile.TarInfo(f"{name}/{OPAQUE}"))
    elif found.st_nlink > 1 and found.st_ino in first:
        info.type, info.linkname = tarfile.LNKTYPE, first[found.st_ino]
        archive.addfile(info)
    else:
        first[found.st_ino] = name
        _write_leaf(archive, info, kind, found, folder, leaf)


def _write_leaf(
    archive: tarfile.TarFile,
    info: tarfile.TarInfo,
    kind: int,
    found: os.stat_result,
    folder: int,
    leaf: str,
) -> None:
    if kind == stat.S_IFREG:
        descriptor = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        with open(descriptor, "rb") as file:
            info.size = found.st_size
            try:
                value = os.getxattr(descriptor, CAPABILITY)
                text = value.decode("utf-8", "surrogateescape")
                info.pax_headers = {f"SCHILY.xattr.{CAPABILITY}": text}
            except OSError:
                pass
            archive.addfile(info, file)
        return
    if kind == stat.S_IFLNK:
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(leaf, dir_fd=folder)
    elif kind == stat.S_IFIFO:
        info.type = tarfile.FIFOTYPE
    else:
        info.type = tarfile.CHRTYPE if kind == stat.S_IFCHR else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    archive.addfile(info)


def _opaque(folder: int, leaf: str) -> bool:
    descriptor = os.open(leaf, FOLDER, dir_fd=folder)
    try:
        return is_opaque(descriptor)
    finally:
        os.close(descriptor)
