"""Preemption: whom a more important Pod sends away, and that its node is kept for it."""

from __future__ import annotations

import pytest

from jindou.control.controllers.disruption import Disruption
from jindou.control.controllers.scheduling.cluster import Cluster
from jindou.control.controllers.scheduling.demands import demand_of
from jindou.control.controllers.scheduling.nominations import Nomination, Nominations
from jindou.control.controllers.scheduling.preemption import (
    NO_HELP,
    NO_VICTIMS,
    Budget,
    plan_preemption,
)
from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.objects.errors import Unavailable
from jindou.objects.kinds import EVENT, POD, PRIORITY_CLASS, Kind, Ref
from tests.controllers.world import (
    PlayedNode,
    add_node,
    in_world,
    kinds_of,
    node_object,
    pod_object,
    refused,
    with_node,
)

BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")


def pod(name, cpu, priority=0, **labels):
    made = pod_object(name, labels=labels or {"app": name}, priority=priority)
    made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    made["metadata"]["uid"] = name
    return demand_of(made)


def cluster(**nodes):
    made = Cluster()
    for name, pods in nodes.items():
        made.set_node(node_object(name, cpu="4"))
        for one in pods:
            made.place(one, name)
    return made


def budget(allowed, **labels):
    meta = {"namespace": "default", "name": "b"}
    selector = {"matchLabels": labels}
    return Budget.of(
        {
            "metadata": meta,
            "spec": {"selector": selector},
            "status": {"disruptionsAllowed": allowed},
        }
    )


def chosen(demand, held, budgets=(), started=lambda pod: 0.0):
    before = {name: dict(node.requested) for name, node in held.nodes.items()}
    choice, why = plan_preemption(demand, held, list(budgets), started)
    assert {name: dict(node.requested) for name, node in held.nodes.items()} == before
    if choice is None:
        return dict(why)
    return choice.node, [victim.name for victim in choice.victims]


@pytest.mark.parametrize(
    ("demand", "held", "expected"),
    [
        (pod("x", "2", 10), cluster(a=[pod("p", "3")]), ("a", ["p"])),
        (pod("x", "2", 10), cluster(a=[pod("p", "1"), pod("q", "1"), pod("r", "2")]), ("a", ["r"])),
        (pod("x", "2", 10), cluster(a=[pod("p", "3", 10)]), {NO_VICTIMS: 1}),
        (pod("x", "8", 10), cluster(a=[pod("p", "3")]), {NO_VICTIMS: 1}),
        (pod("x", "2", 10), cluster(a=[pod("p", "3", 5)], b=[pod("q", "3", 1)]), ("b", ["q"])),
        (pod("x", "2", 10), cluster(a=[pod("p", "2"), pod("q", "2", 5)]), ("a", ["p"])),
        (pod("x", "3", 10), cluster(a=[pod("p", "2"), pod("r", "2")], b=[pod("q", "4")]), ("b", ["q"])),
    ],
)  # fmt: skip
def test_the_least_is_lost(demand, held, expected):
    assert chosen(demand, held) == expected


def test_budgets_are_kept_where_that_is_possible():
    held = cluster(a=[pod("p", "3", web="x")], b=[pod("q", "3", 5)])
    assert chosen(pod("x", "2", 10), held) == ("a", ["p"])
    assert chosen(pod("x", "2", 10), held, [budget(0, web="x")]) == ("b", ["q"])
    assert chosen(pod("x", "2", 10), held, [budget(1, web="x")]) == ("a", ["p"])
    both = cluster(a=[pod("p", "2", web="x"), pod("q", "2")])
    assert chosen(pod("x", "2", 10), both, [budget(0, web="x")]) == ("a", ["q"])


def test_the_youngest_go_where_all_else_is_the_same():
    held = cluster(a=[pod("p", "3")], b=[pod("q", "3")])
    started = {"p": 10.0, "q": 20.0}
    assert chosen(pod("x", "2", 10), held, started=lambda one: started[one.name]) == ("b", ["q"])


def test_a_node_that_no_going_would_open_is_of_no_help():
    held = cluster(a=[pod("p", "3")])
    held.nodes["a"].unschedulable = True
    assert chosen(pod("x", "2", 10), held) == {NO_HELP: 1}


def test_a_nominated_node_is_kept_from_the_less_important():
    held, kept = cluster(a=[]), Nominations()
    kept.keep(Nomination(pod("x", "3", 10), "a"))
    for priority, counted in ((0, 3000), (10, 3000), (11, 0)):
        with kept.counted(held, pod("y", "3", priority)):
            assert held.nodes["a"].requested.get("cpu", 0) == counted
    assert held.nodes["a"].requested.get("cpu", 0) == 0
    assert [one.name for one in kept.less_important(pod("z", "1", 20), "a")] == ["x"]


def controllers(server):
    return [ServiceAccounts(), Scheduler(), Disruption(lambda: kinds_of(server))]


def asks(name, cpu, **spec):
    resources = {"requests": {"cpu": cpu}}
    return pod_object(name, containers=[{"name": "c", "image": "web:1", "resources": resources}], **spec)  # fmt: skip


async def classes(world):
    for name, value, policy in (("high", 1000, None), ("shy", 1000, "Never")):
        made = {"metadata": {"name": name}, "value": value}
        await world.client.create(
            PRIORITY_CLASS, {**made, **({"preemptionPolicy": policy} if policy else {})}
        )


def test_a_more_important_pod_takes_the_place_of_another():
    async def scenario(world):
        async def full(node: PlayedNode):
            await classes(world)
            await world.client.create(POD, asks("low", "3"))

            async def runs(name):
                held = await world.client.get(Ref(POD, "default", name))
                return held["status"]["phase"] == "Running"

            await world.until(lambda: runs("low"))
            await world.client.create(POD, asks("shy", "3", priorityClassName="shy"))

            async def told_why():
                held = await world.client.get(Ref(POD, "default", "shy"))
                said = (held["status"].get("conditions") or [{}])[0].get("message", "")
                return said.endswith("preemption: not eligible due to preemptionPolicy=Never.")

            await world.until(told_why)
            assert await runs("low")
            await world.client.create(POD, asks("high", "3", priorityClassName="high"))
            await world.until(lambda: world.gone(Ref(POD, "default", "low")))
            await world.until(lambda: runs("high"))
            held = await world.client.get(Ref(POD, "default", "high"))
            assert "nominatedNodeName" not in held["status"]

            async def told():
                return [e for e in await world.find(EVENT) if e["reason"] == "Preempted"]

            (event,) = await world.until(told)
            assert event["involvedObject"]["name"] == "low"
            assert event["message"] == f"Preempted by pod {held['metadata']['uid']} on node here"

        await with_node(world, full)

    in_world(controllers, scenario)


def test_while_the_victim_ends_the_node_is_nominated():
    async def scenario(world):
        await world.account()
        await add_node(world.client, "here")
        await classes(world)
        await world.client.create(POD, asks("low", "3"))

        async def bound():
            held = await world.client.get(Ref(POD, "default", "low"))
            return held["spec"].get("nodeName")

        await world.until(bound)
        await world.client.create(POD, asks("high", "3", priorityClassName="high"))

        async def nominated():
            held = await world.client.get(Ref(POD, "default", "high"))
            return held["status"].get("nominatedNodeName") == "here"

        await world.until(nominated)
        low = await world.client.get(Ref(POD, "default", "low"))
        assert low["metadata"]["deletionTimestamp"]
        why = [c for c in low["status"]["conditions"] if c["type"] == "DisruptionTarget"]
        assert why[0]["reason"] == "PreemptionByScheduler"

    in_world(controllers, scenario)


@pytest.mark.slow
def test_a_victim_that_is_not_let_go_at_once_holds_up_nobody_for_ever():
    tries = []

    def error(call, *args):
        if call == "delete":
            tries.append(args[0].name)
            return Unavailable("not now") if len(tries) == 1 else None
        return None

    async def scenario(world):
        await world.account()
        await add_node(world.client, "here")
        await classes(world)

        async def node_of(name):
            held = await world.client.get(Ref(POD, "default", name))
            return held["spec"].get("nodeName")

        async with refused(world, [Scheduler()], error):
            await world.client.create(POD, asks("low", "3"))
            await world.until(lambda: node_of("low"))
            await world.client.create(POD, asks("high", "3", priorityClassName="high"))
            await world.client.create(POD, asks("small", "1"))
            await world.until(lambda: node_of("small"))

            async def leaving():
                held = await world.client.get(Ref(POD, "default", "low"))
                return held["metadata"].get("deletionTimestamp")

            await world.until(leaving)
            assert tries == ["low", "low"]
            await world.client.delete(Ref(POD, "default", "low"), grace=0)
            await world.until(lambda: node_of("high"))

    in_world(lambda server: [ServiceAccounts()], scenario)
