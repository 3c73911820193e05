"""How far a container has come: what the plan reads, the status shows and the records keep.

             start              exit             back-off over
  waiting ─────────▶ starting ─────────▶ exited ───────────────▶ starting ...
                        │ ▲                ▲
                        ▼ │ adopted        │ exit
                       running ────────────┘

`attempt` counts the units made for the container; it is recorded before the unit is started, so
a unit that is found after a kill is always known.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from jindou.client.retry import Backoff
from jindou.node.backoff import BackOff
from jindou.objects.kinds import Object

Phase = Literal["waiting", "starting", "running", "exited"]
Role = Literal["init", "sidecar", "main", "ephemeral"]
KEPT = (
    "attempt", "phase", "unit", "restarts", "image", "image_id", "began", "posted", "started",
    "ending", "terminated", "last",
)  # fmt: skip
ACTED_ON = ("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations")


class Waiting(NamedTuple):
    reason: str
    message: str = ""


class Failing(NamedTuple):
    """A probe's or a hook's verdict: the container is to be ended (and restarted by policy)."""

    message: str  # of the event Killing
    grace: float | None  # None: the Pod's


@dataclass
class Progress:
    name: str
    role: Role
    policy: str = "Always"  # restartPolicy that counts for it
    attempt: int = -1
    phase: Phase = "waiting"
    unit: str = ""
    restarts: int = 0
    image: str = ""
    image_id: str = ""
    began: float = 0.0  # Unix seconds
    posted: bool = False  # the postStart hook is done, or there is none
    started: bool = False  # ... and the startup probe has succeeded
    ready: bool = False
    ending: str = ""  # why we end it: probe, deletion, deadline
    terminated: Object | None = None  # of the unit of `attempt`
    last: Object | None = None  # of the unit before
    waiting: Waiting | None = None  # why it is not started, where there is a reason
    failing: Failing | None = None
    retry_at: float = 0.0  # by the clock that never jumps
    later: Waiting | None = None  # what `waiting` becomes at `settle_at`: first the failure shows
    settle_at: float = 0.0
    backoff: BackOff = field(default_factory=BackOff)
    tries: Backoff = field(default_factory=lambda: Backoff(1.0, 15.0))  # of what is not there yet
    failed_at: float = 0.0
    process: int = 0  # of the machine, while running
    news: asyncio.Event = field(default_factory=asyncio.Event)  # its exit was told

    @property
    def code(self) -> int | None:
        """The exit code of the attempt, where it has ended."""
        return None if self.terminated is None else int(self.terminated["exitCode"])

    @property
    def done(self) -> bool:
        """It has ended and is not to be started again."""
        if self.phase != "exited":
            return False
        if self.role == "ephemeral":
            return True
        if self.policy == "Always":
            return False
        return self.policy == "Never" or (self.code == 0 and self.ending != "probe")

    @property
    def failed(self) -> bool:
        return self.done and self.code != 0

    def never_began(self) -> None:
        """The attempt that was recorded came to nothing: as if it had not been made."""
        self.attempt -= 1
        self.restarts = max(self.restarts - 1, 0)
        self.terminated, self.last = self.last, None
        self.phase = "exited" if self.terminated else "waiting"

    def kept(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in KEPT}

    def restore(self, kept: dict[str, Any]) -> None:
        for name in KEPT:
            if name in kept:
                setattr(self, name, kept[name])


def progress_of(pod: Object) -> dict[str, Progress]:
    """Of every container of the Pod, in the order in which they start."""
    spec = pod["spec"]
    policy = spec.get("restartPolicy", "Always")
    found: dict[str, Progress] = {}
    for container in spec.get("initContainers") or ():
        name = container["name"]
        if container.get("restartPolicy") == "Always":
            found[name] = Progress(name, "sidecar", "Always")
        else:
            own = container.get("restartPolicy") or policy
            found[name] = Progress(name, "init", "OnFailure" if own == "Always" else own)
    for container in spec.get("containers") or ():
        name = container["name"]
        found[name] = Progress(name, "main", container.get("restartPolicy") or policy)
    return found | ephemeral_of(pod)


def ephemeral_of(pod: Object) -> dict[str, Progress]:
    names = [container["name"] for container in pod["spec"].get("ephemeralContainers") or ()]
    return {name: Progress(name, "ephemeral", "Never") for name in names}


def specifications(pod: Object) -> dict[str, Object]:
    """Containers of all kinds by name."""
    spec = pod["spec"]
    parts = ("initContainers", "containers", "ephemeralContainers")
    return {container["name"]: container for part in parts for container in spec.get(part) or ()}


def same_wish(before: Object, pod: Object) -> bool:
    """Has nothing changed that a worker acts on? Mostly it is the echo of its own status."""
    told, meta, old = pod.get("status") or {}, pod["metadata"], before["metadata"]
    return (
        all(old.get(name) == meta.get(name) for name in ACTED_ON)
        and before["spec"] == pod["spec"]
        and not pod["spec"].get("readinessGates")
        and told.get("phase") not in ("Succeeded", "Failed")
    )
