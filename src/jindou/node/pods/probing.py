"""The probes and the postStart hook of one running container, and what their verdicts mean for it."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from jindou.machine.runtimes import State
from jindou.node.pods.actions import Result, Target
from jindou.node.pods.hooks import hook_of, run_hook
from jindou.node.pods.probes import Probe, follow, probes_of
from jindou.node.pods.stopping import target_of
from jindou.node.state.parts import Parts
from jindou.node.state.progress import Failing, Progress
from jindou.objects.kinds import Object

log = logging.getLogger("jindou.probes")
OUTPUT = 1024  # characters of a failed probe's output that are told


class Owner(Protocol):
    pod: Object
    parts: Parts
    addresses: tuple[str, ...]

    def say(self, kind: str, reason: str, message: str, container: str = "") -> None: ...
    def on_exit(self, state: State) -> None: ...
    def wake(self) -> None: ...
    def record(self) -> None: ...


class Prober:
    """Implements `probes.Listener`."""

    def __init__(self, owner: Owner, container: Object, held: Progress) -> None:
        self._owner, self._container, self._held = owner, container, held
        self._task: asyncio.Task[None] | None = None
        self.hook = hook_of(container, "postStart")

    @property
    def _target(self) -> Target:
        return target_of(self._owner, self._container, self._held)

    async def run_post_start(self) -> bool:
        """False: it failed, so the container has to be ended."""
        held = self._held
        hook = self.hook
        if hook and not held.posted:
            result = await run_hook(hook, self._target)
            if not result.ok and held.phase == "running":
                self._owner.say("Warning", "FailedPostStartHook", "PostStartHook failed", held.name)
                log.info("postStart of %s failed: %s", held.unit, result.output)
                held.failing = Failing("FailedPostStartHook", None)
                return False
        held.posted = True
        return True

    def start(self) -> None:
        if self._held.role == "init":
            return
        probes = probes_of(self._container)
        if self._held.started:
            probes.pop("startup", None)
        if not probes:
            self._held.started = self._held.ready = True
            return
        name = f"probes of {self._held.unit}"
        self._task = asyncio.create_task(follow(probes, self._target, self), name=name)
        self._task.add_done_callback(_tell)

    def stop(self) -> None:
        if self._task:
            self._task.cancel()
            self._task = None

    def on_started(self) -> None:
        if not self._held.started:
            self._held.started = True
            self._owner.record()
            self._owner.wake()

    def on_ready(self, ready: bool) -> None:
        if self._held.ready != ready:
            self._held.ready = ready
            self._owner.wake()

    def on_failing(self, probe: Probe) -> None:
        name, kind = self._held.name, probe.kind
        message = f"Container {name} failed {kind} probe, will be restarted"
        self._held.failing = Failing(message, probe.grace)
        self._owner.wake()

    def on_unhealthy(self, probe: Probe, result: Result) -> None:
        message = f"{probe.kind.capitalize()} probe failed: {result.output[:OUTPUT]}"
        self._owner.say("Warning", "Unhealthy", message, self._held.name)


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("%s failed", task.get_name(), exc_info=error)
