"""What a Pod's worker should do next, given how far its containers have come. Pure.

Init containers run one after the other; sidecars among them stay and have to be started before the
next one is; then the main containers start in order. Once main containers have begun, each
restarts on its own. At the end the main containers stop together, then the sidecars, the last one
first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jindou.node.state.progress import Progress


class Plan(NamedTuple):
    start: str = ""  # the container to be started now
    stop: tuple[str, ...] = ()  # those to be ended
    wake: float | None = None  # when to look again, if nothing happens before
    over: bool = False  # no container is to be started again
    finished: bool = False  # ... and none runs


def plan(progress: Mapping[str, Progress], now: float, *, begun: bool, ending: bool) -> Plan:
    """`begun`: main containers have been started in this sandbox; `ending`: all is to stop."""
    held = list(progress.values())
    if ending or _over(held, begun):
        return _wind_down(held)
    failing = tuple(one.name for one in held if one.phase == "running" and one.failing)
    start, wake = "", _settling(held, now)
    for one in _candidates(held, begun):
        if one.retry_at <= now:
            start = one.name
            break
        wake = one.retry_at if wake is None else min(wake, one.retry_at)
    return Plan(start, failing, wake)


def _over(held: Iterable[Progress], begun: bool) -> bool:
    mains = [one for one in held if one.role == "main"]
    if all(one.done for one in mains):
        return True
    return not begun and any(one.failed for one in held if one.role == "init")


def _settling(held: Iterable[Progress], now: float) -> float | None:
    times = [one.settle_at for one in held if one.later is not None]
    return max(min(times), now) if times else None


def _candidates(held: list[Progress], begun: bool) -> Iterable[Progress]:
    """Containers that may be started, the first one first."""
    yield from (one for one in held if one.role == "ephemeral" and one.phase == "waiting")
    if begun:
        yield from (one for one in held if one.role == "sidecar" and _startable(one))
    else:
        for one in held:
            if one.role == "init" and not (one.phase == "exited" and one.code == 0):
                if _startable(one):
                    yield one
                return
            if one.role == "sidecar" and not (one.phase == "running" and one.started):
                if _startable(one):
                    yield one
                return
    yield from (one for one in held if one.role == "main" and _startable(one))


def _startable(one: Progress) -> bool:
    return one.phase == "waiting" or (one.phase == "exited" and not one.done)


def _wind_down(held: list[Progress]) -> Plan:
    """Stop what runs; a container that is being started is waited for."""
    busy = [one for one in held if one.phase in ("running", "starting")]
    if not busy:
        return Plan(over=True, finished=True)
    others = [one for one in busy if one.role != "sidecar"]
    if others:
        return Plan(stop=tuple(one.name for one in others if one.phase == "running"), over=True)
    last = busy[-1]
    return Plan(stop=(last.name,) if last.phase == "running" else (), over=True)
