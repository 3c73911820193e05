"""Volumes of this machine: folders, tmpfs and bind mounts.

Trees that units can write to are walked by descriptors and never through their links.
Sources: openat2(2), mount(2), tmpfs(5).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from jindou.machine.linux import mounts
from jindou.machine.volumes import File, VolumesError, publishing, trees

OPENAT2 = 437
NO_MAGICLINKS, BENEATH = 0x02, 0x08
O_PATH = os.O_PATH

_libc = ctypes.CDLL(None, use_errno=True)


def open_below(base: int, path: str) -> int:
    """A descriptor of a place below `base` (O_PATH); links are followed only inside of it."""
    how = struct.pack("=QQQ", O_PATH | os.O_CLOEXEC, 0, BENEATH | NO_MAGICLINKS)
    descriptor: int = _libc.syscall(OPENAT2, base, os.fsencode(path), how, len(how))
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return descriptor


def make_below(base: int, path: str, mode: int) -> int:
    """Like `open_below`, but folders that are missing are made, with exactly this mode."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    depth = len(parts)
    while True:
        try:
            here = open_below(base, "/".join(parts[:depth]) or ".")
            break
        except FileNotFoundError:
            depth -= 1
    for part in parts[depth:]:
        try:
            os.mkdir(part, mode, dir_fd=here)
        except FileExistsError:
            pass
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            there = os.open(part, flags, dir_fd=here)
        finally:
            os.close(here)
        os.fchmod(there, mode)
        here = there
    return here


class LocalVolumes:
    def folder(self, path: Path, mode: int = 0o755) -> None:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            path.mkdir(mode)
        except FileExistsError:
            return  # whoever uses it may have changed its mode
        os.chmod(path, mode)

    def tmpfs(self, path: Path, size: int = 0) -> None:
        self.folder(path)
        if trees.is_mounted(path):
            return
        options = f"size={size},mode=0777" if size else "mode=0777"
        flags = mounts.NOSUID | mounts.NODEV
        mounts.mount("tmpfs", path, "tmpfs", flags, options)

    def publish(self, path: Path, files: Mapping[str, File], gid: int | None = None) -> bool:
        return publishing.publish(path, files, gid)

    def bind_below(self, base: Path, below: str, target: Path, mode: int = 0o750) -> Path:
        try:
            root = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise VolumesError(f"{base} can't be opened: {error.strerror}") from error
        try:
            place = make_below(root, below, mode)
        except OSError as error:
            what = "leaves the volume" if error.errno == errno.EXDEV else str(error.strerror)
            raise VolumesError(f"subPath {below!r}: {what}") from error
        finally:
            os.close(root)
        try:
            if trees.is_mounted(target):
                if os.path.samestat(os.fstat(place), os.stat(target)):
                    return target
                mounts.unmount(target)
            target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            if stat.S_ISDIR(os.fstat(place).st_mode):
                target.mkdir(mode=0o750, exist_ok=True)
            else:
                target.touch(mode=0o640)
            mounts.bind(f"/proc/self/fd/{place}", target)
        finally:
            os.close(place)
        return target

    async def own(self, path: Path, gid: int, *, always: bool = True) -> None:
        status = os.stat(path)
        right = status.st_gid == gid and status.st_mode & 0o2770 == 0o2770
        if always or not right:
            await asyncio.to_thread(trees.own, path, gid)

    async def usage(self, path: Path) -> int:
        return await asyncio.to_thread(trees.size, path)

    async def exceeds(self, path: Path, limit: int) -> bool:
        """A tree that is too deep to be measured counts as too large: somebody made it so."""
        try:
            return await asyncio.to_thread(trees.size, path, limit) > limit
        except trees.TooDeep:
            return True

    async def remove(self, path: Path) -> None:
        await asyncio.to_thread(trees.remove, path)
