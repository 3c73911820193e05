"""Pods from their binding to their end, on a real API and a machine that the test steers."""

from __future__ import annotations

from jindou.objects.kinds import POD, Ref
from tests.node.machine import bench, container, turns


def one(pod, part="containerStatuses", index=0):
    return pod["status"][part][index]


@bench
async def test_a_pod_runs_and_succeeds(node):
    await node.create("web", restartPolicy="Never")
    pod = await node.pod("web")
    assert pod["status"]["phase"] == "Running", pod["status"]
    (unit,) = node.running()
    assert unit == f"{pod['metadata']['uid']}-main-0"
    assert one(pod)["containerID"] == f"jindou://{unit}"
    node.runtime.exit(unit, 0)
    await turns()
    pod = await node.pod("web")
    assert pod["status"]["phase"] == "Succeeded"
    assert one(pod)["state"]["terminated"]["reason"] == "Completed"
    assert node.runtime.states == {}
    assert node.images.mounted == set()
    assert await node.network.observe() == {}


@bench
async def test_a_pod_is_deleted_gracefully(node):
    await node.create("web")
    await node.client.delete(Ref(POD, "default", "web"), grace=5)
    await turns()
    assert [grace for _, grace in node.runtime.stopped] == [5.0]
    assert (await node.client.find(POD, "default")).items == []
    assert node.runtime.states == {}
