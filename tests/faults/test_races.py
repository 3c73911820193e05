"""Races, in virtual time: writers, watches, informers and queues of one process in orders that a seed
chooses. `SEED=7` runs one seed alone; a failure names its seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jindou.client import Client, Event, Listing
from jindou.client.informers import Informer
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.server import ApiServer
from jindou.control.controllers.groundwork.queue import Queue
from jindou.control.store import Store
from jindou.control.store.memory import MemoryStore
from jindou.control.store.sqlite import SqliteStore
from jindou.control.store.table import Window
from jindou.objects.errors import AlreadyExists, Conflict, NotFound, Unavailable
from jindou.objects.kinds import CONFIG_MAP, Kind, Object, Ref
from jindou.settings import Settings
from tests.control.apis import Api
from tests.faults.simloop import SimLoop, Stuck, simulated

SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else range(200)
FEW = SEEDS if len(SEEDS) == 1 else range(40)
NAMES = ("a", "b", "c")


class Far:
    """A client at the far end of a bad line: answers come late, watches break."""

    def __init__(self, client: Client, loop: SimLoop) -> None:
        self._client, self._loop = client, loop
        self.broken = 0
        self.steady = False

    async def _travel(self) -> None:
        await asyncio.sleep(self._loop.chance.random() * 0.2)
        if not self.steady and self._loop.chance.random() < 0.25:
            self.broken += 1
            raise Unavailable("the line is broken")

    async def find(self, kind: Kind, *args: Any, **more: Any) -> Listing:
        found = await self._client.find(kind, *args, **more)
        await self._travel()
        return found

    async def watch(self, kind: Kind, *args: Any, **more: Any) -> AsyncIterator[Event]:
        await self._travel()
        async for event in self._client.watch(kind, *args, **more):
            await self._travel()
            yield event


def config_map(name: str, count: int) -> Object:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"n": str(count)}}


async def count_up(client: Client, loop: SimLoop, times: int, counted: Counter[str]) -> None:
    """Read, add one, write; on a Conflict again. Now and then delete, which starts at nothing."""
    for _ in range(times):
        await asyncio.sleep(loop.chance.random() * 0.3)
        ref = Ref(CONFIG_MAP, "default", name := loop.chance.choice(NAMES))
        while True:
            try:
                if loop.chance.random() < 0.1:
                    obj = await client.get(ref)
                    await client.delete(ref, uid=obj["metadata"]["uid"])
                    break
                obj = await client.get(ref)
                obj["data"]["n"] = str(int(obj["data"]["n"]) + 1)
                await asyncio.sleep(0)
                done = await client.update(CONFIG_MAP, obj)
            except NotFound:
                try:
                    done = await client.create(CONFIG_MAP, config_map(name, 1))
                except AlreadyExists:
                    continue
            except Conflict:
                continue
            counted[done["metadata"]["uid"]] += 1
            break


class Follower:
    """An informer, and a queue that it feeds: what was told, and what was looked at."""

    def __init__(self, client: Any) -> None:
        self.informer = Informer(client, CONFIG_MAP, "default")
        self.queue: Queue[str] = Queue("test", self._look, workers=2)
        self.latest: dict[str, Object | None] = {}
        self.looked: dict[str, str] = {}
        self.busy: set[str] = set()
        self.informer.on_change(self._told)

    def _told(self, old: Object | None, new: Object | None) -> None:
        name = (new or old or {})["metadata"]["name"]
        before = self.latest.get(name)
        assert (old is None) == (before is None), "told of what it was told before, or not at all"
        if old and before and new:
            assert before["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]
        if new and before:
            revisions = [int(obj["metadata"]["resourceVersion"]) for obj in (before, new)]
            assert revisions[0] < revisions[1], "time ran backwards"
        self.latest[name] = new
        self.queue.add(name)

    async def _look(self, name: str) -> None:
        assert name not in self.busy, "two look at one at a time"
        self.busy.add(name)
        obj = self.informer.get("default", name)
        await asyncio.sleep(0.05)
        self.busy.discard(name)
        self.looked[name] = obj["data"]["n"] if obj else "-"
        if random.Random(name + self.looked[name]).random() < 0.2:
            raise Conflict("again")


async def race(store: Store, loop: SimLoop, times: int) -> int:
    """How often the line broke."""
    server = ApiServer(store, Settings(), Tokens(Path("/nonexistent"), "cluster.local"))
    await server.start()
    local, counted = server.local(), Counter[str]()
    far = Far(local, loop)
    near, distant = Follower(local), Follower(far)
    running = []
    for one in (near, distant):
        one.queue.start()
        running.append(asyncio.create_task(one.informer.run()))
    stream = Api(server, store).watch("/api/v1/namespaces/default/configmaps?watch=true")
    await asyncio.gather(*(count_up(local, loop, times, counted) for _ in range(4)))
    far.steady = True
    head = str(store.revision)
    final = {one["metadata"]["name"]: one for one in (await local.find(CONFIG_MAP)).items}
    for obj in final.values():
        assert obj["data"]["n"] == str(counted[obj["metadata"]["uid"]]), "an update was lost"
    await local.create(CONFIG_MAP, config_map("last", 1))
    for one in (near, distant):
        assert await one.informer.caught_up(head, 600), "it never comes to the present"
    await asyncio.sleep(600)  # whatever failed has come back
    for one in (near, distant):
        held = {
            obj["metadata"]["name"]: obj["data"]["n"] for obj in one.informer.all() if "data" in obj
        }
        assert held == {name: obj["data"]["n"] for name, obj in final.items()} | {"last": "1"}
        assert {k: v for k, v in one.looked.items() if v != "-"} == held, (
            "the last change was missed"
        )
    seen(stream.events, store)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for one in (near, distant):
        await one.queue.stop()
    stream.close()
    server.close()
    return far.broken


def seen(events: list[Any], store: Store) -> None:
    """One watch from the beginning to the end: in order, nothing twice, each type as it has to be."""
    there: dict[str, int] = {}
    last = 0
    for event in events:
        meta = event["object"]["metadata"]
        revision, name = int(meta["resourceVersion"]), meta["name"]
        assert revision > last
        assert (event["type"] == "ADDED") == (name not in there)
        last = revision
        there.pop(name, None) if event["type"] == "DELETED" else there.update({name: revision})
    assert there == {
        stored.key.rpartition("/")[2]: stored.revision
        for stored in store.scan("core/configmaps/default/").items
    }


@pytest.mark.slow
@pytest.mark.guarantee(3, 5, 14, 15, 17, 18, 23, 25)
def test_writers_informers_and_queues_in_any_order():
    broken = 0
    orders = set()
    for seed in SEEDS:

        async def scenario(loop: SimLoop) -> int:
            found = await race(MemoryStore(Window(changes=8)), loop, 8)
            orders.add((loop.moved, round(loop.time(), 6)))
            return found

        broken += simulated(seed, scenario)
    assert broken > len(SEEDS), "the line hardly ever broke"
    assert len(orders) > len(SEEDS) / 2, "all came in the same order"


@pytest.mark.slow
@pytest.mark.guarantee(3, 5, 14, 15, 17, 23)
def test_the_same_with_a_disk():
    folder = Path(tempfile.mkdtemp(prefix="jir", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))  # fmt: skip
    try:
        for seed in FEW:

            async def scenario(loop: SimLoop, seed: int = seed) -> None:
                store = SqliteStore.open(folder / f"{seed}.db", window=Window(changes=15))
                await race(store, loop, 4)
                await store.close()

            simulated(seed, scenario)
    finally:
        shutil.rmtree(folder)


# ------------------------------------------------------------ the control


def test_the_same_seed_is_the_same_run():
    def told(seed: int) -> list[float]:
        async def scenario(loop: SimLoop) -> list[float]:
            turns: list[float] = []

            async def step(number: int) -> None:
                for _ in range(5):
                    await asyncio.sleep(0)
                    turns.append(number)

            await asyncio.gather(*(step(n) for n in range(4)))
            await asyncio.to_thread(lambda: None)
            return [*turns, loop.time()]

        return simulated(seed, scenario)

    assert all(told(seed) == told(seed) for seed in range(20))
    assert len({tuple(told(seed)) for seed in range(20)}) > 10


def test_a_lost_update_is_found_by_some_seed_and_a_deadlock_by_every_one():
    async def careless(loop: SimLoop) -> int:
        value = 0

        async def bump() -> None:
            nonlocal value
            read = value
            await asyncio.sleep(0)
            value = read + 1

        await asyncio.gather(*(bump() for _ in range(4)))
        return value

    assert len({simulated(seed, careless) for seed in range(50)}) > 2
    with pytest.raises(Stuck):
        simulated(1, lambda loop: asyncio.Event().wait())


def test_a_queue_that_forgets_changes_is_found_out():
    """One that does not look again at what changed while it was looked at."""

    class Forgetful(Queue[str]):
        def add(self, key: str) -> None:
            if key not in self._busy:
                super().add(key)

    def missed(seed: int, kind: type[Queue[str]]) -> bool:
        async def scenario(loop: SimLoop) -> bool:
            value, looked = 0, -1

            async def look(key: str) -> None:
                nonlocal looked
                found = value
                await asyncio.sleep(loop.chance.random())
                looked = found

            queue = kind("test", look)
            queue.start()
            for _ in range(5):
                value += 1
                queue.add("a")
                await asyncio.sleep(loop.chance.random())
            await asyncio.sleep(100)
            await queue.stop()
            return looked != value

        return simulated(seed, scenario)

    assert any(missed(seed, Forgetful) for seed in range(20))
    assert not any(missed(seed, Queue) for seed in range(20))
