"""A store that lives as long as the process: tests, and `jindou up --pretend`."""

from __future__ import annotations

from jindou.control.store import Change, Encode, Stale, Stored
from jindou.control.store.table import Table


class MemoryStore(Table):
    async def commit(
        self, key: str, value: Encode | None, *, expect: int | None = None, lazy: bool = False
    ) -> Stored:
        current = self.get(key)
        found = current.revision if current else 0
        if (expect is not None and expect != found) or (value is None and not current):
            raise Stale(key, found)
        revision = self.revision + 1
        kept = value(revision) if value else None
        self.apply([Change(key, revision, kept, current)])
        return Stored(
            key, revision, kept if kept is not None else current.value if current else b""
        )
