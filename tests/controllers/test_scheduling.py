"""The scheduler: what a Pod demands, which nodes refuse it and why, which is best, in what order."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from jindou.control.controllers.scheduling.cluster import Cluster
from jindou.control.controllers.scheduling.demands import demand_of, requests_of
from jindou.control.controllers.scheduling.filters import message, plan_feasible
from jindou.control.controllers.scheduling.line import Line
from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.scheduling.scores import plan_best
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.objects.errors import Unavailable
from jindou.objects.kinds import (
    EVENT,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    PRIORITY_CLASS,
    Kind,
    Ref,
)
from tests.controllers.world import add_node, in_world, node_object, pod_object, refused

ZONE = "topology.kubernetes.io/zone"
MI = 1024 * 1024


def needs(cpu="", memory="", **more):
    asked = {k: v for k, v in {"cpu": cpu, "memory": memory, **more}.items() if v}
    return {"name": "c", "image": "web:1", "resources": {"requests": asked}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [needs("100m", "1Mi"), needs("1", "2Mi")]}, {"cpu": 1100, "memory": 3 * MI}),
        ({"containers": [needs("100m")], "initContainers": [needs("2")]}, {"cpu": 2000}),
        (
            {"containers": [needs("1")], "initContainers": [{**needs("500m"), "restartPolicy": "Always"}, needs("2")]},
            {"cpu": 2500},
        ),
        (
            {"containers": [needs("1")], "initContainers": [needs("100m"), {**needs("500m"), "restartPolicy": "Always"}]},
            {"cpu": 1500},
        ),
        ({"containers": [needs("1")], "overhead": {"cpu": "250m"}}, {"cpu": 1250}),
        ({"containers": [needs("1")], "resources": {"requests": {"cpu": "3"}}}, {"cpu": 3000}),
    ],
)  # fmt: skip
def test_what_a_pod_asks_for_is_its_largest_moment(spec, expected):
    assert requests_of(spec) == expected


def cluster(*nodes, **pods):
    """Nodes as objects; pods by name, with the node they are on."""
    found = Cluster()
    for node in nodes:
        found.set_node(node)
    for name, (where, pod) in pods.items():
        pod["metadata"] |= {"name": name, "uid": name}
        found.place(demand_of(pod), where)
    return found


def pod(name="p", **spec):
    made = pod_object(name, **spec)
    made["metadata"]["uid"] = name
    return made


def tainted(name, *taints, **options):
    node = node_object(name, **options)
    node["spec"] = {"taints": [dict(zip(("key", "value", "effect"), taint)) for taint in taints]}
    return node


def near(key, required=True, kind="podAffinity", **labels):
    term = {"topologyKey": key, "labelSelector": {"matchLabels": labels or {"app": "web"}}}
    if required:
        return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    weighted = {"weight": 100, "podAffinityTerm": term}
    return {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [weighted]}}


def node_affinity(**expression):
    terms = [{"matchExpressions": [expression]}]
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    }


def spread(skew=1, key=ZONE, **more):
    return [
        {
            "maxSkew": skew,
            "topologyKey": key,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}},
            **more,
        }
    ]


HOST_PORT = {"name": "c", "image": "web:1", "ports": [{"containerPort": 80, "hostPort": 80}]}
PLAIN = node_object("a", cpu="1", memory="1Gi", **{ZONE: "x"})
OTHER = node_object("b", cpu="1", memory="1Gi", **{ZONE: "y"})
CORDONED = {**node_object("a"), "spec": {"unschedulable": True}}


@pytest.mark.parametrize(
    ("asked", "known", "nodes", "why"),
    [
        pytest.param(pod(), cluster(PLAIN), ["a"], "", id="fits"),
        pytest.param(pod(containers=[needs("2")]), cluster(PLAIN), [], "0/1 nodes are available: 1 Insufficient cpu.", id="cpu"),
        pytest.param(
            pod(containers=[needs("2", "2Gi")]), cluster(PLAIN, OTHER), [],
            "0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory.", id="both",
        ),
        pytest.param(pod(containers=[needs("600m")]), cluster(PLAIN, q=("a", pod(containers=[needs("500m")]))), [], "0/1 nodes are available: 1 Insufficient cpu.", id="taken"),
        pytest.param(pod(containers=[needs(**{"example.com/gpu": "1"})]), cluster(PLAIN), [], "0/1 nodes are available: 1 Insufficient example.com/gpu.", id="extended"),
        pytest.param(pod(nodeSelector={ZONE: "y"}), cluster(PLAIN, OTHER), ["b"], "", id="selector"),
        pytest.param(pod(nodeSelector={"disk": "ssd"}), cluster(PLAIN), [], "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.", id="no-such-node"),
        pytest.param(pod(affinity=node_affinity(key=ZONE, operator="NotIn", values=["x"])), cluster(PLAIN, OTHER), ["b"], "", id="not-in"),
        pytest.param(pod(affinity=node_affinity(key="age", operator="Gt", values=["3"])), cluster(node_object("a", age="4"), node_object("b", age="2")), ["a"], "", id="greater"),
        pytest.param(pod(), cluster(CORDONED), [], "0/1 nodes are available: 1 node(s) were unschedulable.", id="cordoned"),
        pytest.param(pod(), cluster(tainted("a", ("key", "value", "NoSchedule"))), [], "0/1 nodes are available: 1 node(s) had untolerated taint {key: value}.", id="taint"),
        pytest.param(pod(tolerations=[{"key": "key", "operator": "Exists"}]), cluster(tainted("a", ("key", "value", "NoSchedule"))), ["a"], "", id="tolerated"),
        pytest.param(pod(), cluster(tainted("a", ("key", "value", "PreferNoSchedule"))), ["a"], "", id="preferred-taint"),
        pytest.param(pod(containers=[HOST_PORT]), cluster(PLAIN, OTHER, q=("a", pod(containers=[HOST_PORT]))), ["b"], "", id="host-port"),
        pytest.param(pod(affinity=near(ZONE)), cluster(PLAIN, OTHER, q=("b", pod())), ["b"], "", id="near"),
        pytest.param(pod(affinity=near(ZONE)), cluster(PLAIN, OTHER), ["a", "b"], "", id="first-of-its-kind"),
        pytest.param(pod(affinity=near(ZONE, app="db")), cluster(PLAIN), [], "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.", id="near-nobody"),
        pytest.param(pod(affinity=near(ZONE, kind="podAntiAffinity")), cluster(PLAIN, OTHER, q=("b", pod())), ["a"], "", id="far"),
        pytest.param(pod(), cluster(PLAIN, q=("a", pod(affinity=near(ZONE, kind="podAntiAffinity")))), [], "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.", id="kept-away"),
        pytest.param(pod(topologySpreadConstraints=spread()), cluster(PLAIN, OTHER, q=("a", pod())), ["b"], "", id="spread"),
        pytest.param(pod(topologySpreadConstraints=spread(key="rack")), cluster(PLAIN), [], "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label).", id="spread-unlabelled"),
        pytest.param(pod(topologySpreadConstraints=spread(minDomains=3)), cluster(PLAIN, OTHER, q=("a", pod()), r=("b", pod())), [], "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints.", id="too-few-domains"),
        pytest.param(pod(), cluster(), [], "no nodes available to schedule pods", id="no-nodes"),
    ],
)  # fmt: skip
def test_which_nodes_can_take_a_pod_and_why_the_others_can_not(asked, known, nodes, why):
    found, reasons, _ = plan_feasible(demand_of(asked), known)
    assert sorted(node.name for node in found) == nodes
    if not nodes:
        assert message(len(known.usable()), reasons) == why


def prefers(weight=10, **labels):
    ((key, value),) = labels.items()
    expression = {"key": key, "operator": "In", "values": [value]}
    term = {"weight": weight, "preference": {"matchExpressions": [expression]}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}


@pytest.mark.parametrize(
    ("asked", "known", "best"),
    [
        pytest.param(pod(), cluster(PLAIN, OTHER, q=("a", pod(containers=[needs("500m")]))), "b", id="least-allocated"),
        pytest.param(pod(), cluster(PLAIN, OTHER), "a", id="by-name"),
        pytest.param(pod(affinity=prefers(tier="front")), cluster(node_object("a"), node_object("b", tier="front")), "b", id="preferred-node"),
        pytest.param(pod(), cluster(tainted("a", ("k", "v", "PreferNoSchedule")), node_object("b")), "b", id="fewer-taints"),
        pytest.param(pod(affinity=near(ZONE, required=False)), cluster(PLAIN, OTHER, q=("b", pod())), "b", id="near"),
        pytest.param(pod(affinity=near(ZONE, required=False, kind="podAntiAffinity")), cluster(PLAIN, OTHER, q=("a", pod())), "b", id="far"),
        pytest.param(pod(topologySpreadConstraints=spread(whenUnsatisfiable="ScheduleAnyway")), cluster(PLAIN, OTHER, q=("a", pod(containers=[needs("1m", "1Ki")]))), "b", id="spread"),
    ],
)  # fmt: skip
def test_which_node_is_best(asked, known, best):
    demand = demand_of(asked)
    found, _, _ = plan_feasible(demand, known)
    assert plan_best(demand, found, known).name == best


def test_the_most_important_comes_first_then_the_oldest_and_who_failed_waits():
    line = Line()
    for name, priority in [("a", 0), ("b", 10), ("c", 0)]:
        line.add(demand_of(pod(name, priority=priority)))
    first = line.pop()
    assert first.demand.name == "b"
    line.step_aside(first, 100.0)
    assert [line.pop().demand.name for _ in "ac"] == ["a", "c"]
    assert line.pop() is None
    assert line.return_all(100.01) == 100.05
    assert line.pop() is None
    assert line.return_all(100.05) is None
    again = line.pop()
    assert again == first
    line.step_aside(again, 101.0)
    assert line.return_all(101.0) == 101.1
    line.remove("b")
    assert len(line) == 0


def test_what_was_decided_counts_at_once_and_is_taken_back():
    known = cluster(PLAIN)
    demand = demand_of(pod(containers=[needs("700m")]))
    known.place(demand, "a")
    assert plan_feasible(demand_of(pod("q", containers=[needs("700m")])), known)[0] == []
    assert known.remove(demand.uid)
    assert plan_feasible(demand_of(pod("q", containers=[needs("700m")])), known)[0]
    known.place(demand, "elsewhere")
    assert [node.name for node in known.usable()] == ["a"]


def controllers(server):
    return [ServiceAccounts(), Scheduler()]


def condition(pod):
    return next((c for c in pod["status"].get("conditions", ()) if c["type"] == "PodScheduled"), {})


async def named(world, name):
    return await world.client.get(Ref(POD, "default", name))


def test_a_pod_that_fits_nowhere_is_told_why_and_placed_when_it_does():
    async def scenario(world):
        await world.account()
        await world.client.create(POD, pod_object("p", containers=[needs("2")]))

        async def refused(text):
            return condition(await named(world, "p")).get("message") == text

        await world.until(lambda: refused("no nodes available to schedule pods"))
        await add_node(world.client, "small", cpu="1")
        said = (
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
            "1 No preemption victims found for incoming pod."
        )
        await world.until(lambda: refused(said))

        async def told():
            return any(
                e["reason"] == "FailedScheduling" and "Insufficient cpu" in e["message"]
                for e in await world.find(EVENT)
            )

        await world.until(told)
        await add_node(world.client, "large", cpu="4")

        async def placed():
            return (await named(world, "p"))["spec"].get("nodeName") == "large"

        await world.until(placed)
        assert condition(await named(world, "p"))["status"] == "True"

    in_world(controllers, scenario)


def test_gated_pods_wait_and_others_schedulers_pods_are_left_alone():
    async def scenario(world):
        await world.account()
        await add_node(world.client)
        await world.client.create(
            POD, pod_object("gated", schedulingGates=[{"name": "example.com/gate"}])
        )
        await world.client.create(POD, pod_object("foreign", schedulerName="mine"))

        async def told():
            return condition(await named(world, "gated")).get("reason") == "SchedulingGated"

        await world.until(told)
        change = [{"op": "remove", "path": "/spec/schedulingGates"}]
        await world.client.patch(Ref(POD, "default", "gated"), change, how="json")

        async def placed():
            return (await named(world, "gated"))["spec"].get("nodeName")

        await world.until(placed)
        assert not (await named(world, "foreign"))["spec"].get("nodeName")

    in_world(controllers, scenario)


def test_a_claimed_volume_has_to_be_there_and_says_where():
    async def scenario(world):
        await world.account()
        await add_node(world.client, "a", disk="ssd")
        await add_node(world.client, "b")
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        await world.client.create(POD, pod_object("p", volumes=[volume]))

        async def refused(text):
            return condition(await named(world, "p")).get("message") == text

        missing = '0/2 nodes are available: persistentvolumeclaim "data" not found.'
        await world.until(lambda: refused(missing))
        affinity = {
            "required": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
                ]
            }
        }
        common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
        spec = {
            **common,
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/x"},
            "nodeAffinity": affinity,
        }
        await world.client.create(
            PERSISTENT_VOLUME,
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": "v"},
                "spec": spec,
            },
        )
        spec = {**common, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "v"}
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default"},
            "spec": spec,
        }
        made = await world.client.create(PERSISTENT_VOLUME_CLAIM, claim)
        unbound = "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
        await world.until(lambda: refused(unbound))
        made["status"] = {"phase": "Bound"}
        await world.client.update(PERSISTENT_VOLUME_CLAIM, made, "status")

        async def placed():
            return (await named(world, "p"))["spec"].get("nodeName") == "a"

        await world.until(placed)

    in_world(controllers, scenario)


def test_room_that_is_freed_goes_to_the_most_important():
    async def scenario(world):
        await world.account()
        await add_node(world.client, cpu="1")
        important = {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "high"},
            "value": 1000,
        }
        await world.client.create(PRIORITY_CLASS, important)
        await world.client.create(POD, pod_object("first", containers=[needs("900m")]))

        async def placed(name):
            return (await named(world, name))["spec"].get("nodeName")

        await world.until(lambda: placed("first"))
        await world.client.create(POD, pod_object("low", containers=[needs("900m")]))
        await world.client.create(
            POD, pod_object("high", containers=[needs("900m")], priorityClassName="high")
        )

        async def waiting():
            return all(
                [
                    condition(await named(world, name)).get("reason") == "Unschedulable"
                    for name in ("low", "high")
                ]
            )

        await world.until(waiting)
        await world.client.delete(Ref(POD, "default", "first"), grace=0)
        await world.until(lambda: placed("high"))
        assert not await placed("low")

    in_world(controllers, scenario)


def test_a_strange_pod_does_not_hold_up_the_others(caplog):
    """What the API would have refused, but an older version may have stored."""
    strange = pod_object("strange", affinity=node_affinity(key="a", operator="Sideways"))
    strange["metadata"] |= {"uid": "strange", "creationTimestamp": "2026-01-01T00:00:00Z"}

    async def scenario(world):
        await world.account()
        await add_node(world.client)
        prefix = world.server.registry.of(Kind("", "v1", "Pod", "pods")).key("default", "strange")
        await world.server.engine.store.commit(
            prefix, lambda revision: orjson.dumps(strange | {"status": {}})
        )

        async def refused():
            return "can't be understood" in condition(await named(world, "strange")).get(
                "message", ""
            )

        await world.client.create(POD, pod_object("plain"))

        async def placed():
            return (await named(world, "plain"))["spec"].get("nodeName")

        await world.until(placed)
        await world.until(refused)

    in_world(controllers, scenario)
    assert "no decision about strange" in caplog.text


def test_fifty_at_once_fill_the_nodes_without_overflow():
    async def scenario(world):
        await world.account()
        for n in range(5):
            await add_node(world.client, f"n{n}", cpu="1")
        pods = [pod_object(f"p{n}", containers=[needs("100m")]) for n in range(50)]
        await asyncio.gather(*(world.client.create(POD, one) for one in pods))

        async def all_placed():
            return all(p["spec"].get("nodeName") for p in await world.find(POD))

        await world.until(all_placed)
        where = [p["spec"]["nodeName"] for p in await world.find(POD)]
        assert {where.count(f"n{n}") for n in range(5)} == {10}
        assert len(await world.find(NODE, "")) == 5

    in_world(controllers, scenario)


def test_a_pod_that_could_not_be_told_is_told_the_next_time():
    tries = []

    def error(call, *args):
        if call == "patch" and args[0].kind == POD:
            tries.append(args)
            return Unavailable("not now") if len(tries) == 1 else None
        return None

    async def scenario(world):
        await world.account()
        await add_node(world.client)
        async with refused(world, [Scheduler()], error):
            await world.client.create(POD, pod_object("big", containers=[needs("64")]))

            async def event():
                return [e for e in await world.find(EVENT) if e["reason"] == "FailedScheduling"]

            await world.until(event)
            label = {"metadata": {"labels": {"seen": "again"}}}
            await world.client.patch(Ref(NODE, "", "here"), label)

            async def told():
                return condition(await named(world, "big")).get("reason") == "Unschedulable"

            await world.until(told)
        assert len(tries) == 2

    in_world(lambda server: [ServiceAccounts()], scenario)
