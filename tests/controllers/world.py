"""The real API in this process, the controllers that a test asks for, and a node that is played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jindou.control.api.access.tokens import Tokens
from jindou.control.api.server import ApiServer
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.groundwork.runner import Runner
from jindou.control.store.memory import MemoryStore
from jindou.objects.errors import CloudError
from jindou.objects.kinds import (
    LEASE,
    NAMESPACE,
    NODE,
    POD,
    SERVICE_ACCOUNT,
    Kind,
    Object,
    Ref,
    ref_of,
)
from jindou.settings import Settings


class World:
    def __init__(self, server: ApiServer, controllers: Sequence[Any]) -> None:
        self.server = server
        self.client = server.local()
        self.runner = Runner(server.local(), controllers)

    def kinds(self) -> list[Kind]:
        return kinds_of(self.server)

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait for what `condition` says, looked at after every change of the store."""
        changed = asyncio.Event()
        store = self.server.engine.store
        stop = store.watch("", store.revision, lambda changes: changed.set())
        try:
            async with asyncio.timeout(seconds):
                while True:
                    changed.clear()
                    found = condition()
                    if asyncio.iscoroutine(found):
                        found = await found
                    if found:
                        return found
                    await changed.wait()
        finally:
            stop()

    async def gone(self, ref: Ref) -> bool:
        try:
            await self.client.get(ref)
        except CloudError as error:
            return error.code == 404
        return False

    async def find(self, kind: Kind, namespace: str = "default", labels: str = "") -> list[Object]:
        return (await self.client.find(kind, namespace, labels=labels)).items

    async def account(self, namespace: str = "default") -> None:
        """Until Pods can be made there."""
        await self.until(lambda: self.has(Ref(SERVICE_ACCOUNT, namespace, "default")))

    async def has(self, ref: Ref) -> bool:
        return not await self.gone(ref)

    async def settled(self) -> None:
        """Until no controller has anything to do."""
        idle = 0
        while idle < 3:
            await asyncio.sleep(0.02)
            idle = idle + 1 if self.runner.idle else 0


class Refusing:
    """A client whose calls fail where `error` (name of the call, its arguments) gives why."""

    def __init__(self, client: Any, error: Callable[..., CloudError | None]) -> None:
        self._client = client
        self._error = error

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in ("get", "create", "update", "patch", "delete"):
            return call

        async def made(*args: Any, **options: Any) -> Any:
            error = self._error(name, *args)
            if error is not None:
                raise error
            return await call(*args, **options)

        return made


@asynccontextmanager
async def refused(
    world: World, controllers: Sequence[Any], error: Callable[..., CloudError | None]
) -> AsyncIterator[None]:
    """These controllers run, with a client that is refused."""
    client: Any = Refusing(world.server.local(), error)
    runner = Runner(client, controllers)
    running = asyncio.create_task(runner.run())
    try:
        await runner.synced.wait()
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def kinds_of(server: ApiServer) -> list[Kind]:
    """All kinds with objects of their own that can be listed, watched and deleted."""
    found: dict[str, Kind] = {}
    for resource in server.registry.all():
        if {"list", "watch", "delete"} <= set(resource.verbs):
            found.setdefault(resource.prefix, resource.kind)
    return list(found.values())


def in_world(make: Callable[[ApiServer], Sequence[Any]], scenario: Callable[[World], Any]) -> Any:
    """Run `scenario(world)` with the controllers that `make(server)` gives."""

    async def main() -> Any:
        server = ApiServer(MemoryStore(), Settings(), Tokens(Path("/nonexistent"), "cluster.local"))
        await server.start()
        world = World(server, make(server))
        running = asyncio.create_task(world.runner.run())
        try:
            await world.runner.synced.wait()
            return await asyncio.wait_for(scenario(world), 60)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            server.close()

    return asyncio.run(main())


def node_object(name: str, cpu: str = "4", memory: str = "8Gi", **labels: str) -> Object:
    now = times.text()
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "status": {
            "capacity": {"cpu": cpu, "memory": memory, "pods": "110"},
            "allocatable": {"cpu": cpu, "memory": memory, "pods": "110"},
            "conditions": [{**ready, "lastHeartbeatTime": now, "lastTransitionTime": now}],
        },
    }


async def add_node(client: Any, name: str = "here", **options: Any) -> Object:
    wanted = node_object(name, **options)
    made = await client.create(NODE, wanted)
    made["status"] = wanted["status"]
    made = await client.update(NODE, made, "status")
    made["spec"].pop("taints")  # of not being ready, as the controller of nodes would
    return await client.update(NODE, made)


async def renew_lease(client: Any, name: str) -> None:
    ref = Ref(LEASE, "kube-node-lease", name)
    spec = {
        "holderIdentity": name,
        "leaseDurationSeconds": 40,
        "renewTime": f"{times.text()[:-1]}.000000Z",
    }
    try:
        await client.patch(ref, {"spec": spec})
    except CloudError:
        meta = {"name": name, "namespace": "kube-node-lease"}
        await client.create(
            LEASE,
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": meta,
                "spec": spec,
            },
        )


class PlayedNode:
    """Runs every Pod bound to it at once: Ready with an address; ends those that are deleted."""

    def __init__(self, client: Any, name: str = "here") -> None:
        self.client = client
        self.name = name
        self.broken: set[str] = set()  # images that never become ready
        self._count = 0
        self._started: set[str] = set()

    async def run(self) -> None:
        async for event in self.client.watch(POD, fields=f"spec.nodeName={self.name}"):
            pod = event.object
            uid = pod["metadata"]["uid"]
            try:
                if event.type == "DELETED":
                    continue
                if pod["metadata"].get("deletionTimestamp"):
                    await self.client.delete(ref_of(POD, pod), grace=0, uid=uid)
                elif uid not in self._started:
                    self._started.add(uid)
                    await self._start(pod)
            except CloudError as error:
                if error.code not in (404, 409):
                    raise

    async def _start(self, pod: Object) -> None:
        self._count += 1
        image = pod["spec"]["containers"][0]["image"]
        ready = "False" if image in self.broken else "True"
        address = f"10.1.{self._count // 250}.{self._count % 250 + 1}"
        now = times.text()
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": "10.0.0.1",
            "startTime": now,
            "conditions": [
                {"type": kind, "status": ready, "lastTransitionTime": now}
                for kind in ("Ready", "ContainersReady")
            ],
        }
        changes = {"status": status}
        await self.client.patch(ref_of(POD, pod), changes, "status", how="strategic")


async def with_node(world: World, scenario: Callable[[PlayedNode], Any], **options: Any) -> None:
    await world.account()
    await add_node(world.client, "here", **options)
    node = PlayedNode(world.client)
    running = asyncio.create_task(node.run())
    try:
        await scenario(node)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def namespace_object(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


async def make_namespace(client: Any, name: str) -> Object:
    return await client.create(NAMESPACE, namespace_object(name))


def template(image: str = "web:1", **labels: str) -> Object:
    return {
        "metadata": {"labels": labels or {"app": "web"}},
        "spec": {
            "containers": [
                {"name": "web", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}
            ]
        },
    }


def pod_object(name: str, **spec: Any) -> Object:
    labels = spec.pop("labels", {"app": "web"})
    containers = [{"name": "web", "image": "web:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": containers, **spec},
    }


def deployment_object(
    name: str = "web", replicas: int = 3, image: str = "web:1", **spec: Any
) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            **spec,
        },
    }
