"""Jobs, stateful sets, daemon sets and cron jobs under controllers that are killed, or whose writes fail: nothing
is done twice, nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.groundwork.runner import Runner
from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.storage.claims import Claims
from jindou.control.controllers.storage.volumes import Volumes
from jindou.control.controllers.workloads.jobs.cron_jobs import CronJobs
from jindou.control.controllers.workloads.jobs.jobs import Jobs
from jindou.control.controllers.workloads.sets.daemon_sets import DaemonSets
from jindou.control.controllers.workloads.sets.stateful_sets import StatefulSets
from jindou.objects.errors import CloudError
from jindou.objects.kinds import (
    CONTROLLER_REVISION,
    CRON_JOB,
    DAEMON_SET,
    JOB,
    PERSISTENT_VOLUME,
    POD,
    STATEFUL_SET,
    ref_of,
)
from tests.controllers.test_crashes import Failing
from tests.controllers.test_cron_jobs import CRON, Clock, cron_object
from tests.controllers.test_daemon_sets import AGENT
from tests.controllers.test_daemon_sets import set_object as daemon_object
from tests.controllers.test_jobs import JOB_REF, job_object
from tests.controllers.test_stateful_sets import CLAIM, DB, set_object
from tests.controllers.world import PlayedNode, add_node, in_world, kinds_of

pytestmark = pytest.mark.slow
Make = Callable[[], list[Any]]


@asynccontextmanager
async def living_and_dying(world: Any, make: Make, seed: int) -> AsyncIterator[None]:
    """Controllers that are killed again and again, at any step."""
    dice = random.Random(seed)

    async def forever() -> None:
        while True:
            running = asyncio.create_task(Runner(world.server.local(), make()).run())
            await asyncio.sleep(dice.uniform(0.005, 0.12))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class SeldomFailing(Failing):
    """A look of these makes many writes: were three of ten to fail, none would come to its end, and
    the pauses between looks would grow."""

    def __getattr__(self, name: str) -> Any:
        fails = self._random.random() < 0.4
        return super().__getattr__(name) if fails else getattr(self._client, name)


@asynccontextmanager
async def failing(world: Any, make: Make, seed: int) -> AsyncIterator[None]:
    """Controllers whose writes are refused now and then, or done with the answer lost."""
    client = SeldomFailing(world.server.local(), seed)
    running = asyncio.create_task(Runner(client, make()).run())
    try:
        yield
        assert client.failures > 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class FinishingNode(PlayedNode):
    """Every Pod that it runs succeeds at once, but for the first of some, which fail."""

    def __init__(self, client: Any, failures: int = 0) -> None:
        super().__init__(client)
        self.failures = failures

    async def _start(self, pod: dict[str, Any]) -> None:
        await super()._start(pod)
        phase = "Failed" if self.failures > 0 else "Succeeded"
        self.failures -= 1
        long_ago = times.text(times.now() - 3600)
        ended = {"exitCode": int(phase == "Failed"), "finishedAt": long_ago, "startedAt": long_ago}
        container = {
            "name": "main", "image": "work:1", "imageID": "", "ready": False, "restartCount": 0,
            "state": {"terminated": ended},
        }  # fmt: skip
        status = {"phase": phase, "containerStatuses": [container]}
        await self.client.patch(ref_of(POD, pod), {"status": status}, "status")


def play(around: Any, seed: int, make: Any, node_of: Any, scenario: Any) -> None:
    async def world_of(world: Any) -> None:
        await world.account()
        await add_node(world.client)
        running = asyncio.create_task(node_of(world.client).run())
        kinds = lambda: kinds_of(world.server)  # noqa: E731

        def controllers() -> list[Any]:
            collector = GarbageCollector(kinds, world.server.registry.on_change)
            return [*make(), Scheduler(), collector]

        try:
            async with around(world, controllers, seed):
                await scenario(world)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    in_world(lambda server: [ServiceAccounts()], world_of)


WAYS = pytest.mark.parametrize(
    ("around", "seed"), [(living_and_dying, 3), (living_and_dying, 8), (failing, 1), (failing, 2)]
)


@WAYS
@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
def test_every_pod_of_a_job_is_counted_once(around: Any, seed: int, mode: str) -> None:
    async def scenario(world: Any) -> None:
        wish = job_object(completions=15, parallelism=4, completionMode=mode, backoffLimit=20)
        await world.client.create(JOB, wish)

        async def complete() -> Any:
            job = await world.client.get(JOB_REF)
            return job if (job.get("status") or {}).get("completionTime") else None

        job = await world.until(complete, 40)
        pods = await world.find(POD)
        failed = sum(pod["status"]["phase"] == "Failed" for pod in pods)
        assert job["status"]["succeeded"] == 15
        assert job["status"].get("failed", 0) == failed == 3
        assert job["status"]["uncountedTerminatedPods"] == {}
        if mode == "Indexed":
            assert job["status"]["completedIndexes"] == "0-14"
        assert not any(pod["metadata"].get("finalizers") for pod in pods)

    play(around, seed, lambda: [Jobs()], lambda client: FinishingNode(client, 3), scenario)


@WAYS
def test_a_stateful_set_keeps_its_order_and_its_claims(around: Any, seed: int) -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(STATEFUL_SET, set_object(4, volumeClaimTemplates=[CLAIM]))

        async def whole(image: str) -> Any:
            pods = await world.find(POD)
            right = {
                pod["metadata"]["name"]
                for pod in pods
                if pod["spec"]["containers"][0]["image"] == image
                and not pod["metadata"].get("deletionTimestamp")
                and pod["status"]["phase"] == "Running"
            }
            return right == {f"db-{n}" for n in range(4)}

        await world.until(lambda: whole("web:1"), 40)
        volumes = {one["metadata"]["name"] for one in await world.find(PERSISTENT_VOLUME, "")}
        image = {"op": "replace", "path": "/spec/template/spec/containers/0/image"}
        await world.client.patch(DB, [{**image, "value": "web:2"}], how="json")
        await world.until(lambda: whole("web:2"), 40)
        assert {
            one["metadata"]["name"] for one in await world.find(PERSISTENT_VOLUME, "")
        } == volumes
        assert len(volumes) == 4

    make = lambda: [StatefulSets(), Claims("/data/volumes"), Volumes()]  # noqa: E731
    play(around, seed, make, PlayedNode, scenario)


@WAYS
def test_each_time_of_a_cron_job_has_one_job(around: Any, seed: int) -> None:
    clock = Clock()

    async def scenario(world: Any) -> None:
        limits = {"successfulJobsHistoryLimit": 100, "failedJobsHistoryLimit": 100}
        await world.client.create(CRON_JOB, cron_object(**limits))
        first = int(clock.time) // 60 + 1
        for n in range(5):
            clock.time = (first + n) * 60 + 0.1

            async def seen() -> Any:
                held = await world.client.get(CRON)
                return (held.get("status") or {}).get("lastScheduleTime") == times.text(
                    int(clock.time)
                )

            while not await seen():
                try:
                    meta = {"annotations": {"looked": str(times.now())}}
                    await world.client.patch(CRON, {"metadata": meta})
                    await world.until(seen, 0.2)
                except (TimeoutError, CloudError):
                    continue
        names = sorted(job["metadata"]["name"] for job in await world.find(JOB))
        assert names == [f"tick-{first + n}" for n in range(5)]
        status = (await world.client.get(CRON))["status"]
        assert len({one["uid"] for one in status["active"]}) == len(status["active"]) == 5

    play(around, seed, lambda: [CronJobs(clock)], PlayedNode, scenario)


@WAYS
def test_every_node_has_one_pod_of_a_daemon_set_after_a_rollout(around: Any, seed: int) -> None:
    async def scenario(world: Any) -> None:
        others = ("n2", "n3")
        for name in others:
            await add_node(world.client, name)
        tasks = [asyncio.create_task(PlayedNode(world.client, name).run()) for name in others]
        try:
            await world.client.create(DAEMON_SET, daemon_object())

            async def whole(image: str) -> Any:
                pods = await world.find(POD)
                right = [
                    pod["spec"].get("nodeName")
                    for pod in pods
                    if pod["spec"]["containers"][0]["image"] == image
                    and pod["status"]["phase"] == "Running"
                ]
                return len(pods) == 3 and set(right) == {"here", *others}

            await world.until(lambda: whole("web:1"), 40)
            image = {"op": "replace", "path": "/spec/template/spec/containers/0/image"}
            await world.client.patch(AGENT, [{**image, "value": "web:2"}], how="json")
            await world.until(lambda: whole("web:2"), 40)
            held = await world.find(CONTROLLER_REVISION)
            assert sorted(one["revision"] for one in held) == [1, 2]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    play(around, seed, lambda: [DaemonSets()], PlayedNode, scenario)
