"""How an object is kept: compact JSON with its revision inside, in an order that can be relied on.

apiVersion, kind and metadata come first, and in metadata the resourceVersion before anything that a
user can put text into. So the bytes can be served as they are, recognised by their beginning, and
given another revision without being decoded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from jindou.control.api import depth
from jindou.control.api.engine import conversion
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import apply_defaults, unknown_fields
from jindou.control.store import Encode
from jindou.objects.errors import TooLarge
from jindou.objects.kinds import Kind, Object

FIRST = (
    "name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences",
    "finalizers", "managedFields",
)  # fmt: skip
LARGEST = 3 * 1024 * 1024  # bytes of an object, as of a request
MARK = b'"resourceVersion":"'


def ordered(kind: Kind, obj: Object) -> Object:
    """The same object with its fields in the order that is kept."""
    meta: Object = obj.get("metadata") or {}
    head = {name: meta[name] for name in FIRST if name in meta}
    made = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {**head, **meta}}
    return {**made, **{name: held for name, held in obj.items() if name not in made}}


def dumps(obj: Object) -> bytes:
    """The bytes to keep; copied once, for orjson's own result holds more memory than it shows."""
    return bytes(memoryview(depth.dumps(obj, orjson.OPT_APPEND_NEWLINE)))


def encoder(resource: Resource, obj: Object) -> Encode:
    """What a commit calls with the revision that it gives; `obj` has the version of `resource`."""
    obj["metadata"].setdefault("resourceVersion", "")
    kept = ordered(resource.storage or resource.kind, conversion.to_storage(resource, obj))

    def encode(revision: int) -> bytes:
        kept["metadata"]["resourceVersion"] = str(revision)
        data = dumps(kept)
        if len(data) > LARGEST:
            raise TooLarge(f"the object would have {len(data)} bytes; the limit is {LARGEST}")
        return data

    return encode


@lru_cache(1024)
def head_of(kind: Kind) -> bytes:
    return f'{{"apiVersion":"{kind.api_version}","kind":"{kind.name}",'.encode()


def served(resource: Resource, value: bytes) -> bytes:
    """Kept bytes in the version that was asked for: nearly always the same bytes."""
    if value.startswith(head_of(resource.kind)):
        if resource.since and revision_in(value) <= resource.since:
            return dumps(grown(resource, orjson.loads(value)))
        return value
    if resource.conversion is not None:
        return resource.conversion.found(resource, value)
    return unconverted(resource, value)


def unconverted(resource: Resource, value: bytes) -> bytes:
    """The same for those in this process who look at metadata only: no webhook is asked."""
    if value.startswith(head_of(resource.kind)):
        return value
    return dumps(ordered(resource.kind, seen(resource, value)))


def seen(resource: Resource, value: bytes) -> Object:
    found: Object = orjson.loads(value)
    if not value.startswith(head_of(resource.kind)):
        found = conversion.from_storage(resource, found)
    if resource.since and revision_in(value) <= resource.since:
        return grown(resource, found)
    return found


def grown(resource: Resource, obj: Object) -> Object:
    """A custom object that was kept before its schema was what it is now: without what the schema
    does not know (any more), with what it fills in; in place."""
    managed = obj["metadata"].pop("managedFields", None)
    unknown_fields(resource.schema, obj, drop=True)
    apply_defaults(resource.schema, obj)
    if managed is not None:
        obj["metadata"]["managedFields"] = managed
    return obj


def revision_in(value: bytes) -> int:
    """That of kept bytes."""
    start = value.find(MARK) + len(MARK)
    text = value[start : value.index(b'"', start)]
    return int(text) if text.isdigit() else 0


def loads(resource: Resource, value: bytes) -> Object:
    if resource.conversion is not None:
        value = served(resource, value)
    return seen(resource, value)


async def prepare(resource: Resource, *values: bytes) -> None:
    """Before objects are read whose versions a webhook converts: to be awaited, and nothing else after."""
    if resource.conversion is not None:
        await resource.conversion.prepare(resource, values)


async def to_keep(resource: Resource, obj: Object) -> Object:
    """What `encoder` may be given: where a webhook converts, the object in the version that is kept."""
    if resource.conversion is None:
        return obj
    return dict(await resource.conversion.stored(resource, obj))


def with_revision(value: bytes, revision: int) -> bytes:
    """The bytes of an object as of another revision (a deletion has one of its own)."""
    start = value.find(MARK)
    if start < 0:
        return value
    start += len(MARK)
    return b"%s%d%s" % (value[:start], revision, value[value.index(b'"', start) :])


def revision_of(obj: Object) -> int:
    text = obj["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdigit() else -1


def body_of(obj: Any) -> bytes:
    return depth.dumps(obj, orjson.OPT_APPEND_NEWLINE)
