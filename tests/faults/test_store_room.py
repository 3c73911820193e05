"""No room for the file itself, while the log still has some: nobody who writes notices."""

from __future__ import annotations

import asyncio

import apsw
import pytest

from jindou.control.store.sqlite import SqliteStore
from tests.faults.disks import Disk, Step
from tests.faults.test_store_power import noisy


class Narrow(Disk):
    """The store's file may not be written to; what is beside it may."""

    refused = 0
    narrow = False

    def note(self, step: Step) -> None:
        if self.narrow and step.what == "write" and step.file.endswith(".db"):
            self.refused += 1
            raise apsw.FullError("no room")
        super().note(step)


class Short(SqliteStore):
    checkpoint = 64 * 1024


@noisy
@pytest.mark.guarantee(10, 12)
def test_a_checkpoint_without_room_fails_nobody(tmp_path):
    disk, failures = Narrow("narrow"), []

    async def write(store: SqliteStore, key: str) -> None:
        for _ in range(30):
            await store.commit(f"core/pods/d/{key}", lambda revision: b"x" * 3000)

    async def scenario() -> None:
        store = Short.open(tmp_path / "s.db", vfs="narrow", failed=failures.append)
        await write(store, "first")
        disk.narrow = True
        await asyncio.wait_for(asyncio.gather(*(write(store, key) for key in "abcd")), 20)
        disk.narrow = False
        await write(store, "last")
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        disk.unregister()
    assert disk.refused, "no checkpoint was tried"
    assert failures == []
    assert not (tmp_path / "s.db-wal").exists()
    assert (tmp_path / "s.db").stat().st_size > 3000 * 30

    async def after() -> set[str]:
        store = SqliteStore.open(tmp_path / "s.db")
        found = {stored.key.rpartition("/")[2] for stored in store.scan("").items}
        await store.close()
        return found

    assert asyncio.run(after()) == {"first", "last", *"abcd"}
