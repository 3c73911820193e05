"""Acknowledged means on disk: power cuts at every step, on a model of a disk and on a real one.

Each has its negative control: the same test with a setting that does not sync must lose something,
or the test could not fail at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from jindou.control.store import StoreFailed
from jindou.control.store.sqlite import SqliteStore
from jindou.machine.linux import mounts
from tests.faults.disks import Disk, crash_images
from tests.machine.isolation import isolated

# What SQLite itself prints when a file system in Python raises.
noisy = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def write_through(disk: Disk, path: Path, synchronous: str = "") -> None:
    async def main():
        store = SqliteStore.open(path, vfs=disk.name)
        if synchronous:
            store._db.execute(f"PRAGMA synchronous={synchronous}")
        for n in range(12):
            names = [f"core/pods/d/{n}-{k}" for k in range(n % 3 + 1)]
            await asyncio.gather(*(store.commit(k, lambda r, k=k: k.encode()) for k in names))
            for name in names:
                disk.acknowledge(name)
        with contextlib.suppress(StoreFailed):
            await store.close()

    asyncio.run(main())


def lost(files: dict[str, bytes], acknowledged: set[str], folder: Path) -> set[str]:
    """What was acknowledged and is not there any more once the store has been opened again."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in files.items():
        if not name.endswith("-shm"):
            (folder / name).write_bytes(data)

    async def main():
        store = SqliteStore.open(folder / "s.db")
        found = {s.key for s in store.scan("").items if s.value == s.key.encode()}
        await store.close()
        return found

    return acknowledged - asyncio.run(main())


@pytest.fixture
def disk():
    vfs = Disk("recording")
    vfs.name = "recording"
    yield vfs
    vfs.unregister()


@pytest.mark.guarantee(1)
@pytest.mark.slow
@pytest.mark.parametrize("synchronous", ["", "NORMAL"])
def test_a_power_cut_at_any_step_loses_nothing_acknowledged(tmp_path, disk, synchronous):
    write_through(disk, tmp_path / "s.db", synchronous)
    first = next(n for n, step in enumerate(disk.log) if step.what == "ack")
    images = losses = 0
    for files, acknowledged in crash_images(disk.log, seed=1, every=3):
        if not acknowledged:
            continue
        images += 1
        losses += bool(lost(files, acknowledged, tmp_path / "after"))
    assert first > 0
    assert images > 50
    if synchronous:
        assert losses, "the control lost nothing: this test could not fail"
    else:
        assert losses == 0


@pytest.mark.guarantee(1, 10)
@noisy
@pytest.mark.slow
@pytest.mark.parametrize("for_good", [False, True])
def test_an_error_at_any_operation_loses_nothing_acknowledged(tmp_path, disk, for_good):
    async def scenario(path: Path) -> set[str]:
        acknowledged = set()
        try:
            store = SqliteStore.open(path, vfs=disk.name)
        except Exception:
            return acknowledged  # the disk refused before there was a store
        try:
            for n in range(6):
                await store.commit(f"core/pods/d/{n}", lambda r, n=n: f"core/pods/d/{n}".encode())
                acknowledged.add(f"core/pods/d/{n}")
        except StoreFailed:
            with pytest.raises(StoreFailed):
                await store.commit("core/pods/d/after", lambda r: b"x")
        with contextlib.suppress(Exception):
            await store.close()
        return acknowledged

    disk.for_good = for_good
    for fail_at in range(1, 400):
        path = tmp_path / f"{fail_at}.db"
        disk.log, disk.count, disk.fail_at = [], 0, fail_at
        acknowledged = asyncio.run(scenario(path))
        reached = disk.count >= fail_at
        disk.fail_at = 0
        if path.exists() and acknowledged:

            async def check(path=path):
                store = SqliteStore.open(path)
                found = {s.key for s in store.scan("").items}
                await store.close()
                return found

            assert acknowledged <= asyncio.run(check())
        if not reached:
            break
    assert not reached, "the sweep ended before every operation had failed once"


# ------------------------------------------------------------ a real file system

WRITER = """
    import asyncio, sys
    from jindou.control.store.sqlite import SqliteStore
    async def main():
        store = SqliteStore.open(sys.argv[1])
        if sys.argv[2]:
            store._db.execute("PRAGMA synchronous=" + sys.argv[2])
        n = 0
        while True:
            await asyncio.gather(*(store.commit(f"core/pods/d/{n + k}", lambda r: b"v" * 500) for k in range(4)))
            n += 4
            print(n, flush=True)
    asyncio.run(main())
"""
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN; 2 = NOLOGFLUSH: only what was synced survives


def attach(image: Path) -> str:
    done = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def cut_once(tmp_path: Path, number: int, synchronous: str) -> tuple[int, int]:
    """(acknowledged, found afterwards)"""
    image, place = tmp_path / f"disk{number}", tmp_path / f"mnt{number}"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-E", "nodiscard", str(image)], check=True)
    device = attach(image)
    try:
        mounts.mount(device, place, "ext4")
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(place / "s.db"), synchronous],
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        descriptor = os.open(place, os.O_RDONLY)
        deadline = time.monotonic() + 0.25 + 0.05 * number
        line = writer.stdout.readline()
        deadline = max(deadline, time.monotonic() + 0.05 * (number + 1))
        while time.monotonic() < deadline:
            line = writer.stdout.readline()
        os.kill(writer.pid, signal.SIGSTOP)  # else a sync under way could return after the cut
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("i", 2))
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split(b"\n")
        acknowledged = int([line, *[r for r in rest if r]][-1])
        writer.wait()
        writer.stdout.close()
        os.close(descriptor)
        mounts.unmount(place, detach=False)
        mounts.mount(device, place, "ext4")
        found = count(place / "s.db")
        mounts.unmount(place, detach=False)
    finally:
        mounts.unmount(place)
        subprocess.run(["losetup", "-d", device], check=True)
        image.unlink()
    return acknowledged, found


def count(path: Path) -> int:
    async def main():
        store = SqliteStore.open(path)
        found = len(store.scan("core/pods/d/").items)
        await store.close()
        return found

    try:
        return asyncio.run(main())
    except Exception:
        return 0


@pytest.mark.guarantee(1)
@pytest.mark.root
@pytest.mark.slow
@isolated
def test_a_power_cut_of_a_real_disk_loses_nothing_acknowledged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("power")
    for number in range(4):
        acknowledged, found = cut_once(folder, number, "")
        assert acknowledged > 0
        assert found >= acknowledged


@pytest.mark.root
@pytest.mark.slow
@isolated
def test_the_control_of_the_power_cut_loses_something(tmp_path_factory):
    folder = tmp_path_factory.mktemp("control")
    results = [cut_once(folder, number, "OFF") for number in range(3)]
    assert any(found < acknowledged for acknowledged, found in results), results
