"""What a node that has just started makes of the Pods that an earlier one worked on. Pure.

    recorded    the machine says    becomes
    starting    running             running
    starting    nothing             as if never tried
    running     running             running: not touched
    running     exited              running, and its exit is told at once
    running     nothing             exited, code unknown
    exited      anything            exited; what is left of the unit is removed

After a reboot nothing runs: what ran has exited, and init containers and sidecars run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jindou.machine.runtimes import State
from jindou.node.state import status
from jindou.node.state.progress import Progress
from jindou.node.state.records import Record
from jindou.objects.kinds import Object

UNKNOWN_CODE, LOST_CODE = 255, 137
LOST = "The container could not be located when the pod was terminated"


class Adopted(NamedTuple):
    begun: bool = False
    start_time: float = 0.0
    exits: tuple[State, ...] = ()  # to be told
    leftovers: tuple[str, ...] = ()  # units to be removed


def adopt(
    pod: Object,
    progress: Mapping[str, Progress],
    record: Record | None,
    states: Mapping[str, State],
    now: float,
) -> Adopted:
    """Fills `progress` in from the record, what runs, and what the API was told last.
    `states` are those of the Pod's own units."""
    told = _statuses(pod)
    if record is None and not any(held.get("containerID") for held in told.values()):
        return Adopted()
    rebooted = (record is None or record.rebooted) and not states
    exits: list[State] = []
    leftovers: list[str] = []
    for held in progress.values():
        kept = dict(record.containers.get(held.name) or {}) if record else {}
        known = told.get(held.name) or {}
        if not kept and known.get("containerID"):
            kept = _from_status(known)
        if not kept:
            continue
        held.restore(kept)
        held.restarts = max(held.restarts, known.get("restartCount") or 0)
        state = states.get(held.unit)
        if held.phase in ("starting", "running"):
            _adopt_one(held, state, rebooted, known, now, exits, leftovers)
        else:
            leftovers.append(held.unit)
    if rebooted:
        _run_again(progress)
    return Adopted(
        begun=bool(record and record.begun)
        or any(held.role == "main" and held.phase == "running" for held in progress.values()),
        start_time=record.start_time if record else 0.0,
        exits=tuple(exits),
        leftovers=tuple(leftovers),
    )


def _adopt_one(
    held: Progress,
    state: State | None,
    rebooted: bool,
    known: Object,
    now: float,
    exits: list[State],
    leftovers: list[str],
) -> None:
    if state is not None and state.phase == "starting":
        leftovers.append(held.unit)
        state = None
    if state is None:
        if held.phase == "starting" and not rebooted:
            held.never_began()
            return
        code, reason, said = (UNKNOWN_CODE, "Unknown", "") if rebooted else (LOST_CODE, "ContainerStatusUnknown", LOST)  # fmt: skip
        leftovers.append(held.unit)
        held.terminated = status.terminated(held, code, reason, said, now)
        held.phase = "exited"
        held.ready = held.started = False
        return
    held.phase, held.process = "running", state.pid
    held.began = state.started or held.began
    if known.get("containerID") == f"jindou://{held.unit}":
        held.ready = bool(known.get("ready"))
    if state.phase == "exited":
        exits.append(state)


def _run_again(progress: Mapping[str, Progress]) -> None:
    if all(held.done for held in progress.values() if held.role == "main"):
        return
    for held in progress.values():
        if held.role in ("init", "sidecar") and held.phase == "exited" and not held.failed:
            held.last, held.terminated = held.terminated, None
            held.phase, held.started = "waiting", False


def _statuses(pod: Object) -> dict[str, Object]:
    told = pod.get("status") or {}
    parts = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return {held["name"]: held for part in parts for held in told.get(part) or ()}


def _from_status(known: Object) -> dict[str, object]:
    """Where the record was lost, what the API was told stands in for it."""
    state = known.get("state") or {}
    unit = known["containerID"].rpartition("://")[2]
    number = unit.rpartition("-")[2]
    ended = state.get("terminated") or (
        (known.get("lastState") or {}).get("terminated") if "waiting" in state else None
    )
    return {
        "attempt": int(number) if number.isdigit() else known.get("restartCount", 0),
        "phase": "exited" if ended else "running",
        "unit": unit,
        "restarts": known.get("restartCount", 0),
        "image": known.get("image", ""),
        "image_id": known.get("imageID", ""),
        "terminated": ended,
        "posted": True,
    }
