"""EndpointSlices and Endpoints: tables, and the real API."""

from __future__ import annotations

import pytest

from jindou.control.controllers.discovery.endpoint_facts import backend_of, ports_of
from jindou.control.controllers.discovery.endpoint_slices import EndpointSlices, EndpointsMirror
from jindou.control.controllers.discovery.endpoints import EndpointsOfServices, plan_subsets
from jindou.control.controllers.discovery.slices import plan_endpoints, plan_slices
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.objects.kinds import ENDPOINT_SLICE, ENDPOINTS, POD, SERVICE, Ref, ref_of
from tests.controllers.world import PlayedNode, add_node, in_world, pod_object


def service(**spec):
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "s"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}], "ipFamilies": ["IPv4"], **spec},
    }  # fmt: skip


def backend(n, ready=True, deleting=False, phase="Running", addresses=None, **spec):
    meta = {"name": f"p{n}", "namespace": "default", "uid": f"u{n}", "labels": {"app": "web"}}
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    addresses = addresses or [f"10.0.{n // 250}.{n % 250}"]
    status = {
        "phase": phase,
        "podIPs": [{"ip": one} for one in addresses],
        "conditions": [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }  # fmt: skip
    return backend_of(
        {"metadata": meta, "spec": {"nodeName": "n", "containers": [], **spec}, "status": status}
    )


BASE = {"metadata": {"generateName": "web-", "labels": {"a": "b"}}}


@pytest.mark.parametrize(
    ("pod", "publish", "expected"),
    [
        ({}, False, (True, True, False)),
        ({"ready": False}, False, (False, False, False)),
        ({"deleting": True}, False, (False, True, True)),
        ({"ready": False}, True, (True, False, False)),
        ({"deleting": True}, True, (True, True, True)),
        ({"phase": "Succeeded"}, False, None),
    ],
)
def test_conditions_of_an_endpoint(pod, publish, expected):
    found = plan_endpoints(service(publishNotReadyAddresses=publish), [backend(1, **pod)], {})
    told = [e["conditions"] for group in found.values() for e in group.values()]
    names = ("ready", "serving", "terminating")
    assert [tuple(one[name] for name in names) for one in told] == ([expected] if expected else [])


def test_named_ports_are_found_in_each_pod_also_in_its_sidecars():
    wanted = service(
        ports=[
            {"name": "a", "port": 80, "targetPort": "http"},
            {"name": "b", "port": 90, "targetPort": "side"},
        ]
    )
    ports = [{"name": "http", "containerPort": 8080}]
    side = {
        "name": "s",
        "restartPolicy": "Always",
        "ports": [{"name": "side", "containerPort": 9000}],
    }
    one = backend(1, containers=[{"name": "c", "ports": ports}], initContainers=[side])
    two = backend(2, containers=[{"name": "c", "ports": [{"name": "http", "containerPort": 8081}]}])
    assert [p.number for p in ports_of(wanted, one)] == [8080, 9000]
    groups = plan_endpoints(wanted, [one, two], {})
    assert sorted(tuple(p.number for p in group.ports) for group in groups) == [
        (8080, 9000),
        (8081,),
    ]


def test_two_families_make_two_slices_and_zones_are_told():
    pod = backend(1, addresses=["10.0.0.1", "fd00::1"], hostname="h", subdomain="web")
    groups = plan_endpoints(service(ipFamilies=["IPv4", "IPv6"]), [pod], {"n": "zone-a"})
    assert {group.family: [e["addresses"][0] for e in held.values()] for group, held in groups.items()} == {
        "IPv4": ["10.0.0.1"], "IPv6": ["fd00::1"],
    }  # fmt: skip
    (endpoint, _) = (e for held in groups.values() for e in held.values())
    assert (endpoint["zone"], endpoint["hostname"], endpoint["nodeName"]) == ("zone-a", "h", "n")


def written(plan):
    """The slices as they are after a plan, with names."""
    made = [
        {**one, "metadata": {**one["metadata"], "name": f"s{n}", "uid": f"u{n}"}}
        for n, one in enumerate(plan.create)
    ]
    return made + plan.update


def test_slices_hold_a_hundred_and_change_as_little_as_possible():
    pods = [backend(n) for n in range(250)]
    wanted = service()
    plan = plan_slices(wanted, plan_endpoints(wanted, pods, {}), [], BASE)
    assert [len(one["endpoints"]) for one in plan.create] == [100, 100, 50]
    slices = written(plan)
    again = plan_slices(wanted, plan_endpoints(wanted, pods, {}), slices, BASE)
    assert again == ([], [], [])
    fewer = [pod for pod in pods if pod.name != "p120"]
    plan = plan_slices(wanted, plan_endpoints(wanted, fewer, {}), slices, BASE)
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)
    more = [*pods, backend(250)]
    plan = plan_slices(wanted, plan_endpoints(wanted, more, {}), slices, BASE)
    assert [len(one["endpoints"]) for one in plan.update] == [51]
    assert (plan.create, plan.delete) == ([], [])


def test_a_service_without_pods_keeps_one_empty_slice():
    wanted = service()
    plan = plan_slices(wanted, {}, [], BASE)
    assert [(one["endpoints"], one["ports"]) for one in plan.create] == [([], [])]
    empty = written(plan)
    assert plan_slices(wanted, {}, empty, BASE) == ([], [], [])
    plan = plan_slices(wanted, plan_endpoints(wanted, [backend(1)], {}), empty, BASE)
    assert (len(plan.create), plan.update, plan.delete) == (1, [], empty)


def test_subsets_group_by_ports_and_leave_out_what_ends():
    pods = [
        backend(1),
        backend(2, ready=False),
        backend(3, deleting=True),
        backend(4, ready=False, phase="Succeeded", restartPolicy="Never"),
    ]
    subsets, cut = plan_subsets(service(), pods)
    assert not cut
    (subset,) = subsets
    assert [one["ip"] for one in subset["addresses"]] == ["10.0.0.1"]
    assert [one["ip"] for one in subset["notReadyAddresses"]] == ["10.0.0.2"]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert plan_subsets(service(), [backend(n) for n in range(1001)])[1]


def controllers(server):
    return [ServiceAccounts(), EndpointSlices(), EndpointsOfServices(), EndpointsMirror()]


def service_object(name="web", **spec):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "labels": {"tier": "front"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec},
    }  # fmt: skip


async def slices_of(world, name="web"):
    return await world.find(ENDPOINT_SLICE, labels=f"kubernetes.io/service-name={name}")


@pytest.mark.slow
def test_pods_come_and_go_in_slices_and_endpoints():
    async def scenario(world):
        await world.account()
        await add_node(world.client)
        node = PlayedNode(world.client)
        await world.client.create(SERVICE, service_object())
        pods = []
        for n in range(3):
            pod = await world.client.create(POD, pod_object(f"p{n}", nodeName="here"))
            await node._start(pod)
            pods.append(pod)

        async def both(count):
            slices = [one for one in await slices_of(world) if one["endpoints"]]
            endpoints = await world.client.get(Ref(ENDPOINTS, "default", "web")) if slices else {}
            held = [a for s in endpoints.get("subsets") or () for a in s.get("addresses", ())]
            return (
                len(held) == count and sum(len(s["endpoints"]) for s in slices) == count and slices
            )

        (one,) = await world.until(lambda: both(3))
        assert one["metadata"]["labels"] == {
            "tier": "front",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        assert one["metadata"]["ownerReferences"][0]["kind"] == "Service"
        assert one["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert all(e["conditions"]["ready"] for e in one["endpoints"])
        assert {e["targetRef"]["name"] for e in one["endpoints"]} == {"p0", "p1", "p2"}
        await world.client.delete(ref_of(POD, pods[0]), grace=0)
        await world.until(lambda: both(2))
        await world.client.patch(ref_of(POD, pods[1]), {"metadata": {"labels": {"app": "other"}}})
        await world.until(lambda: both(1))
        await world.client.delete(Ref(SERVICE, "default", "web"))
        await world.until(lambda: world.gone(Ref(ENDPOINTS, "default", "web")))

    in_world(controllers, scenario)


def test_endpoints_that_people_write_are_mirrored():
    async def scenario(world):
        await world.client.create(SERVICE, service_object("db", selector=None))
        meta = {"name": "db", "namespace": "default"}
        subset = {
            "addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}],
            "ports": [{"name": "http", "port": 5432}],
        }
        made = await world.client.create(
            ENDPOINTS,
            {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": [subset]},
        )

        async def mirrored():
            slices = await slices_of(world, "db")
            return slices and sorted(e["addresses"][0] for s in slices for e in s["endpoints"])

        assert await world.until(mirrored) == ["192.0.2.1", "192.0.2.2"]
        (one,) = await slices_of(world, "db")
        assert (
            one["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
            == "endpointslicemirroring-controller.k8s.io"
        )
        made["subsets"][0]["addresses"].pop()
        await world.client.update(ENDPOINTS, made)

        async def smaller():
            return await mirrored() == ["192.0.2.1"]

        await world.until(smaller)
        await world.client.delete(Ref(ENDPOINTS, "default", "db"))

        async def none():
            return not await slices_of(world, "db")

        await world.until(none)

    in_world(controllers, scenario)
