"""What only a store on disk promises: restarts, refusals, bounded files, backups."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap

import apsw
import pytest

from jindou.control.store import Forgotten, StoreFailed, StoreFull
from jindou.control.store.sqlite import STRIDE, Refused, SqliteStore, backup, restore
from jindou.control.store.table import Window


def text(value):
    return lambda revision: f"{value}@{revision}".encode()


def run(path, scenario, kind=SqliteStore, **options):
    async def main():
        store = kind.open(path, **options)
        try:
            return await scenario(store)
        finally:
            await store.close()

    return asyncio.run(main())


async def fill(store, count=3):
    for n in range(count):
        await store.commit(f"core/pods/d/{n % 5}", text(n))


@pytest.mark.guarantee(4, 18)
def test_a_clean_restart_goes_on_where_it_was(tmp_path):
    path = tmp_path / "s.db"
    run(path, fill)

    async def after(store):
        assert store.revision == 3
        assert [s.value for s in store.scan("core/pods/").items] == [b"0@1", b"1@2", b"2@3"]
        seen = []
        store.watch("core/pods/", 1, seen.extend)
        assert [c.revision for c in seen] == [2, 3]
        assert (await store.commit("core/pods/d/9", text("x"))).revision == 4

    run(path, after)
    assert not (tmp_path / "s.db-wal").exists()


KILLED = """
    import asyncio, os
    from jindou.control.store.sqlite import SqliteStore
    async def main():
        store = SqliteStore.open({path!r})
        for n in range(3):
            await store.commit(f"core/pods/d/{{n}}", lambda r: b"v")
        await store.commit("coordination.k8s.io/leases/n/a", lambda r: b"held")
        for n in range(5):
            await store.commit("coordination.k8s.io/leases/n/a", lambda r: b"renewed", lazy=True)
        print(store.revision, flush=True)
        os.kill(os.getpid(), 9)
    asyncio.run(main())
"""


@pytest.mark.guarantee(1, 4)
def test_a_killed_process_loses_nothing_acknowledged_and_never_reuses_a_revision(tmp_path):
    path = tmp_path / "s.db"
    code = textwrap.dedent(KILLED.format(path=str(path)))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    seen_by_clients = int(killed.stdout)
    assert seen_by_clients == 9

    async def after(store):
        assert store.revision >= seen_by_clients
        assert store.revision <= seen_by_clients + STRIDE
        assert len(store.scan("core/pods/").items) == 3
        assert store.get("coordination.k8s.io/leases/n/a").value == b"held"
        seen = []
        store.watch("", seen_by_clients, seen.extend)
        assert seen == []
        await store.commit("core/pods/d/new", text("x"))
        assert len(seen) == 1

    run(path, after)


@pytest.mark.guarantee(1)
def test_lazy_changes_reach_the_disk_with_the_next_durable_one_and_at_the_close(tmp_path):
    path = tmp_path / "s.db"

    async def first(store):
        await store.commit("coordination.k8s.io/leases/n/a", text("held"))
        await store.commit("coordination.k8s.io/leases/n/a", text("1"), lazy=True)
        await store.commit("core/pods/d/a", text("x"))
        await store.commit("coordination.k8s.io/leases/n/a", text("2"), lazy=True)

    run(path, first)

    async def after(store):
        assert store.get("coordination.k8s.io/leases/n/a").value == b"2@4"
        assert store.revision == 4

    run(path, after)


class SmallLog(SqliteStore):
    checkpoint, reset = 256 * 1024, 1024 * 1024


@pytest.mark.guarantee(12, 18)
def test_the_file_stays_bounded_however_much_is_written(tmp_path):
    path = tmp_path / "s.db"
    value = os.urandom(2000)
    sizes = []

    async def churn(store):
        for _ in range(8):
            for _round in range(20):
                await asyncio.gather(
                    *(store.commit(f"core/pods/d/{k}", lambda r: value) for k in range(50))
                )
            sizes.append(path.stat().st_size + (tmp_path / "s.db-wal").stat().st_size)

    run(path, churn, SmallLog, window=Window(changes=200))
    assert path.stat().st_size < 3_000_000
    assert max(sizes) < 3_000_000 + SmallLog.reset + 4_000_000  # what comes during a checkpoint
    rows = sqlite3.connect(path)
    (count,) = rows.execute("SELECT count(*) FROM change").fetchone()
    rows.close()
    assert count < 50 + 200 + 300

    async def after(store):
        assert len(store.scan("core/pods/").items) == 50
        with pytest.raises(Forgotten):
            store.watch("", 10, print)

    run(path, after)


def flip(path, needle):
    data = bytearray(path.read_bytes())
    data[data.index(needle)] ^= 1
    path.write_bytes(data)


@pytest.mark.guarantee(11)
@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        pytest.param(lambda p: flip(p, b"2@3"), "revision 3 of core/pods/d/2", id="one-bit"),
        pytest.param(
            lambda p: p.write_bytes(b"hello" * 100), "not an SQLite file", id="other-file"
        ),
        pytest.param(lambda p: os.truncate(p, 20_000), "damaged", id="cut"),
        pytest.param(lambda p: os.truncate(p, 50), "not an SQLite file", id="cut-in-header"),
    ],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path, harm, sentence):
    path = tmp_path / "s.db"
    run(path, fill)
    harm(path)
    before = path.read_bytes()
    with pytest.raises(Refused, match=sentence):
        run(path, fill)
    assert path.read_bytes() == before


@pytest.mark.guarantee(11)
def test_a_newer_or_foreign_file_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "s.db"
    run(path, fill)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=9")
    db.close()
    before = path.read_bytes()
    with pytest.raises(Refused, match="newer Jindou"):
        run(path, fill)
    assert path.read_bytes() == before
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(Refused, match="another program"):
        run(other, fill)


@pytest.mark.guarantee(11)
def test_one_file_has_one_server(tmp_path):
    path = tmp_path / "s.db"

    async def twice(store):
        with pytest.raises(Refused, match=f"in use by process {os.getpid()}"):
            SqliteStore.open(path)

    run(path, twice)


@pytest.mark.guarantee(4, 12, 26)
def test_backup_while_writing_and_restore(tmp_path):
    path, copy = tmp_path / "s.db", tmp_path / "backup.db"

    async def first(store):
        await fill(store, 5)
        writing = asyncio.ensure_future(fill(store, 50))
        revision = await store.backup(copy)
        assert await asyncio.to_thread(backup, path, tmp_path / "other.db") >= revision
        await writing
        assert 5 <= revision <= 55

    run(path, first)
    assert restore(copy, path) == 5
    assert (tmp_path / "s.db.before-restore").exists()

    async def after(store):
        assert store.revision > 55
        assert len(store.scan("").items) == 5
        with pytest.raises(Forgotten):
            store.watch("", 55, print)

    run(path, after)
    flip(copy, b"core/pods/d/1")
    before = path.read_bytes()
    with pytest.raises(Refused):
        restore(copy, path)
    assert path.read_bytes() == before


class FaultyFile(apsw.VFSFile):
    fault: type[apsw.Error] | None = None
    where = ""

    def xWrite(self, data, offset):
        if self.where == "write" and self.fault:
            raise self.fault()
        return super().xWrite(data, offset)

    def xSync(self, flags):
        if self.where == "sync" and self.fault:
            raise self.fault()
        return super().xSync(flags)


class FaultyDisk(apsw.VFS):
    """SQLite's own file system, with a disk that can be told to refuse."""

    def __init__(self):
        super().__init__("faulty", "")

    def xOpen(self, name, flags):
        return FaultyFile("", name, flags)


@pytest.fixture
def disk():
    vfs = FaultyDisk()
    FaultyFile.fault, FaultyFile.where = None, ""
    yield FaultyFile
    FaultyFile.fault = None
    vfs.unregister()


@pytest.mark.guarantee(10)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_first_failed_sync_stops_the_store(tmp_path, disk):
    failures = []

    async def scenario(store):
        await fill(store)
        disk.fault, disk.where = apsw.IOError, "sync"
        with pytest.raises(StoreFailed):
            await store.commit("core/pods/d/a", text("x"))
        assert len(failures) == 1
        disk.fault = None
        with pytest.raises(StoreFailed):
            await store.commit("core/pods/d/b", text("x"))
        assert store.get("core/pods/d/a") is None

    run(tmp_path / "s.db", scenario, vfs="faulty", failed=failures.append)


@pytest.mark.guarantee(10)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_refuses_writes_goes_on_reading_and_recovers(tmp_path, disk):
    failures = []

    async def scenario(store):
        await fill(store)
        disk.fault, disk.where = apsw.FullError, "write"
        results = await asyncio.gather(
            store.commit("core/pods/d/a", text("x")),
            store.commit("core/pods/d/b", text("x")),
            return_exceptions=True,
        )
        assert [type(r) for r in results] == [StoreFull, StoreFull]
        assert store.revision == 3
        assert len(store.scan("core/pods/").items) == 3
        disk.fault = None
        await store.commit("core/pods/d/a", text("x"), expect=0)
        assert len(store.scan("core/pods/").items) == 4

    run(tmp_path / "s.db", scenario, vfs="faulty", failed=failures.append)
    assert failures == []

    async def after(store):
        assert len(store.scan("core/pods/").items) == 4

    run(tmp_path / "s.db", after)


def test_nobody_else_may_read_it(tmp_path):
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))  # as an earlier version left it

    async def write() -> None:
        store = SqliteStore.open(path)
        names = [path, path.with_name("store.db-wal")]
        assert [stat.S_IMODE(name.stat().st_mode) for name in names] == [0o600, 0o600]
        await store.close()

    asyncio.run(write())
    backup(path, copy)
    restore(copy, path)
    assert [stat.S_IMODE(name.stat().st_mode) for name in (path, copy)] == [0o600, 0o600]
