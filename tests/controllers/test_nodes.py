"""Nodes that fall silent, Pods that nobody ends, and Events that are over."""

from __future__ import annotations

import pytest

from jindou.control.controllers.events import Events, last_seen
from jindou.control.controllers.groundwork import conditions, times
from jindou.control.controllers.groundwork.taints import (
    NOT_READY,
    UNREACHABLE,
    plan_eviction,
    plan_taints,
    tolerates,
)
from jindou.control.controllers.nodes import Nodes, plan_unknown
from jindou.control.controllers.pods_gc import PodsGC
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.objects.kinds import EVENT, NODE, POD, Ref
from tests.controllers.world import (
    PlayedNode,
    add_node,
    in_world,
    node_object,
    pod_object,
    renew_lease,
)

NO_EXECUTE = {"key": "k", "value": "v", "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"}


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}, True),
        ({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"value": "v"}, False),
    ],
)
def test_what_a_toleration_covers(toleration, expected):
    assert tolerates(toleration, NO_EXECUTE) is expected


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], 0.0),
        ([{"key": "k", "operator": "Exists"}], None),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 30}], 20.0),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 5}], 0.0),
        ([{"operator": "Exists", "tolerationSeconds": 60}, {"operator": "Exists", "tolerationSeconds": 15}], 5.0),
    ],
)  # fmt: skip
def test_how_long_a_pod_may_stay(tolerations, expected):
    assert plan_eviction({"spec": {"tolerations": tolerations}}, [NO_EXECUTE], 110.0) == expected


def with_ready(status, *taints, **spec):
    node = node_object("a")
    node["status"]["conditions"][0]["status"] = status
    node["spec"] = {"taints": list(taints), **spec}
    return node


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (with_ready("True"), set()),
        (with_ready("False"), {(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")}),
        (with_ready("Unknown"), {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}),
        (with_ready("True", {"key": NOT_READY, "effect": "NoSchedule"}), set()),
        (with_ready("True", {"key": "mine", "effect": "NoExecute"}), {("mine", "NoExecute")}),
        (with_ready("True", unschedulable=True), {("node.kubernetes.io/unschedulable", "NoSchedule")}),
        ({"metadata": {"name": "new"}}, {(NOT_READY, "NoSchedule")}),
    ],
)  # fmt: skip
def test_taints_follow_conditions(node, expected):
    assert {(taint["key"], taint["effect"]) for taint in plan_taints(node)} == expected


def test_a_silent_node_is_told_once():
    node = node_object("a")
    told = plan_unknown(node)
    assert {c["type"]: c["reason"] for c in told} == {
        "Ready": "NodeStatusUnknown",
        "MemoryPressure": "NodeStatusNeverUpdated",
        "DiskPressure": "NodeStatusNeverUpdated",
        "PIDPressure": "NodeStatusNeverUpdated",
    }
    node["status"]["conditions"] = told
    assert plan_unknown(node) is None


def controllers(server):
    return [ServiceAccounts(), Nodes(grace=0.3), PodsGC(quarantine=0.2, most_finished=2)]


async def machine(world):
    return await world.client.get(Ref(NODE, "", "here"))


def keys(node):
    return {taint["key"] for taint in (node.get("spec") or {}).get("taints") or ()}


@pytest.mark.slow
def test_a_silent_node_loses_its_pods_and_one_that_speaks_again_its_taints():
    async def scenario(world):
        await world.account()
        await add_node(world.client)
        node = PlayedNode(world.client)
        await renew_lease(world.client, "here")
        patient = {"tolerations": [{"key": UNREACHABLE, "operator": "Exists"}]}
        for name, spec in (
            ("loyal", patient),
            (
                "fickle",
                {
                    "tolerations": [
                        {
                            "key": UNREACHABLE,
                            "operator": "Exists",
                            "effect": "NoExecute",
                            "tolerationSeconds": 0,
                        }
                    ]
                },
            ),
        ):
            await node._start(
                await world.client.create(POD, pod_object(name, nodeName="here", **spec))
            )

        async def unknown():
            found = await machine(world)
            return conditions.find(found, "Ready")["status"] == "Unknown" and UNREACHABLE in keys(
                found
            )

        await world.until(unknown)

        async def leaving():
            fickle = await world.client.get(Ref(POD, "default", "fickle"))
            return "deletionTimestamp" in fickle["metadata"]

        await world.until(leaving)
        loyal = await world.client.get(Ref(POD, "default", "loyal"))
        assert "deletionTimestamp" not in loyal["metadata"]
        assert conditions.find(loyal, "Ready")["status"] == "False"
        found = await machine(world)
        found["status"] = node_object("here")["status"]
        await world.client.update(NODE, found, "status")

        async def clean():
            return not keys(await machine(world))

        await world.until(clean)

    in_world(controllers, scenario)


def test_pods_of_a_lost_node_and_too_many_finished_ones_are_removed():
    async def scenario(world):
        await world.account()
        await add_node(world.client)
        await add_node(world.client, "lost")
        node = PlayedNode(world.client)
        await node._start(await world.client.create(POD, pod_object("p", nodeName="lost")))
        await world.client.delete(Ref(NODE, "", "lost"))
        for n in range(4):
            await world.client.create(POD, pod_object(f"done{n}", nodeName="here"))
            change = {"status": {"phase": "Succeeded"}}
            await world.client.patch(Ref(POD, "default", f"done{n}"), change, "status")

        async def removed():
            return {p["metadata"]["name"] for p in await world.find(POD)} == {"done2", "done3"}

        await world.until(removed)

    in_world(controllers, scenario)


def event_object(name, age):
    seen = times.text(times.now() - age)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Test",
        "message": "",
        "type": "Normal",
        "firstTimestamp": seen,
        "lastTimestamp": seen,
        "count": 1,
    }


def test_one_that_is_seen_again_goes_back_into_the_line():
    events = Events(60)
    held = {"metadata": {"name": "a", "namespace": "n"}, "seen": 100.0}
    events._changed(None, held)
    events._changed(None, {"metadata": {"name": "b", "namespace": "n"}, "seen": 110.0})
    events._changed(held, {**held, "seen": 150.0})
    assert events.due(159.0) == []
    assert events.due(171.0) == [("n", "b")]
    assert events.due(209.0) == []
    assert events.due(211.0) == [("n", "a")]


def test_when_an_event_was_last_seen():
    assert last_seen({"metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"}}) == 10.0
    series = {"lastObservedTime": "1970-01-01T00:00:30.500000Z"}
    event = {
        "metadata": {},
        "lastTimestamp": None,
        "eventTime": "1970-01-01T00:00:20Z",
        "series": series,
    }
    assert last_seen(event) == 30.5


def test_expired_events_are_deleted():
    async def scenario(world):
        await world.client.create(EVENT, event_object("old", 0))
        await world.until(lambda: world.gone(Ref(EVENT, "default", "old")))

    in_world(lambda server: [Events(0.05)], scenario)
