"""kill -9 at any moment of a start, a stop or a removal: what runs is adopted, the rest is gone."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time

import pytest

from jindou.machine.linux import mounts, namespaces
from jindou.machine.runtimes.folders import birth
from tests.machine.containers import NOTHING, Bench

pytestmark = [pytest.mark.root, pytest.mark.slow]
ROUNDS, SEED = 12, 20

# Starts, ends and removes units side by side until it is killed; says when it begins.
BUSY = """
import asyncio, sys
sys.path[:0] = sys.argv[1].split(":")
from pathlib import Path
from tests.machine.containers import OWN, settings_in
from jindou.machine.runtimes import Unit
from jindou.machine.runtimes.containers import ContainerRuntime

kind, folder, tag = sys.argv[2:]
settings = settings_in(Path(folder))
group = Path(folder).name

async def live(runtime, lane):
    for number in range(1000):
        id = f"{tag}-{lane}-{number}"
        unit = Unit(
            id, Path(folder, "root"), ("sh", "-c", "echo up; sleep 1000"), env=("PATH=/bin",),
            namespaces=OWN, cgroup=f"{group}/{id}", log=Path(folder, "logs", f"{id}.log"),
        )
        await runtime.start(unit)
        if number % 3:
            await runtime.stop(id, 0)
            await runtime.remove(id)

async def main():
    runtime = ContainerRuntime(settings, runtime=kind)
    await runtime.observe()
    print("busy", flush=True)
    await asyncio.gather(*(live(runtime, lane) for lane in range(3)))

asyncio.run(main())
"""


def be_busy_and_die(kind, folder, round, seconds):
    words = [sys.executable, "-c", BUSY, ":".join(sys.path), kind, str(folder), str(round)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"busy\n"
        time.sleep(seconds)
        child.kill()


async def pace(box) -> float:
    """Seconds that one life takes on this machine."""
    runtime, began = box.runtime(), time.monotonic()
    await runtime.start(box.unit("first"))
    await runtime.remove("first")
    runtime.close()
    return time.monotonic() - began


@pytest.mark.guarantee(27)
@pytest.mark.parametrize("kind", ["crun", "runc"])
def test_killed_at_any_moment(kind):
    chance = random.Random(SEED)

    async def scenario(box):
        adopted, longest = 0, max(0.25, 4 * await pace(box))
        for round in range(ROUNDS):
            be_busy_and_die(kind, box.folder, round, chance.uniform(0.01, longest))
            runtime = box.runtime()
            states = await runtime.observe()
            for id, state in states.items():
                if state.phase == "running":
                    assert birth(state.pid), f"{id} is said to run, seed {SEED}, round {round}"
                    assert state.pid in runtime.cgroups.processes(f"{box.group}/{id}")
                    adopted += 1
            bundles = {path.name for path in runtime.folders.bundles.iterdir()}
            assert bundles == set(states)
            for id in list(states)[::2]:
                await runtime.stop(id, 0)
                await runtime.remove(id)
            runtime.close()
        runtime = box.runtime()
        await asyncio.gather(*(runtime.remove(id) for id in await runtime.observe()))
        for _ in range(400):
            if box.left() == NOTHING:
                break
            await asyncio.sleep(0.005)
        assert box.left() == NOTHING
        assert adopted >= ROUNDS, "too few units survived to prove anything"

    Bench(kind).run(scenario)


# A node's life: into its mount namespace, one unit started or found, and killed.
NODE = """
import asyncio, os, signal, sys
sys.path[:0] = sys.argv[1].split(":")
from pathlib import Path
from jindou.machine.linux.namespaces import own_mount_namespace
from tests.machine.containers import OWN, output, settings_in
from jindou.machine.runtimes import Unit
from jindou.machine.runtimes.containers import ContainerRuntime

kind, folder, id = sys.argv[2:]
run = Path(folder, "run")
run.mkdir(exist_ok=True)
entered = own_mount_namespace(run / "mounts", run, os.path.ismount("/sys/fs/cgroup/unified"))

async def main():
    runtime = ContainerRuntime(settings_in(Path(folder)), runtime=kind)
    found = await runtime.observe()
    if id == "end":
        for one in found:
            await runtime.remove(one)
        print(len(found), runtime.cgroups.delete(Path(folder).name), flush=True)
        return
    await runtime.start(Unit(
        id, Path(folder, "root"), ("sleep", "1000"), env=("PATH=/bin",), namespaces=OWN,
        cgroup=f"{Path(folder).name}/{id}", log=Path(folder, "log"), seccomp="default",
    ))
    sessions = [await runtime.execute(one, ("echo", one)) for one in await runtime.observe()]
    said = [(await output(session))[0].decode().strip() for session in sessions]
    print(entered, *sorted(said), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.guarantee(27)
@pytest.mark.parametrize("kind", ["crun", "runc"])
def test_a_node_after_a_node(kind):
    async def scenario(box):
        namespaces.free([box.folder / "run" / "mounts"])
        mounts.unmount("/sys/fs/cgroup/unified")  # as the machine has it: the node hides it itself

        def live(id):
            words = [sys.executable, "-c", NODE, ":".join(sys.path), kind, str(box.folder), id]
            return subprocess.run(words, capture_output=True, text=True, timeout=30).stdout.split()

        try:
            assert live("one") == ["False", "one"]
            assert live("two") == ["True", "one", "two"]
            assert live("one") == ["True", "one", "two"]
        finally:
            assert live("end") == ["2", "True"]
            namespaces.free([box.folder / "run" / "mounts"])

    Bench(kind).run(scenario)


def test_a_record_that_was_half_written_is_nobodys():
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one"))
        (runtime.folders.records / "one").rename(runtime.folders.records / ".one")
        for _ in range(2):
            runtime = box.again(runtime)
            assert await runtime.observe() == {}
        assert list(runtime.folders.records.iterdir()) == []
        assert box.left() == NOTHING

    Bench("crun").run(scenario)
