"""mount(2) and umount2(2), without a process for each.

All calls raise OSError with the place in its text. Sources: mount(2), umount(2), proc(5) (mountinfo).
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT = 0x1, 0x2, 0x4, 0x8, 0x20
BIND, MOVE, REC, UNBINDABLE, PRIVATE, SLAVE, SHARED = (
    0x1000, 0x2000, 0x4000, 0x20000, 0x40000, 0x80000, 0x100000,
)  # fmt: skip
MNT_DETACH, UMOUNT_NOFOLLOW = 0x2, 0x8

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """`data` ends at one page (4 KiB): the kernel cuts longer option strings, so they are refused."""
    if len(data) >= 4096:
        raise OSError(errno.E2BIG, f"mounting {target}: the options are longer than a page")
    if _libc.mount(
        source.encode() or None, os.fsencode(target), kind.encode() or None,
        ctypes.c_ulong(flags), data.encode() or None,
    ) < 0:  # fmt: skip
        code = ctypes.get_errno()
        raise OSError(code, f"mounting {target}: {os.strerror(code)}")


def bind(source: str | Path, target: str | Path, *, read_only: bool = False) -> None:
    mount(str(source), target, flags=BIND | REC)
    if read_only:
        mount("", target, flags=BIND | REMOUNT | RDONLY)


def unmount(target: str | Path, detach: bool = True) -> None:
    """Take away the topmost mount; nothing there, or nothing mounted there, is fine."""
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if detach else 0)
    if _libc.umount2(os.fsencode(target), flags) < 0:
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOENT):
            raise OSError(code, f"unmounting {target}: {os.strerror(code)}")


def mount_points(below: str | Path) -> list[str]:
    """Every mount at or below a folder, deepest first: the order in which they can be unmounted."""
    root = str(below).rstrip("/")
    found = []
    with open("/proc/thread-self/mountinfo", "rb") as file:
        for line in file:
            place = unescape(line.split(b" ", 5)[4])
            if place == root or place.startswith(f"{root}/"):
                found.append(place)
    return found[::-1]


def propagation(path: str | Path, process: int | str = "self") -> tuple[str, bool, bool]:
    """The mount that holds a path, and whether it is shared, and a slave of another."""
    place, found = os.path.realpath(path), ("/", False, False)
    with open(f"/proc/{process}/mountinfo", "rb") as file:
        for line in file:
            fields = line.split(b" ")
            point = unescape(fields[4])
            inside = place == point or place.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(found[0]):  # of several at one place the last counts
                marks = [mark.partition(b":")[0] for mark in fields[6 : fields.index(b"-")]]
                found = (point, b"shared" in marks, b"master" in marks)
    return found


def unescape(field: bytes) -> str:
    """Spaces, tabs, newlines and backslashes stand as octal escapes in /proc/PID/mountinfo."""
    if b"\\" in field:
        for escape, byte in (
            (b"\\040", b" "),
            (b"\\011", b"\t"),
            (b"\\012", b"\n"),
            (b"\\134", b"\\"),
        ):
            field = field.replace(escape, byte)
    return os.fsdecode(field)
