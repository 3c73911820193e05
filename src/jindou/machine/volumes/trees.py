"""Trees of files that units can write to: measured, owned and deleted without following anything.

Every step is taken from an open folder (openat), so a name that is swapped for a link leads nowhere.
No walk enters another mount, nor goes deeper than `DEEPEST` folders at once.
Sources: openat(2), statx(2), umount2(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from jindou.machine.linux import mounts
from jindou.machine.volumes import VolumesError

DEEPEST = 200  # folders within each other that a walk holds open
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NOFOLLOW, NO_AUTOMOUNT, EMPTY_PATH, MOUNT_ROOT, AT_FDCWD = 0x100, 0x800, 0x1000, 0x2000, -100

_libc = ctypes.CDLL(None, use_errno=True)


def is_mounted(path: str | Path, folder: int = AT_FDCWD) -> bool:
    """Is something mounted here? Also told of bind mounts, which os.path.ismount can't see."""
    answer = ctypes.create_string_buffer(256)
    if _libc.statx(folder, os.fsencode(path), NOFOLLOW | NO_AUTOMOUNT, 0, answer) < 0:
        return False
    return bool(int.from_bytes(answer.raw[8:16], "little") & MOUNT_ROOT)


class TooDeep(VolumesError):
    pass


Visit = Callable[[int, "os.DirEntry[str]"], None]


def walk(path: Path, visit: Visit, enter: Callable[[int], None] | None = None) -> None:
    """`visit` every entry that is not a folder, `enter` every folder (an open one)."""
    folder = os.open(path, FOLDER)
    try:
        _walk(folder, visit, enter, os.fstat(folder).st_dev, 0)
    finally:
        os.close(folder)


def _walk(
    folder: int, visit: Visit, enter: Callable[[int], None] | None, device: int, depth: int
) -> None:
    if depth > DEEPEST:
        raise TooDeep(f"more than {DEEPEST} folders are within each other")
    if enter is not None:
        enter(folder)
    for entry in _entries(folder):
        if not entry.is_dir(follow_symlinks=False):
            visit(folder, entry)
            continue
        if is_mounted(entry.name, folder):
            continue
        try:
            below = os.open(entry.name, FOLDER, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            if os.fstat(below).st_dev == device:
                _walk(below, visit, enter, device, depth + 1)
        finally:
            os.close(below)


def _entries(folder: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return list(found)


def own(path: Path, gid: int) -> None:
    """The root comes last: once it is right, all below it is."""
    root = os.stat(path)

    def give(folder: int) -> None:
        os.fchown(folder, -1, gid)
        held = stat.S_IMODE(os.fstat(folder).st_mode)
        os.fchmod(folder, held | 0o770 | stat.S_ISGID)

    def enter(folder: int) -> None:
        if not os.path.samestat(os.fstat(folder), root):
            give(folder)

    def visit(folder: int, entry: os.DirEntry[str]) -> None:
        os.chown(entry.name, -1, gid, dir_fd=folder, follow_symlinks=False)
        if not entry.is_file(follow_symlinks=False):
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(entry.name, flags, dir_fd=folder)
        try:
            status = os.fstat(file)
            if stat.S_ISREG(status.st_mode):
                os.fchmod(file, stat.S_IMODE(status.st_mode) | 0o660)
        finally:
            os.close(file)

    walk(path, visit, enter)
    folder = os.open(path, FOLDER)
    try:
        give(folder)
    finally:
        os.close(folder)


class _Enough(Exception):
    pass


def size(path: Path, limit: int = -1) -> int:
    """Bytes in use; hard links count once. Stops early once it is above `limit` (>= 0)."""
    total = 0
    seen: set[tuple[int, int]] = set()

    def count(status: os.stat_result) -> None:
        nonlocal total
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if (status.st_dev, status.st_ino) in seen:
                return
            seen.add((status.st_dev, status.st_ino))
        total += status.st_blocks * 512
        if 0 <= limit < total:
            raise _Enough

    def visit(folder: int, entry: os.DirEntry[str]) -> None:
        try:
            count(os.lstat(entry.name, dir_fd=folder))
        except FileNotFoundError:
            pass

    try:
        walk(path, visit, lambda folder: count(os.fstat(folder)))
    except (FileNotFoundError, _Enough):
        pass
    return total


def remove(path: Path) -> None:
    """Unmount what is mounted at or below the path, then delete it. Repeatable."""
    while is_mounted(path):
        mounts.unmount(path)
    try:
        top = os.open(path, FOLDER)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        os.unlink(path)
        return
    try:
        device = os.fstat(top).st_dev
        while _empty(top, top, path, device, 0):
            pass
    finally:
        os.close(top)
    os.rmdir(path)


def _empty(top: int, folder: int, path: Path, device: int, depth: int) -> bool:
    """Delete what is in the folder. What lies too deep is moved to the top: then True, again."""
    again = False
    for number, entry in enumerate(_entries(folder)):
        place = path / entry.name
        if not entry.is_dir(follow_symlinks=False):
            _unlink(folder, entry.name, place)
            continue
        while is_mounted(entry.name, folder):
            mounts.unmount(place)
        if depth >= DEEPEST:
            os.rename(entry.name, f"deep-{os.urandom(8).hex()}-{number}", src_dir_fd=folder, dst_dir_fd=top)  # fmt: skip
            again = True
            continue
        below = os.open(entry.name, FOLDER, dir_fd=folder)
        try:
            if os.fstat(below).st_dev != device:
                raise VolumesError(f"{place} holds a mount that could not be taken away")
            again |= _empty(top, below, place, device, depth + 1)
        finally:
            os.close(below)
        os.rmdir(entry.name, dir_fd=folder)
    return again


def _unlink(folder: int, name: str, place: Path) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        mounts.unmount(place)
        os.unlink(name, dir_fd=folder)
