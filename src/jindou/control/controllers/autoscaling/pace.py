"""How fast the number of replicas may follow what metrics propose: windows, policies, bounds. Pure.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

WINDOW = 300.0  # seconds that a lower proposal has to stand
FACTOR, LEAST = 2, 4  # without a behavior: at most twice as many, or four
UP: Mapping[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
DOWN: Mapping[str, Any] = {
    "stabilizationWindowSeconds": WINDOW,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
HIGHER = "recent recommendations were higher than current one, applying the highest recent recommendation"
LOWER = (
    "recent recommendations were lower than current one, applying the lowest recent recommendation"
)
READY = ("ReadyForNewScale", "recommended size matches current size")
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FAST_UP = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")  # fmt: skip
TOO_FAST_DOWN = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")  # fmt: skip

Said = tuple[str, str]  # reason and message of a condition


class Mark(NamedTuple):
    at: float
    size: int


@dataclass
class History:
    """What was proposed and done of late, for one autoscaler."""

    proposed: list[Mark] = field(default_factory=list)
    up: list[Mark] = field(default_factory=list)
    down: list[Mark] = field(default_factory=list)

    def propose(self, now: float, count: int, window: float) -> None:
        self.proposed = [*(m for m in self.proposed if now - m.at <= window), Mark(now, count)]

    def scaled(self, now: float, before: int, after: int, behavior: Mapping[str, Any]) -> None:
        side = "scaleUp" if after > before else "scaleDown"
        longest = max((p["periodSeconds"] for p in rules(behavior, side)["policies"]), default=0)
        if after > before:
            self.up = [*(m for m in self.up if now - m.at <= longest), Mark(now, after - before)]
        else:
            self.down = [*(m for m in self.down if now - m.at <= longest), Mark(now, before - after)]  # fmt: skip


class Decision(NamedTuple):
    replicas: int
    able: Said
    limited: Said
    is_limited: bool


def rules(behavior: Mapping[str, Any], side: str) -> dict[str, Any]:
    given = {k: v for k, v in (behavior.get(side) or {}).items() if v is not None}
    return {**(UP if side == "scaleUp" else DOWN), **given}


def decide(
    history: History,
    behavior: Mapping[str, Any] | None,
    current: int,
    proposed: int,
    least: int,
    most: int,
    now: float,
) -> Decision:
    """Takes note of the proposal."""
    if behavior is None:
        steady = max([proposed, *(m.size for m in history.proposed if now - m.at <= WINDOW)])
        history.propose(now, proposed, WINDOW)
        able = READY if steady == proposed else ("ScaleDownStabilized", HIGHER)
        wanted, limited = simple(current, steady, least, most)
    else:
        steady = stabilized(history, behavior, current, proposed, now)
        up = ("ScaleUpStabilized", LOWER)
        moved = up if proposed >= current else ("ScaleDownStabilized", HIGHER)
        able = READY if steady == proposed else moved
        wanted, limited = bounded(history, behavior, current, steady, least, most, now)
    return Decision(wanted, able, limited, wanted != steady)


def simple(current: int, wanted: int, least: int, most: int) -> tuple[int, Said]:
    limit = max(FACTOR * current, LEAST)
    highest, said = (limit, TOO_FAST_UP) if most > limit else (most, TOO_MANY)
    if wanted < least:
        return least, TOO_FEW
    return (highest, said) if wanted > highest else (wanted, WITHIN)


def stabilized(
    history: History, behavior: Mapping[str, Any], current: int, proposed: int, now: float
) -> int:
    windows = [
        float(rules(behavior, side)["stabilizationWindowSeconds"])
        for side in ("scaleUp", "scaleDown")
    ]
    lowest = min([proposed, *(m.size for m in history.proposed if m.at > now - windows[0])])
    highest = max([proposed, *(m.size for m in history.proposed if m.at > now - windows[1])])
    history.propose(now, proposed, max(windows))
    return min(max(current, lowest), highest)


def bounded(
    history: History,
    behavior: Mapping[str, Any],
    current: int,
    wanted: int,
    least: int,
    most: int,
    now: float,
) -> tuple[int, Said]:
    if wanted > current:
        limit = max(current, reach(history, behavior, current, now, 1))
        highest, said = (limit, TOO_FAST_UP) if most > limit else (most, TOO_MANY)
        return (highest, said) if wanted > highest else (wanted, WITHIN)
    if wanted < current:
        limit = min(current, reach(history, behavior, current, now, -1))
        lowest, said = (limit, TOO_FAST_DOWN) if least < limit else (least, TOO_FEW)
        return (lowest, said) if wanted < lowest else (wanted, WITHIN)
    return wanted, WITHIN


def reach(history: History, behavior: Mapping[str, Any], current: int, now: float, way: int) -> int:
    """How far the policies of one side let it go: up (1) or down (-1)."""
    rule = rules(behavior, "scaleUp" if way > 0 else "scaleDown")
    if rule["selectPolicy"] == "Disabled":
        return current
    proposals: list[int] = []
    for policy in rule["policies"]:
        start = began(history, policy["periodSeconds"], current, now)
        if policy["type"] == "Pods":
            proposals.append(start + way * policy["value"])
        else:
            share = start * (1 + way * policy["value"] / 100)
            proposals.append(math.ceil(share) if way > 0 else int(share))
    least = rule["selectPolicy"] == "Min"
    return min(proposals) if least == (way > 0) else max(proposals)


def began(history: History, period: float, current: int, now: float) -> int:
    """How many there were when the period began."""
    return current - changed(history.up, period, now) + changed(history.down, period, now)


def changed(marks: Sequence[Mark], period: float, now: float) -> int:
    return sum(mark.size for mark in marks if mark.at > now - period)
