"""The Node object, its status and its Lease against the real API."""

from __future__ import annotations

import asyncio

import pytest

from jindou.machine.images import Image
from jindou.node import facts
from jindou.node.facts import Pressure, observe_machine
from jindou.node.registration import Registration, allocatable, capacity, conditions, same_status
from jindou.objects.kinds import LEASE, NODE, Ref
from jindou.settings import Settings
from tests.node.machine import Still, cloud, turns

NODE_REF = Ref(NODE, "", "here")
LEASE_REF = Ref(LEASE, "kube-node-lease", "here")


class Images:
    def __init__(self):
        self.held = [Image("sha256:1", ("docker.io/library/busybox:latest",), {}, 100)]

    def all(self):
        return self.held


class World:
    def __init__(self, folder, client):
        self.clock, self.images, self.client = Still(), Images(), client
        self.settings = Settings(node_name="here", data=str(folder))
        self.made = self.again()

    def again(self):
        return Registration(
            self.settings, self.client, self.images, addresses=("10.0.0.1", "fd00::1"),
            runtime="crun://1.8.1", clock=self.clock,
        )  # fmt: skip

    async def node(self):
        return await self.client.get(NODE_REF)

    async def condition(self, kind):
        return next(c for c in (await self.node())["status"]["conditions"] if c["type"] == kind)


def world(test):
    def run(tmp_path):
        async def main():
            async with cloud(tmp_path) as client:
                await test(World(tmp_path, client))

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


@world
async def test_a_new_node_says_what_it_is(world):
    await world.made.start()
    node = await world.node()
    labels = node["metadata"]["labels"]
    assert labels["kubernetes.io/hostname"] == "here"
    assert labels["kubernetes.io/os"] == "linux"
    assert labels["node-role.kubernetes.io/control-plane"] == ""
    assert node["spec"]["podCIDRs"] == ["10.210.0.0/16", "fd00:10:210::/64"]
    status = node["status"]
    assert status["addresses"] == [
        {"type": "InternalIP", "address": "10.0.0.1"},
        {"type": "InternalIP", "address": "fd00::1"},
        {"type": "Hostname", "address": "here"},
    ]
    assert status["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
    assert status["nodeInfo"]["containerRuntimeVersion"] == "crun://1.8.1"
    assert status["images"] == [{"names": ["docker.io/library/busybox:latest"], "sizeBytes": 100}]
    assert int(status["capacity"]["cpu"]) >= 1
    ready = await world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "KubeletNotReady")
    lease = await world.client.get(LEASE_REF)
    assert lease["spec"]["holderIdentity"] == "here"
    assert lease["spec"]["leaseDurationSeconds"] == 40
    assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]


@world
async def test_heartbeats_write_the_status_only_when_it_changed_or_is_old(world):
    await world.made.start()
    world.made.set_ready()
    await world.made._beat()
    ready = await world.condition("Ready")
    assert (ready["status"], ready["message"]) == ("True", "kubelet is posting ready status")
    written = (await world.node())["metadata"]["resourceVersion"]
    renewed = (await world.client.get(LEASE_REF))["spec"]["renewTime"]
    await world.clock.pass_by(10)
    await world.made._beat()
    assert (await world.node())["metadata"]["resourceVersion"] == written
    assert (await world.client.get(LEASE_REF))["spec"]["renewTime"] > renewed
    world.images.held = []
    await world.made._beat()
    assert (await world.node())["status"].get("images", []) == []
    since = (await world.condition("Ready"))["lastTransitionTime"]
    await world.clock.pass_by(301)
    await world.made._beat()
    late = await world.condition("Ready")
    assert late["lastTransitionTime"] == since
    assert late["lastHeartbeatTime"] > since


@world
async def test_what_others_wrote_survives_a_new_start_of_ours(world):
    await world.made.start()
    await world.client.patch(
        NODE_REF,
        {
            "metadata": {"labels": {"disk": "ssd", "kubernetes.io/os": None}},
            "spec": {"unschedulable": True, "taints": [{"key": "a", "effect": "NoSchedule"}]},
        },
    )
    other = {"type": "NetworkUnavailable", "status": "False", "reason": "R", "message": "m"}
    await world.client.patch(
        NODE_REF, {"status": {"conditions": [other]}}, "status", how="strategic"
    )
    again = world.again()
    await again.start()
    again.set_ready()
    await again._beat()
    node = await world.node()
    assert node["metadata"]["labels"]["disk"] == "ssd"
    assert node["metadata"]["labels"]["kubernetes.io/os"] == "linux"
    assert node["spec"]["unschedulable"] is True
    assert {c["type"] for c in node["status"]["conditions"]} == {
        "NetworkUnavailable", "MemoryPressure", "DiskPressure", "PIDPressure", "Ready",
    }  # fmt: skip
    assert len(node["status"]["addresses"]) == 3


@world
async def test_a_node_that_was_called_unknown_is_ready_at_the_next_beat(world):
    await world.made.start()
    world.made.set_ready()
    await world.made._beat()
    said = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
    await world.client.patch(
        NODE_REF, {"status": {"conditions": [said]}}, "status", how="strategic"
    )
    await world.made._beat()
    ready = await world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("True", "KubeletReady")


@world
async def test_a_node_or_lease_that_was_deleted_comes_back(world):
    await world.made.start()
    world.made.set_ready()
    await world.client.delete(NODE_REF)
    await world.client.delete(LEASE_REF)
    task = asyncio.create_task(world.made.run())
    try:
        async with asyncio.timeout(5):
            while not (await world.client.find(NODE)).items or not (await world.client.find(LEASE, "kube-node-lease")).items:  # fmt: skip
                await turns()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_conditions_keep_their_time_until_they_change():
    first = conditions(Pressure(disk=True), "", "T1", {})
    assert [(c["type"], c["status"], c["reason"]) for c in first] == [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "True", "KubeletHasDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ]
    second = conditions(Pressure(), "", "T2", {c["type"]: c for c in first})
    assert [c["lastTransitionTime"] for c in second] == ["T1", "T2", "T1", "T1"]
    assert {c["lastHeartbeatTime"] for c in second} == {"T2"}
    assert not same_status({"conditions": first}, {"conditions": second})
    third = conditions(Pressure(), "", "T3", {c["type"]: c for c in second})
    assert same_status({"conditions": second}, {"conditions": third})


def test_what_the_machine_says_of_itself_is_read(tmp_path):
    root = tmp_path / "root"
    for name, text in {
        "proc/meminfo": "MemTotal: 2048000 kB\nMemAvailable: 90000 kB\n",
        "proc/loadavg": "0.1 0.1 0.1 2/990 1\n",
        "proc/sys/kernel/pid_max": "1000\n",
        "proc/sys/kernel/random/boot_id": "B-1\n",
        "etc/machine-id": "abc\n",
        "etc/os-release": 'NAME=x\nPRETTY_NAME="Some Linux 1"\n',
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "4\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    machine = observe_machine("n", str(tmp_path / "not/there/yet"), root)
    assert (machine.memory, machine.boot_id, machine.machine_id) == (2048000 * 1024, "b-1", "abc")
    assert (machine.system, machine.huge_pages) == ("Some Linux 1", {"2Mi": 8 << 20})
    assert capacity(machine)["memory"] == "2048000Ki"
    assert capacity(machine)["hugepages-2Mi"] == str(8 << 20)
    assert allocatable(machine)["memory"] == f"{2048000 - 100 * 1024 - 8 * 1024}Ki"
    pressure = facts.observe_pressure(str(tmp_path), root)
    assert (pressure.memory, pressure.pids) == (True, True)


@pytest.mark.parametrize("running", [940, 951])
def test_processes_are_short_when_few_numbers_are_left(tmp_path, running):
    for name, text in {
        "proc/loadavg": f"0 0 0 1/{running} 1",
        "proc/sys/kernel/pid_max": "1000",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert facts.pids_are_short(tmp_path) == (running > 950)
