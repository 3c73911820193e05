"""Around a commit: which writes may be lazy, what a dry run shows, and waiting for who was quicker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from jindou.control.api import status
from jindou.control.api.engine import encoding
from jindou.control.api.resources.overlay import UNCONDITIONAL_UPDATE_REFUSED
from jindou.control.api.resources.registry import Resource
from jindou.control.store import Change, Store
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
