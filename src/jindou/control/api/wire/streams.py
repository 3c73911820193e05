"""A watch on the wire: one line of JSON per event, bookmarks now and then, and a clean end in time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence

from jindou.control.api import status
from jindou.control.api.engine import encoding
from jindou.control.api.engine.selection import Selection
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.engine.watches import Start, Told, judged, left
from jindou.control.api.resources.registry import Resource
from jindou.control.api.wire import negotiation
from jindou.control.api.wire.negotiation import Form
from jindou.control.api.wire.waiting import reached
from jindou.control.store import Change, Forgotten
from jindou.objects.errors import CloudError, Timeout
from jindou.objects.selectors import EVERYTHING
from jindou.transport import Sink

BOOKMARKS = 60.0  # seconds between them
DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions/"
SHORTEST = 1800.0  # of a watch that names no time; the longest is twice that
MOST_PENDING = 8 * 1024 * 1024  # bytes a watcher may be behind, beside what it began with


class WatchStream:
    """Give `begin` to a Streamed answer."""

    def __init__(
        self,
        engine: Engine,
        resource: Resource,
        selection: Selection,
        start: Start,
        form: Form,
        seconds: float,
    ) -> None:
        self._engine = engine
        self._resource = resource
        self._start = start
        self._form = form
        self._seconds = seconds or SHORTEST * (1 + random.random())
        self._headings = form.kind == "table"
        self._sink: Sink | None = None
        self._most = math.inf  # bytes that may wait for the client before it is let go
        self._told = -1  # the last revision that a bookmark has told
        self._timers: list[asyncio.TimerHandle] = []
        self._choosing: Selection | None = None  # of events that are to be converted first
        if resource.conversion is not None and selection.needs_facts:
            self._choosing = selection
            selection = selection._replace(labels=EVERYTHING, fields=())
        self._watch = engine.watch(resource, selection, self._tell)
        self._waiting: asyncio.Future[None] | None = None
        self._queue: list[Told | Callable[[], None]] = []
        self._converting: asyncio.Future[None] | None = None
        self._unfollow: Callable[[], None] | None = None  # the definition of a custom kind

    def begin(self, sink: Sink) -> None:
        self._sink = sink
        sink.on_close(self._closed)
        if self._start.awaited > self._engine.store.revision:
            self._waiting = asyncio.ensure_future(self._begin_later(sink))
        else:
            self._begin(sink)

    async def _begin_later(self, sink: Sink) -> None:
        try:
            await reached(self._engine.store, self._start.awaited)
        except Timeout as error:
            self._refuse(sink, error)
        else:
            self._begin(sink)

    def _refuse(self, sink: Sink, error: Exception) -> None:
        """After its head an answer can only be ended by an event that says why."""
        sink.write(negotiation.of_error(status.of(error)))
        sink.close()

    def _begin(self, sink: Sink) -> None:
        try:
            self._watch.begin(self._start)
        except Forgotten as forgotten:
            self._refuse(sink, forgotten)
            return
        if self._sink is None:
            return
        self._most = sink.pending + MOST_PENDING
        if self._resource.custom:
            self._unfollow = self._engine.store.watch(
                DEFINITIONS, self._engine.store.revision, self._redefined
            )
        if self._start.initial:
            self._soon(lambda: self._bookmark(initial=True))
        self._later(self._seconds, self._finish)
        if self._start.bookmarks:
            self._later(BOOKMARKS * random.uniform(0.9, 1.1), self._next_bookmark)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, call))

    def _redefined(self, changes: Sequence[Change]) -> None:
        """The watches of a kind end with it."""
        kind = self._resource.kind
        gone = self._engine.registry.by_url(kind.group, kind.version, kind.plural) is None
        if gone and self._sink is not None:
            self._sink.close()

    def _closed(self) -> None:
        self._sink = None
        self._watch.end()
        if self._waiting is not None:
            self._waiting.cancel()
        self._queue.clear()
        if self._unfollow is not None:
            self._unfollow()
            self._unfollow = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _tell(self, told: Sequence[Told]) -> None:
        if self._resource.conversion is None:
            self._write(told)
        else:
            self._in_turn(*told)

    def _in_turn(self, *due: Told | Callable[[], None]) -> None:
        """Events that a webhook has to convert first, and what may not overtake them."""
        self._queue += due
        if self._converting is None:
            self._converting = asyncio.ensure_future(self._convert())

    async def _convert(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                told = [one for one in batch if isinstance(one, Told)]
                await encoding.prepare(self._resource, *self._needed(told))
                for one in batch:
                    if not isinstance(one, Told):
                        one()
                    elif (chosen := self._chosen(one)) is not None:
                        self._write([chosen])
        except CloudError:  # as the original does: the client is to begin anew
            if self._sink is not None:
                self._sink.close()
        finally:
            self._converting = None

    def _needed(self, told: Sequence[Told]) -> list[bytes]:
        """What has to be converted before these can be told."""
        needed = [one.value for one in told]
        for one in told if self._choosing is not None else ():
            if one.previous is not None:
                needed += [one.previous, left(one)]
        return needed

    def _chosen(self, told: Told) -> Told | None:
        return told if self._choosing is None else judged(self._resource, self._choosing, told)

    def _write(self, told: Sequence[Told]) -> None:
        sink = self._sink
        if sink is None:
            return
        if len(told) == 1 and not self._headings:
            sink.write(negotiation.of_event(self._resource, told[0], self._form))
        else:
            lines = []
            for one in told:
                lines.append(negotiation.of_event(self._resource, one, self._form, self._headings))
                self._headings = False
            sink.write(b"".join(lines))
        if sink.pending > self._most:
            sink.abort()

    def _bookmark(self, initial: bool = False) -> None:
        revision = self._engine.store.revision
        if revision < (self._start.after or 0):
            return  # a watch from the future is told nothing of what is before it
        if self._sink is not None and (initial or revision != self._told):
            self._told = revision
            self._sink.write(negotiation.of_bookmark(self._resource, revision, self._form, initial))

    def _next_bookmark(self) -> None:
        self._timers = [
            timer for timer in self._timers if timer.when() > asyncio.get_running_loop().time()
        ]
        self._soon(self._bookmark)
        self._later(BOOKMARKS, self._next_bookmark)

    def _soon(self, call: Callable[[], None]) -> None:
        """After the events that are on their way."""
        if self._converting is None:
            call()
        else:
            self._in_turn(call)

    def _finish(self) -> None:
        self._soon(self._end)

    def _end(self) -> None:
        if self._sink is not None:
            if self._start.bookmarks:
                self._bookmark()
            self._sink.close()
