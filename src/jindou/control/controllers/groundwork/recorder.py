"""Events that tell people what a controller did: written behind its back, merged where alike.

The same event again raises its count. More than ten of one reason about one object become one
"combined" event, as every client of the field does it. An event that can't be written is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from typing import NamedTuple

from jindou.client import Client
from jindou.control.controllers.groundwork import times
from jindou.objects.errors import CloudError
from jindou.objects.kinds import EVENT, Object, Ref

log = logging.getLogger("jindou.controllers")

SETTLE = 0.05  # seconds that events wait for more of their kind
AT_ONCE = 16
REMEMBERED = 4096
SIMILAR, SIMILAR_WINDOW = 10, 600.0

Key = tuple[str, str, str, str]  # uid or name of the object, type, reason, message


class Known(NamedTuple):
    ref: Ref
    times: int


class Recorder:
    def __init__(self, component: str) -> None:
        self._component = component
        self._pending: dict[Key, Object] = {}
        self._known: OrderedDict[Key, Known] = OrderedDict()
        self._similar: OrderedDict[tuple[str, str, str], tuple[float, set[str]]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def event(
        self, client: Client, obj: Object, reason: str, message: str, type: str = "Normal"
    ) -> None:
        """About `obj`, which has kind and apiVersion. Returns at once."""
        meta = obj["metadata"]
        about = meta.get("uid") or f"{meta.get('namespace', '')}/{meta['name']}"
        message = self._combined((about, type, reason), message[:1024])
        key = (about, type, reason, message if not message.startswith("(combined") else "")
        pending = self._pending.get(key)
        if pending is None:
            self._pending[key] = self._new(obj, reason, message, type)
        else:
            pending["count"] += 1
            pending["message"] = message
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._flush(client))

    def _combined(self, kind: tuple[str, str, str], message: str) -> str:
        now = time.monotonic()
        started, seen = self._similar.get(kind, (now, set()))
        if now - started > SIMILAR_WINDOW:
            started, seen = now, set()
        seen.add(message)
        self._similar[kind] = (started, seen)
        if len(self._similar) > REMEMBERED:
            self._similar.popitem(last=False)
        if len(seen) <= SIMILAR:
            return message
        seen.discard(message)
        return f"(combined from similar events): {message}"

    def _new(self, obj: Object, reason: str, message: str, type: str) -> Object:
        meta, now = obj["metadata"], times.text()
        namespace = meta.get("namespace") or "default"
        involved = {
            "kind": obj["kind"],
            "namespace": meta.get("namespace"),
            "name": meta["name"],
            "uid": meta.get("uid"),
            "apiVersion": obj["apiVersion"],
            "resourceVersion": meta.get("resourceVersion"),
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta['name']}.{time.time_ns():x}", "namespace": namespace},
            "involvedObject": {name: value for name, value in involved.items() if value},
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": type,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": "",
        }

    async def _flush(self, client: Client) -> None:
        await asyncio.sleep(SETTLE)
        while self._pending:
            batch = [(key, self._pending.pop(key)) for key in list(self._pending)[:AT_ONCE]]
            await asyncio.gather(*(self._write(client, key, event) for key, event in batch))

    async def _write(self, client: Client, key: Key, event: Object) -> None:
        known = self._known.pop(key, None)
        try:
            if known is not None and await self._count(client, key, known, event):
                return
            created = await client.create(EVENT, event)
            meta = created["metadata"]
            self._remember(key, Known(Ref(EVENT, meta["namespace"], meta["name"]), event["count"]))
        except CloudError as error:
            log.debug("the event %s of %s was lost: %s", event["reason"], self._component, error)

    async def _count(self, client: Client, key: Key, known: Known, event: Object) -> bool:
        count = known.times + event["count"]
        changes = {
            "count": count,
            "lastTimestamp": event["lastTimestamp"],
            "message": event["message"],
        }
        try:
            await client.patch(known.ref, changes)
        except CloudError:
            return False
        self._remember(key, Known(known.ref, count))
        return True

    def _remember(self, key: Key, known: Known) -> None:
        self._known[key] = known
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
