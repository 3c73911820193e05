"""Events live for an hour after they were last seen; one timer waits for the next to go."""

from __future__ import annotations

import asyncio
import heapq

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import times
from jindou.objects.errors import CloudError
from jindou.objects.kinds import EVENT, Object, Ref

AT_ONCE = 64
RETRY = 10.0
Key = tuple[str, str]


def last_seen_only(obj: Object) -> Object:
    meta = obj["metadata"]
    return {
        "metadata": {
            name: meta[name]
            for name in ("name", "namespace", "uid", "resourceVersion")
            if name in meta
        },
        "seen": last_seen(obj),
    }


def last_seen(event: Object) -> float:
    series = event.get("series") or {}
    found = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    return max(times.parse(one) for one in found)


class Events:
    """`lifetime` in seconds."""

    name = "events"

    def __init__(self, lifetime: float = 3600.0) -> None:
        self._lifetime = lifetime
        self._line: list[tuple[float, Key]] = []
        self._seen: dict[Key, float] = {}
        self._sooner = asyncio.Event()

    def follow(self, informers: Informers, wake: Wake) -> None:
        informers.of(EVENT, keep=last_seen_only).on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if new is None:
            self._seen.pop(key, None)
            return
        if key not in self._seen:
            heapq.heappush(self._line, (new["seen"], key))
            if self._line[0][1] == key:
                self._sooner.set()
        self._seen[key] = new["seen"]

    def due(self, now: float) -> list[Key]:
        """Those whose time is over. One that was seen again goes back into the line."""
        found: list[Key] = []
        while self._line and self._line[0][0] + self._lifetime <= now and len(found) < AT_ONCE:
            _, key = heapq.heappop(self._line)
            seen = self._seen.get(key)
            if seen is None:
                continue
            if seen + self._lifetime <= now:
                found.append(key)
            else:
                heapq.heappush(self._line, (seen, key))
        return found

    async def run(self, client: Client) -> None:
        while True:
            self._sooner.clear()
            due = self.due(times.now())
            if due:
                await asyncio.gather(*(self._delete(client, key) for key in due))
                continue
            wait = None
            if self._line:
                wait = max(self._line[0][0] + self._lifetime - times.now(), 0.01)
            try:
                async with asyncio.timeout(wait):
                    await self._sooner.wait()
            except TimeoutError:
                continue

    async def _delete(self, client: Client, key: Key) -> None:
        try:
            await client.delete(Ref(EVENT, *key))
        except CloudError as error:
            if error.code != 404:
                heapq.heappush(self._line, (times.now() - self._lifetime + RETRY, key))
