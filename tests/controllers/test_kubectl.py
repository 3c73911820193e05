"""kubectl, unmodified, against the API with its controllers and a node that is played."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest

from jindou.control.controllers.discovery.endpoint_slices import EndpointSlices
from jindou.control.controllers.discovery.endpoints import EndpointsOfServices
from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.groundwork.runner import Runner
from jindou.control.controllers.namespaces import Namespaces
from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.workloads.deployments.deployments import Deployments
from jindou.control.controllers.workloads.deployments.replica_sets import ReplicaSets
from jindou.objects.kinds import DEPLOYMENT, Ref
from tests.control.apis import on_kubectl
from tests.controllers.world import PlayedNode, add_node, deployment_object, kinds_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl"),
]


def with_kubectl(tmp_path, scenario):
    async def run(kubectl, api):
        server = api.server
        kinds = lambda: kinds_of(server)  # noqa: E731
        runner = Runner(
            server.local(),
            [
                Namespaces(kinds), ServiceAccounts(), Deployments(), ReplicaSets(), EndpointSlices(),
                EndpointsOfServices(), Scheduler(), GarbageCollector(kinds, server.registry.on_change),
            ],
        )  # fmt: skip
        await add_node(server.local())
        node = PlayedNode(server.local())
        tasks = [asyncio.create_task(runner.run()), asyncio.create_task(node.run())]
        try:
            await runner.synced.wait()
            await asyncio.wait_for(scenario(kubectl, api), 90)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    on_kubectl(tmp_path, run)


def test_rollouts_as_people_drive_them(tmp_path):
    async def scenario(kubectl, api):
        document = json.dumps(deployment_object(replicas=2))
        await kubectl("apply", "--server-side", "-f", "-", stdin=document)
        await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        await kubectl("expose", "deployment/web", "--port=80", "--target-port=8080")
        await kubectl("set", "image", "deployment/web", "web=web:2")
        told = await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        assert 'deployment "web" successfully rolled out' in told
        history = await kubectl("rollout", "history", "deployment/web")
        assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == [
            "1",
            "2",
        ]
        await kubectl("rollout", "undo", "deployment/web")
        await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        images = await kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
        assert set(images.split()) <= {"web:1", "web:2"}
        assert "web:1" in images
        await kubectl("scale", "deployment/web", "--replicas=5")
        await kubectl(
            "wait", "--for=jsonpath={.status.readyReplicas}=5", "deployment/web", "--timeout=20s"
        )
        described = await kubectl("describe", "deployment", "web")
        assert "Scaled up replica set" in described
        assert "MinimumReplicasAvailable" in described
        live = await api.client.get(Ref(DEPLOYMENT, "default", "web"))
        appliers = [
            m["manager"] for m in live["metadata"]["managedFields"] if m["operation"] == "Apply"
        ]
        assert appliers == ["kubectl"]
        await kubectl("rollout", "restart", "deployment/web")
        await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        ready = await kubectl(
            "get", "endpoints", "web", "-o", "jsonpath={.subsets[*].addresses[*].ip}"
        )
        assert ready

    with_kubectl(tmp_path, scenario)


def test_deletions_as_people_ask_for_them(tmp_path):
    async def scenario(kubectl, api):
        await kubectl("create", "namespace", "team")
        for name in ("back", "front", "orphan"):
            obj = deployment_object(name, replicas=2)
            obj["metadata"]["namespace"] = "team"
            obj["spec"]["selector"]["matchLabels"] = {"app": name}
            obj["spec"]["template"]["metadata"]["labels"] = {"app": name}
            await kubectl("apply", "-f", "-", stdin=json.dumps(obj))
        for name in ("back", "front", "orphan"):
            await kubectl("-n", "team", "rollout", "status", f"deployment/{name}", "--timeout=20s")
        await kubectl(
            "-n", "team", "delete", "deployment", "front", "--cascade=foreground", "--timeout=20s"
        )
        assert await kubectl("-n", "team", "get", "rs", "-l", "app=front", "-o", "name") == ""
        await kubectl(
            "-n", "team", "delete", "deployment", "orphan", "--cascade=orphan", "--timeout=20s"
        )
        assert "replicaset" in await kubectl(
            "-n", "team", "get", "rs", "-l", "app=orphan", "-o", "name"
        )
        await kubectl("-n", "team", "delete", "deployment", "back", "--timeout=20s")
        await kubectl(
            "-n", "team", "wait", "--for=delete", "pod", "-l", "app=back", "--timeout=20s"
        )
        await kubectl("delete", "namespace", "team", "--timeout=20s")
        code, _, err = await kubectl.run("get", "namespace", "team")
        assert code == 1
        assert "not found" in err

    with_kubectl(tmp_path, scenario)
