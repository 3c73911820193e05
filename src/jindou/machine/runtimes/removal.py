"""Taking a container away, whatever state it was left in: processes, groups, folders.

It does what the runtimes' own `delete` does with what they leave under the folder that we gave
them, without starting a process for it. Nothing missing is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Collection, Iterator

import msgspec

from jindou.machine.linux import processes
from jindou.machine.linux.cgroups import Cgroups
from jindou.machine.runtimes import conmon
from jindou.machine.runtimes.folders import Folders

TRIES, PAUSE = 400, 0.005  # the dead leave their groups within milliseconds


async def end_strays(folders: Folders, ids: Collection[str]) -> None:
    """Kill what an earlier process set to work on these bundles and was killed before it heard
    of: conmon, the runtime, and the container's first process while it is still the runtime's.

    They start each other, so it is looked again until none is left.
    """
    wanted = {os.fsencode(folders.bundles / id) for id in ids}
    for _ in range(TRIES if wanted else 0):
        found = [pid for pid, words in _command_lines() if not wanted.isdisjoint(words)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(PAUSE)


def _command_lines() -> Iterator[tuple[int, list[bytes]]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError), open(f"{entry.path}/cmdline", "rb") as file:
                yield int(entry.name), file.read().split(b"\0")


async def purge(folders: Folders, cgroups: Cgroups, id: str, cgroup: str = "") -> None:
    place = folders.bundles / id
    cgroup = cgroup or _group(folders, cgroups, id)
    keeper = conmon.pid_of(place)
    if cgroup:
        await _delete_group(cgroups, cgroup)
    if keeper:
        await _end(keeper)
    (folders.records / id).unlink(missing_ok=True)  # first: were we killed now, the next of us
    for states in folders.states.iterdir():  # would take the rest away
        shutil.rmtree(states / id, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    (folders.exits / id).unlink(missing_ok=True)


async def _delete_group(cgroups: Cgroups, cgroup: str) -> None:
    """Usually at once. A process that is still in it shares another unit's process namespace, or
    was never started; then it is killed."""
    for _ in range(TRIES):
        if cgroups.delete(cgroup):
            return
        cgroups.kill(cgroup)
        await asyncio.sleep(PAUSE)


def _group(folders: Folders, cgroups: Cgroups, id: str) -> str:
    """From the bundle, for a container without a record."""
    try:
        document = msgspec.json.decode((folders.bundles / id / "config.json").read_bytes())
        full = str(document["linux"]["cgroupsPath"])
    except (OSError, msgspec.DecodeError, KeyError):
        return ""
    return full.removeprefix(cgroups.base).strip("/")


async def _end(keeper: int) -> None:
    """conmon ends by itself after its container; one whose container never came is killed."""
    try:
        descriptor = os.pidfd_open(keeper)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await processes.readable(descriptor)
                return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
