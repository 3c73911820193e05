"""How many Pods to make or delete, which first, and what the status says: decisions only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jindou.control.controllers.groundwork import conditions
from jindou.control.controllers.groundwork.pod_facts import PodFacts
from jindou.control.controllers.workloads.pods import deletion_rank
from jindou.objects.kinds import Object
from jindou.objects.selectors import Labels

BURST = 500  # Pods made or deleted in one look


class Replicas(NamedTuple):
    create: int
    delete: list[PodFacts]


def plan_replicas(
    wanted: int, active: Sequence[PodFacts], related: Iterable[PodFacts], now: float
) -> Replicas:
    """`related`: the Pods of all replica sets of the same owner, which count for crowding."""
    difference = len(active) - wanted
    if difference <= 0:
        return Replicas(min(-difference, BURST), [])
    count = min(difference, BURST)
    if count == len(active):
        return Replicas(0, list(active))
    crowd = Counter(pod.node for pod in related if pod.active and pod.node)
    ranked = sorted(active, key=lambda pod: deletion_rank(pod, crowd[pod.node], now))
    return Replicas(0, ranked[:count])


def plan_status(
    owner: Object, pods: Sequence[PodFacts], failure: Mapping[str, str] | None, now: float
) -> Object:
    """`failure`: reason and message of what went wrong with the last creation or deletion."""
    spec, old = owner["spec"], owner.get("status") or {}
    min_ready = spec.get("minReadySeconds") or 0
    labels: Labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    active = [pod for pod in pods if pod.active]
    status: Object = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(labels.items() <= pod.labels.items() for pod in active),
        "readyReplicas": sum(pod.ready for pod in active),
        "availableReplicas": sum(pod.available(min_ready, now) for pod in active),
        "observedGeneration": owner["metadata"].get("generation", 0),
    }
    held = old.get("conditions") or []
    told = conditions.among(held, "ReplicaFailure")
    if failure:
        # A message names a Pod that never was, another each time: only a new reason is news.
        if told is None or (told["status"], told.get("reason")) != ("True", failure["reason"]):
            held = conditions.put(held, "ReplicaFailure", "True", **failure)
    else:
        held = conditions.without(held, "ReplicaFailure")
    if held:
        status["conditions"] = held
    return {name: value for name, value in status.items() if value or name == "replicas"}


def next_available(owner: Object, pods: Iterable[PodFacts], now: float) -> float | None:
    """Seconds until the next ready Pod has been ready for long enough."""
    min_ready = owner["spec"].get("minReadySeconds") or 0
    waits = [
        pod.ready_since + min_ready - now
        for pod in pods
        if pod.active and pod.ready and not pod.available(min_ready, now)
    ]
    return min(waits) if waits else None
