"""Programs that run units: crun or runc with conmon for containers, QEMU for virtual machines.

A unit is complete: a driver needs nothing else to start it. Drivers keep what they need under
their run folder, so that a new process can `observe` what an earlier, killed one started.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable


@dataclass(frozen=True)
class Mount:
    """One bind mount or file system inside a unit; options as mount(8) spells them."""

    target: str
    source: str = ""
    kind: str = "bind"  # bind, tmpfs, proc, ...
    options: tuple[str, ...] = ("rbind", "rprivate")


@dataclass(frozen=True)
class Limits:
    """Zero means unlimited. CPU in cores for the quota, shares as cgroup v1 counts them; bytes."""

    cpu: float = 0.0
    cpu_shares: int = 0
    memory: int = 0
    pids: int = 0
    cpuset: str = ""
    hugepages: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """One container or one VM, complete."""

    id: str
    root: Path  # root filesystem, or disk image
    argv: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # NAME=value
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    hostname: str = ""
    namespaces: Mapping[str, str] = field(
        default_factory=dict
    )  # network, uts, ipc, pid -> path; "" = its own; absent = the host's
    mounts: tuple[Mount, ...] = ()
    cgroup: str = ""  # parent/name below the cgroup root
    limits: Limits = field(default_factory=Limits)
    oom_score_adj: int = 0
    capabilities: tuple[str, ...] | None = None  # CAP_...; None = the runtime's default set
    no_new_privileges: bool = False
    readonly_root: bool = False
    privileged: bool = False
    seccomp: str = ""  # "" = unconfined, "default", or the path of a profile
    masked: bool = True  # hide and protect the usual places of /proc and /sys
    sysctls: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False
    stop_signal: str = ""
    runtime: str = ""  # crun, runc, ...; "" = the one that the probe chose
    log: Path = Path("/dev/null")  # in the CRI format: TIME stream F|P text
    annotations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What is known of a unit. Times are Unix seconds; `pid` is valid while running."""

    id: str
    phase: Literal["starting", "running", "exited"]
    code: int | None = None
    message: str = ""
    pid: int = 0
    started: float = 0.0
    finished: float = 0.0
    oom_killed: bool = False


class Usage(NamedTuple):
    """What a unit has used: CPU seconds since its start, bytes now, processes now."""

    cpu: float
    memory: int
    working_set: int
    pids: int


class Session(Protocol):
    """A process started inside a unit, or an attachment to its main one.

    `receive` returns (1, data) for stdout, (2, data) for stderr and None at the end of both.
    """

    async def receive(self) -> tuple[int, bytes] | None: ...
    async def send(self, data: bytes) -> None: ...
    async def end_input(self) -> None: ...
    async def resize(self, width: int, height: int) -> None: ...
    async def wait(self) -> int:
        """The exit code (0 for an attachment that ended)."""
        ...

    async def close(self) -> None:
        """Leave; kills a process that `execute` started, never the unit's main process."""
        ...


class StartFailed(Exception):
    """A unit could not be started; the message is what the runtime said, in one sentence."""


class Runtime(Protocol):
    """Runs units. Every call may be repeated; `observe` works after we were killed."""

    async def start(self, unit: Unit) -> State:
        """Create and start. Raises StartFailed and leaves nothing behind."""
        ...

    async def signal(self, id: str, signal: int) -> None: ...
    async def stop(self, id: str, grace: float) -> None:
        """The stop signal, then SIGKILL after `grace` seconds; returns when it has exited."""
        ...

    async def remove(self, id: str) -> None:
        """Forget an exited unit and free all that it held; the log stays."""
        ...

    async def observe(self) -> Mapping[str, State]: ...
    def changes(self) -> AsyncIterator[State]:
        """Every unit that exits from now on (and restarts of those that the driver restarts)."""
        ...

    async def execute(
        self,
        id: str,
        argv: tuple[str, ...],
        *,
        terminal: bool = False,
        stdin: bool = False,
        env: tuple[str, ...] = (),
    ) -> Session: ...
    async def attach(self, id: str) -> Session: ...
    async def usage(self, id: str) -> Usage: ...
    async def reopen_log(self, id: str) -> None:
        """Go on in a new file at the log's path (the old one was renamed)."""
        ...


@runtime_checkable
class CanExpect(Protocol):
    """An optional ability: begin ahead what every start has to wait for."""

    def expect(self) -> None:
        """A unit will be started within some ten milliseconds. Returns at once, never fails."""
        ...
