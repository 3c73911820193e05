"""What the status of a Deployment says: counts, Available, Progressing, ReplicaFailure."""

from __future__ import annotations

from collections.abc import Sequence

from jindou.control.controllers.groundwork import conditions, times
from jindou.control.controllers.workloads.deployments import rollout
from jindou.objects.kinds import Object

PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"


def plan_paused(deployment: Object) -> tuple[str, str, str] | None:
    """Pausing stops the clock of the deadline, resuming winds it up again."""
    if rollout.deadline(deployment) is None:
        return None
    current = conditions.find(deployment, "Progressing")
    reason = current.get("reason") if current else ""
    if reason == "ProgressDeadlineExceeded":
        return None
    paused = bool(deployment["spec"].get("paused"))
    if paused and reason != PAUSED:
        return ("Unknown", PAUSED, "Deployment is paused")
    if not paused and reason == PAUSED:
        return ("Unknown", RESUMED, "Deployment is resumed")
    return None


def with_progress(deployment: Object, status: str, reason: str, message: str) -> Object:
    """The deployment as if its status already had this Progressing condition."""
    held = (deployment.get("status") or {}).get("conditions") or []
    found = _put(held, "Progressing", status, reason, message)
    return {**deployment, "status": {**(deployment.get("status") or {}), "conditions": found}}


def _put(held: Sequence[Object], type: str, status: str, reason: str, message: str) -> list[Object]:
    """Like `conditions.put`, with the time of the last update, and deaf to new words alone."""
    old = conditions.among(held, type)
    if old is not None and (old["status"], old.get("reason")) == (status, reason):
        return list(held)
    return conditions.put(held, type, status, reason, message, lastUpdateTime=times.text())


def plan_status(
    deployment: Object, new: Object | None, sets: Sequence[Object], collisions: int | None
) -> Object:
    status = rollout.plan_counts(deployment, new, sets)
    if collisions is not None:
        status["collisionCount"] = collisions
    held = (deployment.get("status") or {}).get("conditions") or []
    least = rollout.wanted(deployment) - rollout.limits(deployment).unavailable
    if status["availableReplicas"] >= least:
        told = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        told = (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    status["conditions"] = _put(held, "Available", *told)
    return status


def plan_progress(
    deployment: Object, status: Object, new: Object | None, sets: Sequence[Object], now: float
) -> Object:
    held = status["conditions"]
    current = conditions.among(held, "Progressing")
    if rollout.deadline(deployment) is None:
        held = conditions.without(held, "Progressing")
    else:
        done = (
            status["replicas"] == status["updatedReplicas"]
            and current is not None
            and current.get("reason") == "NewReplicaSetAvailable"
        )
        if not done:
            held = _progressing(deployment, status, new, held, now)
    failure = _failure(new, sets)
    if failure is None:
        held = conditions.without(held, "ReplicaFailure")
    else:
        held = _put(
            held,
            "ReplicaFailure",
            failure["status"],
            failure.get("reason", ""),
            failure.get("message", ""),
        )
    return {**status, "conditions": held}


def _progressing(
    deployment: Object, status: Object, new: Object | None, held: list[Object], now: float
) -> list[Object]:
    current = conditions.among(held, "Progressing")
    if new is not None:
        what = f'ReplicaSet "{new["metadata"]["name"]}"'
    else:
        what = f'Deployment "{deployment["metadata"]["name"]}"'
    if rollout.is_complete(deployment, status):
        text = f"{what} has successfully progressed."
        return _put(held, "Progressing", "True", "NewReplicaSetAvailable", text)
    if rollout.is_progressing(deployment, status):
        since = times.text(now)
        if current is not None and current.get("status") == "True":
            since = current.get("lastTransitionTime") or since
        condition = {
            "type": "Progressing",
            "status": "True",
            "reason": "ReplicaSetUpdated",
            "message": f"{what} is progressing.",
            "lastUpdateTime": times.text(now),
            "lastTransitionTime": since,
        }
        return [*conditions.without(held, "Progressing"), condition]
    left = rollout.time_left(deployment, current, now)
    if left is not None and left <= 0:
        text = f"{what} has timed out progressing."
        return _put(held, "Progressing", "False", "ProgressDeadlineExceeded", text)
    return held


def _failure(new: Object | None, sets: Sequence[Object]) -> Object | None:
    for one in [*([new] if new is not None else []), *sets]:
        found = conditions.find(one, "ReplicaFailure")
        if found is not None:
            return found
    return None
