"""One Pod from its binding to its removal. One worker for each, at most one per uid.

                     refused
        new ───────────────────────────────┐
         │                                 ▼
         ▼          all ended for good   ended ────── deleted ─────▶ gone
      running ───────────────────────────▶ ▲                          ▲
         │  deleted, past its deadline,    │                          │
         ▼  evicted, node stopped          │     the object went away │
      ending ──── nothing runs any more ───┘ ─────────────────────────┘

running: `plan` says what to do next; the worker does it, tells the API, and waits until something
happens. Everything slow is a task of its own that wakes the worker when it is done: making the
sandbox, the start of one container at a time, an end for each container, probes, cleaning up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from jindou.client.retry import Backoff
from jindou.machine.network import NetworkError
from jindou.machine.runtimes import StartFailed, State
from jindou.machine.volumes import VolumesError
from jindou.node.clock import unstamp
from jindou.node.events import pod_ref
from jindou.node.pods import adoption
from jindou.node.pods.leaving import give_back, remove_object
from jindou.node.pods.probing import Prober
from jindou.node.pods.sandbox import Sandbox, SandboxFailed, make_sandbox
from jindou.node.pods.starting import Start, remove_logs, start_container
from jindou.node.pods.stopping import clean_up, exit_of, stop_container
from jindou.node.pods.writer import StatusWriter
from jindou.node.state import status
from jindou.node.state.ending import TERMINAL, judge, time_to_stop
from jindou.node.state.failures import back_off_after_exit, settle, start_failed, waiting_after
from jindou.node.state.parts import Parts
from jindou.node.state.plan import Plan, plan
from jindou.node.state.progress import (
    Progress,
    ephemeral_of,
    progress_of,
    same_wish,
    specifications,
)
from jindou.node.state.records import Record
from jindou.node.state.status import Outcome, Seen
from jindou.node.volumes.volumes import VolumeError
from jindou.objects.kinds import Object

log = logging.getLogger("jindou.pods")


class Worker:
    def __init__(self, pod: Object, parts: Parts, refused: Outcome | None = None) -> None:
        self.pod, self.parts = pod, parts
        self.uid: str = pod["metadata"]["uid"]
        told = pod.get("status") or {}
        self.progress = {} if refused else progress_of(pod)
        self.containers = specifications(pod)
        self.outcome = refused or Outcome()
        self.sandbox: Sandbox | None = None
        self.addresses: tuple[str, ...] = tuple(held["ip"] for held in told.get("podIPs") or ())
        self.begun = self.ending = self.halted = self.gone = self.over = False
        self.end_at = self._grace = 0.0  # when what is ending has to be over
        self._why = ""
        self.start_time = unstamp(told["startTime"]) if told.get("startTime") else 0.0
        self.writer = StatusWriter(parts.client, pod_ref(pod), self.uid, told, parts.clock)
        self.finished = asyncio.Event()  # nothing of it runs, and nothing will
        self._wake = asyncio.Event()
        self._exits: dict[str, State] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._cleaning: set[asyncio.Task[None]] = set()
        self._preparer: asyncio.Task[None] | None = None
        self._starter: asyncio.Task[None] | None = None
        self._starting: Progress | None = None
        self._stops: dict[str, tuple[asyncio.Task[None], float]] = {}
        self._probers: dict[str, Prober] = {}
        self._adopted = self._closing = self._winding = False
        self._worked_on = False  # by an earlier process, which may have been killed midway
        self._told = told.get("phase") in TERMINAL  # its end is known already
        self._prepare_at = 0.0
        self._prepare_backoff = Backoff(0.5, 15.0)

    # ------------------------------------------------------------ what others tell us

    def adopt(self, record: Record | None, states: Mapping[str, State]) -> None:
        """Take up what an earlier process left. Before `run`."""
        wall = self.parts.clock.wall()
        found = adoption.adopt(self.pod, self.progress, record, states, wall)
        self.begun = found.begun
        self.start_time = self.start_time or found.start_time
        self._adopted = record is not None and not record.rebooted
        self._worked_on = True
        if not self._adopted:
            self.addresses = ()  # they may be another's by now
        for unit in found.leftovers:
            self._clean(unit, running=True)
        for state in found.exits:
            self.on_exit(state)

    def _follow_adopted(self) -> None:
        for held in self.progress.values():
            if held.phase == "running" and held.unit not in self._exits:
                prober = self._probers[held.name] = Prober(self, self.containers[held.name], held)
                held.posted = True
                prober.start()

    def update(self, pod: Object) -> None:
        before, self.pod = self.pod, pod
        if not self.writer.saw(pod) and same_wish(before, pod):
            return
        for name, held in ephemeral_of(pod).items():
            self.progress.setdefault(name, held)
        self.containers = specifications(pod)
        if self.sandbox:
            self.parts.volumes.update(pod)
        self._wake.set()

    def removed(self) -> None:
        """The object is gone from the API; what runs must go as well."""
        self.gone = self.writer.gone = True
        self._wake.set()

    def halt(self) -> None:
        """End all containers and start none, until the node is started anew."""
        self.halted = True
        self._wake.set()

    def evict(self, reason: str, message: str) -> None:
        self.outcome = Outcome("Failed", reason, message)
        self.say("Warning", reason, message)
        self._end("eviction", 0.0)

    def on_exit(self, state: State) -> None:
        self._exits[state.id] = state
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def say(self, kind: str, reason: str, message: str, container: str = "") -> None:
        self.parts.events.record(self.pod, kind, reason, message, container)

    # ------------------------------------------------------------ the Pod's life

    async def run(self) -> None:
        self._task(self.writer.run(), "writing the status")
        try:
            await self._live()
        finally:
            await self._close()

    async def _live(self) -> None:
        self.start_time = self.start_time or self.parts.clock.wall()
        if self.outcome.phase:
            self.say("Warning", self.outcome.reason, self.outcome.message)
            self.over = True
        else:
            self._follow_adopted()
            await self._supervise()
        await self._finish()
        self.finished.set()
        if self.halted:
            return
        self._publish()
        while not (self.gone or self.pod["metadata"].get("deletionTimestamp")):
            self._wake.clear()
            await self._wake.wait()
        if not self.gone:
            await self.writer.flush()
            await remove_object(self.pod, self.parts, lambda: self.gone)
        self.parts.records.remove(self.uid)
        remove_logs(self.parts, self.pod)

    async def _supervise(self) -> None:
        """Until nothing runs and nothing is to be started."""
        while True:
            self._wake.clear()
            now = self.parts.clock.now()
            self._take_exits()
            deadline = self._notice(now)
            self._settle(now)
            step = plan(self.progress, now, begun=self.begun, ending=self.ending)
            self._winding = step.over
            wake = self._act(step, now)
            self.over = step.finished
            self._publish()
            if step.finished and not (self._starter or self._preparer):
                return
            times = [time for time in (wake, step.wake, deadline) if time is not None]
            await self.parts.clock.wait(self._wake, min(times) - now if times else None)

    def _act(self, step: Plan, now: float) -> float | None:
        """Begin what the plan says; when to look again, for what can't be begun yet."""
        for name in step.stop:
            self._stop(name, now)
        if step.over:
            self._interrupt()
            return None
        if self.sandbox is None:
            if self._preparer is None and now < self._prepare_at:
                return self._prepare_at
            if self._preparer is None:
                self._preparer = self._task(self._prepare(), "preparing")
        elif step.start and self._starter is None:
            self._starting = self.progress[step.start]
            self._starter = self._task(self._start(self._starting), f"starting {step.start}")
        return None

    async def _finish(self) -> None:
        """Give back all that the Pod held on the machine."""
        for prober in self._probers.values():
            prober.stop()
        if self._cleaning:
            await asyncio.wait(list(self._cleaning))
        made = self.sandbox or any(held.attempt >= 0 for held in self.progress.values())
        if self.halted or (self.outcome.phase and not (made or self._worked_on)):
            return
        begun = [held.unit for held in self.progress.values() if held.unit and self._worked_on]
        await give_back(self.pod, self.parts, begun)
        self.sandbox = None

    async def _close(self) -> None:
        """Let go without touching what runs. A unit that is half started is waited for."""
        self._closing = True
        for task in list(self._tasks):
            midway = task is self._starter and self._starting and self._starting.phase == "starting"
            if not midway:
                task.cancel()
        for prober in self._probers.values():
            prober.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ noticing

    def _notice(self, now: float) -> float | None:
        """Whether it has to end; else when it will have to."""
        wall = self.parts.clock.wall()
        found = judge(
            self.pod, self.start_time, wall,
            gone=self.gone, halted=self.halted, adopted=self._adopted,
        )  # fmt: skip
        if not found.why:
            return None if found.left is None or self.ending else now + found.left
        if found.outcome and not (self.outcome.phase or self.ending):
            self.outcome = found.outcome
            if found.why == "deadline":
                self.say("Normal", found.outcome.reason, found.outcome.message)
        self._end(found.why, found.grace)
        return None

    def _end(self, why: str, grace: float) -> None:
        """From now on everything stops; a shorter grace than before counts."""
        over = self.parts.clock.now() + grace
        if self.ending and not (over < self.end_at and grace < self._grace):
            return
        self.end_at, self._grace = over, grace
        self.ending, self._why = True, why
        self._wake.set()

    def _settle(self, now: float) -> None:
        for held in self.progress.values():
            if held.later is not None and held.settle_at <= now:
                for kind, reason, message in settle(held, self.pod, self.containers[held.name]):
                    self.say(kind, reason, message, held.name)

    def _take_exits(self) -> None:
        for held in self.progress.values():
            if held.phase == "running" and held.unit in self._exits:
                self._collect(held, self._exits.pop(held.unit))

    def _collect(self, held: Progress, state: State) -> None:
        """A container has exited: keep what there is to know of it, then free what it held."""
        if prober := self._probers.pop(held.name, None):
            prober.stop()
        if self._starter and self._starting is held:
            self._starter.cancel()  # its postStart hook, which has no container any more
        container = self.containers[held.name]
        held.terminated = exit_of(self, container, held, state)
        held.phase, held.ready, held.started, held.process = "exited", False, False, 0
        held.failing = None
        held.news.set()
        if not (held.done or self.ending or self._winding):
            back_off_after_exit(held, self.pod, self.parts.clock.now())
        self.record()
        self._clean(held.unit)

    # ------------------------------------------------------------ tasks

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"{name} of {self.pod['metadata']['name']}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._cleaning.discard(task)
        if task is self._preparer:
            self._preparer = None
        if task is self._starter:
            self._starter = self._starting = None
        for name in [name for name, held in self._stops.items() if held[0] is task]:
            del self._stops[name]
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", task.get_name(), exc_info=error)
        self._wake.set()

    def _interrupt(self) -> None:
        """What is still being made is not wanted any more; a unit that is half started is waited for."""
        if self._preparer:
            self._preparer.cancel()
        if self._starter and self._starting and self._starting.phase != "starting":
            self._starter.cancel()

    def _clean(self, unit: str, *, running: bool = False) -> None:
        async def clean() -> None:
            if running:
                await self.parts.runtime.stop(unit, 0)
            await clean_up(self.parts, unit)

        self._cleaning.add(self._task(clean(), f"cleaning up {unit}"))

    async def _prepare(self) -> None:
        try:
            self.sandbox = await make_sandbox(self.pod, self.parts, adopted=self._adopted)
            self.addresses = self.sandbox.addresses
            return
        except VolumeError as error:
            self.say("Warning", "FailedMount", str(error))
        except (NetworkError, SandboxFailed, VolumesError, OSError) as error:
            self.say("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
        self._prepare_at = self.parts.clock.now() + self._prepare_backoff.delay()

    async def _start(self, held: Progress) -> None:
        container, clock = self.containers[held.name], self.parts.clock
        assert self.sandbox
        if held.phase == "exited":
            held.backoff.tried(held.failed_at, clock.now())
        held.later = None
        try:
            state = await start_container(Start(self, self.sandbox, container, held))
        except StartFailed as error:
            start_failed(held, self.pod, str(error), clock)
            self.begun = self.begun or held.role == "main"
            self.say("Warning", "Failed", f"Error: {error}", held.name)
            self.record()
            return
        except Exception as error:
            if held.phase == "starting":
                held.never_began()
                self.record()
            waiting_after(held, container["image"], error, clock.now())
            if held.waiting and held.waiting.reason not in ("ErrImagePull", "ImagePullBackOff"):
                self.say("Warning", "Failed", f"Error: {held.waiting.message}", held.name)
            return
        held.phase, held.process, held.waiting = "running", state.pid, None
        held.began = state.started or held.began
        held.tries.reset()
        self.begun = self.begun or held.role == "main"
        prober = self._probers[held.name] = Prober(self, container, held)
        if prober.hook:
            self.record()
            self._wake.set()
        if not self._closing and await prober.run_post_start():
            prober.start()
        self.record()
        self._wake.set()

    def _stop(self, name: str, now: float) -> None:
        held = self.progress[name]
        left = self.end_at - now if self.ending else None
        grace, message = time_to_stop(held, self.pod, left)
        before = self._stops.get(name)
        if before and before[1] <= now + grace + 0.5:
            return
        if before:
            before[0].cancel()
        else:
            self.say("Normal", "Killing", message, name)
        held.ending = self._why if self.ending else ("probe" if held.failing else "completion")
        if prober := self._probers.get(name):
            prober.stop()
        work = stop_container(self, self.containers[name], held, grace, hooked=before is not None)
        self._stops[name] = (self._task(work, f"stopping {name}"), now + grace)

    # ------------------------------------------------------------ telling

    def record(self) -> None:
        self.parts.records.write(self.pod, self.progress, self.begun, self.start_time)

    def processes(self, container: Object) -> tuple[int, int]:
        shared = [held.process for held in self.progress.values() if held.phase == "running"]
        target = self.progress.get(container.get("targetContainerName") or "")
        return (shared[0] if shared else 0), (target.process if target else 0)

    def _publish(self) -> None:
        if self.halted or self.gone or self._told:
            return
        seen = Seen(
            self.pod, self.progress, self.sandbox is not None, self.addresses,
            self.parts.host_addresses, self.start_time, self.begun,
            self.ending or self.over, self.outcome,
        )  # fmt: skip
        outside = (self.pod.get("status") or {}).get("conditions") or ()
        told = {**self.writer.known, "conditions": self.writer.known.get("conditions") or outside}
        found = status.status(seen, told, self.parts.clock.wall())
        self.writer.offer(found, urgent=not status.is_fresh(seen))
