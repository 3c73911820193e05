"""The node, composed: everything that makes this machine match the objects bound to it.

    client ──▶ informers ──▶ Pods, Services, Names          Registration: the Node object, its Lease
    drivers of the machine ──▶ the same                     NodeServer: logs, exec, attach, forward

`start` makes the machine ready and takes up what runs; `run` lasts until cancelled; `stop` lets go
of everything and leaves the containers running.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from jindou.client import Client
from jindou.client.informers import Informer, without_managed_fields
from jindou.client.retry import Backoff
from jindou.machine.images import Images
from jindou.machine.images.users import resolve_user
from jindou.machine.network import Endpoint, Network
from jindou.machine.runtimes import Runtime
from jindou.machine.volumes import Volumes as Folders
from jindou.node import Containers
from jindou.node.clock import Clock
from jindou.node.dns import Names, machine_text, resolv_conf
from jindou.node.endpoint.logs import keep_small
from jindou.node.events import Events
from jindou.node.images import Puller
from jindou.node.pods.pods import Pods
from jindou.node.references import References
from jindou.node.registration import Registration
from jindou.node.services import Services
from jindou.node.state.parts import Parts, Report
from jindou.node.state.records import Records
from jindou.node.volumes.environment import environment
from jindou.node.volumes.provisioned import Provisioned
from jindou.node.volumes.volumes import Volumes
from jindou.objects import quantities
from jindou.objects.errors import CloudError
from jindou.objects.kinds import ENDPOINT_SLICE, POD, SERVICE, Object
from jindou.settings import Settings

log = logging.getLogger("jindou.node")
LAST_WORDS = 3.0  # seconds for telling of ends when the machine goes down


class Agent:
    def __init__(
        self,
        settings: Settings,
        client: Client,
        runtime: Runtime,
        network: Network,
        images: Images,
        volumes: Folders,
        *,
        clock: Clock | None = None,
        dns_port: int = 53,
    ) -> None:
        self._settings = settings
        self._client, self._network = client, network
        self._runtime, self._images = runtime, images
        clock = clock or Clock()
        # What is always there and always this machine: its own end of the Pods' network.
        self.addresses = ("127.0.0.1",) if settings.pretend else tuple(network.gateway)
        self.registration = Registration(
            settings, client, images, addresses=self.addresses, runtime=_runtime_name(runtime)
        )
        name = self.registration.name
        self._references = References(client)
        self._events = Events(client, name, clock)
        self._services_informer = Informer(client, SERVICE, keep=without_managed_fields)
        self._slices = Informer(client, ENDPOINT_SLICE, keep=without_managed_fields)
        self._pods = Informer(
            client, POD, fields=f"spec.nodeName={name}", keep=without_managed_fields
        )
        self._puller = Puller(
            images,
            self._references,
            self._events.record,
            in_use=lambda: self.pods.images_in_use(),
            folder=settings.data,
            clock=clock,
        )
        allocatable = self.registration.allocatable()
        self.volumes = Volumes(
            settings, volumes, self._references, client,
            puller=self._puller, allocatable=self.registration.allocatable,
        )  # fmt: skip
        self._provisioned = Provisioned(settings, client, volumes, name)
        self.parts = Parts(
            settings=settings,
            client=client,
            runtime=runtime,
            network=network,
            images=images,
            puller=self._puller,
            volumes=self.volumes,
            folders=volumes,
            environment=self._environment,
            resolve_user=resolve_user,
            resolv_conf=self._resolv_conf,
            events=self._events,
            records=Records(settings),
            clock=clock,
            host_addresses=self.addresses,
            memory=self.registration.machine.memory,
            allocatable={
                "cpu": quantities.milli(allocatable["cpu"]),
                "memory": quantities.value(allocatable["memory"]),
            },
            delete_group=_group_deleter(runtime),
        )
        self.pods = Pods(self.parts, self._pods)
        api = Endpoint(settings.api_address, settings.api_port)
        self._services = Services(
            network, self._services_informer, self._slices, name, self.addresses, api
        )
        self._names: Names | None = None
        if not settings.pretend:
            self._names = Names(
                settings, self._services_informer, self._slices, self._pods, port=dns_port,
                move=self._services.move,
            )  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def containers(self) -> Containers:
        return self.pods

    def bound(self) -> list[Object]:
        """Every Pod of this node, as last seen."""
        return self._pods.all()

    async def start(self) -> None:
        """Make the machine ready, say so, and take up what runs already."""
        await self._network.open()
        if self._names:
            await self._names.start()
        await self.pods.start()
        self._services.start()
        self._begin(self._services_informer.run(), "following Services")
        self._begin(self._slices.run(), "following EndpointSlices")
        self._begin(self._events.run(), "writing events")
        self._begin(self._provisioned.run(), "giving back volumes")
        self._begin(keep_small(self._runtime, self.pods.logs), "rotating logs")
        # A container's environment names the Services that were there before it.
        self._begin(self._pods_after_services(), "following Pods")
        await self._register()
        self.registration.set_ready()
        self._begin(self.registration.run(), "heartbeats")

    async def _register(self) -> None:
        """Until the API has taken us in. Meanwhile all goes on that was known before."""
        backoff = Backoff(0.05, 5.0)
        while True:
            try:
                return await self.registration.start()
            except (CloudError, OSError) as error:
                log.info("the node could not be registered yet: %s", error)
                await asyncio.sleep(backoff.delay())

    async def run(self) -> None:
        """Until cancelled; an end of one of the parts is an end of all."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and (error := task.exception()):
                raise error

    async def shut_down(self, seconds: float) -> None:
        """The machine goes down: each container gets its grace, but none more than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.pods.stop_all()
                return
        running = await self._runtime.observe()
        await asyncio.gather(*(self._runtime.stop(id, 0.0) for id in running))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self.pods.stop_all()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pods.stop()
        await self._services.stop()
        if self._names:
            await self._names.stop()
        await self.volumes.close()
        await self._puller.close()
        await self._references.close()
        await self._network.leave()
        if closing := getattr(self._runtime, "close", None):
            closing()

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _pods_after_services(self) -> None:
        await self._services_informer.synced.wait()
        await self._pods.run()

    # ------------------------------------------------------------ what containers are told

    async def _environment(
        self,
        pod: Object,
        container: Object,
        addresses: tuple[str, ...],
        volumes: Mapping[str, Path],
        report: Report,
    ) -> list[tuple[str, str]]:
        return await environment(
            pod, container, self._references, self._services_of(pod), addresses,
            self.registration.node, report, volumes,
        )  # fmt: skip

    def _services_of(self, pod: Object) -> Sequence[Object]:
        found = []
        if pod["spec"].get("enableServiceLinks", True):
            found = self._services_informer.all(pod["metadata"]["namespace"])
        kubernetes = self._services_informer.get("default", "kubernetes")
        return [*found, *([kubernetes] if kubernetes else [])]

    def _resolv_conf(self, pod: Object) -> str:
        namespace = pod["metadata"]["namespace"]
        return resolv_conf(pod, self._settings, namespace, machine_text())


def _runtime_name(runtime: Runtime) -> str:
    with contextlib.suppress(Exception):
        name = getattr(runtime, "runtime", "jindou")
        return f"{name}://{getattr(runtime, 'version', '') or '0'}"
    return ""


def _group_deleter(runtime: Runtime) -> Any:
    cgroups = getattr(runtime, "cgroups", None)
    return cgroups.delete if cgroups else lambda name: None
