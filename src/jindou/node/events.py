"""Events as the kubelet tells them: counted instead of repeated, and never more than a Pod may say.

`record` only notes; one task writes. What can't be written is tried again for a while and then
dropped: events are news, not truth.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from typing import NamedTuple

from jindou.client import Client
from jindou.client.retry import Backoff
from jindou.node.clock import Clock, stamp
from jindou.objects.errors import CloudError, NotFound, Unavailable
from jindou.objects.kinds import EVENT, POD, Object, Ref

log = logging.getLogger("jindou.events")
BURST, REFILL = 25, 1 / 300  # events of one object at once, and per second from then on
SIMILAR, WINDOW = 10, 600.0  # so many of one reason within the window are then told as one
REMEMBERED, WAITING, TRIES = 4096, 2000, 5
COMPONENT = "kubelet"


class Event(NamedTuple):
    pod: Object  # its identity
    type: str  # Normal, Warning
    reason: str
    message: str
    field: str
    at: float


class Told(NamedTuple):
    ref: Ref
    times: int
    at: float


class Limiter:
    """A bucket of tokens for each object."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, key: str, now: float) -> bool:
        tokens, then = self._buckets.pop(key, (float(BURST), now))
        tokens = min(BURST, tokens + (now - then) * REFILL)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed


class Events:
    def __init__(self, client: Client, node_name: str, clock: Clock | None = None) -> None:
        self._client, self._node, self._clock = client, node_name, clock or Clock()
        self._queue: deque[Event] = deque(maxlen=WAITING)
        self._filled = asyncio.Event()
        self._told: OrderedDict[tuple[str, ...], Told] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], tuple[float, set[str]]] = OrderedDict()
        self._limiter = Limiter()

    def record(
        self,
        pod: Object,
        type: str,
        reason: str,
        message: str,
        container: str = "",
    ) -> None:
        meta = pod["metadata"]
        if not self._limiter.allows(meta["uid"], self._clock.now()):
            return
        field = field_path(pod, container) if container else ""
        whose = {
            "kind": "Pod",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "apiVersion": "v1",
            "resourceVersion": meta.get("resourceVersion", ""),
        }
        self._queue.append(Event(whose, type, reason, message[:1024], field, self._clock.wall()))
        self._filled.set()

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                event = self._queue.popleft()
                try:
                    await self._write(event)
                except Exception as error:
                    log.info("the event %s of %s was not written: %s", event.reason, event.pod["name"], error)  # fmt: skip

    async def _write(self, event: Event) -> None:
        backoff = Backoff(0.5, 10.0)
        for attempt in range(TRIES):
            try:
                return await self._tell(event)
            except Unavailable:
                if attempt == TRIES - 1:
                    raise
                await self._clock.sleep(backoff.delay())
            except CloudError as error:
                log.debug("the event %s was refused: %s", event.reason, error)
                return

    async def _tell(self, event: Event) -> None:
        message = self._combined(event)
        key = (event.pod["uid"], event.field, event.type, event.reason, message)
        told = self._told.get(key)
        if told:
            count = told.times + 1
            changes = {"count": count, "lastTimestamp": stamp(event.at), "message": message}
            try:
                await self._client.patch(told.ref, changes)
                self._remember(key, Told(told.ref, count, event.at))
                return
            except NotFound:
                del self._told[key]
        made = self._object(event, message)
        await self._client.create(EVENT, made)
        ref = Ref(EVENT, event.pod["namespace"], made["metadata"]["name"])
        self._remember(key, Told(ref, 1, event.at))

    def _remember(self, key: tuple[str, ...], told: Told) -> None:
        self._told[key] = told
        self._told.move_to_end(key)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    def _combined(self, event: Event) -> str:
        """The message; of many similar ones, a shared one."""
        key = (event.pod["uid"], event.type, event.reason)
        since, messages = self._similar.pop(key, (event.at, set()))
        if event.at - since > WINDOW:
            since, messages = event.at, set()
        messages.add(event.message)
        self._similar[key] = (since, messages)
        if len(self._similar) > REMEMBERED:
            self._similar.popitem(last=False)
        if len(messages) > SIMILAR:
            return f"(combined from similar events): {event.message}"
        return event.message

    def _object(self, event: Event, message: str) -> Object:
        at = stamp(event.at)
        involved = {**event.pod, **({"fieldPath": event.field} if event.field else {})}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{event.pod['name'][:230]}.{self._number():x}",
                "namespace": event.pod["namespace"],
            },
            "involvedObject": involved,
            "reason": event.reason,
            "message": message,
            "source": {"component": COMPONENT, "host": self._node},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
            "type": event.type,
            "eventTime": None,
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node,
        }

    _last_number = 0

    def _number(self) -> int:
        """Unlike every other: the time, in nanoseconds, but always growing."""
        self._last_number = max(self._last_number + 1, int(self._clock.wall() * 1e9))
        return self._last_number


def field_path(pod: Object, container: str) -> str:
    for part in ("containers", "initContainers", "ephemeralContainers"):
        if any(held["name"] == container for held in pod["spec"].get(part) or ()):
            return f"spec.{part}{{{container}}}"
    return ""


def pod_ref(pod: Object) -> Ref:
    return Ref(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
