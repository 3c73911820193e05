"""A root file system of one static program, and a runtime over it, in namespaces of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from jindou.machine.linux import mounts
from jindou.machine.linux.cgroups import Cgroups
from jindou.machine.runtimes import Unit
from jindou.machine.runtimes.containers import ContainerRuntime
from jindou.machine.runtimes.pretend import PretendRuntime
from jindou.machine.runtimes.probe import try_runtime
from jindou.settings import Settings
from tests.machine.isolation import isolated

APPLETS = [
    "sh",
    "cat",
    "dd",
    "echo",
    "false",
    "grep",
    "head",
    "id",
    "kill",
    "ls",
    "ps",
    "seq",
    "sleep",
    "stty",
    "tail",
    "touch",
    "true",
    "yes",
]
OWN = dict.fromkeys(("network", "uts", "ipc", "pid"), "")


def make_root(place: Path) -> Path:
    (place / "bin").mkdir(parents=True)
    for name in ("proc", "sys", "dev", "etc", "tmp"):
        (place / name).mkdir()
    shutil.copy("/usr/bin/busybox", place / "bin" / "busybox")
    for name in APPLETS:
        (place / "bin" / name).symlink_to("busybox")
    return place


@functools.cache
def why_not(kind: str) -> str:
    if kind == "pretend":
        return ""
    if os.geteuid() != 0:
        return "needs root"
    verdict = try_runtime(kind)
    return "" if verdict.works else f"{kind} does not work here: {verdict.reason}"


def settings_in(folder: Path) -> Settings:
    """Its own groups lie below that of the box, as `own`."""
    return Settings(
        f"{folder.name}/own", run=f"{folder}/run", data=f"{folder}/data", logs=f"{folder}/logs"
    )


class Box:
    """A runtime of one kind over fresh folders. `again` is what a restart does."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.real = kind != "pretend"
        self.settings = settings_in(folder)
        self.group = folder.name
        self.root = make_root(folder / "root") if self.real else folder
        self.opened = []

    def runtime(self):
        made = (
            ContainerRuntime(self.settings, runtime=self.kind)
            if self.real
            else PretendRuntime(self.settings)
        )
        self.opened.append(made)
        return made

    def again(self, runtime):
        runtime.close()
        return self.runtime()

    def unit(self, id: str, script: str = "sleep 1000", **more) -> Unit:
        unit = Unit(
            id,
            self.root,
            ("sh", "-c", script),
            env=("PATH=/bin",),
            namespaces=OWN,
            log=self.log(id),
            cgroup=f"{self.group}/{id}",
        )
        return dataclasses.replace(unit, **more)

    def log(self, id: str) -> Path:
        return self.folder / "logs" / f"{id}.log"

    def left(self) -> dict[str, list[str]]:
        """What remains on the machine of all units."""
        units = self.folder / "run" / "units"
        groups = [path for path in Cgroups().paths(self.group) if path.exists()]
        return {
            "groups": [
                str(found)
                for path in groups
                for found in path.iterdir()
                if found.is_dir() and found.name != "own"
            ],
            "mounts": mounts.mount_points(self.folder / "root"),
            "processes": processes_of(self.folder),
            "folders": [
                str(path.relative_to(units))
                for pattern in ("bundles/*", "records/*", "exits/*", "execs/*", "states/*/*")
                for path in units.glob(pattern)
            ],
        }

    def close(self) -> None:
        for runtime in self.opened:
            runtime.close()
        if self.real:
            groups = Cgroups()
            while not groups.delete(self.group):
                groups.kill(self.group)
                time.sleep(0.005)


NOTHING = {"groups": [], "mounts": [], "processes": [], "folders": []}


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder: conmons and runtimes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in words:
                found.append(words)
    return found


class Bench:
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def run(self, scenario) -> None:
        """The scenario in a box; a real runtime's in namespaces that end with it."""
        reason = why_not(self.kind)
        if reason:
            pytest.skip(reason)
        if self.kind == "pretend":
            self._run(scenario)
        else:
            isolated(self._run)(scenario)

    def _run(self, scenario) -> None:
        if self.kind != "pretend" and os.path.ismount("/sys/fs/cgroup/unified"):
            mounts.mount("tmpfs", "/sys/fs/cgroup/unified", "tmpfs")
        folder = Path(tempfile.mkdtemp(prefix="jindou-test-"))
        box = Box(self.kind, folder)

        async def main():
            try:
                await scenario(box)
            finally:
                box.close()

        try:
            asyncio.run(main())
        finally:
            for place in mounts.mount_points(folder):
                mounts.unmount(place)
            assert mounts.mount_points(folder) == [], "what is mounted must not be removed"
            shutil.rmtree(folder)


async def output(session) -> tuple[bytes, bytes]:
    """All of a session's stdout and stderr, to the end."""
    found = {1: b"", 2: b""}
    while piece := await session.receive():
        found[piece[0]] += piece[1]
    return found[1], found[2]


def texts(log: Path, stream: str = "stdout") -> list[str]:
    """The lines of a log in the CRI format."""
    lines = [line.split(" ", 3) for line in log.read_text().splitlines()]
    return [line[3] for line in lines if line[1] == stream and line[2] == "F"]
