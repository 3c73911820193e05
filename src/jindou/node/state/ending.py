"""Whether a Pod has to end, why, and how much time its containers get. Pure."""

from __future__ import annotations

from typing import NamedTuple

from jindou.node.clock import unstamp
from jindou.node.state.progress import Progress
from jindou.node.state.status import Outcome
from jindou.objects.kinds import Object

TERMINAL = ("Succeeded", "Failed")
DEADLINE = Outcome(
    "Failed",
    "DeadlineExceeded",
    "Pod was active on the node longer than the specified deadline",
)


class Verdict(NamedTuple):
    why: str = ""  # deletion, halt, eviction, deadline; "" goes on
    grace: float = 0.0
    outcome: Outcome | None = None  # the phase that this brings
    left: float | None = None  # seconds until its deadline, where it has one


def judge(
    pod: Object,
    start_time: float,
    wall: float,
    *,
    gone: bool = False,
    halted: bool = False,
    adopted: bool = False,
) -> Verdict:
    """`gone`: the object was removed; `adopted`: its end may have begun before this process."""
    meta, spec, told = pod["metadata"], pod["spec"], pod.get("status") or {}
    grace = float(spec.get("terminationGracePeriodSeconds") or 0)
    if meta.get("deletionTimestamp") or gone:
        grace = float(meta.get("deletionGracePeriodSeconds", grace))
        if adopted and (over := meta.get("deletionTimestamp")):
            grace = min(grace, max(unstamp(over) - wall + 1, 0.0))
        return Verdict("deletion", grace)
    if halted:
        return Verdict("halt", grace)
    if told.get("phase") in TERMINAL:
        said = Outcome(told["phase"], told.get("reason", ""), told.get("message", ""))
        return Verdict("eviction", grace, said)
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is None:
        return Verdict()
    left = start_time + float(seconds) - wall
    return Verdict(left=left) if left > 0 else Verdict("deadline", grace, DEADLINE)


def time_to_stop(held: Progress, pod: Object, left: float | None) -> tuple[float, str]:
    """Grace and the event's message; `left` is what the ending Pod has left, None while it goes on."""
    if left is not None:
        return max(left, 0.0), f"Stopping container {held.name}"
    grace = float(pod["spec"].get("terminationGracePeriodSeconds") or 0)
    if held.failing is None:
        return grace, f"Stopping container {held.name}"
    own = held.failing.grace
    return (grace if own is None else float(own)), held.failing.message
