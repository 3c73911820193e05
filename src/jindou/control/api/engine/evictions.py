"""May a Pod be evicted, and what does it take from its PodDisruptionBudget? Pure.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jindou.control.api.engine import writes
from jindou.control.api.resources.schema import copy
from jindou.objects import selectors
from jindou.objects.errors import CloudError, Forbidden, TooManyRequests
from jindou.objects.kinds import Object

MOST_DISRUPTED = 2000
AGAIN = 10  # seconds until a client may ask again
VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."
SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
NOT_NOW = "The disruption budget {} does not allow evicting pods currently"


def disrupts(pod: Object) -> bool:
    """Would taking the Pod away disrupt anything? One that has not started or is over does not."""
    phase = (pod.get("status") or {}).get("phase")
    return (
        phase not in ("Succeeded", "Failed", "Pending")
        and "deletionTimestamp" not in pod["metadata"]
    )


def must_be_unchanged(pod: Object) -> bool:
    """A Pod that was judged without its budget may not become ready before it goes."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and "deletionTimestamp" not in pod["metadata"]


def budgets_of(pod: Object, budgets: Iterable[Object]) -> list[Object]:
    labels = pod["metadata"].get("labels") or {}
    return [
        b
        for b in budgets
        if (s := selectors.from_object((b.get("spec") or {}).get("selector"))) is not None
        and s.matches(labels)
    ]


def is_free(pod: Object, budget: Object) -> bool:
    """A Pod that is not healthy may go without a disruption, where the budget says so."""
    if ready(pod):
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    report = budget.get("status") or {}
    desired = report.get("desiredHealthy", 0)
    return bool(report.get("currentHealthy", 0) >= desired > 0)


def ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def spent(budget: Object, pod: str) -> Object:
    """The budget after the eviction of a Pod. Raises TooManyRequests or Forbidden."""
    name, report = budget["metadata"]["name"], budget.get("status") or {}
    if report.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise being_processed(name)
    allowed = report.get("disruptionsAllowed", 0)
    if allowed < 0:
        says = "pdb disruptions allowed is negative"
        raise _forbidden(name, says, f"{NOT_NOW.format(name)}: {says}")
    if len(report.get("disruptedPods") or ()) > MOST_DISRUPTED:
        says = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        why = "too many pending evictions not confirmed by PDB controller"
        raise _forbidden(name, says, f"{NOT_NOW.format(name)}: {why}")
    if allowed == 0:
        raise _refused(_why(name, report), 0)
    changed: Object = copy(budget)
    report = changed["status"]
    report["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        report["conditions"] = _exhausted(report)
    report["disruptedPods"] = {**(report.get("disruptedPods") or {}), pod: writes.now()}
    return changed


def being_processed(name: str) -> CloudError:
    return _refused(f"The disruption budget {name} is still being processed by the server.", AGAIN)


def _refused(says: str, after: int) -> TooManyRequests:
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": says}]}
    if after:
        details["retryAfterSeconds"] = after
    return TooManyRequests(VIOLATES, details)


def _forbidden(name: str, says: str, why: str) -> Forbidden:
    details = {
        "name": name,
        "group": "policy",
        "kind": "poddisruptionbudget",
        "causes": [{"reason": "DisruptionBudget", "message": why}],
    }
    return Forbidden(f'poddisruptionbudget.policy "{name}" is forbidden: {says}', details)


def _why(name: str, report: Object) -> str:
    held = _condition(report)
    message = (held or {}).get("message") or ""
    no = held is not None and held.get("status") == "False" and message
    if no and held is not None and held.get("reason") == "SyncFailed":
        return f"{NOT_NOW.format(name)} because it failed sync: {message}"
    desired, healthy = report.get("desiredHealthy", 0), report.get("currentHealthy", 0)
    if healthy <= desired:
        return (
            f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        )
    if no and held is not None:
        return f"{NOT_NOW.format(name)} ({held.get('reason', '')}): {message}"
    return NOT_NOW.format(name)


def _condition(report: Object) -> Object | None:
    held = report.get("conditions") or ()
    return next((c for c in held if c.get("type") == "DisruptionAllowed"), None)


def _exhausted(report: Object) -> list[Object]:
    old = _condition(report) or {}
    since = old.get("lastTransitionTime") if old.get("status") == "False" else writes.now()
    new = {
        "type": "DisruptionAllowed",
        "status": "False",
        "observedGeneration": report.get("observedGeneration", 0),
        "lastTransitionTime": since,
        "reason": "InsufficientPods",
        "message": "",
    }
    held = list(report.get("conditions") or ())
    return [new if c is old else c for c in held] if old else [*held, new]


def condemned(pod: Object) -> Object:
    """The Pod with the condition that says why it goes."""
    changed: Object = copy(pod)
    held = changed.setdefault("status", {}).setdefault("conditions", [])
    new = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": writes.now(),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    for n, old in enumerate(held):
        if old.get("type") == new["type"]:
            if old.get("status") == "True":
                new["lastTransitionTime"] = old.get("lastTransitionTime")
            held[n] = new
            return changed
    held.append(new)
    return changed
