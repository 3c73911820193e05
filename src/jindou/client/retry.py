"""How long to wait before trying again: longer each time, never in step with others."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from `first` to `most` seconds; `reset` after a success."""

    __slots__ = ("_first", "_most", "_next")

    def __init__(self, first: float = 0.05, most: float = 10.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def delay(self) -> float:
        delay = self._next
        self._next = min(delay * 2, self._most)
        return delay * random.uniform(0.75, 1.0)
