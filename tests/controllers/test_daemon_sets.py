"""DaemonSets: what is decided, and what becomes of them with the real API and played nodes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.scheduling.cluster import NodeState
from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.workloads.sets import daemon_plans
from jindou.control.controllers.workloads.sets.daemon_plans import Verdict
from jindou.control.controllers.workloads.sets.daemon_sets import DaemonSets
from jindou.objects.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD, Ref
from tests.controllers.world import PlayedNode, add_node, in_world, kinds_of, node_object, template

AGENT = Ref(DAEMON_SET, "default", "agent")


def controllers(server: Any) -> list[Any]:
    kinds = lambda: kinds_of(server)  # noqa: E731
    return [
        ServiceAccounts(), DaemonSets(), Scheduler(),
        GarbageCollector(kinds, server.registry.on_change),
    ]  # fmt: skip


def set_object(image: str = "web:1", pod: dict[str, Any] | None = None, **spec: Any) -> Any:
    held = template(image)
    held["spec"] |= pod or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": held, **spec},
    }


# ---------------------------------------------------------------- decisions


def node(name: str = "n1", taint: str = "", effect: str = "NoSchedule", **labels: str) -> NodeState:
    made = node_object(name, **labels)
    if taint:
        made["spec"] = {"taints": [{"key": taint, "effect": effect}]}
    state = NodeState(name)
    state.update(made)
    return state


def affinity(key: str, *values: str) -> dict[str, Any]:
    match = {"key": key, "operator": "In", "values": list(values)}
    where = "matchFields" if key == "metadata.name" else "matchExpressions"
    required = {"nodeSelectorTerms": [{where: [match]}]}
    return {"affinity": {"nodeAffinity": {daemon_plans.REQUIRED: required}}}


@pytest.mark.parametrize(
    ("pod", "where", "expected"),
    [
        ({}, node(), Verdict(True, True)),
        ({}, node(taint="node.kubernetes.io/unschedulable"), Verdict(True, True)),
        ({}, node(taint="node.kubernetes.io/unreachable", effect="NoExecute"), Verdict(True, True)),
        ({}, node(taint="node.kubernetes.io/network-unavailable"), Verdict(False, True)),
        ({"hostNetwork": True}, node(taint="node.kubernetes.io/network-unavailable"), Verdict(True, True)),
        ({}, node(taint="mine"), Verdict(False, True)),
        ({}, node(taint="mine", effect="NoExecute"), Verdict(False, False)),
        ({"tolerations": [{"operator": "Exists"}]}, node(taint="mine", effect="NoExecute"), Verdict(True, True)),
        ({"nodeSelector": {"disk": "ssd"}}, node(), Verdict(False, False)),
        ({"nodeSelector": {"disk": "ssd"}}, node(disk="ssd"), Verdict(True, True)),
        (affinity("disk", "ssd"), node(), Verdict(False, False)),
        (affinity("metadata.name", "n1"), node(), Verdict(True, True)),
        (affinity("metadata.name", "n2"), node(), Verdict(False, False)),
        ({"nodeName": "n2"}, node(), Verdict(False, False)),
    ],
)  # fmt: skip
def test_where_a_pod_should_run_and_where_it_may_stay(pod: Any, where: Any, expected: Any) -> None:
    assert daemon_plans.judge(set_object(pod=pod), where) == expected


def pod(
    where: str, hash: str = "old", ready: bool = True, name: str = "", phase: str = "Running", **meta: Any
) -> Any:  # fmt: skip
    name = name or f"{where}-{hash}"
    labels = {"controller-revision-hash": hash}
    ready_ = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels, **meta},
        "spec": {"nodeName": where},
        "status": {"phase": phase, "conditions": [ready_]},
    }


def view(pods: Any, nodes: str = "abc", **rolling: Any) -> daemon_plans.View:
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    owner = set_object(updateStrategy=strategy)
    there = {name: node(name) for name in nodes}
    return daemon_plans.view_of(owner, "new", there, pods, times.now())


def named(changes: daemon_plans.Changes) -> tuple[list[str], list[str]]:
    return sorted(changes.create), sorted(one.name for one in changes.delete)


LEAVING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("pods", "create", "delete"),
    [
        ([], ["a", "b", "c"], []),
        ([pod("a"), pod("b", "new")], ["c"], []),
        ([pod("a"), pod("a", name="x"), pod("b"), pod("c")], [], ["x"]),
        ([pod("a"), pod("b", phase="Failed"), pod("c", phase="Succeeded")], [], ["b-old", "c-old"]),
        ([pod("a", **LEAVING), pod("b"), pod("c")], [], []),
    ],
)
def test_one_pod_on_each_node(pods: Any, create: Any, delete: Any) -> None:
    assert named(daemon_plans.plan_nodes(view(pods), lambda node, pod: 0.0)) == (create, delete)


def test_a_failed_pod_stays_for_its_back_off() -> None:
    changes = daemon_plans.plan_nodes(view([pod("a", phase="Failed")], "a"), lambda node, pod: 4.0)
    assert (named(changes), changes.wait, changes.notes) == (([], []), 4.0, [])


OLD = [pod("a"), pod("b"), pod("c")]


@pytest.mark.parametrize(
    ("pods", "rolling", "create", "delete"),
    [
        (OLD, {"maxUnavailable": 1}, [], ["a-old"]),
        (OLD, {"maxUnavailable": "50%"}, [], ["a-old", "b-old"]),
        ([pod("a"), pod("b", ready=False), pod("c")], {"maxUnavailable": 1}, [], ["b-old"]),
        ([pod("a"), pod("b", "new", ready=False), pod("c")], {"maxUnavailable": 1}, [], []),
        ([pod("a"), pod("b", "new"), pod("c", "new")], {"maxUnavailable": 1}, [], ["a-old"]),
        (OLD, {"maxUnavailable": 0, "maxSurge": 1}, ["a"], []),
        (OLD, {"maxUnavailable": 0, "maxSurge": "100%"}, ["a", "b", "c"], []),
        ([*OLD, pod("a", "new", ready=False)], {"maxUnavailable": 0, "maxSurge": 1}, [], []),
        ([*OLD, pod("a", "new")], {"maxUnavailable": 0, "maxSurge": 1}, ["b"], ["a-old"]),
        ([pod("a", ready=False), pod("b"), pod("c")], {"maxUnavailable": 0, "maxSurge": 1}, ["a", "b"], []),
    ],
)  # fmt: skip
def test_a_rollout(pods: Any, rolling: Any, create: Any, delete: Any) -> None:
    assert named(daemon_plans.plan_rollout(view(pods, **rolling))) == (create, delete)


# ---------------------------------------------------------------- with the API


def play(scenario: Any, *names: str) -> None:
    async def world_of(world: Any) -> None:
        await world.account()
        async with AsyncExitStack() as running:
            for name in names:
                await add_node(world.client, name)
                task = asyncio.create_task(PlayedNode(world.client, name).run())
                running.callback(task.cancel)
            await scenario(world)

    in_world(controllers, world_of)


async def with_status(world: Any, **wanted: int) -> Any:
    async def there() -> Any:
        held = await world.client.get(AGENT)
        status = held.get("status") or {}
        right = status.get("observedGeneration") == held["metadata"]["generation"]
        return right and all(status.get(k, 0) == v for k, v in wanted.items()) and held

    return await world.until(there)


def test_every_node_gets_one_and_its_objects_are_those_of_the_original() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(DAEMON_SET, set_object())
        held = await with_status(world, numberAvailable=2)
        assert held["status"] == {
            "currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberAvailable": 2,
            "numberMisscheduled": 0, "numberReady": 2, "observedGeneration": 1,
            "updatedNumberScheduled": 2,
        }  # fmt: skip
        assert held["metadata"]["annotations"] == {daemon_plans.TEMPLATE_GENERATION: "1"}
        pods = {one["spec"]["nodeName"]: one for one in await world.find(POD)}
        assert sorted(pods) == ["n1", "n2"]
        (past,) = await world.find(CONTROLLER_REVISION)
        hashed = past["metadata"]["name"].removeprefix("agent-")
        assert past["metadata"]["labels"] == {"app": "web", "controller-revision-hash": hashed}
        one = pods["n1"]
        assert one["metadata"]["labels"] == {
            "app": "web", "controller-revision-hash": hashed, "pod-template-generation": "1",
        }  # fmt: skip
        assert one["spec"]["affinity"] == affinity("metadata.name", "n1")["affinity"]
        assert one["spec"]["tolerations"] == [
            {"effect": effect, "key": f"node.kubernetes.io/{key}", "operator": "Exists"}
            for key, effect in (
                ("not-ready", "NoExecute"), ("unreachable", "NoExecute"),
                ("disk-pressure", "NoSchedule"), ("memory-pressure", "NoSchedule"),
                ("pid-pressure", "NoSchedule"), ("unschedulable", "NoSchedule"),
            )
        ]  # fmt: skip

    play(scenario, "n1", "n2")


def test_it_follows_nodes_that_come_and_change() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(DAEMON_SET, set_object(pod={"nodeSelector": {"agent": "yes"}}))
        await with_status(world, desiredNumberScheduled=0)
        label = {"metadata": {"labels": {"agent": "yes"}}}
        await world.client.patch(Ref(NODE, "", "n1"), label)
        await with_status(world, numberAvailable=1)
        await add_node(world.client, "n3", agent="yes")
        await with_status(world, desiredNumberScheduled=2, currentNumberScheduled=2)
        await world.client.patch(Ref(NODE, "", "n1"), {"metadata": {"labels": {"agent": None}}})

        async def only_third() -> Any:
            return [one["spec"].get("nodeName") for one in await world.find(POD)] == ["n3"]

        await world.until(only_third)

    play(scenario, "n1")


def test_a_rollout_and_its_undoing() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(DAEMON_SET, set_object())
        await with_status(world, numberAvailable=2)
        (before,) = await world.find(CONTROLLER_REVISION)
        image = [
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:2"}
        ]
        await world.client.patch(AGENT, image, how="json")
        held = await with_status(world, numberAvailable=2, updatedNumberScheduled=2)
        assert held["metadata"]["annotations"] == {daemon_plans.TEMPLATE_GENERATION: "2"}
        assert {one["spec"]["containers"][0]["image"] for one in await world.find(POD)} == {"web:2"}
        await world.client.patch(AGENT, before["data"], how="strategic")
        await with_status(world, numberAvailable=2, updatedNumberScheduled=2)
        assert {one["spec"]["containers"][0]["image"] for one in await world.find(POD)} == {"web:1"}
        revisions = sorted(one["revision"] for one in await world.find(CONTROLLER_REVISION))
        assert revisions == [2, 3]

    play(scenario, "n1", "n2")
