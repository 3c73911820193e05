"""What a Deployment does next: which replica sets grow or shrink, by how much. Decisions only.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import NamedTuple

from jindou.control.controllers.groundwork import times
from jindou.control.controllers.groundwork.portions import portion
from jindou.objects.kinds import Object

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MOST,
        "deprecated.deployment.rollback.to",
    }
)
NO_DEADLINE = 2**31 - 1


class Limits(NamedTuple):
    surge: int
    unavailable: int


def wanted(deployment: Object) -> int:
    replicas = deployment["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def size(replica_set: Object) -> int:
    return int(replica_set["spec"].get("replicas") or 0)


def counted(replica_set: Object, name: str) -> int:
    return int((replica_set.get("status") or {}).get(name) or 0)


def is_rolling(deployment: Object) -> bool:
    strategy = deployment["spec"].get("strategy") or {}
    return bool(strategy.get("type", "RollingUpdate") == "RollingUpdate")


def limits(deployment: Object) -> Limits:
    """Surge is rounded up, unavailability down; both zero would never move."""
    if not is_rolling(deployment):
        return Limits(0, 0)
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    replicas = wanted(deployment)
    surge = portion(rolling.get("maxSurge", "25%"), replicas, ROUND_CEILING)
    unavailable = portion(rolling.get("maxUnavailable", "25%"), replicas, ROUND_FLOOR)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(surge, min(unavailable, replicas))


# ---------------------------------------------------------------- revisions


def same_template(one: Object, other: Object) -> bool:
    return _bare(one) == _bare(other)


def _bare(template: Object) -> Object:
    """Without the hash of its labels, and without what is empty."""
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if v}
    labels = {k: v for k, v in (meta.pop("labels", None) or {}).items() if k != HASH}
    return {"metadata": meta | ({"labels": labels} if labels else {}), "spec": template["spec"]}


def by_age(sets: Iterable[Object]) -> list[Object]:
    return sorted(
        sets, key=lambda s: (s["metadata"].get("creationTimestamp") or "", s["metadata"]["name"])
    )


def find_new(deployment: Object, sets: Iterable[Object]) -> Object | None:
    """The oldest replica set whose template is the deployment's."""
    template = deployment["spec"]["template"]
    for candidate in by_age(sets):
        if same_template(candidate["spec"]["template"], template):
            return candidate
    return None


def revision(obj: Object) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def next_revision(old: Iterable[Object]) -> str:
    return str(max((revision(one) for one in old), default=0) + 1)


def annotations_for(deployment: Object, replica_set: Object, number: str) -> dict[str, str]:
    """Those of the new replica set: the deployment's, its revision, and the revisions it had."""
    held: dict[str, str] = dict(replica_set["metadata"].get("annotations") or {})
    for name, value in (deployment["metadata"].get("annotations") or {}).items():
        if name not in NOT_COPIED:
            held[name] = value
    before = held.get(REVISION, "")
    if int(before or 0) < int(number):
        held[REVISION] = number
        if before:
            past = [past for past in held.get(REVISION_HISTORY, "").split(",") if past]
            held[REVISION_HISTORY] = ",".join([*past, before])
    return held


def size_annotations(deployment: Object) -> dict[str, str]:
    replicas = wanted(deployment)
    return {DESIRED: str(replicas), MOST: str(replicas + limits(deployment).surge)}


def plan_history(deployment: Object, old: Iterable[Object]) -> list[Object]:
    """Old replica sets beyond the limit of history: all scaled down and settled, oldest first."""
    kept = deployment["spec"].get("revisionHistoryLimit")
    kept = 10 if kept is None else int(kept)
    alive = [one for one in old if not one["metadata"].get("deletionTimestamp")]
    surplus = sorted(alive, key=revision)[: max(len(alive) - kept, 0)]
    return [
        one
        for one in surplus
        if size(one) == 0
        and counted(one, "replicas") == 0
        and counted(one, "observedGeneration") >= one["metadata"].get("generation", 0)
    ]


# ---------------------------------------------------------------- sizes


class Resize(NamedTuple):
    replica_set: Object
    replicas: int


def size_of_new(deployment: Object, new: Object | None, sets: Sequence[Object]) -> int:
    """How large the new replica set may be now."""
    replicas, held = wanted(deployment), size(new) if new is not None else 0
    if not is_rolling(deployment):
        return replicas
    room = replicas + limits(deployment).surge - sum(size(one) for one in sets)
    if room <= 0:
        return held
    return held + min(room, replicas - held)


def plan_new(deployment: Object, new: Object, sets: Sequence[Object]) -> list[Resize]:
    replicas, held = wanted(deployment), size(new)
    if held == replicas:
        return []
    target = replicas if held > replicas else size_of_new(deployment, new, sets)
    return [Resize(new, target)] if target != held else []


def plan_old(deployment: Object, new: Object, old: Sequence[Object]) -> list[Resize]:
    """Shrink the old ones as far as enough Pods stay available: the unhealthy first."""
    replicas, limit = wanted(deployment), limits(deployment)
    total = size(new) + sum(size(one) for one in old)
    least = replicas - limit.unavailable
    not_yet = size(new) - counted(new, "availableReplicas")
    room = total - least - not_yet
    if room <= 0 or not any(size(one) for one in old):
        return []
    sizes = {one["metadata"]["name"]: size(one) for one in old}
    gone = 0
    for one in by_age(old):
        unhealthy = size(one) - counted(one, "availableReplicas")
        step = max(min(room - gone, unhealthy), 0)
        sizes[one["metadata"]["name"]] -= step
        gone += step
    available = counted(new, "availableReplicas") + sum(
        counted(one, "availableReplicas") for one in old
    )
    spare = available - least
    for one in by_age(old):
        step = max(min(sizes[one["metadata"]["name"]], spare), 0)
        sizes[one["metadata"]["name"]] -= step
        spare -= step
    return [
        Resize(one, sizes[one["metadata"]["name"]])
        for one in old
        if sizes[one["metadata"]["name"]] != size(one)
    ]


def needs_scaling(deployment: Object, sets: Iterable[Object]) -> bool:
    """Its size was changed since the replica sets were sized."""
    replicas = str(wanted(deployment))
    return any(
        (one["metadata"].get("annotations") or {}).get(DESIRED, replicas) != replicas
        for one in sets
        if size(one)
    )


def plan_scale(deployment: Object, new: Object | None, old: Sequence[Object]) -> list[Resize]:
    """Another size in the middle of a rollout, or while paused: each in proportion."""
    replicas = wanted(deployment)
    sets = [*old, *([new] if new is not None else [])]
    active = [one for one in sets if size(one)]
    if len(active) <= 1:
        latest = active[0] if active else new or (by_age(old)[-1] if old else None)
        return [Resize(latest, replicas)] if latest is not None else []
    if new is not None and size(new) == counted(new, "availableReplicas") == replicas:
        return [Resize(one, 0) for one in old if size(one)]
    if not is_rolling(deployment):
        return []
    most = replicas + limits(deployment).surge if replicas else 0
    missing = most - sum(size(one) for one in active)
    ordered = by_age(active)
    if missing > 0:
        ordered.reverse()
    ordered.sort(key=size, reverse=True)
    added, found = 0, []
    for one in ordered:
        step = _share(deployment, one, missing, added)
        added += step
        found.append(size(one) + step)
    if missing and found:
        found[0] = max(found[0] + missing - added, 0)
    return [Resize(one, target) for one, target in zip(ordered, found)]


def _share(deployment: Object, one: Object, missing: int, added: int) -> int:
    held = size(one)
    if not held or not missing or missing == added:
        return 0
    replicas = wanted(deployment)
    if not replicas:
        fraction = -held
    else:
        annotated = (one["metadata"].get("annotations") or {}).get(MOST, "")
        base = int(annotated) if annotated.isdigit() else counted(deployment, "replicas")
        if not base:
            return 0
        share = Decimal(held * (replicas + limits(deployment).surge)) / base
        fraction = int(share.to_integral_value(ROUND_HALF_UP)) - held
    left = missing - added
    return min(fraction, left) if missing > 0 else max(fraction, left)


# ---------------------------------------------------------------- progress


def plan_counts(deployment: Object, new: Object | None, sets: Sequence[Object]) -> Object:
    available = sum(counted(one, "availableReplicas") for one in sets)
    return {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": sum(counted(one, "replicas") for one in sets),
        "updatedReplicas": counted(new, "replicas") if new is not None else 0,
        "readyReplicas": sum(counted(one, "readyReplicas") for one in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(sum(size(one) for one in sets) - available, 0),
    }


def is_complete(deployment: Object, status: Object) -> bool:
    counts = {status[name] for name in ("replicas", "updatedReplicas", "availableReplicas")}
    generation = int(deployment["metadata"].get("generation", 0))
    return counts == {wanted(deployment)} and int(status["observedGeneration"]) >= generation


def is_progressing(deployment: Object, status: Object) -> bool:
    growing = ("updatedReplicas", "readyReplicas", "availableReplicas")
    if any(int(status[name]) > counted(deployment, name) for name in growing):
        return True
    old_before = counted(deployment, "replicas") - counted(deployment, "updatedReplicas")
    return int(status["replicas"]) - int(status["updatedReplicas"]) < old_before


def deadline(deployment: Object) -> int | None:
    found = deployment["spec"].get("progressDeadlineSeconds")
    return None if found is None or int(found) >= NO_DEADLINE else int(found)


def time_left(deployment: Object, progressing: Object | None, now: float) -> float | None:
    """Seconds until the rollout counts as stuck; None where it can't become stuck."""
    limit = deadline(deployment)
    if limit is None or progressing is None:
        return None
    if progressing.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    return times.parse(progressing.get("lastUpdateTime")) + limit - now
