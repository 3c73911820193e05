"""A watch: what the store tells, narrowed to a selection, in the words of the watch API.

An object that begins to match is ADDED and one that stops matching is DELETED, with the revision of
the change. What a change looks like is worked out once for all watchers and kept in its `memo`.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from jindou.control.api.engine import encoding, lists
from jindou.control.api.engine.selection import FactsCache, Selection, facts_of
from jindou.control.api.resources.registry import Resource
from jindou.control.store import Change, Store, Stored

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class Told(NamedTuple):
    """One event; `memo` is where what is derived from it may be kept, None where it is for one only."""

    type: EventType
    value: bytes  # the object, as kept
    revision: int
    memo: dict[Any, Any] | None
    previous: bytes | None = None  # where it has changed


def judged(resource: Resource, selection: Selection, told: Told) -> Told | None:
    """The event as a selector sees it, which looks at objects that have been converted since."""

    def seen(value: bytes | None) -> bool:
        return value is not None and selection.matches(facts_of(resource, value))

    now, was = seen(told.value), seen(told.previous)
    if told.type == "DELETED":
        return told if now else None
    if now:
        return told._replace(type="MODIFIED" if was else "ADDED")
    return told._replace(type="DELETED", value=left(told)) if was else None


def left(told: Told) -> bytes:
    """What is told where an object is no longer selected: as it was when it last was."""
    assert told.previous is not None
    return encoding.with_revision(told.previous, told.revision)


Tell = Callable[[Sequence[Told]], None]


class Start(NamedTuple):
    """Where a watch begins: `after` None means that everything there is comes first, as ADDED."""

    after: int | None = None
    bookmarks: bool = False
    initial: bool = False  # sendInitialEvents: a bookmark says where the present has been reached
    awaited: int = 0  # the present has to have reached this revision first


def start_of(query: lists.Query, bookmarks: bool, current: int) -> Start:
    """Raises BadRequest or Invalid for a combination that makes no sense."""
    lists.check(query, watching=True)
    known = query.revision not in ("", "0")
    if query.initial:
        return Start(None, bookmarks, bookmarks, int(query.revision) if known else 0)
    if query.initial is not None:
        return Start(int(query.revision) if known else current, bookmarks)
    return Start(int(query.revision) if known else None, bookmarks)


class Memos:
    """What is worked out of a change is of use while it is being told, and let go right after:
    the history of the store outlives it by far."""

    def __init__(self) -> None:
        self._held: list[Change] = []
        self._last: tuple[Sequence[Change], list[Told]] | None = None

    def alike(
        self, changes: Sequence[Change], tell: Callable[[Sequence[Change]], Iterable[Told]]
    ) -> list[Told]:
        """What all are told who watch everything there is, worked out by the first of them."""
        if self._last is None or self._last[0] is not changes:
            self._last = changes, list(tell(changes))
        return self._last[1]

    def of(self, change: Change) -> dict[Any, Any]:
        memo: Any = change.memo
        if memo is None:
            memo = change.memo = {}
            if not self._held:
                asyncio.get_running_loop().call_soon(self._let_go)
            self._held.append(change)
        found: dict[Any, Any] = memo
        return found

    def _let_go(self) -> None:
        for change in self._held:
            change.memo = None
        self._held.clear()
        self._last = None


class Watch:
    """Follows the store for one watcher. `begin` tells what is past, then `tell` is called with more."""

    def __init__(
        self,
        store: Store,
        resource: Resource,
        selection: Selection,
        facts: FactsCache,
        memos: Memos,
        tell: Tell,
    ) -> None:
        self._store = store
        self._resource = resource
        self._selection = selection
        self._facts = facts
        self._memos = memos
        self._tell = tell
        self._after = 0
        self._ended = False
        self._stop: Callable[[], None] | None = None

    @property
    def prefix(self) -> str:
        namespace = self._selection.namespace
        return f"{self._resource.prefix}{namespace}/" if namespace else self._resource.prefix

    def begin(self, start: Start) -> None:
        """Raises Forgotten where `start` is before the history."""
        after = start.after
        if after is None:
            after = self._store.revision
            told = [
                Told("ADDED", stored.value, stored.revision, None)
                for stored in self._present()
                if self._matches(stored)
            ]
            if told:
                self._tell(told)
        self._after = after
        self._stop = self._store.watch(self.prefix, after, self._deliver)
        if self._ended:  # by what was told while it began
            self.end()

    def _present(self) -> Sequence[Stored]:
        """Of all there is, what may be meant: for one name no list is made of the others."""
        if self._selection.name:
            return lists.named(self._store, self._resource, self._selection)
        return self._store.scan(self.prefix).items

    def end(self) -> None:
        self._ended = True
        if self._stop is not None:
            self._stop()
            self._stop = None

    def _matches(self, stored: Stored) -> bool:
        selection = self._selection
        if not selection.admits(stored.key):
            return False
        return not selection.needs_facts or selection.matches(
            self._facts.of(self._resource, stored)
        )

    def _deliver(self, changes: Sequence[Change]) -> None:
        if self._selection.everything and changes[0].revision > self._after:
            told = self._memos.alike(changes, self._told)
        else:
            told = list(self._told(changes))
        if told:
            self._tell(told)

    def _told(self, changes: Iterable[Change]) -> Iterable[Told]:
        selection = self._selection
        plain = selection.everything
        for change in changes:
            if change.revision <= self._after or not (plain or selection.admits(change.key)):
                continue
            memo = self._memos.of(change)
            value, previous = change.value, change.previous
            was = previous is not None and (plain or self._matches(previous))
            now = value is not None and (
                plain or self._matches(Stored(change.key, change.revision, value))
            )
            if now:
                assert value is not None
                before = previous.value if was and previous is not None else None
                yield Told("MODIFIED" if was else "ADDED", value, change.revision, memo, before)
            elif was:
                assert previous is not None
                yield Told(
                    "DELETED", last_seen(previous, change.revision, memo), change.revision, memo
                )


def last_seen(previous: Stored, revision: int, memo: dict[Any, Any]) -> bytes:
    """The object as it was, at the revision at which it went."""
    found: bytes | None = memo.get("gone")
    if found is None:
        found = memo["gone"] = encoding.with_revision(previous.value, revision)
    return found
