"""Leaves no trace: ends every container and takes away what the node made on this machine.

Both halves may be repeated, and go as far as they can: what is gone already is fine. Data (images,
logs, what a Pod wrote into its volumes) is not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from jindou.machine.images import Images
from jindou.machine.linux import mounts, namespaces
from jindou.machine.linux.cgroups import Cgroups
from jindou.machine.network import Network
from jindou.machine.runtimes import Runtime
from jindou.machine.volumes import Volumes
from jindou.settings import Settings


async def clean(
    settings: Settings, runtime: Runtime, network: Network, images: Images, volumes: Volumes
) -> None:
    """Inside the node's mount namespace: containers, roots, volumes, network, cgroups."""
    if not settings.pretend:
        for id in await runtime.observe():
            await runtime.stop(id, 0.0)
            await runtime.remove(id)
        for place in mounts.mount_points(settings.data):
            if place != settings.data:
                mounts.unmount(place)
    await volumes.remove(Path(settings.run) / "pods")
    await network.close()
    if not settings.pretend:
        await _end_group(settings.name)


async def _end_group(name: str) -> None:
    cgroups = Cgroups()
    for _ in range(50):
        cgroups.kill(name)
        if cgroups.delete(name):
            return
        await asyncio.sleep(0.02)  # a killed process leaves its group when the kernel gets to it
    raise OSError(f"a process of the cgroup {name} does not end")


def forget(settings: Settings) -> str:
    """On the host's side: the kept mount namespace and the run folder. Says what was done."""
    folder = Path(settings.run)
    if not settings.pretend:
        namespaces.free([folder / "mounts"])
        for place in mounts.mount_points(folder):
            mounts.unmount(place)
        if os.path.ismount("/sys/fs/cgroup/unified"):
            with contextlib.suppress(OSError):  # of a runtime that saw it
                os.rmdir(f"/sys/fs/cgroup/unified/{settings.name}")
    shutil.rmtree(folder, ignore_errors=True)
    return "containers, mounts, network, packet rules and cgroups"
