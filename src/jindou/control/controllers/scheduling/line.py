"""Pods that wait for a node: the most important first, then the oldest.

One that found no node steps aside until something changes that could help it, and comes back not
sooner than its back-off allows: a twentieth of a second, twice as long each time, at most ten.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from jindou.control.controllers.scheduling.demands import Demand

FIRST, MOST = 0.05, 10.0


class Waiting(NamedTuple):
    demand: Demand
    order: tuple[int, int]  # least first: minus priority, then arrival


class Aside(NamedTuple):
    waiting: Waiting
    until: float  # back-off


class Line:
    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, int], str]] = []
        self._active: dict[str, Waiting] = {}
        self._aside: dict[str, Aside] = {}
        self._tries: dict[str, int] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._active) + len(self._aside)

    def __contains__(self, uid: str) -> bool:
        return uid in self._active or uid in self._aside

    def add(self, demand: Demand) -> None:
        """New, or changed: it may be tried at once."""
        aside = self._aside.pop(demand.uid, None)
        held = aside.waiting if aside else self._active.get(demand.uid)
        arrival = held.order[1] if held else self._arrivals
        self._arrivals += 1
        self._activate(Waiting(demand, (-demand.priority, arrival)))

    def _activate(self, waiting: Waiting) -> None:
        uid = waiting.demand.uid
        known = self._active.get(uid)
        self._active[uid] = waiting
        if known is None or known.order != waiting.order:
            heapq.heappush(self._heap, (waiting.order, uid))

    def remove(self, uid: str) -> None:
        self._active.pop(uid, None)
        self._aside.pop(uid, None)
        self._tries.pop(uid, None)

    def pop(self) -> Waiting | None:
        while self._heap:
            order, uid = heapq.heappop(self._heap)
            waiting = self._active.get(uid)
            if waiting is not None and waiting.order == order:
                del self._active[uid]
                return waiting
        return None

    def step_aside(self, waiting: Waiting, now: float) -> None:
        uid = waiting.demand.uid
        tries = self._tries.get(uid, 0)
        self._tries[uid] = tries + 1
        self._aside[uid] = Aside(waiting, now + min(FIRST * 2**tries, MOST))

    def return_all(self, now: float) -> float | None:
        """Something changed: whoever's back-off is over comes back. Returns when the next one's is."""
        later: float | None = None
        for uid, aside in list(self._aside.items()):
            if aside.until <= now:
                del self._aside[uid]
                self._activate(aside.waiting)
            else:
                later = aside.until if later is None else min(later, aside.until)
        return later

    def waiting_aside(self) -> int:
        return len(self._aside)
