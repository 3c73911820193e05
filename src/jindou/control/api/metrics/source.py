"""NodeMetrics and PodMetrics, made when they are asked for.

A node is looked at when the last look is older than a moment; who asks often, as an autoscaler
does, is told of the time since it asked before. Who asks first waits for a second look. A node
that does not answer is left out, as its Pods are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from jindou.control.api import status
from jindou.control.api.engine import encoding
from jindou.control.api.engine.lists import Query
from jindou.control.api.engine.selection import select
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.metrics.samples import (
    NODE,
    Look,
    Place,
    Used,
    base_of,
    duration,
    kept,
    parse,
    rates,
)
from jindou.control.api.resources.registry import Resource
from jindou.objects.errors import CloudError
from jindou.objects.kinds import Object

log = logging.getLogger("jindou.api")

FRESH = 1.0  # seconds that a look is good for
APART = 1.0  # seconds between the two looks of who asks first
PATIENCE = 10.0  # seconds that a node may take for its answer
PATH = "/metrics/resource"

Read = Callable[[str, str], Awaitable[bytes]]  # a node and a path of its endpoint


class Measured(NamedTuple):
    at: float
    window: float
    used: dict[Place, Used]


class Metrics:
    """`read` asks a node's endpoint, for `patience` seconds; `clock` and `pause` are time itself."""

    def __init__(
        self,
        engine: Engine,
        read: Read,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience: float = PATIENCE,
    ) -> None:
        self._engine = engine
        self._read = read
        self._clock = clock
        self._pause = pause
        self._patience = patience
        self._looks: dict[str, list[Look]] = {}
        self._asking: dict[str, asyncio.Task[Measured | None]] = {}

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Raises NotFound."""
        found = await self.find(resource, namespace, fields=f"metadata.name={name}")
        if not found:
            whole = f"{namespace}/{name}" if namespace else name
            raise status.not_found(resource.kind, whole)
        return found[0]

    async def find(
        self, resource: Resource, namespace: str, *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        of = self._engine.registry.by_url("", "v1", resource.kind.plural)
        assert of is not None
        select(resource, namespace, labels, fields)  # refuses what can't be selected here
        page = self._engine.page(of, select(of, namespace, labels, fields), Query())
        objects = [encoding.loads(of, stored.value) for stored in page.items]
        if not resource.kind.namespaced:
            told = await self._measure(node["metadata"]["name"] for node in objects)
            made = [self._node(resource, node, told) for node in objects]
        else:
            bound = [pod for pod in objects if (pod.get("spec") or {}).get("nodeName")]
            told = await self._measure(pod["spec"]["nodeName"] for pod in bound)
            made = [self._pod(resource, pod, told) for pod in bound]
        return [one for one in made if one is not None]

    # ------------------------------------------------------------ nodes

    async def _measure(self, nodes: Iterable[str]) -> dict[str, Measured]:
        names = list(dict.fromkeys(nodes))
        for gone in set(self._looks).difference(self._known()):
            del self._looks[gone]
        told = await asyncio.gather(*(self._ask(name) for name in names))
        return {name: one for name, one in zip(names, told, strict=True) if one is not None}

    def _known(self) -> set[str]:
        listing = self._engine.store.scan("core/nodes/")
        return {stored.key.rpartition("/")[2] for stored in listing.items}

    async def _ask(self, node: str) -> Measured | None:
        """Whoever asks while somebody is being answered gets the same answer."""
        task = self._asking.get(node)
        if task is None:
            task = asyncio.create_task(self._measured(node))
            self._asking[node] = task
            task.add_done_callback(lambda _: self._asking.pop(node, None))
        return await asyncio.shield(task)

    async def _measured(self, node: str) -> Measured | None:
        try:
            looks = self._looks.get(node, [])
            if not looks or self._clock() - looks[-1].at > FRESH:
                looks = await self._look(node, looks)
            if base_of(looks) is None:
                await self._pause(APART)
                looks = await self._look(node, looks)
        except (CloudError, OSError, TimeoutError, ValueError) as error:
            log.debug("%s told nothing of what it uses: %s", node, error)
            return None
        before, after = base_of(looks), looks[-1]
        if before is None:
            return None
        return Measured(after.at, after.at - before.at, dict(rates(before, after)))

    async def _look(self, node: str, looks: list[Look]) -> list[Look]:
        async with asyncio.timeout(self._patience):
            text = await self._read(node, PATH)
        held = kept(looks, Look(self._clock(), parse(text.decode())))
        self._looks[node] = held
        return held

    # ------------------------------------------------------------ objects

    def _node(self, resource: Resource, node: Object, told: dict[str, Measured]) -> Object | None:
        measured = told.get(node["metadata"]["name"])
        used = measured.used.get(NODE) if measured is not None else None
        if measured is None or used is None:
            return None
        return {**_head(resource, node, measured), "usage": used.amounts()}

    def _pod(self, resource: Resource, pod: Object, told: dict[str, Measured]) -> Object | None:
        meta, measured = pod["metadata"], told.get(pod["spec"]["nodeName"])
        if measured is None or (pod.get("status") or {}).get("phase") != "Running":
            return None
        spec = pod["spec"]
        sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy")]
        containers = []
        for container in [*spec["containers"], *sidecars]:
            used = measured.used.get((meta["namespace"], meta["name"], container["name"]))
            if used is not None:
                containers.append({"name": container["name"], "usage": used.amounts()})
        if not containers:
            return None
        return {**_head(resource, pod, measured), "containers": containers}


def _head(resource: Resource, obj: Object, measured: Measured) -> Object:
    meta = obj["metadata"]
    at = _stamp(measured.at)
    kept = {name: meta[name] for name in ("name", "namespace") if name in meta}
    return {
        "kind": resource.kind.name,
        "apiVersion": resource.kind.api_version,
        "metadata": {
            **kept,
            "creationTimestamp": at,
            **({"labels": meta["labels"]} if meta.get("labels") else {}),
        },
        "timestamp": at,
        "window": duration(measured.window),
    }


def _stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
