"""An APIService for every group version that is served here, as clients expect to list them.

Those of built-in groups are there from the start; those of custom kinds come and go with their
definitions. One that a user has pointed to a server of his own is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import orjson

from jindou.client import Client
from jindou.control.api.aggregation.objects import (
    API_SERVICE,
    LOCAL,
    PREFIX,
    available,
    is_managed,
    managed,
    with_condition,
)
from jindou.control.api.engine.writes import now
from jindou.control.api.resources.registry import Registry
from jindou.control.store import Change, Store
from jindou.objects.errors import AlreadyExists, CloudError, NotFound
from jindou.objects.kinds import Object, Ref

log = logging.getLogger("jindou.aggregation")
AGAIN = 5.0  # seconds until what failed is tried again
HERE = "apiregistration.k8s.io"  # as in the original, the only group without


class Registration:
    def __init__(
        self, store: Store, registry: Registry, client: Client, again: float = AGAIN
    ) -> None:
        self._store = store
        self._registry = registry
        self._client = client
        self._again = again
        self._task: asyncio.Task[None] | None = None
        self._due = asyncio.Event()
        self._stop: Callable[[], None] = lambda: None

    async def start(self) -> None:
        await self._bring_about()
        self._stop = self._store.watch(PREFIX, self._store.revision, self._deliver)
        self._registry.on_change(self._due.set)
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def close(self) -> None:
        self._stop()
        if self._task is not None:
            self._task.cancel()

    def _deliver(self, changes: Sequence[Change]) -> None:
        if any(change.value is None for change in changes):
            self._due.set()

    async def _follow(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._bring_about()
            except CloudError as error:
                log.warning("APIServices are not up to date: %s", error.message)
                await asyncio.sleep(self._again)
                self._due.set()

    async def _bring_about(self) -> None:
        wanted = {
            obj["metadata"]["name"]: obj
            for group, versions in self._registry.groups().items()
            for version in versions
            if group != HERE
            for obj in [managed(group, version)]
        }
        held = [orjson.loads(stored.value) for stored in self._store.scan(PREFIX).items]
        names = {obj["metadata"]["name"] for obj in held}
        missing = [obj for name, obj in wanted.items() if name not in names]
        gone = [obj for obj in held if is_managed(obj) and obj["metadata"]["name"] not in wanted]
        await asyncio.gather(
            *(self._create(obj) for obj in missing), *(self._delete(obj) for obj in gone)
        )

    async def _create(self, obj: Object) -> None:
        whole = {"apiVersion": API_SERVICE.api_version, "kind": API_SERVICE.name, **obj}
        try:
            await self._client.create(API_SERVICE, whole)
        except AlreadyExists:
            return

    async def _delete(self, obj: Object) -> None:
        try:
            await self._client.delete(Ref(API_SERVICE, "", obj["metadata"]["name"]))
        except NotFound:
            return


def complete(obj: Object) -> None:
    """What is served here is always available; in place."""
    spec = obj.get("spec") or {}
    held = available(obj)
    if spec.get("service"):
        if held is not None and held.get("reason") == LOCAL[1]:
            obj["status"]["conditions"].remove(held)
    else:
        obj.setdefault("status", {})["conditions"] = with_condition(obj, LOCAL, now())
