"""Changes of files, told by the kernel. Source: inotify(7)."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import NamedTuple

from jindou.machine.linux.processes import readable

MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF = (
    0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800,
)  # fmt: skip
OVERFLOW, IGNORED = 0x4000, 0x8000  # come unasked: some events are lost; the watch has ended

_libc = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    watch: int
    mask: int
    name: str  # within a watched folder


class Inotify:
    def __init__(self) -> None:
        self._descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")

    def add(self, path: str | Path, mask: int) -> int:
        """Watch a file or folder; the number that its events carry."""
        return _checked(
            _libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask), str(path)
        )

    async def events(self) -> list[Event]:
        """What has happened; waits until something has. For one task at a time."""
        while True:
            try:
                return parse(os.read(self._descriptor, 65536))
            except BlockingIOError:
                await readable(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def parse(data: bytes) -> list[Event]:
    found, at = [], 0
    while at < len(data):
        watch, mask, _, length = struct.unpack_from("iIII", data, at)
        name = data[at + 16 : at + 16 + length].rstrip(b"\0")
        found.append(Event(watch, mask, os.fsdecode(name)))
        at += 16 + length
    return found


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result
