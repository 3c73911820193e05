"""The queue, the runner and the recorder: order, pace, failures, merged events."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from jindou.control.controllers.groundwork.queue import Queue
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.groundwork.runner import Runner
from jindou.objects.errors import Conflict
from jindou.objects.kinds import CONFIG_MAP, EVENT, Kind, Ref
from tests.controllers.world import in_world


def on_queue(handle, scenario, **options):
    async def main():
        queue = Queue("test", handle, **options)
        queue.start()
        try:
            return await asyncio.wait_for(scenario(queue), 10)
        finally:
            await queue.stop()

    return asyncio.run(main())


def test_a_key_is_looked_at_once_at_a_time_and_again_when_it_changed_meanwhile():
    running, most, looks = set(), [0], []
    begun, again = asyncio.Event(), asyncio.Event()

    async def handle(key):
        begun.set()
        assert key not in running
        running.add(key)
        most[0] = max(most[0], len(running))
        looks.append(key)
        await asyncio.sleep(0)
        running.discard(key)
        if len(looks) == 4:
            again.set()

    async def scenario(queue):
        for _ in range(3):
            for key in "abc":
                queue.add(key)
        await begun.wait()
        queue.add("a")
        await again.wait()

    on_queue(handle, scenario, workers=2)
    assert sorted(looks) == ["a", "a", "b", "c"]
    assert most[0] == 2


def test_a_failure_comes_back_later_each_time_and_stops_nothing_else():
    tries = []
    done = asyncio.Event()

    async def handle(key):
        if key == "good":
            return
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 4:
            raise Conflict("again")
        done.set()

    async def scenario(queue):
        queue.add("bad")
        queue.add("good")
        await done.wait()
        return queue.counters

    counters = on_queue(handle, scenario)
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits[0] >= 0.005
    assert waits[1] >= 0.010
    assert waits[2] >= 0.020
    assert counters.failed == 3


def test_the_first_change_is_looked_at_at_once_and_the_next_ones_together():
    looks = []

    async def handle(key):
        looks.append(asyncio.get_running_loop().time())

    async def scenario(queue):
        began = asyncio.get_running_loop().time()
        while len(looks) < 2:
            queue.add("a")
            await asyncio.sleep(0.001)
        return began

    began = on_queue(handle, scenario, pace=0.05)
    assert looks[0] - began < 0.04
    assert looks[1] - looks[0] >= 0.049


def test_a_delay_that_was_asked_for_is_kept_and_the_earlier_one_counts():
    looks = []
    done, last = asyncio.Event(), asyncio.Event()

    async def handle(key):
        looks.append(key)
        if key == "b":
            last.set()
        if len(looks) == 2:
            done.set()
        return 0.01 if len(looks) == 1 else None

    async def scenario(queue):
        queue.add("a")
        await done.wait()
        queue.add_after("b", 60)
        queue.add_after("b", 0.01)
        await last.wait()

    on_queue(handle, scenario)
    assert looks == ["a", "a", "b"]


class Broken:
    kind = CONFIG_MAP
    owns: tuple[Kind, ...] = ()

    async def reconcile(self, ref, client):
        raise KeyError(ref.name)


class Copies:
    """Writes a copy of each ConfigMap named "original"."""

    kind = CONFIG_MAP
    owns: tuple[Kind, ...] = ()
    name = "copies"

    async def reconcile(self, ref, client):
        if ref.name == "original":
            meta = {"name": "copy", "namespace": ref.namespace}
            await client.create(
                CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
            )


class Fragile:
    """Its loop fails twice."""

    def __init__(self):
        self.runs = 0
        self.steady = asyncio.Event()

    async def run(self, client):
        self.runs += 1
        if self.runs < 3:
            raise RuntimeError("no")
        self.steady.set()
        await asyncio.Event().wait()


@pytest.mark.slow
def test_a_broken_controller_does_not_stop_the_others():
    fragile = Fragile()

    async def scenario(world):
        meta = {"name": "original", "namespace": "default"}
        await world.client.create(
            CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
        )
        await world.until(lambda: world.has(Ref(CONFIG_MAP, "default", "copy")))
        await fragile.steady.wait()
        assert world.runner.metrics()["Broken"].failed
        assert isinstance(world.runner, Runner)

    in_world(lambda server: [Broken(), Copies(), fragile], scenario)


def test_equal_events_are_counted_and_many_alike_combined():
    async def scenario(world):
        recorder = Recorder("test-controller")
        meta = {"name": "web", "namespace": "default", "uid": "u1"}
        about = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta}
        for _ in range(3):
            recorder.event(world.client, about, "Same", "the same")
        for n in range(15):
            recorder.event(world.client, about, "Created", f"Created pod: {n}")

        async def all_there():
            events = await world.find(EVENT)
            return sum(e["count"] for e in events) == 18 and events

        events = await world.until(all_there)
        assert len(events) == 12
        same = next(e for e in events if e["reason"] == "Same")
        assert same["count"] == 3
        assert same["source"] == {"component": "test-controller"}
        assert same["involvedObject"]["kind"] == "ReplicaSet"
        (combined,) = (
            e for e in events if e["message"].startswith("(combined from similar events)")
        )
        assert combined["count"] == 5
        recorder.event(world.client, about, "Same", "the same")

        async def counted():
            return any(e["count"] == 4 for e in await world.find(EVENT))

        await world.until(counted)
        assert len(await world.find(EVENT)) == 12

    in_world(lambda server: [], scenario)
