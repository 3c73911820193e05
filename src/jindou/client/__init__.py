"""The one door into the cloud, used by controllers, node, façades, platform and CLI alike.

Two implementations: `client.http` (over TLS, what a stranger would use) and `control.api.local`
(the same calls in-process, no socket). Both raise the errors of `jindou.objects.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple, Protocol

from jindou.objects.kinds import Kind, Object, Ref

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


class Event(NamedTuple):
    type: EventType
    object: Object


class Listing(NamedTuple):
    items: list[Object]
    revision: str  # watch from here and miss nothing


class Stream(Protocol):
    """Two-way bytes: logs, exec, attach, console, port-forward. `receive` returns b"" at the end."""

    async def receive(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...
    async def close(self) -> None: ...


class Client(Protocol):
    """Read and write objects.

    `part` names a subresource ("status", "scale", "binding", "finalize", "eviction", ...).
    `watch` yields every change after revision `after`; with `after=""` it first yields ADDED for
    all that exists. It ends by raising `Expired` when `after` has been forgotten (list again), or
    `Unavailable` when the server went away (watch again from the last revision seen).
    """

    async def get(self, ref: Ref, part: str = "") -> Object: ...
    async def find(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing: ...
    def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        after: str = "",
    ) -> AsyncIterator[Event]: ...
    async def create(self, kind: Kind, obj: Object, part: str = "") -> Object: ...
    async def update(self, kind: Kind, obj: Object, part: str = "") -> Object:
        """PUT: `obj` carries the resourceVersion it was read at, else the write is unconditional."""
        ...

    async def patch(
        self,
        ref: Ref,
        changes: Any,
        part: str = "",
        *,
        how: Literal["merge", "json", "strategic"] = "merge",
    ) -> Object: ...
    async def delete(
        self, ref: Ref, *, grace: int | None = None, uid: str = "", propagation: str = ""
    ) -> None:
        """A grace of 0 removes at once; `uid` refuses (Conflict) when the name is someone else now."""
        ...

    async def connect(self, ref: Ref, action: str, **options: str) -> Stream: ...
