"""The status of ResourceQuotas: true after creates, deletes, ends, and for kinds that come later."""

from __future__ import annotations

from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.resource_quotas import QUOTA, ResourceQuotas
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.objects.kinds import (
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    Kind,
    Ref,
    ref_of,
)
from tests.controllers.world import in_world, kinds_of, pod_object

BOAT = Kind("sea.example", "v1", "Boat", "boats")


def controllers(server):
    kinds = lambda: kinds_of(server)  # noqa: E731
    collector = GarbageCollector(kinds, server.registry.on_change)
    return [ServiceAccounts(), ResourceQuotas(kinds, server.registry.on_change), collector]


def quota_object(name="q", **spec):
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


async def used(world, expected, name="q"):
    async def told():
        quota = await world.client.get(Ref(QUOTA, "default", name))
        return quota if (quota.get("status") or {}).get("used", {}) == expected else None

    return await world.until(told)


def test_the_status_follows_creates_ends_and_deletes():
    async def scenario(world):
        await world.account()
        hard = {"pods": "5", "requests.cpu": "2000m", "count/configmaps": "9", "odd.example/x": "1"}
        await world.client.create(QUOTA, quota_object(hard=hard))
        start = {"pods": "0", "requests.cpu": "0", "count/configmaps": "0"}
        quota = await used(world, start)
        assert quota["status"]["hard"] == {**hard, "requests.cpu": "2"}
        asks = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}}}
        for name in ("a", "b"):
            await world.client.create(POD, pod_object(name, containers=[asks]))
        config = {"metadata": {"name": "x", "namespace": "default"}}
        await world.client.create(CONFIG_MAP, config)
        await used(world, {"pods": "2", "requests.cpu": "1", "count/configmaps": "1"})
        over = {"status": {"phase": "Succeeded"}}
        await world.client.patch(Ref(POD, "default", "a"), over, "status")
        await used(world, {"pods": "1", "requests.cpu": "500m", "count/configmaps": "1"})
        await world.client.delete(Ref(POD, "default", "b"))
        await world.client.delete(Ref(CONFIG_MAP, "default", "x"))
        await used(world, start)
        changed = {"spec": {"hard": {"count/pods": "3", "pods": None}}}
        await world.client.patch(Ref(QUOTA, "default", "q"), changed)
        await used(world, {"count/pods": "1", "requests.cpu": "0", "count/configmaps": "0"})

    in_world(controllers, scenario)


def boat_object(name):
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "sea.example/v1", "kind": "Boat", "metadata": meta}


async def serve_boats(world):
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {
        "group": "sea.example",
        "names": {"plural": "boats", "kind": "Boat"},
        "scope": "Namespaced",
        "versions": [version],
    }
    definition = {"metadata": {"name": "boats.sea.example"}, "spec": spec}
    await world.client.create(CUSTOM_RESOURCE_DEFINITION, definition)

    async def served():
        return BOAT in kinds_of(world.server)

    await world.until(served)


def test_claims_by_class_and_custom_kinds_are_counted():
    async def scenario(world):
        await serve_boats(world)
        by_class = "gold.storageclass.storage.k8s.io/requests.storage"
        hard = {"requests.storage": "10Gi", by_class: "5Gi", "count/boats.sea.example": "2"}
        await world.client.create(QUOTA, quota_object(hard=hard))
        for name, cls in (("a", "gold"), ("b", "iron")):
            spec = {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": cls,
                "resources": {"requests": {"storage": "1536Mi"}},
            }
            claim = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
            await world.client.create(PERSISTENT_VOLUME_CLAIM, claim)
        boat = boat_object("b")
        await world.client.create(BOAT, boat)
        await used(
            world,
            {"requests.storage": "3Gi", by_class: "1536Mi", "count/boats.sea.example": "1"},
        )
        await world.client.delete(ref_of(BOAT, boat))
        await used(
            world,
            {"requests.storage": "3Gi", by_class: "1536Mi", "count/boats.sea.example": "0"},
        )

    in_world(controllers, scenario)


def test_a_kind_that_comes_after_its_quota_and_comes_again_is_counted():
    async def scenario(world):
        await world.client.create(QUOTA, quota_object(hard={"count/boats.sea.example": "9"}))
        await used(world, {})
        for count in (2, 1):
            await serve_boats(world)
            for n in range(count):
                await world.client.create(BOAT, boat_object(f"b{n}"))
            await used(world, {"count/boats.sea.example": str(count)})
            await world.client.delete(Ref(CUSTOM_RESOURCE_DEFINITION, "", "boats.sea.example"))
            await used(world, {})

    in_world(controllers, scenario)
