"""The end of one container: preStop, the stop signal, its grace, SIGKILL; and what is kept of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from jindou.machine.images import ImageError
from jindou.machine.runtimes import Runtime, StartFailed, State
from jindou.node.pods.actions import LIMIT, Result, Target
from jindou.node.pods.hooks import hook_of, run_hook_within
from jindou.node.pods.sandbox import termination_file
from jindou.node.state import status, termination, units
from jindou.node.state.parts import Parts
from jindou.node.state.progress import Progress
from jindou.objects.kinds import Object

log = logging.getLogger("jindou.pods")
SHORTEST = 2.0  # seconds that every container gets between the stop signal and SIGKILL
NEWS = 1.0  # seconds in which an exit should have been heard of
PATIENCE = 2.0  # seconds between tries to stop what can't be stopped


class Owner(Protocol):
    pod: Object
    parts: Parts
    addresses: tuple[str, ...]

    def say(self, kind: str, reason: str, message: str, container: str = "") -> None: ...
    def on_exit(self, state: State) -> None: ...


def target_of(owner: Owner, container: Object, held: Progress) -> Target:
    """For probes and hooks."""
    runtime, unit = owner.parts.runtime, held.unit

    async def execute(argv: tuple[str, ...]) -> Result:
        return await run_inside(runtime, unit, argv)

    address = owner.addresses[0] if owner.addresses else "127.0.0.1"
    played = owner.parts.settings.pretend
    return Target(container, address, execute, owner.parts.clock, played)


async def run_inside(runtime: Runtime, unit: str, argv: tuple[str, ...]) -> Result:
    try:
        session = await runtime.execute(unit, argv)
    except (StartFailed, OSError) as error:
        return Result(False, str(error))
    output = bytearray()
    try:
        while (part := await session.receive()) is not None:
            output += part[1][: LIMIT - len(output)]
        code = await session.wait()
    finally:
        await session.close()
    return Result(code == 0, output.decode(errors="replace"))


async def stop_container(
    owner: Owner, container: Object, held: Progress, grace: float, *, hooked: bool
) -> None:
    """Returns when it has exited. With `hooked` its preStop hook was run already."""
    parts, clock = owner.parts, owner.parts.clock
    over = clock.now() + grace
    hook = hook_of(container, "preStop")
    if hook and grace > 0 and not hooked:
        result = await run_hook_within(hook, target_of(owner, container, held), grace)
        if not result.ok:
            owner.say("Warning", "FailedPreStopHook", "PreStopHook failed", held.name)
            log.info("preStop of %s failed: %s", held.unit, result.output)
    try:
        await parts.runtime.stop(held.unit, max(over - clock.now(), SHORTEST))
    except Exception as error:
        log.warning("container %s could not be stopped: %s", held.unit, error)
        await clock.sleep(PATIENCE)
        return
    await _ensure_news(owner, held)


async def _ensure_news(owner: Owner, held: Progress) -> None:
    """The runtime tells of each exit; where it has not, look."""
    if await owner.parts.clock.wait(held.news, NEWS):
        return
    states = await owner.parts.runtime.observe()
    lost = State(held.unit, "exited", 137, "", 0, held.began, owner.parts.clock.wall())
    state = states.get(held.unit, lost)
    if state.phase == "exited":
        owner.on_exit(state)


def exit_of(owner: Owner, container: Object, held: Progress, state: State) -> Object:
    """The terminated state, with what the container left to say."""
    parts, pod = owner.parts, owner.pod
    code = 255 if state.code is None else state.code
    code = 128 - code if code < 0 else code
    said = termination.message(
        termination_file(parts, pod["metadata"]["uid"], held.name, held.attempt),
        units.log_path(parts.settings, pod, held.name, held.attempt),
        container.get("terminationMessagePolicy", "File"),
        bool(code),
        len(pod["spec"]["containers"]) + len(pod["spec"].get("initContainers") or ()),
    )
    reason = status.exit_reason(code, state.oom_killed)
    ended = state.finished or parts.clock.wall()
    return status.terminated(held, code, reason, said or state.message, ended)


async def clean_up(parts: Parts, unit: str) -> None:
    """Free what an exited unit held. Tried until it works: half of it would stay for ever."""
    while True:
        try:
            async with parts.ends:
                await parts.runtime.remove(unit)
                await parts.images.unmount(unit)
            return
        except (OSError, ImageError, StartFailed) as error:
            log.warning("container %s could not be removed: %s", unit, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("container %s could not be removed", unit)
        await parts.clock.sleep(PATIENCE)
