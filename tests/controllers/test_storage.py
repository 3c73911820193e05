"""Claims and volumes: what fits, and what becomes of them with the real API and a played node."""

from __future__ import annotations

from typing import Any

import pytest

from jindou.control.api.bootstrap import storage_class
from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.groundwork.references import object_reference
from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.storage import plans
from jindou.control.controllers.storage.claims import Claims
from jindou.control.controllers.storage.volumes import Volumes
from jindou.node.volumes.provisioned import folder_of, is_to_go
from jindou.objects.errors import NotFound
from jindou.objects.kinds import (
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    STORAGE_CLASS,
    Ref,
)
from jindou.settings import Settings
from tests.controllers.world import add_node, in_world, kinds_of, pod_object, with_node

DATA = Ref(PERSISTENT_VOLUME_CLAIM, "default", "data")


def controllers(server: Any) -> list[Any]:
    kinds = lambda: kinds_of(server)  # noqa: E731
    return [
        ServiceAccounts(), Scheduler(), Claims("/var/lib/jindou/volumes"), Volumes(),
        GarbageCollector(kinds, server.registry.on_change),
    ]  # fmt: skip


def claim_object(name: str = "data", size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    wish = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**wish, **spec},
    }


def volume_object(name: str = "pv", size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": spec.pop("labels", {})},
        "spec": {
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
            "capacity": {"storage": size},
            "hostPath": {"path": f"/srv/{name}"},
            "storageClassName": "",
            **spec,
        },
    }


def pod_with_claim(name: str = "web", claim: str = "data") -> dict[str, Any]:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
    return pod_object(name, volumes=[volume])


# ---------------------------------------------------------------- decisions


@pytest.mark.parametrize(
    ("volume", "claim", "fits"),
    [
        ({}, {}, True),
        ({"size": "500Mi"}, {}, False),
        ({"storageClassName": "fast"}, {}, False),
        ({}, {"accessModes": ["ReadWriteMany"]}, False),
        ({"volumeMode": "Block"}, {}, False),
        ({}, {"selector": {"matchLabels": {"disk": "ssd"}}}, False),
        ({"labels": {"disk": "ssd"}}, {"selector": {"matchLabels": {"disk": "ssd"}}}, True),
    ],
)
def test_what_fits(volume: Any, claim: Any, fits: bool) -> None:
    assert plans.fits(volume_object(**volume), claim_object(**claim)) is fits


def test_the_smallest_that_fits_is_taken_but_first_the_one_that_names_the_claim() -> None:
    volumes = [volume_object(f"pv{n}", f"{n}Gi") for n in (5, 2, 3, 1)]
    for volume in volumes:
        volume["status"] = {"phase": "Available"}
    claim = claim_object(size="2Gi")
    claim["metadata"]["uid"] = "u"
    found = plans.plan_volume(claim, volumes)
    assert found is not None
    assert found["metadata"]["name"] == "pv2"
    volumes[0]["spec"]["claimRef"] = {"namespace": "default", "name": "data"}
    assert plans.plan_volume(claim, volumes) is volumes[0]
    volumes[0]["spec"]["claimRef"]["uid"] = "another"
    assert plans.plan_volume(claim, volumes) is found


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/var/lib/jindou/volumes/pvc-1", True), ("/var/lib/jindou/volumes", False),
        ("/var/lib/jindou/volumes/..", False), ("/var/lib/jindou/volumes/pvc-2", False), ("/etc", False), ("/var/lib/jindou/volumes/a/b", False),
    ],
)  # fmt: skip
def test_a_node_empties_nothing_but_folders_of_volumes(path: str, kept: bool) -> None:
    volume = volume_object("pvc-1", hostPath={"path": path})
    assert (folder_of(volume, Settings()) is not None) is kept


# ---------------------------------------------------------------- with the API


def play(scenario: Any) -> None:
    async def world_of(world: Any) -> None:
        made = storage_class()
        kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass"}
        try:
            await world.client.get(Ref(STORAGE_CLASS, "", made["metadata"]["name"]))
        except NotFound:
            await world.client.create(STORAGE_CLASS, {**kind, **made})
        await with_node(world, lambda node: scenario(world))

    in_world(controllers, world_of)


async def phase_of(world: Any, ref: Ref, phase: str) -> Any:
    async def there() -> Any:
        held = await world.client.get(ref)
        return held if plans.phase(held) == phase else None

    return await world.until(there)


def test_a_claim_is_bound_when_its_first_pod_has_a_node_and_its_folder_goes_with_it() -> None:
    async def scenario(world: Any) -> None:
        claim = await world.client.create(PERSISTENT_VOLUME_CLAIM, claim_object())
        assert claim["spec"]["storageClassName"] == "standard"
        assert claim["metadata"]["finalizers"] == [plans.IN_USE]
        await world.settled()
        await phase_of(world, DATA, "Pending")
        await world.client.create(POD, pod_with_claim())
        claim = await phase_of(world, DATA, "Bound")
        name = f"pvc-{claim['metadata']['uid']}"
        assert claim["metadata"]["annotations"] == {
            "pv.kubernetes.io/bind-completed": "yes",
            "pv.kubernetes.io/bound-by-controller": "yes",
            "volume.beta.kubernetes.io/storage-provisioner": plans.PROVISIONER,
            "volume.kubernetes.io/storage-provisioner": plans.PROVISIONER,
            "volume.kubernetes.io/selected-node": "here",
        }
        assert claim["spec"]["volumeName"] == name
        (condition,) = claim["status"].pop("conditions")
        assert (condition["type"], condition["reason"]) == ("Unused", "PodUsingPVC")
        assert claim["status"] == {
            "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        }  # fmt: skip
        place = Ref(PERSISTENT_VOLUME, "", name)
        volume = await phase_of(world, place, "Bound")
        assert volume["spec"]["hostPath"]["path"] == f"/var/lib/jindou/volumes/{name}"
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        pod = Ref(POD, "default", "web")

        async def runs() -> Any:
            return (await world.client.get(pod))["spec"].get("nodeName") == "here"

        await world.until(runs)
        await world.client.delete(DATA)
        await world.settled()
        assert not await world.gone(DATA)  # in use
        await world.client.delete(pod)
        await world.until(lambda: world.gone(DATA))

        async def left_to_the_node() -> Any:
            return is_to_go(await world.client.get(place), "here")

        await world.until(left_to_the_node)

    play(scenario)


def test_a_claim_without_a_class_takes_a_volume_that_is_there_and_it_is_kept() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(PERSISTENT_VOLUME_CLAIM, claim_object(storageClassName=""))
        await world.settled()
        await world.client.create(PERSISTENT_VOLUME, volume_object(size="3Gi"))
        claim = await phase_of(world, DATA, "Bound")
        assert claim["status"]["capacity"] == {"storage": "3Gi"}
        assert claim["status"]["conditions"][0]["reason"] == "NoPodsUsingPVC"
        place = Ref(PERSISTENT_VOLUME, "", "pv")
        await phase_of(world, place, "Bound")
        await world.client.delete(DATA)
        volume = await phase_of(world, place, "Released")
        assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
        await world.client.patch(place, {"spec": {"claimRef": None}})
        await phase_of(world, place, "Available")
        await world.client.delete(place)
        await world.until(lambda: world.gone(place))

    play(scenario)


def test_a_class_that_binds_at_once() -> None:
    async def scenario(world: Any) -> None:
        made = {
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "now"},
            "provisioner": plans.PROVISIONER, "reclaimPolicy": "Retain",
        }  # fmt: skip
        await world.client.create(STORAGE_CLASS, made)
        await world.client.create(PERSISTENT_VOLUME_CLAIM, claim_object(storageClassName="now"))
        claim = await phase_of(world, DATA, "Bound")
        await world.client.delete(DATA)
        await phase_of(world, Ref(PERSISTENT_VOLUME, "", claim["spec"]["volumeName"]), "Released")

    play(scenario)


def test_a_bound_claim_whose_volume_is_taken_away_is_lost() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(PERSISTENT_VOLUME, volume_object())
        await world.client.create(PERSISTENT_VOLUME_CLAIM, claim_object(storageClassName=""))
        await phase_of(world, DATA, "Bound")
        place = Ref(PERSISTENT_VOLUME, "", "pv")
        await phase_of(world, place, "Bound")
        await world.client.delete(place)
        await world.client.patch(place, {"metadata": {"finalizers": None}})
        await phase_of(world, DATA, "Lost")

    play(scenario)


def test_a_pod_that_describes_its_claim_gets_it_and_takes_it_along() -> None:
    async def scenario(world: Any) -> None:
        wish = {"volumeClaimTemplate": {"spec": claim_object()["spec"]}}
        await world.client.create(
            POD, pod_object("web", volumes=[{"name": "v", "ephemeral": wish}])
        )
        place = Ref(PERSISTENT_VOLUME_CLAIM, "default", "web-v")

        async def there() -> Any:
            return not await world.gone(place)

        await world.until(there)
        await phase_of(world, place, "Bound")
        await world.client.delete(Ref(POD, "default", "web"))
        await world.until(lambda: world.gone(place))

    play(scenario)


def test_a_pod_is_told_when_nobody_will_make_its_volume_and_goes_where_one_comes_to_be() -> None:
    async def scenario(world: Any) -> None:
        made = {
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local"},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
        }  # fmt: skip
        await world.client.create(STORAGE_CLASS, made)
        await world.client.create(PERSISTENT_VOLUME_CLAIM, claim_object(storageClassName="local"))
        await world.client.create(POD, pod_with_claim())
        pod = Ref(POD, "default", "web")

        async def told() -> Any:
            held = (await world.client.get(pod)).get("status") or {}
            return [one.get("message") for one in held.get("conditions") or ()] == [
                "0/1 nodes are available: node(s) didn't find available persistent volumes to bind."
            ]

        await world.until(told)
        await world.client.create(PERSISTENT_VOLUME, volume_object(storageClassName="local"))
        await phase_of(world, DATA, "Bound")

        async def placed() -> Any:
            return (await world.client.get(pod))["spec"].get("nodeName")

        await world.until(placed)

    play(scenario)


# ---------------------------------------------------------------- in whatever order


NOW = {
    "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "now"},
    "provisioner": plans.PROVISIONER, "reclaimPolicy": "Delete",
}  # fmt: skip


def test_a_volume_whose_claim_goes_before_it_names_the_volume_is_given_back() -> None:
    async def scenario(world: Any) -> None:
        claim = await world.client.create(
            PERSISTENT_VOLUME_CLAIM, claim_object(storageClassName="none")
        )
        reference = object_reference(PERSISTENT_VOLUME_CLAIM, claim)
        await world.client.create(PERSISTENT_VOLUME, volume_object(claimRef=reference))
        await world.settled()
        await world.client.delete(DATA)
        await world.client.patch(DATA, {"metadata": {"finalizers": None}})
        await phase_of(world, Ref(PERSISTENT_VOLUME, "", "pv"), "Released")

    in_world(lambda server: [Volumes()], scenario)


def test_a_claim_that_names_its_volume_waits_for_it() -> None:
    async def scenario(world: Any) -> None:
        wish = claim_object(storageClassName="", volumeName="pv")
        await world.client.create(PERSISTENT_VOLUME_CLAIM, wish)
        await world.settled()
        await world.client.create(PERSISTENT_VOLUME, volume_object())
        await phase_of(world, DATA, "Bound")

    play(scenario)


def test_a_claim_gets_its_volume_when_the_first_node_comes() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(STORAGE_CLASS, NOW)
        await world.client.create(PERSISTENT_VOLUME_CLAIM, claim_object(storageClassName="now"))
        await world.settled()
        await phase_of(world, DATA, "Pending")
        await add_node(world.client)
        await phase_of(world, DATA, "Bound")

    in_world(controllers, scenario)


def test_no_volume_is_made_elsewhere_for_a_node_that_is_gone() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(STORAGE_CLASS, NOW)
        wish = claim_object(storageClassName="now")
        wish["metadata"]["annotations"] = {plans.SELECTED_NODE: "gone", "other": "stays"}
        await world.client.create(PERSISTENT_VOLUME_CLAIM, wish)

        async def chosen_again() -> Any:
            held = (await world.client.get(DATA))["metadata"]["annotations"]
            return held.get("other") == "stays" and plans.SELECTED_NODE not in held

        await world.until(chosen_again)
        await phase_of(world, DATA, "Bound")

    play(scenario)


def test_two_claims_that_want_one_volume() -> None:
    async def scenario(world: Any) -> None:
        for n in range(6):
            wish = claim_object(f"data{n}", storageClassName="")
            await world.client.create(PERSISTENT_VOLUME_CLAIM, wish)
        await world.settled()
        await world.client.create(PERSISTENT_VOLUME, volume_object())
        await world.settled()
        held = (await world.client.find(PERSISTENT_VOLUME_CLAIM, "default")).items
        (bound,) = [one for one in held if plans.phase(one) == "Bound"]
        volume = await phase_of(world, Ref(PERSISTENT_VOLUME, "", "pv"), "Bound")
        assert volume["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
        assert [one["spec"].get("volumeName") for one in held].count("pv") == 1

    play(scenario)


def test_a_pod_goes_on_when_the_class_of_its_claim_is_there() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(PERSISTENT_VOLUME_CLAIM, claim_object(storageClassName="late"))
        await world.client.create(POD, pod_with_claim())
        pod = Ref(POD, "default", "web")

        async def told() -> Any:
            held = (await world.client.get(pod)).get("status") or {}
            return [one["reason"] for one in held.get("conditions") or ()] == ["Unschedulable"]

        await world.until(told)
        await world.settled()
        waiting = {"volumeBindingMode": "WaitForFirstConsumer", "metadata": {"name": "late"}}
        await world.client.create(STORAGE_CLASS, {**NOW, **waiting})
        await phase_of(world, DATA, "Bound")

        async def placed() -> Any:
            return (await world.client.get(pod))["spec"].get("nodeName")

        await world.until(placed)

    play(scenario)


def test_a_claim_that_a_pod_describes_is_made_again_while_the_pod_waits() -> None:
    async def scenario(world: Any) -> None:
        wish = {"volumeClaimTemplate": {"spec": claim_object()["spec"]}}
        odd = {"nodeSelector": {"no": "such"}, "volumes": [{"name": "v", "ephemeral": wish}]}
        await world.client.create(POD, pod_object("web", **odd))
        place = Ref(PERSISTENT_VOLUME_CLAIM, "default", "web-v")
        seen: set[str] = set()

        async def another() -> Any:
            held = [] if await world.gone(place) else [await world.client.get(place)]
            uids = {one["metadata"]["uid"] for one in held} - seen
            seen.update(uids)
            return uids

        await world.until(another)
        await world.client.delete(place)
        await world.until(another)

    play(scenario)
