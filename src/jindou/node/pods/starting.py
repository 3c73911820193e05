"""The start of one container, from its specification to a running process.

FIND gathers what is needed and may wait long (a pull, a missing Secret); MAKE acts on the machine,
few at once. Each step of MAKE pushes what undoes it. The attempt is recorded before anything of it
is made, so a kill at any point leaves nothing that the next process does not know.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from jindou.machine.images import Image
from jindou.machine.runtimes import Mount, State
from jindou.node.pods.sandbox import Sandbox
from jindou.node.state import security, units
from jindou.node.state.parts import Parts
from jindou.node.state.progress import Progress
from jindou.objects.kinds import Object

KEPT_LOGS = 2  # the running attempt's and the one before


class Owner(Protocol):
    """The worker whose container is started."""

    pod: Object
    parts: Parts

    def record(self) -> None:
        """Write down the progress of the Pod's containers."""
        ...

    def processes(self, container: Object) -> tuple[int, int]:
        """Whose process namespace to join: the Pod's first container's, an inspected one's."""
        ...

    def say(self, kind: str, reason: str, message: str, container: str = "") -> None: ...


@dataclass
class Start:
    owner: Owner
    sandbox: Sandbox
    container: Object
    held: Progress
    image: Image | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Sequence[tuple[str, str]] = ()
    security: security.Security | None = None
    mounts: Sequence[Mount] = ()
    root: Path = Path("/")
    user: tuple[int, int, tuple[int, ...]] = (0, 0, ())
    state: State | None = None

    @property
    def parts(self) -> Parts:
        return self.owner.parts

    @property
    def name(self) -> str:
        return self.held.name


Step = Callable[[Start, AsyncExitStack], Awaitable[None]]


async def pull_image(start: Start, undo: AsyncExitStack) -> None:
    image = await start.parts.puller.ensure(start.owner.pod, start.container)
    start.image, start.config = image, image.config.get("config") or {}
    start.held.image = start.container["image"]
    start.held.image_id = image_id(start.container["image"], image.digest)


async def find_environment(start: Start, undo: AsyncExitStack) -> None:
    owner = start.owner

    def report(reason: str, message: str) -> None:
        owner.say("Warning", reason, message, start.name)

    start.environment = await start.parts.environment(
        owner.pod, start.container, start.sandbox.addresses, start.sandbox.volumes, report
    )


async def check_security(start: Start, undo: AsyncExitStack) -> None:
    profiles = Path(start.parts.settings.data) / "seccomp"
    user = start.config.get("User") or ""
    start.security = security.merge(start.owner.pod, start.container, user, profiles)


async def check_command(start: Start, undo: AsyncExitStack) -> None:
    if not units.argv(start.container, start.config, dict(start.environment)):
        raise security.ConfigRefused("no command specified")


async def find_mounts(start: Start, undo: AsyncExitStack) -> None:
    start.mounts = start.parts.volumes.mounts(
        start.owner.pod, start.container, start.sandbox.volumes, start.environment
    )


async def record_attempt(start: Start, undo: AsyncExitStack) -> None:
    """From here on this is a new attempt, whatever becomes of it."""
    held, pod = start.held, start.owner.pod
    if held.phase == "exited":
        held.last, held.terminated = held.terminated, None
    if held.attempt >= 0:
        held.restarts += 1
    held.attempt += 1
    held.unit = units.unit_id(pod["metadata"]["uid"], held.name, held.attempt)
    held.phase, held.began = "starting", start.parts.clock.wall()
    held.posted = held.started = held.ready = False
    held.ending, held.failing, held.process = "", None, 0
    held.news.clear()
    start.owner.record()


async def mount_root(start: Start, undo: AsyncExitStack) -> None:
    assert start.image
    assert start.security
    undo.push_async_callback(start.parts.images.unmount, start.held.unit)
    start.root = await start.parts.images.mount(start.image.digest, start.held.unit)
    start.user = start.parts.resolve_user(start.root, start.security.user)


async def make_files(start: Start, undo: AsyncExitStack) -> None:
    """The termination message's file, and the folder of the log with no more old logs than kept."""
    held = start.held
    file = start.sandbox.files(held.name, held.attempt).termination
    file.write_bytes(b"")
    file.chmod(0o666)
    log = units.log_path(start.parts.settings, start.owner.pod, held.name, held.attempt)
    log.parent.mkdir(parents=True, exist_ok=True)
    if held.attempt >= KEPT_LOGS:
        old = held.attempt - KEPT_LOGS
        for path in log.parent.glob(f"{old}.log*"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            start.sandbox.files(held.name, old).termination.unlink()


async def start_unit(start: Start, undo: AsyncExitStack) -> None:
    owner, held, parts = start.owner, start.held, start.parts
    assert start.security
    first, target = owner.processes(start.container)
    uid, gid, groups = start.user
    found = units.Found(
        id=held.unit,
        root=start.root,
        config=start.config,
        environment=start.environment,
        mounts=start.mounts,
        files=start.sandbox.files(held.name, held.attempt),
        security=start.security,
        uid=uid,
        gid=gid,
        groups=groups,
        namespaces=units.namespaces(owner.pod, start.sandbox.namespaces, first, target),
        log=units.log_path(parts.settings, owner.pod, held.name, held.attempt),
        memory=parts.memory,
        runtime=start.sandbox.runtime,
    )
    unit = units.unit(owner.pod, start.container, found, parts.settings)
    start.state = await parts.runtime.start(unit)
    owner.say("Normal", "Created", f"Created container: {held.name}", held.name)
    owner.say("Normal", "Started", f"Started container {held.name}", held.name)


FIND: tuple[Step, ...] = (
    pull_image,
    find_environment,
    check_security,
    check_command,
    find_mounts,
)
MAKE: tuple[Step, ...] = (record_attempt, mount_root, make_files, start_unit)


async def start_container(start: Start) -> State:
    async with AsyncExitStack() as undo:
        for step in FIND:
            await step(start, undo)
        async with start.parts.starts:
            for step in MAKE:
                await step(start, undo)
        undo.pop_all()
    assert start.state
    return start.state


def image_id(name: str, digest: str) -> str:
    """name@digest, without a tag."""
    repository = name.partition("@")[0]
    head, colon, tail = repository.rpartition(":")
    if colon and "/" not in tail:
        repository = head
    return f"{repository}@{digest}"


def remove_logs(parts: Parts, pod: Object) -> None:
    shutil.rmtree(units.log_folder(parts.settings, pod), ignore_errors=True)
