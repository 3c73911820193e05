"""StatefulSets: what is decided, and what becomes of them with the real API and a played node."""

from __future__ import annotations

from typing import Any

import pytest

from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.storage.claims import Claims
from jindou.control.controllers.storage.volumes import Volumes
from jindou.control.controllers.workloads.sets import claim_plans, stateful_plans
from jindou.control.controllers.workloads.sets.stateful_sets import StatefulSets
from jindou.objects.kinds import (
    CONTROLLER_REVISION,
    EVENT,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    STATEFUL_SET,
    Ref,
)
from tests.controllers.world import in_world, kinds_of, template, with_node

DB = Ref(STATEFUL_SET, "default", "db")


def controllers(server: Any) -> list[Any]:
    kinds = lambda: kinds_of(server)  # noqa: E731
    return [
        ServiceAccounts(), StatefulSets(), Scheduler(), Claims("/data/volumes"), Volumes(),
        GarbageCollector(kinds, server.registry.on_change),
    ]  # fmt: skip


def set_object(replicas: int = 3, image: str = "web:1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "default", "annotations": {"note": "hello"}},
        "spec": {
            "serviceName": "db",
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            **spec,
        },
    }


CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


# ---------------------------------------------------------------- decisions


def member(
    ordinal: int, revision: str = "old", ready: bool = True, phase: str = "Running", **meta: Any
) -> dict[str, Any]:
    name = f"db-{ordinal}"
    labels = {stateful_plans.NAME: name, "controller-revision-hash": revision}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels, **meta},
        "spec": {},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def steps(pods: list[dict[str, Any]], replicas: int = 3, **spec: Any) -> list[tuple[str, int]]:
    owner = set_object(replicas, **spec)
    owner["metadata"]["uid"] = "set"
    owner["spec"].setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {}})
    revisions = [{"metadata": {"name": name}} for name in ("old", "new")]
    view = stateful_plans.view_of(owner, *revisions, pods, {}, 0.0)
    return [(step.verb, step.member.ordinal) for step in stateful_plans.plan_steps(view)]


LEAVING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
PARALLEL = {"podManagementPolicy": "Parallel"}


def rolling(**more: Any) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": more}}


@pytest.mark.parametrize(
    ("pods", "spec", "expected"),
    [
        ([], {}, [("create", 0)]),
        ([], PARALLEL, [("create", 0), ("create", 1), ("create", 2)]),
        ([], {"ordinals": {"start": 5}}, [("create", 5)]),
        ([member(0, ready=False)], {}, []),
        ([member(0)], {}, [("create", 1)]),
        ([member(0, phase="Failed")], {}, [("delete", 0)]),
        ([member(0, **LEAVING)], {}, []),
        ([member(n) for n in range(5)], {}, [("delete", 4)]),
        ([member(n) for n in range(5)], PARALLEL, [("delete", 4), ("delete", 3), ("delete", 2)]),
        ([*(member(n) for n in range(4)), member(4, ready=False)], {}, [("delete", 4)]),
        ([*(member(n) for n in range(4)), member(4, **LEAVING)], {}, []),
        ([member(n) for n in range(3)], {}, [("delete", 2)]),
        ([member(n) for n in range(3)], rolling(partition=2), [("delete", 2)]),
        ([member(n) for n in range(3)], rolling(partition=3), []),
        ([member(n) for n in range(3)], rolling(maxUnavailable=2), [("delete", 2), ("delete", 1)]),
        ([member(n) for n in range(3)], rolling(maxUnavailable="50%"), [("delete", 2)]),
        ([member(n) for n in range(3)], {"updateStrategy": {"type": "OnDelete"}}, []),
        ([member(0), member(1), member(2, "new")], {}, [("delete", 1)]),
        ([member(0), member(1), member(2, "new", ready=False)], {}, []),
        ([member(0), member(1, ready=False), member(2, "new")], PARALLEL, [("delete", 1)]),
        ([member(0, "new"), member(1, "new"), member(2, "new")], {}, []),
    ],
)  # fmt: skip
def test_which_pods_are_made_and_which_go(pods: Any, spec: Any, expected: Any) -> None:
    assert steps(pods, **spec) == expected


def test_a_rollout_that_is_stuck_stays_stuck_until_somebody_deletes_the_pod() -> None:
    """As in the original: a new template does not help the broken Pod of the one before."""
    broken = member(2, "broken", ready=False)
    assert steps([member(0), member(1), broken]) == []
    assert steps([member(0), member(1)]) == [("create", 2)]


def owned_by(*names: str) -> dict[str, Any]:
    known = {
        "set": ("apps/v1", "StatefulSet", "db", "set"), "pod": ("v1", "Pod", "db-0", "pod"),
        "gone": ("v1", "Pod", "db-0", "before"), "other": ("v1", "ConfigMap", "x", "x"),
    }  # fmt: skip
    fields = ("apiVersion", "kind", "name", "uid")
    return {
        "metadata": {
            "name": "data-db-0",
            "ownerReferences": [
                {**dict(zip(fields, known[name])), "controller": True, "blockOwnerDeletion": True}
                for name in names
            ],
        }
    }


@pytest.mark.parametrize(
    ("held", "scaled", "deleted", "beyond", "expected"),
    [
        ((), "Retain", "Retain", False, None),
        (("set",), "Retain", "Retain", False, ()),
        ((), "Retain", "Delete", False, ("set",)),
        (("set",), "Retain", "Delete", True, None),
        ((), "Delete", "Retain", False, None),
        ((), "Delete", "Retain", True, ("pod",)),
        (("set",), "Delete", "Delete", True, ("pod",)),
        (("pod",), "Delete", "Delete", False, ("set",)),
        (("gone",), "Delete", "Delete", False, None),
        (("other",), "Delete", "Delete", False, None),
    ],
)  # fmt: skip
def test_whom_a_claim_goes_with(
    held: Any, scaled: str, deleted: str, beyond: bool, expected: Any
) -> None:
    owner = set_object(
        persistentVolumeClaimRetentionPolicy={"whenScaled": scaled, "whenDeleted": deleted}
    )
    owner["metadata"]["uid"] = "set"
    pod = {"metadata": {"name": "db-0", "uid": "pod"}}
    wanted = claim_plans.plan_owners(owned_by(*held), owner, pod, beyond)
    if expected is None:
        assert wanted is None
    else:
        assert wanted == owned_by(*expected)["metadata"]["ownerReferences"]


# ---------------------------------------------------------------- with the API


def play(scenario: Any) -> None:
    async def world_of(world: Any) -> None:
        await with_node(world, lambda node: scenario(world, node))

    in_world(controllers, world_of)


async def with_status(world: Any, **wanted: Any) -> dict[str, Any]:
    async def there() -> Any:
        held = await world.client.get(DB)
        status = held.get("status") or {}
        return held if all(status.get(name) == value for name, value in wanted.items()) else None

    return await world.until(there)


async def settled(world: Any, count: int) -> dict[str, Any]:
    async def there() -> Any:
        held = await world.client.get(DB)
        status = held.get("status") or {}
        right = status.get("observedGeneration") == held["metadata"]["generation"]
        counts = {status.get(name) for name in ("replicas", "readyReplicas", "updatedReplicas")}
        return held if right and counts == {count} else None

    return await world.until(there)


def test_a_set_grows_in_order_and_its_objects_are_those_of_the_original() -> None:
    async def scenario(world: Any, node: Any) -> None:
        await world.client.create(STATEFUL_SET, set_object(volumeClaimTemplates=[CLAIM]))
        held = await settled(world, 3)
        pods = sorted(await world.find(POD), key=lambda pod: pod["metadata"]["name"])
        assert [pod["metadata"]["name"] for pod in pods] == ["db-0", "db-1", "db-2"]
        made = [pod["metadata"]["resourceVersion"] for pod in pods]
        assert made == sorted(made, key=int)
        revision = held["status"]["currentRevision"]
        assert held["status"] == {
            "availableReplicas": 3, "collisionCount": 0, "currentReplicas": 3, "readyReplicas": 3,
            "replicas": 3, "updatedReplicas": 3, "observedGeneration": 1,
            "currentRevision": revision, "updateRevision": revision,
        }  # fmt: skip
        assert pods[1]["metadata"]["labels"] == {
            "app": "web", "apps.kubernetes.io/pod-index": "1", "controller-revision-hash": revision,
            "statefulset.kubernetes.io/pod-name": "db-1",
        }  # fmt: skip
        assert pods[1]["metadata"]["generateName"] == "db-"
        assert (pods[1]["spec"]["hostname"], pods[1]["spec"]["subdomain"]) == ("db-1", "db")
        assert pods[1]["spec"]["volumes"][0] == {
            "name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"},
        }  # fmt: skip
        claims = {one["metadata"]["name"]: one for one in await world.find(PERSISTENT_VOLUME_CLAIM)}
        assert sorted(claims) == ["data-db-0", "data-db-1", "data-db-2"]
        assert claims["data-db-0"]["metadata"]["labels"] == {"app": "web"}
        (past,) = await world.find(CONTROLLER_REVISION)
        assert past["metadata"]["name"] == revision
        assert past["metadata"]["annotations"] == {"note": "hello"}
        hashed = revision.removeprefix("db-")
        assert past["metadata"]["labels"] == {"app": "web", "controller.kubernetes.io/hash": hashed}
        assert past["data"]["spec"]["template"]["$patch"] == "replace"

        async def told() -> Any:
            found = {(e["reason"], e["message"]) for e in await world.find(EVENT)}
            return found >= {
                ("SuccessfulCreate", "Create Claim data-db-0 Pod db-0 in StatefulSet db success"),
                ("SuccessfulCreate", "Create Pod db-2 in StatefulSet db successful"),
            }

        await world.until(told)

    play(scenario)


def test_a_rollout_and_its_undoing() -> None:
    async def scenario(world: Any, node: Any) -> None:
        await world.client.create(STATEFUL_SET, set_object())
        before = (await settled(world, 3))["status"]["currentRevision"]
        image = [
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:2"}
        ]
        await world.client.patch(DB, image, how="json")
        held = await settled(world, 3)
        after = held["status"]["currentRevision"]
        assert after == held["status"]["updateRevision"] != before
        assert {pod["spec"]["containers"][0]["image"] for pod in await world.find(POD)} == {"web:2"}
        past = await world.client.get(Ref(CONTROLLER_REVISION, "default", before))
        await world.client.patch(DB, past["data"], how="strategic")
        held = await settled(world, 3)
        await with_status(world, currentRevision=before)
        past = {
            one["metadata"]["name"]: one["revision"]
            for one in await world.find(CONTROLLER_REVISION)
        }
        assert past == {before: 3, after: 2}

    play(scenario)


def test_a_partition_keeps_the_lower_ones_even_when_they_are_made_anew() -> None:
    async def scenario(world: Any, node: Any) -> None:
        await world.client.create(STATEFUL_SET, set_object(**rolling(partition=2)))
        await settled(world, 3)
        image = [
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:2"}
        ]
        await world.client.patch(DB, image, how="json")
        await with_status(world, updatedReplicas=1, readyReplicas=3)
        await world.client.delete(Ref(POD, "default", "db-0"))
        await world.settled()
        await with_status(world, updatedReplicas=1, readyReplicas=3, replicas=3)
        images = {
            pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"]
            for pod in await world.find(POD)
        }
        assert images == {"db-0": "web:1", "db-1": "web:1", "db-2": "web:2"}

    play(scenario)


def test_scaled_down_claims_go_or_stay_as_the_policy_says() -> None:
    async def scenario(world: Any, node: Any) -> None:
        policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
        await world.client.create(
            STATEFUL_SET,
            set_object(volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy),
        )
        await settled(world, 3)
        await world.client.patch(DB, {"spec": {"replicas": 1}})

        async def only_first() -> Any:
            names = {one["metadata"]["name"] for one in await world.find(PERSISTENT_VOLUME_CLAIM)
                     if not one["metadata"].get("deletionTimestamp")}  # fmt: skip
            return names == {"data-db-0"}

        await world.until(only_first)
        await with_status(world, replicas=1)
        await world.client.delete(DB, propagation="Background")

        async def no_pods() -> Any:
            return not await world.find(POD)

        await world.until(no_pods)
        assert await only_first()

    play(scenario)


def test_history_is_kept_up_to_its_limit() -> None:
    async def scenario(world: Any, node: Any) -> None:
        await world.client.create(STATEFUL_SET, set_object(1, revisionHistoryLimit=1))
        for n in range(2, 5):
            await settled(world, 1)
            image = {"op": "replace", "path": "/spec/template/spec/containers/0/image"}
            await world.client.patch(DB, [{**image, "value": f"web:{n}"}], how="json")

        async def two() -> Any:
            return [one["revision"] for one in await world.find(CONTROLLER_REVISION)] in (
                [3, 4],
                [4, 3],
            )

        await settled(world, 1)
        await world.until(two)

    play(scenario)


def test_a_pod_is_made_as_soon_as_the_claims_of_the_last_one_are_gone() -> None:
    async def scenario(world: Any) -> None:
        await world.account()
        last = {"apiVersion": "v1", "kind": "Pod", "name": "db-0", "uid": "u"}
        claim = {
            "metadata": {"name": "data-db-0", "namespace": "default", "ownerReferences": [last]},
            "spec": CLAIM["spec"],
        }
        await world.client.create(PERSISTENT_VOLUME_CLAIM, claim)
        policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
        wish = set_object(
            1, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy
        )
        await world.client.create(STATEFUL_SET, wish)
        await with_status(world, observedGeneration=1)
        await world.settled()
        assert not await world.find(POD)
        ref = Ref(PERSISTENT_VOLUME_CLAIM, "default", "data-db-0")
        await world.client.delete(ref)
        await world.client.patch(ref, {"metadata": {"finalizers": None}})
        await world.until(lambda: world.find(POD))

    in_world(lambda server: [ServiceAccounts(), StatefulSets()], scenario)
