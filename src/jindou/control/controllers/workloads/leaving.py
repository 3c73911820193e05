"""Pods on their way out: deleted by their owner, which counts from that moment, and seen alive a while longer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from jindou.client import Client
from jindou.client.informers import Informer
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.objects.errors import CloudError, NotFound
from jindou.objects.kinds import Object, Ref

AT_ONCE = 16


class Leaving:
    """`told`: do deletions become events of the owner, in the words of the field?"""

    def __init__(self, events: Recorder, told: bool = True) -> None:
        self.uids: set[str] = set()
        self._events = events
        self._told = told

    def follow(self, pods: Informer) -> None:
        self._pods = pods
        pods.on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        if new is None or obj["metadata"].get("deletionTimestamp"):
            self.uids.discard(obj["metadata"]["uid"])

    async def delete(
        self, client: Client, owner: Object, pods: Iterable[tuple[Ref, str]]
    ) -> list[CloudError]:
        """`pods` with their uids. What went wrong with some; all others are on their way out."""
        gate = asyncio.Semaphore(AT_ONCE)
        results = await asyncio.gather(*(self._delete(client, owner, *pod, gate) for pod in pods))
        return [result for result in results if result is not None]

    async def _delete(
        self, client: Client, owner: Object, ref: Ref, uid: str, gate: asyncio.Semaphore
    ) -> CloudError | None:
        async with gate:
            self.uids.add(uid)
            try:
                await client.delete(ref, uid=uid)
            except NotFound:
                held = self._pods.get(ref.namespace, ref.name)
                if held is None or held["metadata"]["uid"] != uid:
                    self.uids.discard(uid)  # nobody will tell of it any more
                return None
            except CloudError as error:
                self.uids.discard(uid)
                self._tell(client, owner, "FailedDelete", f"Error deleting: {error}", "Warning")
                return error
        self._tell(client, owner, "SuccessfulDelete", f"Deleted pod: {ref.name}")
        return None

    def _tell(
        self, client: Client, owner: Object, reason: str, text: str, type: str = "Normal"
    ) -> None:
        if self._told:
            self._events.event(client, owner, reason, text, type)
