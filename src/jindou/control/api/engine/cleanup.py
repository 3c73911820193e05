"""A definition that is deleted takes its objects with it: first they go, then it goes.

The definition waits with a finalizer of ours; while it waits nothing new of its kind can be made.
What must stay true: this goes on after a restart, for it follows from what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import orjson

from jindou.control.api.engine.calls import Call, DeleteOptions
from jindou.control.api.engine.deletions import CLEAN_UP
from jindou.control.api.engine.patches import MERGE, Patch
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.resources.definitions import storage_version
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.api.resources.schema import Schema
from jindou.control.store import Change, Stored
from jindou.objects.errors import CloudError, NotFound
from jindou.objects.kinds import CUSTOM_RESOURCE_DEFINITION, Kind, Object

PREFIX = "apiextensions.k8s.io/customresourcedefinitions/"
AGAIN = 1.0  # seconds after a failure


class Cleanup:
    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        store = self._engine.store
        listing = store.scan(PREFIX)
        for stored in listing.items:
            self._look(stored.value)
        self._stop = store.watch(PREFIX, listing.revision, self._deliver)

    def stop(self) -> None:
        self._stop()
        for task in self._tasks.values():
            task.cancel()

    def _deliver(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.value is not None:
                self._look(change.value)

    def _look(self, value: bytes) -> None:
        if b"deletionTimestamp" not in value:
            return
        crd = orjson.loads(value)
        meta = crd["metadata"]
        name = meta["name"]
        if (
            "deletionTimestamp" in meta
            and CLEAN_UP in meta.get("finalizers", ())
            and name not in self._tasks
        ):
            task = self._tasks[name] = asyncio.get_running_loop().create_task(self._clean(crd))
            task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _clean(self, crd: Object) -> None:
        spec, name = crd["spec"], crd["metadata"]["name"]
        kept = (r for r in self._registry.all() if is_of(r, crd) and r.storage == r.kind)
        served = replace(next(kept, unserved(crd)), conversion=None)
        prefix = f"{spec['group']}/{spec['names']['plural']}/"
        while True:
            try:
                await self._empty(served, prefix)
                await self._release(name)
                return
            except NotFound:
                return
            except CloudError:
                await asyncio.sleep(AGAIN)

    async def _empty(self, resource: Resource, prefix: str) -> None:
        """Delete everything under a prefix and wait until the last finalizer has let go."""
        store = self._engine.store
        changed = asyncio.Event()
        stop = store.watch(prefix, store.revision, lambda _: changed.set())
        try:
            while items := store.scan(prefix).items:
                changed.clear()
                for stored in items:
                    await self._delete(resource, stored)
                if store.scan(prefix, limit=1).items:
                    await changed.wait()
        finally:
            stop()

    async def _delete(self, resource: Resource, stored: Stored) -> None:
        namespace, _, name = stored.key.removeprefix(resource.prefix).partition("/")
        try:
            await self._engine.delete(resource, namespace, name, DeleteOptions(), Call())
        except NotFound:
            return

    async def _release(self, name: str) -> None:
        resource = self._registry.of(CUSTOM_RESOURCE_DEFINITION)
        crd = self._engine.read(resource, "", name)
        kept = [held for held in crd["metadata"].get("finalizers", ()) if held != CLEAN_UP]
        changes = {
            "metadata": {"finalizers": kept, "resourceVersion": crd["metadata"]["resourceVersion"]}
        }
        await self._engine.patch(resource, "", name, Patch(MERGE, changes), Call())


def unserved(crd: Object) -> Resource:
    """The kind of a definition none of whose versions is served: good for deleting."""
    spec = crd["spec"]
    names, namespaced = spec["names"], spec["scope"] == "Namespaced"
    kind = Kind(spec["group"], storage_version(crd), names["kind"], names["plural"], namespaced)
    return Resource(kind, singular="", verbs=(), own_schema=Schema("object"), custom=True)


def is_of(resource: Resource, crd: Object) -> bool:
    spec = crd["spec"]
    return resource.custom and (resource.kind.group, resource.kind.plural) == (
        spec["group"],
        spec["names"]["plural"],
    )
