"""Objects as the bytes in which the API keeps them, for who lives in its process.

An informer there holds the very bytes that the store holds: no copy, and nothing to encode. What
must stay true: `bare` leaves out the managedFields of the object itself and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import orjson

from jindou.client import EventType
from jindou.objects.kinds import Kind, Object

MANAGED = b',"managedFields":[{"manager":'
ENDS = (b'}]},"', b"}]}}")  # an entry, the list, metadata; then another field, or the object's end


class Shared(NamedTuple):
    """One event of a watch."""

    type: EventType
    data: bytes  # JSON, not to be copied


@runtime_checkable
class CanShare(Protocol):
    """A client that has the bytes. As `Client.find` and `Client.watch`, many events at a time."""

    def held(self, kind: Kind, namespace: str, labels: str, fields: str) -> tuple[list[bytes], str]:
        """The objects, and the revision to watch from."""
        ...

    def follow(
        self, kind: Kind, namespace: str, labels: str, fields: str, after: str
    ) -> AsyncIterator[Sequence[Shared]]: ...


def bare(data: bytes) -> bytes:
    """Without the managedFields of the object, where they can be told from the bytes alone: in
    metadata, two braces deep (text with braces of its own leaves the doubt, and all there is)."""
    start = data.find(MANAGED)
    if start < 0 or data.count(b"{", 0, start) - data.count(b"}", 0, start) != 2:
        return data
    for mark in ENDS:
        end = data.find(mark, start)
        if end >= 0:
            return data[:start] + data[end + 2 :]
    return data


def bare_object(data: bytes) -> Object:
    """Decoded, without managedFields."""
    obj: Object
    try:
        obj = orjson.loads(bare(data))
    except orjson.JSONDecodeError:
        obj = orjson.loads(data)
    obj["metadata"].pop("managedFields", None)
    return obj
