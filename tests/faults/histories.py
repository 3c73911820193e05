"""Was what clients were told true? A history of their requests, beside the log that watches saw.

Every write of the store has a revision of its own, so the order of all is known and the check is a
sweep. `broken` says, one sentence each, where a history is not strictly serialisable:

* an answer whose place in the log is before that of an answer that was complete before it was asked;
* a read that shows what was not there at any moment between question and answer;
* a write that was acknowledged and is not in the log, or one that was refused and is;
* an event that nobody asked for, or one that a watcher missed, saw twice, or saw out of order.

An answer that never came (`unknown`) may have happened or not, but not twice, and not before it was
asked.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

FOREVER = float("inf")


class Op(NamedTuple):
    """One request. Times are of one clock; `revision` is that of the answer (of a list: its own)."""

    what: str  # create, update, delete, get, list
    key: str
    call: float
    end: float = FOREVER
    code: int = 0  # 0: no answer came
    value: str = ""  # written, or read
    revision: int = 0
    expected: int = 0  # of an update: the revision that it replaces
    uid: str = ""  # of a delete: what it deleted
    listed: tuple[tuple[str, str, int], ...] = ()  # of a list: (key, value, revision)

    @property
    def done(self) -> bool:
        return 200 <= self.code < 300


class Event(NamedTuple):
    revision: int
    what: str  # ADDED, MODIFIED, DELETED
    key: str
    value: str
    uid: str = ""


class Log:
    """Every change, in order, and what each key was at any revision."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = sorted(set(events))
        self.of_key: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            self.of_key[event.key].append(event)
        self.by_value = {e.value: e for e in self.events if e.what != "DELETED"}
        self.deletions = {e.uid: e for e in self.events if e.what == "DELETED"}

    def at(self, key: str, revision: int) -> Event | None:
        """What the key was: the last change of it up to the revision, unless that deleted it."""
        events = self.of_key[key]
        place = bisect.bisect_right(events, revision, key=lambda e: e.revision) - 1
        return events[place] if place >= 0 and events[place].what != "DELETED" else None

    def spans(self, key: str) -> list[tuple[float, float, Event | None]]:
        """(from revision, to revision, what it was) over all time."""
        events = self.of_key[key]
        starts = [0.0, *(float(e.revision) for e in events)]
        states = [None, *(None if e.what == "DELETED" else e for e in events)]
        return [(a, b, s) for a, b, s in zip(starts, [*starts[1:], FOREVER], states)]


class Bounds:
    """Between which revisions a request can have had its effect, by what was known around it."""

    def __init__(self, ops: Sequence[Op], log: Log) -> None:
        placed = [(op, float(p)) for op in ops if op.done and (p := place_of(op, log))]
        self._ends, self._highest = _running(sorted((op.end, p) for op, p in placed), max)
        calls = sorted(((-op.call, p) for op, p in placed if op.what not in ("get",)))
        self._calls, self._lowest = _running(calls, min)

    def before(self, moment: float) -> float:
        """The highest revision that an answer showed before a moment."""
        place = bisect.bisect_left(self._ends, moment) - 1
        return self._highest[place] if place >= 0 else 0.0

    def after(self, moment: float) -> float:
        """The lowest revision of what was asked for after a moment."""
        place = bisect.bisect_left(self._calls, -moment) - 1
        return self._lowest[place] if place >= 0 else FOREVER


def _running(pairs, pick):
    times, values, so_far = [], [], None
    for time, value in pairs:
        so_far = value if so_far is None else pick(so_far, value)
        times.append(time)
        values.append(so_far)
    return times, values


def place_of(op: Op, log: Log) -> int:
    """The revision at which an answered request had its effect, as far as the answer tells it."""
    if op.what == "delete":
        found = log.deletions.get(op.uid)
        return found.revision if found else 0
    return op.revision


def broken(ops: Sequence[Op], log: Log) -> list[str]:
    bounds = Bounds(ops, log)
    found = []
    for op in ops:
        low, high = bounds.before(op.call), bounds.after(op.end)
        judge = _JUDGES[op.what] if op.code else _unknown
        found += [f"{says}: {op}" for says in judge(op, log, low, high)]
    explained = {op.value for op in ops if op.what in ("create", "update")}
    found += [f"nobody wrote this: {e}" for e in log.events if e.value not in explained]
    return found


def _unknown(op: Op, log: Log, low: float, high: float) -> list[str]:
    event = log.by_value.get(op.value) if op.what in ("create", "update") else None
    return ["it happened before it was asked for"] if event and event.revision <= low else []


def _write(op: Op, log: Log, low: float, high: float) -> list[str]:
    event = log.by_value.get(op.value)
    if not op.done:
        if event:
            return ["refused, and done all the same"]
        return _refusal(op, log, low, high)
    if event is None or event.revision != op.revision or event.key != op.key:
        return ["acknowledged, and not in the log"]
    before = log.at(op.key, op.revision - 1)
    if op.what == "create" and before:
        return ["created what was there"]
    if op.what == "update" and (before is None or before.revision != op.expected):
        return ["replaced another revision than it named"]
    return [] if low < op.revision <= high else ["out of order with what others were told"]


def _refusal(op: Op, log: Log, low: float, high: float) -> list[str]:
    def fits(state: Event | None) -> bool:
        if op.code == 404:
            return state is None
        if op.what == "create":
            return state is not None
        return state is not None and state.revision != op.expected

    return [] if _some_moment(log, op.key, low, high, fits) else ["refused for no reason"]


def _delete(op: Op, log: Log, low: float, high: float) -> list[str]:
    if not op.done:
        return _refusal(op, log, low, high)
    event = log.deletions.get(op.uid)
    if event is None or event.key != op.key:
        return ["acknowledged, and not in the log"]
    return [] if low < event.revision <= high else ["out of order with what others were told"]


def _get(op: Op, log: Log, low: float, high: float) -> list[str]:
    def fits(state: Event | None) -> bool:
        if not op.done:
            return state is None
        return state is not None and (state.revision, state.value) == (op.revision, op.value)

    return [] if _some_moment(log, op.key, low, high, fits) else ["read what was not there then"]


def _list(op: Op, log: Log, low: float, high: float) -> list[str]:
    if not low <= op.revision <= high:
        return ["out of order with what others were told"]
    states = [log.at(key, op.revision) for key in log.of_key]
    there = {(e.key, e.value, e.revision) for e in states if e}
    return [] if there == set(op.listed) else ["not what was there at its revision"]


def _some_moment(log: Log, key: str, low: float, high: float, fits) -> bool:
    return any(fits(state) and end > low and start <= high for start, end, state in log.spans(key))


_JUDGES = {"create": _write, "update": _write, "delete": _delete, "get": _get, "list": _list}


class Seen(NamedTuple):
    """What one watcher was shown without a break: from the revision of its list to its end."""

    start: int
    events: list[Event]


def broken_watch(seen: Seen, log: Log) -> list[str]:
    """Ordered, unique, and everything between its start and its last event."""
    revisions = [event.revision for event in seen.events]
    found = []
    if revisions != sorted(revisions):
        found.append("events out of order")
    if len(set(revisions)) != len(revisions):
        found.append("an event twice")
    last = max(revisions, default=seen.start)
    due = [e for e in log.events if seen.start < e.revision <= last]
    if missed := set(due) - set(seen.events):
        found.append(f"missed {sorted(missed)[:3]}")
    if odd := [e for e in seen.events if e.revision <= seen.start]:
        found.append(f"from before its start {seen.start}: {odd[:3]}")
    return found
