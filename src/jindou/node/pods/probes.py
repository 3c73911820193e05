"""Startup, readiness and liveness of one running container.

    startup probe ──succeeds──▶ liveness and readiness, side by side, while the container runs
         └──────fails too often──▶ the container is ended        (liveness: the same)

A container that is not ready yet is asked more often than its period says, at growing distances, so
that it is ready when it is ready; such extra questions count only when they succeed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal, NamedTuple, Protocol

from jindou.node.pods.actions import Result, Target, perform
from jindou.objects.kinds import Object

Kind = Literal["startup", "readiness", "liveness"]
KINDS: tuple[Kind, ...] = ("startup", "readiness", "liveness")
SOONEST = 0.1  # seconds to the first extra question


class Probe(NamedTuple):
    kind: Kind
    handler: Object
    delay: float
    period: float
    timeout: float
    successes: int
    failures: int
    grace: float | None


def probes_of(container: Object) -> dict[Kind, Probe]:
    found: dict[Kind, Probe] = {}
    for kind in KINDS:
        spec = container.get(f"{kind}Probe")
        if spec:
            found[kind] = Probe(
                kind=kind,
                handler=spec,
                delay=spec.get("initialDelaySeconds") or 0,
                period=spec.get("periodSeconds") or 10,
                timeout=spec.get("timeoutSeconds") or 1,
                successes=spec.get("successThreshold") or 1,
                failures=spec.get("failureThreshold") or 3,
                grace=spec.get("terminationGracePeriodSeconds"),
            )
    return found


class Verdict:
    """Counts results in a row; `add` returns a verdict when one is reached."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._last: bool | None = None
        self._in_a_row = 0

    def add(self, ok: bool) -> bool | None:
        self._in_a_row = self._in_a_row + 1 if ok == self._last else 1
        self._last = ok
        needed = self._probe.successes if ok else self._probe.failures
        return ok if self._in_a_row >= needed else None


class Listener(Protocol):
    """Who is told."""

    def on_started(self) -> None: ...
    def on_ready(self, ready: bool) -> None: ...
    def on_failing(self, probe: Probe) -> None:
        """Startup or liveness: the container has to be ended."""
        ...

    def on_unhealthy(self, probe: Probe, result: Result) -> None:
        """One attempt failed."""
        ...


async def follow(probes: dict[Kind, Probe], target: Target, listener: Listener) -> None:
    """Until cancelled, or until the container is to be ended."""
    startup = probes.get("startup")
    if startup:
        async for verdict in _verdicts(startup, target, listener, eager=True):
            if verdict:
                break
            listener.on_failing(startup)
            return
    listener.on_started()
    followers = []
    readiness, liveness = probes.get("readiness"), probes.get("liveness")
    if readiness:
        followers.append(_follow_readiness(readiness, target, listener))
    else:
        listener.on_ready(True)
    if liveness:
        followers.append(_follow_liveness(liveness, target, listener))
    async with asyncio.TaskGroup() as group:
        for follower in followers:
            group.create_task(follower)


async def _follow_readiness(probe: Probe, target: Target, listener: Listener) -> None:
    async for verdict in _verdicts(probe, target, listener, eager=probe.successes == 1):
        listener.on_ready(verdict)


async def _follow_liveness(probe: Probe, target: Target, listener: Listener) -> None:
    async for verdict in _verdicts(probe, target, listener, eager=False):
        if not verdict:
            listener.on_failing(probe)
            return


class _Rhythm:
    """When to ask: every period, and between, at growing distances, while `eager`."""

    def __init__(self, period: float, eager: bool, now: float) -> None:
        self._period, self._eager = period, eager
        self._regular = now
        self._distance = SOONEST

    def next(self, now: float) -> tuple[float, bool]:
        """Seconds until the next question, and whether it is a regular one."""
        until = max(self._regular - now, 0.0)
        if self._eager and self._distance < until:
            distance, self._distance = self._distance, self._distance * 2
            return distance, False
        self._regular = now + until + self._period
        return until, True

    def calm(self) -> None:
        self._eager = False


async def _verdicts(
    probe: Probe, target: Target, listener: Listener, *, eager: bool
) -> AsyncIterator[bool]:
    """Asks for ever; yields each verdict, True or False."""
    clock = target.clock
    await clock.sleep(probe.delay)
    rhythm, verdict = _Rhythm(probe.period, eager, clock.now()), Verdict(probe)
    while True:
        distance, regular = rhythm.next(clock.now())
        await clock.sleep(distance)
        result = await ask(probe, target)
        if not result.ok:
            if not regular:
                continue
            listener.on_unhealthy(probe, result)
        else:
            rhythm.calm()
        reached = verdict.add(result.ok)
        if reached is not None:
            yield reached


async def ask(probe: Probe, target: Target) -> Result:
    """One attempt within the probe's time."""
    attempt = asyncio.ensure_future(perform(probe.handler, target))
    limit = asyncio.ensure_future(target.clock.sleep(probe.timeout))
    try:
        await asyncio.wait((attempt, limit), return_when=asyncio.FIRST_COMPLETED)
        if attempt.done():
            return attempt.result()
        return Result(False, _late(probe))
    finally:
        attempt.cancel()
        limit.cancel()


def _late(probe: Probe) -> str:
    if action := probe.handler.get("exec"):
        command = " ".join(action.get("command") or ())
        return f'command timed out: "{command}" timed out after {probe.timeout:g}s'
    if probe.handler.get("httpGet"):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    if probe.handler.get("grpc"):
        return f"timeout: health rpc did not complete within {probe.timeout:g}s"
    return "dial tcp: i/o timeout"
