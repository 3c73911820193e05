"""Around a commit: which writes may be lazy, what a dry run shows, and waiting for who was quicker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from jindou.control.api import status
from jindou.control.api.admission.allocation import Allocation
from jindou.control.api.engine import crossing, deletions, encoding, writes
from jindou.control.api.engine.calls import Call
from jindou.control.api.resources.overlay import UNCONDITIONAL_UPDATE_REFUSED
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.store import Change, Encode, Stale, Store, Stored
from jindou.objects.errors import AlreadyExists
from jindou.objects.kinds import Object

SETTLE = 10.0  # seconds


class Written(NamedTuple):
    value: bytes  # the object, as kept, in the storage version
    revision: int
    created: bool = False


class Deleted(NamedTuple):
    """`status` says that it is gone; `value` is the object that waits for its end (or went)."""

    status: Object | None
    value: bytes


class Commits:
    """What has been judged is written, or shown where the run is dry."""

    def __init__(self, store: Store, registry: Registry, allocation: Allocation) -> None:
        self._store = store
        self._registry = registry
        self._allocation = allocation

    def give_back(self, resource: Resource, key: str) -> None:
        """What was given to a Service that is not written after all."""
        if resource.prefix == "core/services/":
            self._allocation.settle(key)

    async def new(self, resource: Resource, key: str, obj: Object, call: Call) -> Written:
        name = obj["metadata"]["name"]
        if call.dry_run:
            self.give_back(resource, key)
            if held := self._store.get(key):
                raise taken(resource, name, held)
            return dry(resource, await encoding.to_keep(resource, obj), created=True)
        obj = await encoding.to_keep(resource, obj)
        return await self.fresh(resource, key, name, encoding.encoder(resource, obj))

    async def fresh(self, resource: Resource, key: str, name: str, encode: Encode) -> Written:
        try:
            stored = await self._store.commit(key, encode, expect=0, lazy=is_lease(resource))
        except Stale as stale:
            await settle(self._store, key, stale.found)
            self.give_back(resource, key)
            raise taken(resource, name, self._store.get(key)) from None
        return Written(stored.value, stored.revision, created=True)

    async def change(
        self,
        resource: Resource,
        stored: Stored,
        old: Object,
        new: Object,
        named: bool,
        call: Call,
        part: str,
    ) -> Written | None:
        """`named`: a revision was asked for. None: somebody was quicker, and has made himself seen (by a
        deletion even where one was named: then there is nothing to conflict with)."""
        if resource.conversion is not None:
            await crossing.settle(self._registry, resource, old, new, call, part)
        if writes.same(new, old):
            return Written(stored.value, stored.revision)
        if call.dry_run:
            self.give_back(resource, stored.key)
            return dry(resource, await encoding.to_keep(resource, new))
        gone = deletions.finished(resource, new)
        new = await encoding.to_keep(resource, new)
        encode = None if gone else encoding.encoder(resource, new)
        lazy = not gone and is_heartbeat(resource, part)
        try:
            kept = await self._store.commit(stored.key, encode, expect=stored.revision, lazy=lazy)
        except Stale as stale:
            await settle(self._store, stored.key, stale.found)
            self.give_back(resource, stored.key)
            if named and stale.found:
                raise status.conflict(resource.kind, old["metadata"]["name"]) from None
            return None
        if gone:
            new["metadata"]["resourceVersion"] = str(kept.revision)
            return Written(encoding.encoder(resource, new)(kept.revision), kept.revision)
        return Written(kept.value, kept.revision)


def taken(resource: Resource, name: str, held: Stored | None) -> AlreadyExists:
    found = status.already_exists(resource.kind, name)
    if held is not None and "deletionTimestamp" in orjson.loads(held.value)["metadata"]:
        return AlreadyExists(f"object is being deleted: {found.message}", found.details)
    return found


async def settle(store: Store, key: str, found: int) -> None:
    """Until readers see the write that made ours stale: it may still be on its way to the disk."""

    def visible() -> bool:
        stored = store.get(key)
        return (stored.revision if stored else 0) >= found if found else stored is None

    if visible():
        return
    seen = asyncio.get_running_loop().create_future()

    def look(changes: Sequence[Change]) -> None:
        if not seen.done() and visible():
            seen.set_result(None)

    stop = store.watch(key[: key.rindex("/") + 1], store.revision, look)
    try:
        await asyncio.wait([seen], timeout=SETTLE)
    finally:
        stop()


def is_lease(resource: Resource) -> bool:
    return resource.prefix == "coordination.k8s.io/leases/"


def is_heartbeat(resource: Resource, part: str) -> bool:
    """Written so often, and worth so little after a crash, that the disk does not wait for it."""
    return is_lease(resource) or (part == "status" and resource.prefix == "core/nodes/")


def unconditional(resource: Resource) -> bool:
    """May an update name no revision?"""
    place = (resource.kind.group, resource.kind.plural)
    return not resource.custom and place not in UNCONDITIONAL_UPDATE_REFUSED


def dry(resource: Resource, obj: Object, created: bool = False) -> Written:
    """What a write would have kept; a new object has no revision yet."""
    revision = encoding.revision_of(obj)
    value = encoding.encoder(resource, obj)(revision)
    if not revision:
        value = value.replace(b'"resourceVersion":"0",', b"", 1)
    return Written(value, revision, created)


def success(resource: Resource, old: Object) -> Object:
    return status.success(resource.kind, old["metadata"]["name"], old["metadata"]["uid"])
