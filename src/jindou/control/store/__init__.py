"""Versioned objects under slash-separated keys; the only part that remembers.

A value is bytes: the store never looks inside. One revision counts every change in the store, so
"read at revision R, then watch after R" neither misses nor repeats. What `get`, `scan` and `watch`
show has been made durable; what `commit` returned without an error survives a power cut (unless it
was `lazy`). All calls belong to one event loop thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

Encode = Callable[[int], bytes]  # given the revision of the write, the bytes to keep


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One object. As a change, nothing that the collector would have to walk through."""

    key: str
    revision: int
    value: bytes


class Listing(NamedTuple):
    items: Sequence[Stored]  # in order of their keys
    revision: int  # watch from here and miss nothing


class Change(msgspec.Struct, gc=False, eq=False):
    """One write. `value` is None for a delete; `previous` is None for a create.

    `memo` belongs to the reader: a place to keep what was derived once for all watchers.
    """

    key: str
    revision: int
    value: bytes | None
    previous: Stored | None
    memo: Any = None


Deliver = Callable[[Sequence[Change]], None]


class Forgotten(Exception):
    """A watch was asked to start before the history window; `oldest` can still be watched after."""

    def __init__(self, after: int, oldest: int) -> None:
        super().__init__(f"revision {after} has been forgotten; the oldest is {oldest}")
        self.after = after
        self.oldest = oldest


class Stale(Exception):
    """A commit expected another revision than `found` (0: there is no such key)."""

    def __init__(self, key: str, found: int) -> None:
        super().__init__(f"{key} is at revision {found}")
        self.found = found


class StoreFailed(Exception):
    """The disk said no. Whether the commits under way happened is unknown; the process must stop."""


class StoreFull(StoreFailed):
    """No room on the disk: this commit is as good as refused, and the store goes on reading."""


class Store(Protocol):
    """Four methods, and the revision of what they show."""

    @property
    def revision(self) -> int:
        """The last revision that readers can see."""
        ...

    def get(self, key: str) -> Stored | None: ...

    def scan(self, prefix: str, after: str = "", limit: int = 0) -> Listing:
        """Everything under a prefix that ends in "/" (or "" for all), in order; `after` is the last
        key of the page before, `limit=0` means all."""
        ...

    async def commit(
        self, key: str, value: Encode | None, *, expect: int | None = None, lazy: bool = False
    ) -> Stored:
        """The only write: put what `value` encodes, or delete with None (returns what was deleted,
        at the revision of the deletion).

        `expect=0` creates, `expect=n` replaces revision n, `expect=None` overwrites; a wrong guess
        raises Stale. `lazy` is for heartbeats: seen at once, but kept only with the next durable
        commit, so a crash may lose it; the revision it was given is never given again.
        """
        ...

    def watch(self, prefix: str, after: int, deliver: Deliver) -> Callable[[], None]:
        """Call `deliver` with every change under `prefix` after revision `after`, in order, without
        gaps, all changes of one durable batch together; what is past already is delivered before
        `watch` returns. Returns what stops it. Raises Forgotten."""
        ...
