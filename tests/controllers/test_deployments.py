"""Deployments, ReplicaSets and the scheduler through the real API, with a node that is played."""

from __future__ import annotations

import asyncio

import pytest

from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.workloads.deployments import rollout
from jindou.control.controllers.workloads.deployments.deployments import Deployments
from jindou.control.controllers.workloads.deployments.replica_sets import (
    REPLICATION_CONTROLLER,
    ReplicaSets,
)
from jindou.objects.kinds import DEPLOYMENT, EVENT, POD, REPLICA_SET, Ref, ref_of
from tests.controllers.world import (
    deployment_object,
    in_world,
    pod_object,
    template,
    with_node,
)

WEB = Ref(DEPLOYMENT, "default", "web")


def controllers(server):
    replicated = [ReplicaSets(), ReplicaSets(REPLICATION_CONTROLLER)]
    return [ServiceAccounts(), Deployments(), *replicated, Scheduler()]


def on_cluster(scenario):
    async def run(world):
        await with_node(world, lambda node: scenario(world, node))

    return in_world(controllers, run)


async def rolled_out(world, ref=WEB):
    async def done():
        d = await world.client.get(ref)
        status = d.get("status") or {}
        reasons = {c["type"]: c.get("reason") for c in status.get("conditions", ())}
        return (
            status.get("observedGeneration") == d["metadata"]["generation"]
            and status.get("updatedReplicas", 0)
            == d["spec"]["replicas"]
            == status.get("replicas", 0)
            and status.get("availableReplicas", 0) == d["spec"]["replicas"]
            and reasons.get("Progressing") == "NewReplicaSetAvailable"
            and d
        )

    return await world.until(done)


async def set_image(world, image):
    change = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}}
    return await world.client.patch(WEB, change, how="strategic")


async def images(world):
    return sorted(p["spec"]["containers"][0]["image"] for p in await world.find(POD))


@pytest.mark.slow
def test_a_deployment_becomes_pods_and_a_new_image_replaces_them():
    async def scenario(world, node):
        await world.client.create(DEPLOYMENT, deployment_object(replicas=4))
        first = await rolled_out(world)
        assert first["metadata"]["annotations"][rollout.REVISION] == "1"
        assert await images(world) == ["web:1"] * 4
        fewest = [4]

        async def count():
            async for event in world.client.watch(
                POD, "default", after=first["metadata"]["resourceVersion"]
            ):
                assert event
                ready = [
                    p for p in await world.find(POD)
                    if not p["metadata"].get("deletionTimestamp")
                    and any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", ()))
                ]  # fmt: skip
                fewest[0] = min(fewest[0], len(ready))

        counting = asyncio.create_task(count())
        await set_image(world, "web:2")
        second = await rolled_out(world)
        counting.cancel()
        assert second["metadata"]["annotations"][rollout.REVISION] == "2"
        await world.until(lambda: _none_but(world, "web:2"))
        assert fewest[0] >= 3
        sets = await world.find(REPLICA_SET)
        assert sorted(rollout.size(one) for one in sets) == [0, 4]
        for one in sets:
            hashed = one["metadata"]["labels"][rollout.HASH]
            assert one["metadata"]["name"] == f"web-{hashed}"
            assert one["spec"]["selector"]["matchLabels"][rollout.HASH] == hashed
        await world.settled()
        reasons = {(e["reason"], e["involvedObject"]["kind"]) for e in await world.find(EVENT)}
        assert ("ScalingReplicaSet", "Deployment") in reasons
        assert ("SuccessfulCreate", "ReplicaSet") in reasons
        assert ("Scheduled", "Pod") in reasons

    on_cluster(scenario)


async def _none_but(world, image):
    return set(await images(world)) == {image}


@pytest.mark.slow
def test_going_back_reuses_the_old_replica_set_under_a_new_revision():
    async def scenario(world, node):
        await world.client.create(DEPLOYMENT, deployment_object(replicas=2))
        await rolled_out(world)
        (first,) = await world.find(REPLICA_SET)
        await set_image(world, "web:2")
        await rolled_out(world)
        undo = dict(first["spec"]["template"])
        undo["metadata"] = {"labels": {"app": "web"}}
        await world.client.patch(
            WEB, [{"op": "replace", "path": "/spec/template", "value": undo}], how="json"
        )
        d = await rolled_out(world)
        assert d["metadata"]["annotations"][rollout.REVISION] == "3"
        assert len(await world.find(REPLICA_SET)) == 2
        back = await world.client.get(ref_of(REPLICA_SET, first))
        assert rollout.size(back) == 2
        assert back["metadata"]["annotations"][rollout.REVISION] == "3"
        assert back["metadata"]["annotations"][rollout.REVISION_HISTORY] == "1"

    on_cluster(scenario)


@pytest.mark.slow
def test_a_broken_image_stops_the_rollout_and_is_told_at_the_deadline():
    async def scenario(world, node):
        node.broken.add("broken:1")
        await world.client.create(
            DEPLOYMENT, deployment_object(replicas=4, progressDeadlineSeconds=1)
        )
        await rolled_out(world)
        await set_image(world, "broken:1")

        async def stuck():
            status = (await world.client.get(WEB))["status"]
            reasons = {c["type"]: c["reason"] for c in status["conditions"]}
            return reasons.get("Progressing") == "ProgressDeadlineExceeded" and status

        status = await world.until(stuck, 15)
        assert status["availableReplicas"] == 3
        assert status["updatedReplicas"] == 2

    on_cluster(scenario)


@pytest.mark.slow
def test_a_paused_deployment_scales_and_does_not_roll():
    async def scenario(world, node):
        await world.client.create(DEPLOYMENT, deployment_object(replicas=2))
        await rolled_out(world)
        await world.client.patch(WEB, {"spec": {"paused": True}})
        await set_image(world, "web:2")
        await world.client.patch(WEB, {"spec": {"replicas": 5}})
        await world.until(lambda: _count(world, 5))
        await world.settled()
        assert await images(world) == ["web:1"] * 5
        d = await world.client.get(WEB)
        assert {c["type"]: c["reason"] for c in d["status"]["conditions"]}[
            "Progressing"
        ] == "DeploymentPaused"
        await world.client.patch(WEB, {"spec": {"paused": False}})
        await rolled_out(world)
        await world.until(lambda: _none_but(world, "web:2"))

    on_cluster(scenario)


async def _count(world, count):
    pods = [p for p in await world.find(POD) if not p["metadata"].get("deletionTimestamp")]
    return len(pods) == count


def test_recreate_ends_all_old_pods_first():
    async def scenario(world, node):
        await world.client.create(
            DEPLOYMENT, deployment_object(replicas=3, strategy={"type": "Recreate"})
        )
        d = await rolled_out(world)
        seen = set()

        async def follow():
            async for _ in world.client.watch(
                POD, "default", after=d["metadata"]["resourceVersion"]
            ):
                seen.add(frozenset(await images(world)))

        following = asyncio.create_task(follow())
        await set_image(world, "web:2")
        await rolled_out(world)
        following.cancel()
        assert frozenset({"web:1", "web:2"}) not in seen
        assert await images(world) == ["web:2"] * 3

    on_cluster(scenario)


@pytest.mark.slow
def test_history_is_cut_to_its_limit():
    async def scenario(world, node):
        await world.client.create(DEPLOYMENT, deployment_object(replicas=1, revisionHistoryLimit=1))
        for n in (1, 2, 3):
            await rolled_out(world)
            await set_image(world, f"web:{n + 1}")
        await rolled_out(world)

        async def cut():
            return len(await world.find(REPLICA_SET)) == 2

        await world.until(cut)

    on_cluster(scenario)


def replica_set_object(replicas=3):
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template()},
    }  # fmt: skip


def test_a_replica_set_adopts_releases_and_replaces():
    async def scenario(world, node):
        stray = await world.client.create(POD, pod_object("stray"))
        await world.client.create(REPLICA_SET, replica_set_object(3))
        ref = Ref(REPLICA_SET, "default", "web")

        async def ready():
            return ((await world.client.get(ref)).get("status") or {}).get("readyReplicas") == 3

        await world.until(ready)
        pods = await world.find(POD)
        assert len(pods) == 3
        owners = {p["metadata"]["ownerReferences"][0]["name"] for p in pods}
        assert owners == {"web"}
        await world.client.patch(ref_of(POD, stray), {"metadata": {"labels": {"app": "other"}}})

        async def replaced():
            pods = await world.find(POD)
            mine = [p for p in pods if p["metadata"].get("ownerReferences")]
            return len(pods) == 4 and len(mine) == 3

        await world.until(replaced)
        freed = await world.client.get(ref_of(POD, stray))
        assert not freed["metadata"].get("ownerReferences")
        victim = next(p for p in await world.find(POD) if p["metadata"].get("ownerReferences"))
        await world.client.delete(ref_of(POD, victim))

        async def back():
            pods = await world.find(POD, labels="app=web")
            return len(pods) == 3 and victim["metadata"]["uid"] not in {
                p["metadata"]["uid"] for p in pods
            }

        await world.until(back)
        await world.client.patch(ref, {"spec": {"replicas": 1}})
        await world.until(lambda: _count(world, 2))

    on_cluster(scenario)


@pytest.mark.slow
def test_never_too_many_pods_whatever_the_caches_say():
    async def scenario(world, node):
        most = [0]

        async def follow():
            async for _ in world.client.watch(POD, "default"):
                most[0] = max(most[0], len(await world.find(POD, labels="app=web")))

        following = asyncio.create_task(follow())
        await world.client.create(REPLICA_SET, replica_set_object(40))
        await world.until(lambda: _count(world, 40))
        await world.settled()
        following.cancel()
        assert most[0] == 40

    on_cluster(scenario)


def test_a_refused_template_is_told_as_a_failure_and_tried_again():
    async def scenario(world, node):
        broken = replica_set_object(3)
        broken["spec"]["template"]["spec"]["serviceAccountName"] = "nobody"
        await world.client.create(REPLICA_SET, broken)
        ref = Ref(REPLICA_SET, "default", "web")

        async def told():
            conditions = ((await world.client.get(ref)).get("status") or {}).get("conditions") or ()
            return next((c for c in conditions if c["type"] == "ReplicaFailure"), None)

        failure = await world.until(told)
        assert failure["reason"] == "FailedCreate"
        assert "nobody" in failure["message"]

    on_cluster(scenario)


def test_a_replication_controller_works_alike():
    async def scenario(world, node):
        obj = replica_set_object(2)
        obj |= {"apiVersion": "v1", "kind": "ReplicationController"}
        obj["spec"]["selector"] = {"app": "web"}
        await world.client.create(REPLICATION_CONTROLLER, obj)
        await world.until(lambda: _count(world, 2))
        (one, _) = await world.find(POD)
        assert one["metadata"]["ownerReferences"][0]["kind"] == "ReplicationController"

    on_cluster(scenario)
