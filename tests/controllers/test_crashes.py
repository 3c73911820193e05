"""Controllers that are killed again and again, or whose writes fail, still end where they should."""

from __future__ import annotations

import asyncio
import random

import pytest

from jindou.control.controllers.discovery.endpoint_slices import EndpointSlices
from jindou.control.controllers.discovery.endpoints import EndpointsOfServices
from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.groundwork.runner import Runner
from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.workloads.deployments.deployments import Deployments
from jindou.control.controllers.workloads.deployments.replica_sets import ReplicaSets
from jindou.objects.errors import Conflict, Unavailable
from jindou.objects.kinds import DEPLOYMENT, ENDPOINT_SLICE, POD, SERVICE, Ref
from tests.controllers.test_deployments import WEB, rolled_out, set_image
from tests.controllers.test_endpoints import service_object
from tests.controllers.world import (
    deployment_object,
    in_world,
    kinds_of,
    with_node,
)

pytestmark = pytest.mark.slow


def controllers(server):
    kinds = lambda: kinds_of(server)  # noqa: E731
    return [
        Deployments(), ReplicaSets(), EndpointSlices(), EndpointsOfServices(), Scheduler(),
        GarbageCollector(kinds, server.registry.on_change),
    ]  # fmt: skip


class Failing:
    """A client whose writes fail now and then: refused, or done with the answer lost."""

    def __init__(self, client, seed):
        self._client = client
        self._random = random.Random(seed)
        self.failures = 0

    def __getattr__(self, name):
        call = getattr(self._client, name)
        if name not in ("create", "update", "patch", "delete"):
            return call

        async def write(*args, **options):
            dice = self._random.random()
            if dice < 0.2:
                self.failures += 1
                raise Unavailable("refused") if dice < 0.1 else Conflict("someone was first")
            found = await call(*args, **options)
            if dice < 0.3:
                self.failures += 1
                raise Unavailable("the answer was lost")
            return found

        return write


async def is_whole(world, count, image):
    pods = [p for p in await world.find(POD) if not p["metadata"].get("deletionTimestamp")]
    ready = {p["metadata"]["name"] for p in pods if p["spec"]["containers"][0]["image"] == image}
    slices = await world.find(ENDPOINT_SLICE, labels="kubernetes.io/service-name=web")
    named = [
        e["targetRef"]["name"] for s in slices for e in s["endpoints"] if e["conditions"]["ready"]
    ]
    return len(pods) == len(ready) == count and sorted(named) == sorted(ready)


@pytest.mark.guarantee(7)
@pytest.mark.parametrize("seed", [1, 2])
def test_writes_that_fail_or_whose_answer_is_lost(seed):
    async def scenario(world):
        failing = Failing(world.server.local(), seed)
        runner = Runner(failing, controllers(world.server))
        running = asyncio.create_task(runner.run())

        async def play(node):
            await world.client.create(SERVICE, service_object())
            await world.client.create(DEPLOYMENT, deployment_object(replicas=8))
            await world.until(lambda: is_whole(world, 8, "web:1"), 30)
            await set_image(world, "web:2")
            await world.until(lambda: is_whole(world, 8, "web:2"), 30)

        await with_node(world, play)
        assert failing.failures > 10
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    in_world(lambda server: [ServiceAccounts()], scenario)


def test_controllers_killed_in_the_middle_of_everything():
    async def scenario(world):
        dice = random.Random(7)
        lives = [0]

        async def live_and_die():
            while True:
                runner = Runner(world.server.local(), controllers(world.server))
                running = asyncio.create_task(runner.run())
                lives[0] += 1
                await asyncio.sleep(dice.uniform(0.02, 0.15))
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        async def play(node):
            most = 0
            dying = asyncio.create_task(live_and_die())
            await world.client.create(SERVICE, service_object())
            await world.client.create(DEPLOYMENT, deployment_object(replicas=10))
            for n in range(2, 6):
                await set_image(world, f"web:{n}")
                await asyncio.sleep(0.3)
                most = max(most, len(await world.find(POD)))
            dying.cancel()
            await asyncio.gather(dying, return_exceptions=True)
            runner = Runner(world.server.local(), controllers(world.server))
            running = asyncio.create_task(runner.run())
            await world.until(lambda: is_whole(world, 10, "web:5"), 20)
            await rolled_out(world)
            assert lives[0] > 5
            assert most <= 13
            await world.client.delete(WEB)

            async def none():
                return not await world.find(POD)

            await world.until(none)
            assert await world.gone(Ref(DEPLOYMENT, "default", "web"))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        await with_node(world, play)

    in_world(lambda server: [ServiceAccounts()], scenario)
