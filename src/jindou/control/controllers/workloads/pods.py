"""Pods of whoever keeps some: how the next one looks, how many are made at once, which one goes first.
Decisions only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from jindou.control.controllers.groundwork.pod_facts import PodFacts
from jindou.objects.errors import CloudError, Forbidden
from jindou.objects.kinds import Object

PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def pod_from(owner: Object, reference: Object) -> Object:
    """The next Pod of an owner that holds a template."""
    template = owner["spec"]["template"]
    meta = template.get("metadata") or {}
    kept = {name: meta[name] for name in ("labels", "annotations", "finalizers") if meta.get(name)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{owner['metadata']['name']}-",
            "namespace": owner["metadata"]["namespace"],
            **kept,
            "ownerReferences": [reference],
        },
        "spec": template["spec"],
    }


def batches(count: int) -> Iterable[int]:
    """1, 2, 4, ...: a template that is refused costs one try, not five hundred."""
    size = 1
    while count > 0:
        yield min(size, count)
        count -= size
        size *= 2


def deletion_rank(pod: PodFacts, crowd: int, now: float) -> tuple[Any, ...]:
    """The lowest goes first: what is least far, cheapest, most crowded, youngest (by order of
    magnitude, so that rollouts do not always hit the same one)."""
    return (
        bool(pod.node),
        PHASES.get(pod.phase, 2),
        pod.ready,
        pod.cost,
        -crowd,
        _magnitude(now - pod.ready_since) if pod.ready and pod.ready_since else -1,
        -pod.restarts,
        _magnitude(now - pod.created) if pod.created else -1,
        pod.uid,
    )


def _magnitude(seconds: float) -> int:
    return int(math.log2(seconds * 1e9)) if seconds > 0 else -1


def is_closing(error: CloudError) -> bool:
    """Was a Pod refused because its namespace is about to go? That is no failure."""
    causes = error.details.get("causes") or ()
    return isinstance(error, Forbidden) and any(
        cause.get("reason") == "NamespaceTerminating" for cause in causes
    )
