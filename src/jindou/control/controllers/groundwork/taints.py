"""Taints of nodes and what Pods tolerate. Decisions only.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jindou.control.controllers.groundwork import conditions, times
from jindou.objects.kinds import Object

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
BY_CONDITION = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
OURS = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *BY_CONDITION.values()})


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    if operator == "Equal":
        return bool(toleration.get("key")) and (toleration.get("value") or "") == (
            taint.get("value") or ""
        )
    return False


def untolerated(
    taints: Iterable[Mapping[str, Any]],
    tolerations: Sequence[Mapping[str, Any]],
    effects: Sequence[str] = ("NoSchedule", "NoExecute"),
) -> Mapping[str, Any] | None:
    """The first taint of these effects that none of the tolerations covers."""
    for taint in taints:
        if taint["effect"] in effects and not any(tolerates(one, taint) for one in tolerations):
            return taint
    return None


def plan_taints(node: Object) -> list[Object]:
    """The node's taints: those that others set, and ours as its conditions ask for."""
    old = (node.get("spec") or {}).get("taints") or []
    ready = (conditions.find(node, "Ready") or {}).get("status", "")
    wanted: dict[tuple[str, str], Object] = {}
    if ready != "True":
        key = UNREACHABLE if ready == "Unknown" else NOT_READY
        wanted[key, "NoSchedule"] = {"key": key, "effect": "NoSchedule"}
        if ready:
            wanted[key, "NoExecute"] = {"key": key, "effect": "NoExecute"}
    for type, key in BY_CONDITION.items():
        if conditions.is_true(node, type):
            wanted[key, "NoSchedule"] = {"key": key, "effect": "NoSchedule"}
    if (node.get("spec") or {}).get("unschedulable"):
        wanted[UNSCHEDULABLE, "NoSchedule"] = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
    kept = []
    for taint in old:
        place = (taint["key"], taint["effect"])
        if place in wanted:
            del wanted[place]
            kept.append(taint)
        elif taint["key"] not in OURS:
            kept.append(taint)
    return kept + [{**taint, "timeAdded": times.text()} for taint in wanted.values()]


def plan_eviction(pod: Mapping[str, Any], taints: Sequence[Object], now: float) -> float | None:
    """Seconds that a Pod may stay on a node with these NoExecute taints; None: for ever."""
    tolerations = pod["spec"].get("tolerations") or ()
    left: list[float] = []
    for taint in taints:
        matching = [one for one in tolerations if tolerates(one, taint)]
        if not matching:
            return 0.0
        limits = [
            one["tolerationSeconds"] for one in matching if one.get("tolerationSeconds") is not None
        ]
        if limits:
            since = times.parse(taint.get("timeAdded")) or now
            left.append(max(since + max(min(limits), 0) - now, 0.0))
    return min(left) if left else None
