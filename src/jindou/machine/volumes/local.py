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
from jindou.machine.volumes import File, VolumesError, publishing

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


def own_tree(path: Path, gid: int) -> None:
    for _, _, names, folder in os.fwalk(path, follow_symlinks=False):
        os.fchown(folder, -1, gid)
        held = stat.S_IMODE(os.fstat(folder).st_mode)
        os.fchmod(folder, held | 0o770 | stat.S_ISGID)
        for name in names:
            status = os.lstat(name, dir_fd=folder)
            os.chown(name, -1, gid, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                file = os.open(name, flags, dir_fd=folder)
                try:
                    if stat.S_ISREG(os.fstat(file).st_mode):
                        os.fchmod(file, stat.S_IMODE(status.st_mode) | 0o660)
                finally:
                    os.close(file)


def tree_size(path: Path, limit: int = -1) -> int:
    """Bytes in use; hard links count once. Stops early once it is above `limit` (>= 0)."""
    total = 0
    seen: set[tuple[int, int]] = set()
    try:
        device = os.lstat(path).st_dev
        for _, folders, names, folder in os.fwalk(path, follow_symlinks=False):
            if os.fstat(folder).st_dev != device:
                folders.clear()
                continue
            for name in names:
                try:
                    status = os.lstat(name, dir_fd=folder)
                except FileNotFoundError:
                    continue
                if status.st_nlink > 1:
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * 512
            if 0 <= limit < total:
                break
    except FileNotFoundError:
        pass
    return total


def remove_tree(path: Path) -> None:
    for place in mounts.mount_points(path):
        mounts.unmount(place)
    _remove(path)


def _remove(path: Path) -> None:
    """Depth first by descriptors; a folder on another file system is an error, never emptied."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(path)
        return
    for _, folders, names, folder in os.fwalk(path, topdown=False, follow_symlinks=False):
        if os.fstat(folder).st_dev != status.st_dev:
            raise VolumesError(f"{path} holds a mount that could not be taken away")
        for name in names:
            os.unlink(name, dir_fd=folder)
        for name in folders:
            if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
                os.unlink(name, dir_fd=folder)
            else:
                os.rmdir(name, dir_fd=folder)
    os.rmdir(path)


class LocalVolumes:
    def folder(self, path: Path, mode: int = 0o755) -> None:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileExistsError:
            return
        os.chmod(path, mode)

    def tmpfs(self, path: Path, size: int = 0) -> None:
        self.folder(path)
        if os.path.ismount(path):
            return
        options = f"size={size},mode=1777" if size else "mode=1777"
        flags = mounts.NOSUID | mounts.NODEV
        mounts.mount("tmpfs", path, "tmpfs", flags, options)

    def publish(self, path: Path, files: Mapping[str, File], gid: int | None = None) -> bool:
        return publishing.publish(path, files, gid)

    def bind_below(self, base: Path, below: str, target: Path, mode: int = 0o750) -> Path:
        if os.path.ismount(target):
            return target
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
            await asyncio.to_thread(own_tree, path, gid)

    async def usage(self, path: Path) -> int:
        return await asyncio.to_thread(tree_size, path)

    async def exceeds(self, path: Path, limit: int) -> bool:
        return await asyncio.to_thread(tree_size, path, limit) > limit

    async def remove(self, path: Path) -> None:
        await asyncio.to_thread(remove_tree, path)
