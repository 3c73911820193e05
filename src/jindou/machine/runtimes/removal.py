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

import msgspec

from jindou.machine.linux.cgroups import Cgroups
from jindou.machine.runtimes import conmon
from jindou.machine.runtimes.folders import Folders

TRIES, PAUSE = 400, 0.005  # the dead leave their groups within milliseconds


async def purge(folders: Folders, cgroups: Cgroups, id: str, cgroup: str = "") -> None:
    place = folders.bundles / id
    cgroup = cgroup or _group(folders, cgroups, id)
    keeper = conmon.pid_of(place)
    if cgroup:
        await _delete_group(cgroups, cgroup)
    if keeper:
        await _end(keeper)
    for states in folders.states.iterdir():
        shutil.rmtree(states / id, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    (folders.exits / id).unlink(missing_ok=True)
    (folders.records / id).unlink(missing_ok=True)


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
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await ended.wait()
                return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
