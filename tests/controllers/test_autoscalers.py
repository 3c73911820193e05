"""HorizontalPodAutoscalers: what metrics ask for, how fast it may change, and a Deployment that follows."""

from __future__ import annotations

import asyncio

import pytest

from jindou.control.api.metrics.source import Metrics
from jindou.control.controllers.autoscaling import demand, pace
from jindou.control.controllers.autoscaling.autoscalers import AUTOSCALER, Autoscalers
from jindou.control.controllers.autoscaling.demand import Metric, Tolerances, Unknowable
from jindou.control.controllers.autoscaling.foreign import Foreign, Scaled, plan_total
from jindou.control.controllers.autoscaling.pace import History, Mark, decide
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.workloads.deployments.deployments import Deployments
from jindou.control.controllers.workloads.deployments.replica_sets import ReplicaSets
from jindou.objects.errors import NotFound
from jindou.objects.kinds import DEPLOYMENT, POD, Kind, Ref
from tests.controllers.world import deployment_object, in_world, kinds_of, with_node

NOW = 10_000.0


def pod(name, ready="True", phase="Running", started=NOW - 1000, changed=NOW - 900, cpu="100m"):
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": times.text(changed)}
    status = {"phase": phase, "startTime": times.text(started), "conditions": [condition]}
    container = {"name": "c", "resources": {"requests": {"cpu": cpu} if cpu else {}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container]}, "status": status}


def pods(count, **more):
    return [pod(f"p{n}", **more) for n in range(count)]


def metrics(*values, at=NOW):
    return {f"p{n}": Metric(v, at) for n, v in enumerate(values) if v is not None}


def plan(held, told, target=50, current=None):
    groups = demand.group(held, told, "cpu", NOW)
    demand.believable(told, held, groups)
    asked = demand.requests(held, "cpu", "")
    count = len(held) if current is None else current
    return demand.plan_utilization(count, target, told, held, asked, groups, Tolerances())


@pytest.mark.parametrize(
    ("told", "replicas", "percent"),
    [
        (metrics(100, 100, 100), 6, 100),
        (metrics(50, 50, 50), 3, 50),
        (metrics(54, 54, 54), 3, 54),
        (metrics(56, 56, 56), 4, 56),
        (metrics(10, 10, 10), 1, 10),
        (metrics(100, 100, None), 4, 100),
        (metrics(60, 60, None), 3, 60),
        (metrics(10, 10, None), 3, 10),
    ],
)
def test_replicas_follow_what_is_used(told, replicas, percent):
    proposal = plan(pods(3), told)
    assert (proposal.replicas, proposal.utilization) == (replicas, percent)


def test_pods_that_start_or_go_are_not_believed():
    young = {"started": NOW - 100, "changed": NOW - 20}
    held = [*pods(2), pod("p2", **young), pod("p3", ready="False", **young)]
    groups = demand.group(held, metrics(100, 100, 900, 900), "cpu", NOW)
    assert (groups.ready, groups.unready) == (2, {"p2", "p3"})
    assert plan(held, metrics(100, 100, 900, 900)).replicas == 4
    never = pod("p0", ready="False", started=NOW - 1000, changed=NOW - 990)
    once = pod("p0", ready="False", started=NOW - 1000, changed=NOW - 500)
    assert not demand.believed(never, Metric(1, NOW), NOW)
    assert demand.believed(once, Metric(1, NOW), NOW)
    going = pod("p0", phase="Failed")
    waiting = pod("p1", phase="Pending")
    groups = demand.group([going, waiting], {}, "memory", NOW)
    assert (groups.ignored, groups.unready) == ({"p0"}, {"p1"})


@pytest.mark.parametrize(
    ("held", "told", "says"),
    [
        ([], metrics(1), "no pods returned by selector while calculating replica count"),
        (pods(1, phase="Pending"), metrics(1), "did not receive metrics for targeted pods (pods might be unready)"),
        (pods(1, cpu=""), metrics(1), "missing request for cpu in container c of Pod p0"),
    ],
)  # fmt: skip
def test_what_can_not_be_known(held, told, says):
    with pytest.raises(Unknowable) as raised:
        plan(held, told)
    assert str(raised.value) == says


def test_values_are_averages_and_containers_are_told_apart():
    groups = demand.group(pods(2), metrics(300, 500), "memory", NOW)
    proposal = demand.plan_value(2, 100, metrics(300, 500), pods(2), groups, Tolerances())
    assert (proposal.replicas, proposal.value, proposal.utilization) == (8, 400, None)
    usage = [
        {"name": "c", "usage": {"cpu": "1500001n"}},
        {"name": "side", "usage": {"cpu": "1"}},
    ]
    item = {
        "metadata": {"name": "p"}, "timestamp": "2026-01-01T00:00:00Z", "window": "1m2.5s",
        "containers": usage,
    }  # fmt: skip
    assert demand.metrics_of([item], "cpu")["p"].value == 1002
    assert demand.metrics_of([item], "cpu", "c")["p"] == Metric(2, 1767225600.0, 62.5)
    assert demand.metrics_of([item], "cpu", "none") == {}


def test_tolerances_of_a_behavior():
    held = demand.tolerances_of({"scaleUp": {"tolerance": "0"}, "scaleDown": {"tolerance": "200m"}})
    assert held == Tolerances(0.2, 0.0)
    assert held.within(0.8)
    assert not held.within(1.01)


# ---------------------------------------------------------------- pace


def test_without_a_behavior_up_at_most_twice_and_down_after_five_minutes():
    history = History()
    up = decide(history, None, 3, 20, 1, 50, NOW)
    assert (up.replicas, up.limited[0], up.is_limited) == (6, "ScaleUpLimit", True)
    down = decide(history, None, 6, 1, 1, 50, NOW + 200)
    assert (down.replicas, down.able[0]) == (12, "ScaleDownStabilized")
    later = decide(history, None, 6, 1, 2, 50, NOW + 700)
    assert (later.replicas, later.limited[0]) == (2, "TooFewReplicas")
    most = decide(History(), None, 3, 20, 1, 5, NOW)
    assert (most.replicas, most.limited[0]) == (5, "TooManyReplicas")


def behavior(up=None, down=None):
    return {"scaleUp": up or {}, "scaleDown": down or {}}


@pytest.mark.parametrize(
    ("rules", "current", "proposed", "replicas", "said"),
    [
        (behavior(), 3, 50, 7, "ScaleUpLimit"),
        (behavior(), 10, 50, 20, "ScaleUpLimit"),
        (behavior({"selectPolicy": "Min"}), 10, 50, 14, "ScaleUpLimit"),
        (behavior({"selectPolicy": "Disabled"}), 10, 50, 10, "ScaleUpLimit"),
        (behavior({"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}), 3, 50, 5, "ScaleUpLimit"),
        (behavior(), 3, 4, 4, "DesiredWithinRange"),
        (behavior(down={"stabilizationWindowSeconds": 0}), 10, 1, 1, "DesiredWithinRange"),
        (behavior(down={"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}), 10, 1, 9, "ScaleDownLimit"),
        (behavior(down={"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"}), 10, 1, 10, "ScaleDownLimit"),
    ],
)  # fmt: skip
def test_policies(rules, current, proposed, replicas, said):
    choice = decide(History(), rules, current, proposed, 1, 100, NOW)
    assert (choice.replicas, choice.limited[0]) == (replicas, said)


def test_policies_count_what_was_done_in_their_period():
    rules = behavior({"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]})
    history = History()
    first = decide(history, rules, 2, 20, 1, 50, NOW)
    history.scaled(NOW, 2, first.replicas, rules)
    assert first.replicas == 6
    assert decide(history, rules, 6, 20, 1, 50, NOW + 30).replicas == 6
    assert decide(history, rules, 6, 20, 1, 50, NOW + 61).replicas == 10


def test_windows_wait_for_the_calmest_and_the_busiest():
    rules = behavior({"stabilizationWindowSeconds": 60}, {"stabilizationWindowSeconds": 60})
    history = History(proposed=[Mark(NOW - 30, 3)])
    up = decide(history, rules, 3, 6, 1, 50, NOW)
    assert (up.replicas, up.able[0]) == (3, "ScaleUpStabilized")
    assert decide(history, rules, 3, 6, 1, 50, NOW + 40).replicas == 6
    down = decide(history, rules, 6, 2, 1, 50, NOW + 50)
    assert (down.replicas, down.able[0]) == (6, "ScaleDownStabilized")
    assert pace.rules(rules, "scaleUp")["policies"][0]["value"] == 4


# ---------------------------------------------------------------- the controller


def controllers(server):
    return [
        ServiceAccounts(),
        Deployments(),
        ReplicaSets(),
        Autoscalers(lambda: kinds_of(server), server.behind, period=0.05),
    ]


def autoscaler(name="h", target="web", kind="Deployment", **spec):
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"scaleTargetRef": reference, "maxReplicas": 6, **spec},
    }


def by_memory(value):
    target = {"type": "AverageValue", "averageValue": value}
    return [{"type": "Resource", "resource": {"name": "memory", "target": target}}]


def conditions_of(world, name="h"):
    async def read():
        held = await world.client.get(Ref(AUTOSCALER, "default", name))
        found = (held.get("status") or {}).get("conditions") or ()
        return {c["type"]: (c["status"], c["reason"], c["message"]) for c in found}

    return read()


async def condition(world, type, reason, name="h"):
    async def said():
        found = (await conditions_of(world, name)).get(type)
        return found if found and found[1] == reason else None

    return await world.until(said)


def test_a_deployment_follows_what_its_pods_use():
    used = {"memory": 100 << 20}

    async def read(node, path):
        lines = []
        pods = await read.world.find(POD)
        for one in pods:
            labels = f'container="web",namespace="default",pod="{one["metadata"]["name"]}"'
            lines += [
                f"container_cpu_usage_seconds_total{{{labels}}} 1",
                f"container_memory_working_set_bytes{{{labels}}} {used['memory']}",
            ]
        return "\n".join(lines).encode()

    async def pause(seconds):
        await asyncio.sleep(0.001)

    async def scenario(world):
        read.world = world
        engine = world.server.engine
        metrics = Metrics(engine, read, pause=pause)
        world.runner._client._metrics = metrics

        async def busy(node):
            await world.client.create(DEPLOYMENT, deployment_object(replicas=1))
            await bind_all(world, 1)
            down = {"stabilizationWindowSeconds": 0}
            spec = {"metrics": by_memory("50Mi"), "minReplicas": 1, "behavior": {"scaleDown": down}}
            await world.client.create(AUTOSCALER, autoscaler(**spec))
            await condition(world, "AbleToScale", "SucceededRescale")
            await bind_all(world, 2)

            async def more():
                held = await world.client.get(Ref(DEPLOYMENT, "default", "web"))
                return held["spec"]["replicas"] >= 2

            await world.until(more)
            held = await world.client.get(Ref(AUTOSCALER, "default", "h"))
            status = held["status"]
            assert status["currentMetrics"][0]["resource"]["current"] == {"averageValue": "100Mi"}
            assert status["lastScaleTime"]
            assert status["observedGeneration"] == held["metadata"].get("generation", 1)

        await with_node(world, busy)

    in_world(controllers, scenario)


async def bind_all(world, count):
    async def there():
        held = await world.find(POD)
        return held if len(held) >= count else None

    for one in await world.until(there):
        if not one["spec"].get("nodeName"):
            meta = {"name": one["metadata"]["name"], "namespace": "default"}
            binding = {"metadata": meta, "target": {"name": "here"}}
            await world.client.create(POD, binding, "binding")


def test_what_stands_in_the_way_is_said_in_conditions():
    async def scenario(world):
        await world.account()
        await world.client.create(AUTOSCALER, autoscaler("none", "nothing"))
        _, _, says = await condition(world, "AbleToScale", "FailedGetScale", "none")
        assert says == (
            "the HPA controller was unable to get the target's current scale: "
            'deployments.apps "nothing" not found'
        )
        await world.client.create(AUTOSCALER, autoscaler("odd", kind="Boat"))
        _, _, says = await condition(world, "AbleToScale", "FailedGetScale", "odd")
        assert 'no matches for kind "Boat" in group "apps"' in says
        await world.client.create(DEPLOYMENT, deployment_object(replicas=1))
        await world.client.create(AUTOSCALER, autoscaler("silent"))
        _, _, says = await condition(world, "ScalingActive", "FailedGetResourceMetric", "silent")
        assert says == (
            "the HPA was unable to compute the replica count: failed to get cpu utilization: "
            "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics "
            "API: no metrics returned from resource metrics API"
        )
        await world.client.create(AUTOSCALER, autoscaler("rival", metrics=by_memory("1Mi")))
        await condition(world, "ScalingActive", "AmbiguousSelector", "rival")
        for name in ("silent", "rival"):
            await world.client.delete(Ref(AUTOSCALER, "default", name))
        target = {"type": "AverageValue", "averageValue": "1"}
        hits = [{"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": target}}]
        await world.client.create(AUTOSCALER, autoscaler("foreign", metrics=hits))
        _, _, says = await condition(world, "ScalingActive", "FailedGetPodsMetric", "foreign")
        assert says.endswith(
            "unable to get metric hits: unable to fetch metrics from custom metrics API: "
            "no custom metrics API (custom.metrics.k8s.io) registered"
        )

    in_world(controllers, scenario)


def scaled(count=2, wanted=2, running=2):
    return Scaled("default", "app=web", pods(count), wanted, running, Tolerances())


@pytest.mark.parametrize(
    ("used", "target", "replicas", "value", "part"),
    [
        (9000, {"value": "3"}, 6, 9000, "value"),
        (3100, {"value": "3"}, 2, 3100, "value"),
        (9000, {"averageValue": "2"}, 5, 4500, "averageValue"),
        (4200, {"averageValue": "2"}, 2, 2100, "averageValue"),
    ],
)
def test_one_value_for_all_pods(used, target, replicas, value, part):
    proposal, told = plan_total(used, target, scaled())
    assert (proposal.replicas, proposal.value, told) == (replicas, value, part)


def test_who_serves_other_metrics_is_asked_through_the_api():
    asked = []

    async def ask(path):
        asked.append(path)
        if "v1beta2" in path:
            raise NotFound("the server could not find the requested resource")
        item = {
            "describedObject": {"name": "p0"},
            "value": "900m",
            "timestamp": "2026-01-01T00:00:00Z",
        }
        return {"items": [item, {**item, "describedObject": {"name": "p1"}}]}

    selector = {
        "matchLabels": {"q": "a"},
        "matchExpressions": [{"key": "r", "operator": "NotIn", "values": ["c", "b"]}],
    }
    pods_metric = {
        "type": "Pods",
        "pods": {
            "metric": {"name": "hits", "selector": selector},
            "target": {"averageValue": "300m"},
        },
    }
    foreign = Foreign(lambda: [Kind("apps", "v1", "Deployment", "deployments")], ask)
    proposal, name, status = asyncio.run(foreign.measure(pods_metric, scaled()))
    assert (proposal.replicas, name) == (6, "pods metric hits")
    assert status["pods"]["current"] == {"averageValue": "900m"}
    assert asked[1] == (
        "/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/pods/*/hits?labelSelector=app%3Dweb"
        "&metricLabelSelector=q%3Da%2Cr+notin+%28b%2Cc%29"
    )
    of = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    other = {
        "type": "Object",
        "object": {"metric": {"name": "hits"}, "describedObject": of, "target": {"value": "450m"}},
    }
    proposal, name, status = asyncio.run(foreign.measure(other, scaled()))
    assert (proposal.replicas, name) == (4, "Deployment metric hits")
    assert asked[-1].endswith("/namespaces/default/deployments.apps/d/hits")
    outside = {
        "type": "External",
        "external": {"metric": {"name": "queue"}, "target": {"averageValue": "300m"}},
    }
    proposal, _, status = asyncio.run(foreign.measure(outside, scaled()))
    assert proposal.replicas == 6
    assert status["external"]["current"] == {"averageValue": "900m"}


def test_to_zero_and_back_but_not_from_a_zero_of_somebody_else():
    queue = {"length": "4"}

    async def ask(path):
        return {"items": [{"metricName": "queue", "value": queue["length"]}]}

    def asking(server):
        scalers = Autoscalers(lambda: kinds_of(server), ask, period=0.05)
        return [ServiceAccounts(), Deployments(), ReplicaSets(), scalers]

    target = {"type": "AverageValue", "averageValue": "2"}
    outside = [{"type": "External", "external": {"metric": {"name": "queue"}, "target": target}}]
    at_once = {"scaleDown": {"stabilizationWindowSeconds": 0}}

    async def scenario(world):
        await world.account()
        await world.client.create(DEPLOYMENT, deployment_object(replicas=1))
        made = autoscaler(minReplicas=0, metrics=outside, behavior=at_once)
        await world.client.create(AUTOSCALER, made)
        ref = Ref(DEPLOYMENT, "default", "web")

        async def size(wanted):
            async def there():
                return (await world.client.get(ref))["spec"]["replicas"] == wanted

            await world.until(there)

        await size(2)
        queue["length"] = "0"
        await size(0)
        status, _, says = await condition(world, "ScaledToZero", "ScaledToZero")
        assert (status, says) == ("True", "the HPA controller scaled the workload to zero")
        queue["length"] = "6"
        await size(3)
        await condition(world, "ScaledToZero", "NotScaledToZero")
        await world.client.update(DEPLOYMENT, {"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 0}}, "scale")  # fmt: skip
        await condition(world, "ScalingActive", "ScalingDisabled")

    in_world(asking, scenario)


def test_bounds_are_kept_without_metrics():
    async def scenario(world):
        await world.account()
        await world.client.create(DEPLOYMENT, deployment_object(replicas=1))
        await world.client.create(AUTOSCALER, autoscaler(minReplicas=3))

        async def three():
            held = await world.client.get(Ref(DEPLOYMENT, "default", "web"))
            return held["spec"]["replicas"] == 3

        await world.until(three)
        first = Kind("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers")

        async def told():
            held = await world.client.get(Ref(first, "default", "h"))
            return held if "autoscaling.alpha.kubernetes.io/conditions" in (held["metadata"].get("annotations") or {}) else None  # fmt: skip

        held = await world.until(told)
        assert held["status"]["desiredReplicas"] == 3

    in_world(controllers, scenario)


def test_one_that_is_gone_is_nobodys_rival():
    """Though looks at it are minutes apart."""

    def controllers(server):
        scaling = Autoscalers(lambda: kinds_of(server), server.behind, period=600.0)
        return [ServiceAccounts(), Deployments(), ReplicaSets(), scaling]

    async def scenario(world):
        await world.account()
        await world.client.create(DEPLOYMENT, deployment_object(replicas=1))
        await world.until(lambda: world.find(POD))
        await world.client.create(AUTOSCALER, autoscaler("first"))
        await condition(world, "ScalingActive", "FailedGetResourceMetric", "first")
        await world.client.delete(Ref(AUTOSCALER, "default", "first"))
        await world.client.create(AUTOSCALER, autoscaler("next"))
        await condition(world, "ScalingActive", "FailedGetResourceMetric", "next")

    in_world(controllers, scenario)
