"""The whole node on a pretended machine, beside a real API."""

from __future__ import annotations

import asyncio

from jindou.machine.images.pretend import PretendImages
from jindou.machine.network.pretend import PretendNetwork
from jindou.machine.runtimes.pretend import PretendRuntime
from jindou.machine.volumes.pretend import PretendVolumes
from jindou.node.agent import Agent
from jindou.objects.errors import Unavailable
from jindou.objects.kinds import CONFIG_MAP, EVENT, NODE, POD, Ref
from jindou.settings import Settings
from tests.node.machine import bench, cloud, turns


def agent_on(folder, client) -> Agent:
    settings = Settings(
        data=str(folder / "data"), run=str(folder / "run"), logs=str(folder / "logs"),
        node_name="here", pretend=True,
    )  # fmt: skip
    for path in (settings.data, settings.run, settings.logs):
        (folder / path).mkdir(exist_ok=True)
    drivers = (PretendRuntime(settings), PretendNetwork(settings), PretendImages(settings))
    return Agent(settings, client, *drivers, PretendVolumes())


def pod(name, annotations=None, **spec):
    main = {
        "name": "main",
        "image": "busybox:1",
        "imagePullPolicy": "IfNotPresent",
        **spec.pop("main", {}),
    }
    return {
        "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
        "spec": {"nodeName": "here", "automountServiceAccountToken": False, "containers": [main], **spec},
    }  # fmt: skip


async def seen(client, name, condition):
    async with asyncio.timeout(10):
        async for event in client.watch(POD, "default", fields=f"metadata.name={name}"):
            if condition(event):
                return event.object


def test_from_pending_to_succeeded(tmp_path):
    async def main():
        async with cloud(tmp_path) as client:
            agent = agent_on(tmp_path, client)
            await agent.start()
            task = asyncio.create_task(agent.run())
            node = await client.get(Ref(NODE, "", "here"))
            ready = {c["type"]: c["status"] for c in node["status"]["conditions"]}
            assert ready["Ready"] == "True" or not task.done()
            held = {"metadata": {"name": "c", "namespace": "default"}, "data": {"a": "b"}}
            await client.create(CONFIG_MAP, held)
            wish = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "a"}}}]
            made = pod("web", {"pretend/run-for": "100ms", "pretend/exit-code": "0"}, restartPolicy="Never", main={"env": wish})  # fmt: skip
            await client.create(POD, made)
            phases = []

            def over(event):
                phases.append(event.object.get("status", {}).get("phase"))
                return phases[-1] == "Succeeded"

            last = await seen(client, "web", over)
            assert [phase for n, phase in enumerate(phases) if phase not in phases[:n]] == [
                "Pending", "Running", "Succeeded",
            ]  # fmt: skip
            assert last["status"]["podIP"]
            log = agent.containers.log("default", "web", "main")
            assert log.parent.parent.name.startswith("default_web_")
            await client.delete(Ref(POD, "default", "web"))
            task.cancel()
            await agent.stop()

    asyncio.run(main())


class Away:
    """A client whose server goes away and comes back."""

    def __init__(self, client) -> None:
        self._client, self.away, self.refused = client, False, 0

    def __getattr__(self, name):
        found = getattr(self._client, name)
        if name not in ("patch", "create", "delete"):
            return found

        async def call(*args, **more):
            if self.away:
                self.refused += 1
                raise Unavailable("the server can't be reached")
            return await found(*args, **more)

        return call


@bench
async def test_the_node_goes_on_while_the_server_is_away(node):
    await node.kill_node()
    plain, node.client = node.client, Away(node.client)
    await node.start_node()
    await node.create("web", restartPolicy="OnFailure")
    node.client.away = True
    node.runtime.exit(node.running()[0], 1)
    await node.clock.pass_by(1)
    assert [id[-1] for id in node.running()] == ["1"]
    node.runtime.exit(node.running()[0], 0)
    await node.clock.pass_by(5)
    assert node.client.refused > 1
    assert (await plain.get(Ref(POD, "default", "web")))["status"]["phase"] == "Running"
    node.client.away = False
    await node.clock.pass_by(20)
    status = (await plain.get(Ref(POD, "default", "web")))["status"]
    assert status["phase"] == "Succeeded"
    assert status["containerStatuses"][0]["restartCount"] == 1
    await turns()


@bench
async def test_events_are_counted_and_limited(node):
    made = await node.create("web")
    for _ in range(5):
        node.parts.events.record(made, "Warning", "Odd", "the same", "main")
    await turns()
    (event,) = [
        held
        for held in (await node.client.find(EVENT, "default")).items
        if held["reason"] == "Odd"
    ]  # fmt: skip
    assert event["count"] == 5
    assert event["involvedObject"]["fieldPath"] == "spec.containers{main}"
    assert event["source"] == {"component": "kubelet", "host": "here"}
    for number in range(100):
        node.parts.events.record(made, "Warning", "Many", f"number {number}")
    await turns()
    await turns()
    told = [text for reason, text in await node.events("web") if reason == "Many"]
    assert len(told) < 25
    assert any(text.startswith("(combined from similar events): ") for text in told)


def test_a_machine_that_goes_down_ends_containers_but_waits_only_so_long(tmp_path):
    async def main():
        async with cloud(tmp_path) as client:
            agent = agent_on(tmp_path, client)
            await agent.start()
            task = asyncio.create_task(agent.run())
            for name, takes in (("quick", "1ms"), ("stubborn", "1h")):
                made = pod(name, {"pretend/stop-after": takes}, terminationGracePeriodSeconds=3600)
                await client.create(POD, made)
                await seen(client, name, lambda event: event.object["status"].get("containerStatuses", [{}])[0].get("started"))  # fmt: skip
            async with asyncio.timeout(5):
                await agent.shut_down(0.05)
            assert agent.containers.statistics() == []
            kept = (await client.find(POD, "default")).items
            assert not any(found["metadata"].get("deletionTimestamp") for found in kept)
            assert {found["status"]["phase"] for found in kept} == {"Running"}
            task.cancel()
            await agent.stop()

    asyncio.run(main())
