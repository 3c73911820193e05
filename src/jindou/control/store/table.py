"""What readers see of a store: the objects now, the last changes, and who watches what.

Both stores are this table; they differ in what must happen before a change is `applied` to it.
What must stay true: changes are applied in the order of their revisions, and a watcher is told
everything after the revision it named, or is refused with Forgotten.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from jindou.control.store import Change, Deliver, Forgotten, Listing, Stored


class Window(NamedTuple):
    """How much history is kept: a change is forgotten when any of these is exceeded."""

    changes: int = 8_000
    size: int = 64 * 1024 * 1024  # bytes of the values
    age: float = 300.0  # seconds


def bucket_of(key: str) -> str:
    """ "core/pods/default/web" -> "core/pods/": objects of one kind are kept and listed together."""
    return key[: key.index("/", key.index("/") + 1) + 1]


class Table:
    """Objects by key, in order, with a bounded history. All calls on one thread."""

    def __init__(
        self, window: Window | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.revision = 0
        self.forgotten = 0  # the last revision that no longer can be watched from before
        self._window = window or Window()
        self._clock = clock
        self._now: dict[str, Stored] = {}
        self._keys: dict[str, list[str]] = {}  # bucket -> sorted keys
        self._history: deque[tuple[Change, float]] = deque()
        self._history_size = 0
        self._watchers: dict[str, list[Deliver]] = {}

    def get(self, key: str) -> Stored | None:
        return self._now.get(key)

    def scan(self, prefix: str, after: str = "", limit: int = 0) -> Listing:
        now = self._now
        items: list[Stored] = []
        for keys in self._ranges(prefix):
            start = 0
            if prefix and not prefix.endswith("/"):
                raise ValueError(f'a prefix ends in "/": {prefix!r}')
            start = max(bisect_left(keys, prefix), bisect_right(keys, after))
            stop = bisect_left(keys, prefix[:-1] + "0") if prefix else len(keys)  # "0" follows "/"
            if limit:
                stop = min(stop, start + limit - len(items))
            items.extend([now[key] for key in keys[start:stop]])
            if limit and len(items) >= limit:
                break
        return Listing(items, self.revision)

    def _ranges(self, prefix: str) -> Iterator[list[str]]:
        if prefix.count("/") >= 2:
            keys = self._keys.get(bucket_of(prefix))
            if keys:
                yield keys
            return
        for bucket in sorted(self._keys):
            if bucket.startswith(prefix):
                yield self._keys[bucket]

    def watch(self, prefix: str, after: int, deliver: Deliver) -> Callable[[], None]:
        if after < self.forgotten:
            raise Forgotten(after, self.forgotten)
        missed = self._since(prefix, after)
        watchers = self._watchers.setdefault(prefix, [])
        watchers.append(deliver)
        if missed:
            deliver(missed)

        def stop() -> None:
            if deliver in watchers:
                watchers.remove(deliver)
            if not watchers and self._watchers.get(prefix) is watchers:
                del self._watchers[prefix]

        return stop

    def _since(self, prefix: str, after: int) -> list[Change]:
        """What of the history came later; most watches begin at its end."""
        found: list[Change] = []
        for change, _ in reversed(self._history):
            if change.revision <= after:
                break
            if change.key.startswith(prefix):
                found.append(change)
        found.reverse()
        return found

    def apply(self, changes: Sequence[Change]) -> None:
        """Make changes visible and tell the watchers."""
        for change in changes:
            self._put(change)
        self._remember(changes)
        self._tell(changes)

    def _put(self, change: Change) -> None:
        key = change.key
        if change.value is not None:
            if key not in self._now:
                insort(self._keys.setdefault(bucket_of(key), []), key)
            self._now[key] = Stored(key, change.revision, change.value)
        elif self._now.pop(key, None) is not None:
            bucket = bucket_of(key)
            keys = self._keys[bucket]
            del keys[bisect_left(keys, key)]
            if not keys:
                del self._keys[bucket]
        self.revision = change.revision

    def _remember(self, changes: Iterable[Change]) -> None:
        now = self._clock()
        for change in changes:
            self._history.append((change, now))
            self._history_size += _weight(change)
        window, history = self._window, self._history
        while history and (
            len(history) > window.changes
            or self._history_size > window.size
            or now - history[0][1] > window.age
        ):
            change, _ = history.popleft()
            self._history_size -= _weight(change)
            self.forgotten = change.revision

    def _tell(self, changes: Sequence[Change]) -> None:
        watchers = self._watchers
        due: dict[str, list[Change]] = {}
        for change in changes:
            key, at = change.key, -1
            if "" in watchers:
                due.setdefault("", []).append(change)
            while (at := key.find("/", at + 1)) >= 0:
                if (prefix := key[: at + 1]) in watchers:
                    due.setdefault(prefix, []).append(change)
        for prefix, told in due.items():
            for deliver in tuple(watchers.get(prefix, ())):
                deliver(told)


def _weight(change: Change) -> int:
    return len(change.value or b"") + 100
