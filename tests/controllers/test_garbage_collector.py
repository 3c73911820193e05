"""Who is deleted with whom: tables, and the real API."""

from __future__ import annotations

import asyncio

import pytest

from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.namespaces import Namespaces, Remaining, plan_conditions
from jindou.control.controllers.ownership import Graph, Node, Owner, plan_dependent
from jindou.control.controllers.service_accounts import ROOT_CA, RootCertificates, ServiceAccounts
from jindou.objects.errors import NotFound
from jindou.objects.kinds import (
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    EVENT,
    NAMESPACE,
    NODE,
    SERVICE_ACCOUNT,
    Kind,
    Ref,
    ref_of,
)
from tests.controllers.world import add_node, in_world, kinds_of, make_namespace


def node(uid, *owners, finalizers=(), deleting=False):
    held = tuple(Owner(o.strip("!"), "v1", "ConfigMap", o, o.endswith("!")) for o in owners)
    return Node(uid, Ref(CONFIG_MAP, "default", uid), held, deleting, tuple(finalizers))


def test_a_graph_knows_dependents_before_and_without_their_owner():
    graph = Graph()
    graph.put(node("b", "a!"))
    graph.put(node("c", "a"))
    assert [one.uid for one in graph.dependents("a")] == ["b", "c"]
    assert [one.uid for one in graph.blocking("a")] == ["b"]
    graph.put(node("a"))
    graph.put(node("c"))
    assert [one.uid for one in graph.dependents("a")] == ["b"]
    graph.remove("b")
    assert graph.dependents("a") == []


@pytest.mark.parametrize(
    ("dependent", "gone", "waiting", "dependents", "expected"),
    [
        (node("x", "a"), {"a"}, set(), [], ("", "Background")),
        (node("x", "a", "b"), {"a"}, set(), [], ("a", "")),
        (node("x", "a", "b"), {"a", "b"}, set(), [], ("", "Background")),
        (node("x", "a"), set(), {"a"}, [], ("", "Background")),
        (node("x", "a"), set(), {"a"}, [node("y", "x")], ("", "Foreground")),
        (node("x", "a", "b"), set(), {"a"}, [], ("a", "")),
        (node("x", "a", finalizers=["orphan"]), {"a"}, set(), [], ("", "Orphan")),
        (node("x", "a", finalizers=["foregroundDeletion"]), {"a"}, set(), [], ("", "Foreground")),
        (node("x", "a"), set(), set(), [], ("", "")),
    ],
)
def test_what_becomes_of_a_dependent(dependent, gone, waiting, dependents, expected):
    verdict = plan_dependent(dependent, gone, waiting, dependents)
    assert ("".join(verdict.release), verdict.delete) == expected


def controllers(server):
    kinds = lambda: kinds_of(server)  # noqa: E731
    return [
        ServiceAccounts(),
        RootCertificates("PEM"),
        Namespaces(kinds),
        GarbageCollector(kinds, server.registry.on_change),
    ]


def owner_of(obj, kind="ConfigMap", api_version="v1", **more):
    meta = obj["metadata"]
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": meta["name"],
        "uid": meta["uid"],
        **more,
    }


async def config_map(world, name, *owners, namespace="default", finalizers=()):
    meta = {
        "name": name,
        "namespace": namespace,
        "ownerReferences": list(owners),
        "finalizers": list(finalizers),
    }
    return await world.client.create(
        CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
    )


def cm(name, namespace="default"):
    return Ref(CONFIG_MAP, namespace, name)


def test_background_takes_the_whole_tree():
    async def scenario(world):
        a = await config_map(world, "a")
        b = await config_map(world, "b", owner_of(a))
        await config_map(world, "c", owner_of(b))
        both = await config_map(world, "other")
        await config_map(world, "d", owner_of(a), owner_of(both))
        await world.client.delete(cm("a"), propagation="Background")
        await world.until(lambda: world.gone(cm("c")))
        assert await world.gone(cm("b"))

        async def let_go():
            d = await world.client.get(cm("d"))
            return [one["name"] for one in d["metadata"]["ownerReferences"]] == ["other"]

        await world.until(let_go)

    in_world(controllers, scenario)


def test_foreground_holds_the_owner_until_blocking_dependents_are_gone():
    async def scenario(world):
        a = await config_map(world, "a")
        await config_map(world, "b", owner_of(a, blockOwnerDeletion=True), finalizers=["test/hold"])
        await world.client.delete(cm("a"), propagation="Foreground")

        async def going():
            return "deletionTimestamp" in (await world.client.get(cm("b")))["metadata"]

        await world.until(going)
        held = await world.client.get(cm("a"))
        assert held["metadata"]["finalizers"] == ["foregroundDeletion"]
        await world.client.patch(cm("b"), {"metadata": {"finalizers": []}})
        await world.until(lambda: world.gone(cm("a")))

    in_world(controllers, scenario)


def test_orphans_lose_their_owner_and_stay():
    async def scenario(world):
        a = await config_map(world, "a")
        await config_map(world, "b", owner_of(a))
        await world.client.delete(cm("a"), propagation="Orphan")
        await world.until(lambda: world.gone(cm("a")))
        assert not (await world.client.get(cm("b")))["metadata"].get("ownerReferences")

    in_world(controllers, scenario)


def test_an_owner_that_never_was_or_lives_elsewhere_does_not_hold():
    async def scenario(world):
        await make_namespace(world.client, "far")
        far = await config_map(world, "far", namespace="far")
        ghost = {"metadata": {"name": "ghost", "uid": "00000000-0000-0000-0000-000000000000"}}
        await config_map(world, "a", owner_of(ghost))
        await config_map(world, "b", owner_of(far))
        await world.until(lambda: world.gone(cm("a")))
        await world.until(lambda: world.gone(cm("b")))
        assert await world.client.get(cm("far", "far"))

        async def told():
            reasons = [e["reason"] for e in await world.find(EVENT)]
            return "OwnerRefInvalidNamespace" in reasons

        await world.until(told)
        machine = await add_node(world.client)
        await config_map(world, "c", owner_of(machine, "Node"))
        await world.client.delete(Ref(NODE, "", "here"))
        await world.until(lambda: world.gone(cm("c")))

    in_world(controllers, scenario)


def test_custom_kinds_own_and_are_owned_as_soon_as_they_are_served():
    widget = Kind("example.com", "v1", "Widget", "widgets")
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    }  # fmt: skip

    async def scenario(world):
        await world.client.create(CUSTOM_RESOURCE_DEFINITION, definition)
        meta = {"name": "w", "namespace": "default"}
        made = None
        while made is None:
            try:
                made = await world.client.create(
                    widget, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": meta}
                )
            except NotFound:
                await asyncio.sleep(0)
        await config_map(world, "a", owner_of(made, "Widget", "example.com/v1"))
        await world.client.delete(Ref(widget, "default", "w"))
        await world.until(lambda: world.gone(cm("a")))
        await world.client.delete(Ref(CUSTOM_RESOURCE_DEFINITION, "", "widgets.example.com"))
        await world.until(
            lambda: world.gone(Ref(CUSTOM_RESOURCE_DEFINITION, "", "widgets.example.com"))
        )

    in_world(controllers, scenario)


def test_a_namespace_has_its_account_and_authority_and_takes_all_with_it():
    async def scenario(world):
        await make_namespace(world.client, "team")
        account = Ref(SERVICE_ACCOUNT, "team", "default")
        await world.account("team")
        await world.until(lambda: world.has(cm(ROOT_CA, "team")))
        await world.client.delete(account)
        await world.account("team")
        await world.client.patch(cm(ROOT_CA, "team"), {"data": {"ca.crt": "forged"}})

        async def restored():
            return (await world.client.get(cm(ROOT_CA, "team")))["data"] == {"ca.crt": "PEM"}

        await world.until(restored)
        held = await config_map(world, "held", namespace="team", finalizers=["test/hold"])
        await world.client.delete(Ref(NAMESPACE, "", "team"))

        async def told():
            namespace = await world.client.get(Ref(NAMESPACE, "", "team"))
            found = {c["type"]: c for c in namespace["status"].get("conditions", ())}
            return found.get("NamespaceFinalizersRemaining", {}).get("status") == "True" and found

        found = await world.until(told)
        assert (
            "configmaps. has 1 resource instances" in found["NamespaceContentRemaining"]["message"]
        )
        assert (
            "test/hold in 1 resource instances" in found["NamespaceFinalizersRemaining"]["message"]
        )
        assert await world.gone(account)
        await world.client.patch(ref_of(CONFIG_MAP, held), {"metadata": {"finalizers": []}})
        await world.until(lambda: world.gone(Ref(NAMESPACE, "", "team")))

    in_world(controllers, scenario)


def test_conditions_of_a_namespace_that_holds_nothing_more():
    told = plan_conditions({"status": {}}, Remaining({}, {}, ["x failed"]))
    assert {c["type"]: (c["status"], c["reason"]) for c in told} == {
        "NamespaceDeletionDiscoveryFailure": ("False", "ResourcesDiscovered"),
        "NamespaceDeletionGroupVersionParsingFailure": ("False", "ParsedGroupVersions"),
        "NamespaceDeletionContentFailure": ("True", "ContentDeletionFailed"),
        "NamespaceContentRemaining": ("False", "ContentRemoved"),
        "NamespaceFinalizersRemaining": ("False", "ContentHasNoFinalizers"),
    }
