"""Work to do, by key: each key once at a time, never twice in line, failed ones later and later.

Nothing waits in a task: a key becomes a task when a worker is free, a delay is one timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from time import perf_counter
from typing import Generic, TypeVar

from jindou.objects.errors import CloudError, Conflict, NotFound, Unavailable

log = logging.getLogger("jindou.controllers")

K = TypeVar("K", bound=Hashable)
FIRST_DELAY = 0.005
LONGEST_DELAY = 1000.0


class Counters:
    """What a queue has done, for metrics."""

    __slots__ = ("added", "done", "failed", "seconds")

    def __init__(self) -> None:
        self.added = 0
        self.done = 0
        self.failed = 0
        self.seconds = 0.0  # from start to end of all looks, waiting included


class Queue(Generic[K]):
    """`pace` is the least time between two looks at one key: the first change is looked at at once,
    those that follow on its heels together."""

    def __init__(
        self,
        name: str,
        handle: Callable[[K], Awaitable[float | None]],
        *,
        workers: int = 8,
        pace: float = 0.0,
    ) -> None:
        self.name = name
        self.counters = Counters()
        self._handle = handle
        self._workers = workers
        self._pace = pace
        self._ready: dict[K, None] = {}
        self._busy: dict[K, asyncio.Task[None]] = {}
        self._begun: set[K] = set()  # of the busy ones
        self._dirty: set[K] = set()  # changed since they have begun
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._looked: dict[K, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def depth(self) -> int:
        return len(self._ready)

    @property
    def idle(self) -> bool:
        return not self._ready and not self._busy

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pump()

    async def stop(self) -> None:
        self._loop = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def add(self, key: K) -> None:
        if key in self._busy:
            if key in self._begun:
                self._dirty.add(key)
            return
        if key in self._ready:
            return
        if self._pace and self._loop is not None:
            wait = self._looked.get(key, -self._pace) + self._pace - self._loop.time()
            if wait > 0.001:
                self.add_after(key, wait)
                return
        self.counters.added += 1
        self._ready[key] = None
        self._pump()

    def add_after(self, key: K, delay: float) -> None:
        """The earlier of two delays counts."""
        if delay <= 0 or self._loop is None:
            self.add(key)
            return
        timer = self._timers.get(key)
        when = self._loop.time() + delay
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = self._loop.call_at(when, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        if key in self._busy:
            if key in self._begun:
                self._dirty.add(key)
        elif key not in self._ready:
            self.counters.added += 1
            self._ready[key] = None
            self._pump()

    def _pump(self) -> None:
        while self._loop is not None and self._ready and len(self._busy) < self._workers:
            key = next(iter(self._ready))
            del self._ready[key]
            timer = self._timers.pop(key, None)
            if timer is not None:
                timer.cancel()
            self._busy[key] = self._loop.create_task(self._work(key))

    async def _work(self, key: K) -> None:
        assert self._loop is not None
        started = perf_counter()
        self._begun.add(key)
        if self._pace:
            self._note(key)
        delay: float | None = None
        try:
            delay = await self._handle(key)
            self._failures.pop(key, None)
            self.counters.done += 1
        except Exception as error:
            delay = self._failed(key, error)
        finally:
            self.counters.seconds += perf_counter() - started
            del self._busy[key]
            self._begun.discard(key)
            dirty = key in self._dirty
            self._dirty.discard(key)
        if delay is not None:
            self.add_after(key, delay)
        if dirty:
            self.add(key)
        self._pump()

    def _failed(self, key: K, error: Exception) -> float:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        self.counters.failed += 1
        if isinstance(error, (Conflict, NotFound, Unavailable)):
            log.debug("%s: %s: %s", self.name, key, error)
        elif isinstance(error, CloudError):  # the API has said all there is to say
            log.warning("%s: %s failed and is tried again: %s", self.name, key, error)
        else:
            log.warning("%s: %s failed and is tried again", self.name, key, exc_info=error)
        return float(min(FIRST_DELAY * 2 ** min(count, 30), LONGEST_DELAY))

    def _note(self, key: K) -> None:
        assert self._loop is not None
        now = self._loop.time()
        self._looked[key] = now
        if len(self._looked) > 4096:
            self._looked = {k: at for k, at in self._looked.items() if now - at < self._pace}
