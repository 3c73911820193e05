"""The store's process killed at the N-th system call of a kind, for every N; and a server whose calls
fail or are slow. Each sweep goes on until a run came through without its fault."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from jindou.control.store.sqlite import SqliteStore, backup
from tests.conformance.wire import Api
from tests.faults.load import LOST
from tests.faults.syscalls import Fault, fired, injected, needs_strace, run

pytestmark = [pytest.mark.slow, needs_strace]
MAPS = "/api/v1/namespaces/default/configmaps"
GROUP = 3

WRITER = f"""
    import asyncio, os, sys
    from jindou.control.store.sqlite import SqliteStore
    async def main():
        store = SqliteStore.open(sys.argv[1])
        for turn in range(4):
            names = [f"core/pods/d/{{turn}}-{{n}}" for n in range({GROUP})]
            done = await asyncio.gather(*(store.commit(n, lambda r: b"v" * 9000) for n in names))
            print(turn, max(one.revision for one in done), flush=True)
            await store.commit("core/leases//x", lambda r: b"lazy", lazy=True)
        if sys.argv[2:]:
            os.kill(os.getpid(), 9)
        await store.close()
    asyncio.run(main())
"""
OPENER = """
    import asyncio, sys
    from jindou.control.store.sqlite import SqliteStore
    async def main():
        await SqliteStore.open(sys.argv[1]).close()
    asyncio.run(main())
"""


def program(text: str, path: Path) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(text), str(path)]


def look(path: Path) -> tuple[dict[str, bytes], int]:
    """What is in the store, and its revision."""

    async def main() -> tuple[dict[str, bytes], int]:
        store = SqliteStore.open(path)
        found = {stored.key: stored.value for stored in store.scan("").items}
        revision = store.revision
        await store.close()
        return found, revision

    return asyncio.run(main())


@pytest.mark.guarantee(1, 2, 4)
@pytest.mark.parametrize(("calls", "step"), [("fdatasync", 1), ("pwrite64", 4)])
def test_killed_at_every_call_all_that_was_acknowledged_is_there(tmp_path, calls, step):
    """And of what was written together all or nothing."""
    killed = 0
    for number in range(1, 200, step):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "s.db"
        fault = Fault(calls, "signal=SIGKILL", str(number))
        done = run(fault, folder / "log", *program(WRITER, path))
        found, revision = look(path)
        told = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
        for turn in range(4):
            there = sum(key.startswith(f"core/pods/d/{turn}-") for key in found)
            assert there in (0, GROUP), f"at {number}: a part of what belongs together"
            assert there or turn not in dict(told), f"at {number}: acknowledged, and lost"
        assert all(revision >= given for _, given in told)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done
        killed += 1
        shutil.rmtree(folder)
    assert len(told) == 4, "the sweep ended before a run came through"
    assert killed > 5


@pytest.mark.guarantee(13)
@pytest.mark.parametrize("calls", ["pwrite64", "fdatasync", "unlink,ftruncate"])
def test_killed_at_every_call_of_the_recovery_it_recovers_to_the_same(tmp_path, calls):
    left = tmp_path / "left"
    left.mkdir()
    crash = subprocess.run([*program(WRITER, left / "s.db"), "killed"], stdout=subprocess.DEVNULL)
    assert crash.returncode == -9
    assert (left / "s.db-wal").stat().st_size, "there is nothing to recover"
    plain = shutil.copytree(left, tmp_path / "plain")
    expected, lowest = look(plain / "s.db")
    assert len(expected) >= GROUP
    killed = 0
    for number in range(1, 80, 2 if calls == "pwrite64" else 1):
        folder = shutil.copytree(left, tmp_path / str(number))
        fault = Fault(calls, "signal=SIGKILL", str(number))
        done = run(fault, folder / "log", *program(OPENER, folder / "s.db"))
        found, revision = look(folder / "s.db")
        assert found == expected, f"at {number}"
        assert revision >= lowest
        if done.returncode == 0:
            break
        killed += 1
        assert done.returncode == -9, done
    assert done.returncode == 0
    assert killed > 0


RESTORER = """
    import sys
    from pathlib import Path
    from jindou.control.store.sqlite import restore
    restore(Path(sys.argv[1]).with_name("backup.db"), Path(sys.argv[1]))
"""


@pytest.mark.guarantee(12, 13)
@pytest.mark.parametrize("calls", ["rename,renameat,renameat2", "fdatasync,fsync"])
def test_killed_at_every_step_of_a_restore_it_is_the_old_store_or_the_new(tmp_path, calls):
    """Never none: a server that is started then would begin with nothing."""
    made = tmp_path / "made"
    made.mkdir()
    subprocess.run(program(WRITER, made / "s.db"), check=True, stdout=subprocess.DEVNULL)
    backup(made / "s.db", made / "backup.db")
    old = [*program(WRITER.replace("core/pods/d", "core/pods/e"), made / "s.db"), "killed"]
    assert subprocess.run(old, stdout=subprocess.DEVNULL).returncode == -9
    before, revision = look(shutil.copytree(made, tmp_path / "plain") / "s.db")
    restored = {key: value for key, value in before.items() if "/e/" not in key}
    assert len(before) == 2 * len(restored) - 1
    outcomes = []
    for number in range(1, 40):
        folder = shutil.copytree(made, tmp_path / str(number))
        fault = Fault(calls, "signal=SIGKILL", str(number))
        done = run(fault, folder / "log", *program(RESTORER, folder / "s.db"))
        found, now = look(folder / "s.db")
        assert found in (before, restored), f"at {number}"
        assert now >= revision
        outcomes.append(found == restored)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done
    assert outcomes == sorted(outcomes)
    assert outcomes[-1]
    assert len(outcomes) > 2


# ------------------------------------------------------------ a server


def document(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "data": {"a": "x" * 5000}}


@pytest.mark.guarantee(10)
def test_no_room_for_a_write_is_said_and_over_when_there_is_some(server, api, tmp_path):
    process, log = server.processes["server"], tmp_path / "log"
    api.make(MAPS, document("before"))
    fault = Fault("pwrite64", "error=ENOSPC", path=f"{server.settings.data}/store.db-wal")
    with injected(process.pid, fault, log):
        for number in range(5):
            answer = api.ask("POST", MAPS, document(f"n{number}"))
            assert (answer.code, answer.reason) == (500, "InternalError")
            assert "the disk is full" in answer.message
            assert api.get(f"{MAPS}/before")["data"]
            assert api.gone(f"{MAPS}/n{number}")
    assert fired(log) >= 5
    assert api.make(MAPS, document("after"))
    assert process.poll() is None


@pytest.mark.guarantee(10, 17)
def test_a_slow_disk_is_shared_by_all_who_wait_for_it(server, api, tmp_path):
    """Twenty writers need hardly more than one."""
    log, writers = tmp_path / "log", 20

    def write(number: int) -> int:
        return clients[number].ask("POST", MAPS, document(f"slow-{number}")).code

    with contextlib.ExitStack() as held:
        clients = [Api.of_kubeconfig(server.kubeconfig) for _ in range(writers)]
        for client in clients:
            held.callback(client.close)
            client.get("/version")
        start = api.get(MAPS)["metadata"]["resourceVersion"]
        watch = held.enter_context(api.watch(MAPS, resourceVersion=start))
        slow = Fault("fdatasync", "delay_enter=300000")
        held.enter_context(injected(server.processes["server"].pid, slow, log))
        pool = held.enter_context(concurrent.futures.ThreadPoolExecutor(writers))
        assert list(pool.map(write, range(writers))) == [201] * writers
        seen = {event["object"]["metadata"]["name"] for event in watch.take(writers)}
    assert seen == {f"slow-{number}" for number in range(writers)}
    assert 1 <= fired(log) <= writers // 2, "each write waited for a sync of its own"


@pytest.mark.guarantee(1, 10)
def test_the_first_sync_that_fails_ends_the_server(server, api, tmp_path):
    """Whether it was written is unknown, and said to be; all from before is there afterwards."""
    process, log = server.processes["server"], tmp_path / "log"
    api.make(MAPS, document("sure"))
    with injected(process.pid, Fault("fdatasync", "error=EIO"), log):
        answer = api.ask("POST", MAPS, document("unsure"))
        assert answer.code == 500
        assert "not known whether" in answer.message
        assert process.wait(20) == 1
    assert fired(log) == 1, "a sync that failed was tried again"
    assert "the store has stopped" in Path(server.log("server")).read_text()
    api.close()
    server.processes.pop("server")
    server.start("server")
    server.wait_until_listening()
    assert api.get(f"{MAPS}/sure")["data"]
    assert api.make(MAPS, document("later"))


@pytest.mark.guarantee(1, 4)
def test_a_server_killed_at_a_sync_while_many_write(server, tmp_path):
    kept: dict[str, int] = {}
    for number in (1, 2, 5):
        process, log = server.processes["server"], tmp_path / f"log{number}"
        stop = threading.Event()

        def write(writer: int, number: int = number, stop: threading.Event = stop) -> None:
            api = Api.of_kubeconfig(server.kubeconfig, 5)
            with contextlib.suppress(*LOST):
                for turn in range(1000):
                    made = api.ask("POST", MAPS, document(f"k{number}-{writer}-{turn}"))
                    if made.code != 201 or stop.is_set():
                        break
                    meta = made.json["metadata"]
                    kept[meta["name"]] = int(meta["resourceVersion"])
            api.close()

        fault = Fault("fdatasync", "signal=SIGKILL", str(number))
        with injected(process.pid, fault, log):
            threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            stop.set()
            for thread in threads:
                thread.join()
        assert process.poll() == -9, "it was not killed"
        server.processes.pop("server")
        server.start("server")
        server.wait_until_listening()
        api = Api.of_kubeconfig(server.kubeconfig)
        listing = api.get(MAPS)
        api.close()
        there = {
            item["metadata"]["name"]: int(item["metadata"]["resourceVersion"])
            for item in listing["items"]
        }
        assert {name: there.get(name) for name in kept} == kept
        assert int(listing["metadata"]["resourceVersion"]) >= max(kept.values(), default=0)
    assert kept, "the test was void"
