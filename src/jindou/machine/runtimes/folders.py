"""Where units live on this machine, what is noted of each, and a watch on a folder.

RUN/units/            a tmpfs, seen in the node's mount namespace only; gone at a reboot
  bundles/ID/         config.json, conmon.pid, ctl, attach: there from the intent to start on
  records/ID          written when the container has been created; absent: it never ran
  states/RUNTIME/ID/  the OCI runtime's own; exec.fifo in it: created, not yet started
  exits/ID            the exit code, written by conmon
  execs/N.{json,pid}  processes that were started inside units
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

IN_CLOSE_WRITE, IN_MOVED_TO = 0x8, 0x80
_libc = ctypes.CDLL(None, use_errno=True)


class Folders:
    def __init__(self, run: Path) -> None:
        self.units = run / "units"
        self.bundles = self.units / "bundles"
        self.records = self.units / "records"
        self.states = self.units / "states"
        self.exits = self.units / "exits"
        self.execs = self.units / "execs"

    def make(self) -> None:
        for folder in (self.bundles, self.records, self.states, self.exits, self.execs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def state(self, runtime: str, unit: str) -> Path:
        return self.states / runtime / unit


class Record(msgspec.Struct, frozen=True):
    """What a new process has to know of a unit that an earlier one started."""

    id: str
    runtime: str
    pid: int
    birth: int  # start time of the process: pids are used again
    conmon: int
    conmon_birth: int
    started: float
    cgroup: str
    log: str
    stop_signal: str = ""
    terminal: bool = False
    stdin: bool = False


def write_record(folder: Path, record: Record) -> None:
    """Whole or not at all. A tmpfs forgets at a power cut as the containers do: no sync."""
    part = folder / f".{record.id}"
    part.write_bytes(msgspec.json.encode(record))
    part.rename(folder / record.id)


def read_record(path: Path) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def birth(pid: int) -> int:
    """When the process started, in clock ticks since the boot; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def alive(pid: int, born: int) -> bool:
    return pid > 0 and born > 0 and birth(pid) == born


class Watch:
    """Calls `found` with the name of each file that was written or moved into a folder."""

    def __init__(self, folder: Path, found: Callable[[str], None]) -> None:
        self._found = found
        self._loop = asyncio.get_running_loop()
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"watching {folder}: {os.strerror(code)}")
        mask = IN_CLOSE_WRITE | IN_MOVED_TO
        if _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask) < 0:
            code = ctypes.get_errno()
            os.close(self._descriptor)
            raise OSError(code, f"watching {folder}: {os.strerror(code)}")
        self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        place = 0
        while place < len(data):
            length = struct.unpack_from("iIII", data, place)[3]
            name = data[place + 16 : place + 16 + length].rstrip(b"\0")
            place += 16 + length
            if name:
                self._found(os.fsdecode(name))

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
