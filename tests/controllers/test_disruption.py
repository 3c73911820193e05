"""PodDisruptionBudgets: what is allowed, by which Pods, and what an eviction makes of it."""

from __future__ import annotations

import asyncio

import pytest

from jindou.control.controllers import disruption
from jindou.control.controllers.disruption import BUDGET, plan_figures, portion, stale_in
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.groundwork.pod_facts import PodFacts
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.workloads.deployments.deployments import Deployments
from jindou.control.controllers.workloads.deployments.replica_sets import ReplicaSets
from jindou.objects.errors import InternalError, TooManyRequests, Unavailable
from jindou.objects.kinds import DEPLOYMENT, POD, Ref
from tests.controllers.world import (
    deployment_object,
    in_world,
    kinds_of,
    pod_object,
    refused,
    with_node,
)


def facts(name, ready=True, deleting=False):
    return PodFacts("default", name, name, "o", {}, "Running", deleting, ready, 0, 0, "n", 0, 0)


def budget(status=None, **spec):
    meta = {"name": "b", "namespace": "default", "generation": 1}
    return {"metadata": meta, "spec": spec, "status": status or {}}


@pytest.mark.parametrize(
    ("value", "whole", "expected"),
    [(2, 10, 2), ("50%", 3, 2), ("0%", 3, 0), ("100%", 3, 3), ("10%", 1, 1)],
)
def test_percentages_are_rounded_up(value, whole, expected):
    assert portion(value, whole) == expected


@pytest.mark.parametrize(
    ("spec", "ready", "expected", "desired", "allowed"),
    [
        ({"minAvailable": 2}, 3, 3, 2, 1),
        ({"minAvailable": 2}, 1, 3, 2, 0),
        ({"minAvailable": "50%"}, 3, 5, 3, 0),
        ({"maxUnavailable": 1}, 3, 3, 2, 1),
        ({"maxUnavailable": "50%"}, 3, 3, 1, 2),
        ({"maxUnavailable": 5}, 3, 3, 0, 3),
        ({"minAvailable": 0}, 0, 0, 0, 0),
    ],
)
def test_what_is_allowed(spec, ready, expected, desired, allowed):
    pods = [facts(f"p{n}", ready=n < ready) for n in range(3)]
    figures = plan_figures(budget(**spec), pods, expected, times.now())
    assert (figures.desired, figures.allowed, figures.healthy) == (desired, allowed, ready)


def test_an_evicted_pod_that_stays_counts_again():
    now = times.now()
    noted = {"p0": times.text(now - 10), "p1": times.text(now - 300), "gone": times.text(now)}
    pods = [facts("p0"), facts("p1"), facts("p2"), facts("p3", deleting=True)]
    figures = plan_figures(budget({"disruptedPods": noted}, minAvailable=1), pods, 4, now)
    assert figures.healthy == 2
    assert list(figures.disrupted) == ["p0"]
    assert figures.undeleted == ["p1"]
    assert figures.recheck is not None
    assert 105 < figures.recheck < 112


def test_a_disruption_that_never_came_is_not_believed_for_ever():
    now = times.now()

    def pod(age, **more):
        condition = {"type": "DisruptionTarget", "status": "True", **more}
        condition["lastTransitionTime"] = times.text(now - age)
        return {"metadata": {}, "status": {"conditions": [condition]}}

    assert stale_in(pod(300), now) == 0
    assert 100 < stale_in(pod(10), now) < 115
    assert stale_in(pod(300, reason="TerminationByKubelet"), now) is None
    assert stale_in(pod(300, status="False"), now) is None


def controllers(server):
    return [
        ServiceAccounts(),
        Deployments(),
        ReplicaSets(),
        disruption.Disruption(lambda: kinds_of(server)),
    ]


def budget_object(name="b", **spec):
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def status_of(world, name="b"):
    async def read():
        return (await world.client.get(Ref(BUDGET, "default", name))).get("status") or {}

    return read()


async def evict(world, name, **options):
    body = {"metadata": {"name": name, "namespace": "default"}, **options}
    return await world.client.create(POD, body, "eviction")


async def bound_pods(world, count):
    await world.client.create(DEPLOYMENT, deployment_object(replicas=count))

    async def there():
        pods = await world.find(POD)
        return pods if len(pods) == count else None

    pods = await world.until(there)
    for pod in pods:
        meta = {"name": pod["metadata"]["name"], "namespace": "default"}
        await world.client.create(POD, {"metadata": meta, "target": {"name": "here"}}, "binding")
    return [pod["metadata"]["name"] for pod in pods]


def test_evictions_go_on_as_replacements_become_ready():
    async def scenario(world):
        async def with_budget(node):
            await world.client.create(BUDGET, budget_object(maxUnavailable="34%"))
            names = await bound_pods(world, 3)

            async def allowed():
                status = await status_of(world)
                return status if status.get("disruptionsAllowed") == 2 else None

            status = await world.until(allowed)
            assert status["expectedPods"] == status["currentHealthy"] == 3
            assert status["desiredHealthy"] == 1
            condition = status["conditions"][0]
            assert (condition["status"], condition["reason"]) == ("True", "SufficientPods")
            dry = await evict(world, names[0], deleteOptions={"dryRun": ["All"]})
            assert dry["status"] == "Success"
            assert (await status_of(world))["disruptionsAllowed"] == 2
            done = await asyncio.gather(
                *(evict(world, name) for name in names), return_exceptions=True
            )
            refused = [one for one in done if isinstance(one, TooManyRequests)]
            assert len(refused) == 1
            assert refused[0].details["causes"][0]["reason"] == "DisruptionBudget"

        await with_node(world, with_budget)

    in_world(controllers, scenario)


def test_unmanaged_pods_under_a_percentage_and_jobs_are_told_apart():
    async def scenario(world):
        await world.account()
        owner = {
            "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": True,
        }  # fmt: skip
        pod = pod_object("of-job")
        pod["metadata"]["ownerReferences"] = [owner]
        await world.client.create(POD, pod)
        await world.client.create(BUDGET, budget_object(maxUnavailable=1))

        async def failed():
            status = await status_of(world)
            return [c for c in status.get("conditions", ()) if c["reason"] == "SyncFailed"]

        (condition,) = await world.until(failed)
        assert condition["message"] == "jobs.batch does not implement the scale subresource"
        assert (await status_of(world))["disruptionsAllowed"] == 0

    in_world(controllers, scenario)


def test_two_budgets_over_one_pod_are_refused():
    async def scenario(world):
        async def with_two(node):
            for name in ("a", "b"):
                await world.client.create(BUDGET, budget_object(name, minAvailable=0))
            (name,) = await bound_pods(world, 1)

            async def running():
                pod = await world.client.get(Ref(POD, "default", name))
                return pod["status"]["phase"] == "Running"

            await world.until(running)
            with pytest.raises(InternalError, match="more than one PodDisruptionBudget"):
                await evict(world, name)

        await with_node(world, with_two)

    in_world(controllers, scenario)


def test_an_api_that_gives_no_answer_for_a_while_is_asked_again():
    asked = []

    def error(call, *args):
        if call == "get" and args[1:] == ("scale",):
            asked.append(args)
            return Unavailable("not now") if len(asked) < 5 else None
        return None

    async def scenario(world):
        await world.account()
        await world.client.create(DEPLOYMENT, deployment_object(replicas=1))
        await world.until(lambda: world.find(POD))

        async def known():
            status = await status_of(world)
            return [c for c in status.get("conditions") or () if c["reason"] == "InsufficientPods"]

        async with refused(world, [disruption.Disruption(lambda: kinds_of(world.server))], error):
            await world.client.create(BUDGET, budget_object(maxUnavailable=1))
            await world.until(known)
        assert len(asked) >= 5

    in_world(lambda server: [ServiceAccounts(), Deployments(), ReplicaSets()], scenario)
