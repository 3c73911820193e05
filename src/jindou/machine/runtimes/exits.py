"""How units end: exit files and pidfds, turned into states.

conmon writes the exit file and then ends. Where it ends without one it was killed: the container
may go on, and when that ends too its exit code is known to nobody (137 is said, with the reason).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable

from jindou.machine.linux.cgroups import Cgroups
from jindou.machine.runtimes import State, conmon
from jindou.machine.runtimes.folders import Folders, Record, Watch, alive

UNKNOWN = 137
ORPHANED = "the exit code is not known: the process that watched the container was killed"


class Supervised:
    """A unit that was started, and what has become of it."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.state = State(record.id, "running", pid=record.pid, started=record.started)
        self.ended = asyncio.Event()
        self.pidfd = -1

    def signal(self, number: int) -> None:
        """To the main process, if it is still the one that was started."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.record.pid)
            try:
                if alive(self.record.pid, self.record.birth):
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


class Supervisor:
    """All started units of this process or an earlier one; tells who has ended."""

    def __init__(self, folders: Folders, cgroups: Cgroups, tell: Callable[[State], None]) -> None:
        self.units: dict[str, Supervised] = {}
        self._folders = folders
        self._cgroups = cgroups
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._watch = Watch(folders.exits, self._found)

    def add(self, record: Record) -> Supervised:
        known = self.units[record.id] = Supervised(record)
        if not self._look(known):
            self._follow(known, record.conmon, record.conmon_birth)
        return known

    def forget(self, id: str) -> None:
        if known := self.units.pop(id, None):
            self._unfollow(known)
            known.ended.set()

    def close(self) -> None:
        self._watch.close()
        for known in self.units.values():
            self._unfollow(known)

    def _found(self, name: str) -> None:
        known = self.units.get(name)
        if known and not known.ended.is_set():
            self._look(known)

    def _look(self, known: Supervised) -> bool:
        """Is there an exit file?"""
        found = conmon.read_exit(self._folders.exits / known.record.id)
        if found is None:
            return False
        self._end(known, found[0], found[1])
        return True

    def _follow(self, known: Supervised, pid: int, born: int) -> None:
        """Wait for the end of a process: conmon, or the container after it."""
        try:
            if not alive(pid, born):
                raise ProcessLookupError
            known.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._process_ended(known, pid)
            return
        self._loop.remove_reader(known.pidfd)  # of whoever had the number before
        self._loop.add_reader(known.pidfd, self._process_ended, known, pid)

    def _process_ended(self, known: Supervised, pid: int) -> None:
        self._unfollow(known)
        if known.ended.is_set() or self._look(known):
            return
        record = known.record
        if pid == record.conmon and alive(record.pid, record.birth):
            self._follow(known, record.pid, record.birth)
        else:
            self._end(known, UNKNOWN, time.time(), ORPHANED)

    def _unfollow(self, known: Supervised) -> None:
        if known.pidfd >= 0:
            self._loop.remove_reader(known.pidfd)
            os.close(known.pidfd)
            known.pidfd = -1

    def _end(self, known: Supervised, code: int, finished: float, message: str = "") -> None:
        self._unfollow(known)
        known.state = dataclasses.replace(
            known.state,
            phase="exited",
            code=code,
            message=message,
            pid=0,
            finished=finished,
            oom_killed=self._cgroups.oom_kills(known.record.cgroup) > 0,
        )
        known.ended.set()
        self._tell(known.state)
