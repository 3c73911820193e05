"""Subresources of Pods that are writes of their own: binding and eviction.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

from __future__ import annotations

from collections.abc import Iterable

from jindou.control.api import status
from jindou.control.api.engine import writes
from jindou.control.api.resources.schema import copy
from jindou.control.api.rules.names import required
from jindou.objects import selectors
from jindou.objects.errors import Conflict, InternalError, TooManyRequests
from jindou.objects.kinds import POD, Kind, Object

BINDING = Kind("", "v1", "Binding", "bindings")


def bound(pod: Object, binding: Object) -> Object:
    """The Pod on the node that a Binding names. Raises Conflict where it is on one already."""
    name = pod["metadata"]["name"]
    target = binding.get("target") or {}
    if not target.get("name"):
        raise status.invalid(BINDING, name, [required("target.name")])
    given = (binding.get("metadata") or {}).get("uid")
    if given and given != pod["metadata"]["uid"]:
        says = f"Precondition failed: UID in precondition: {given}, UID in object meta: {pod['metadata']['uid']}"
        raise status.conflict(POD._replace(plural="pods/binding"), name, says)
    if pod["metadata"].get("deletionTimestamp"):
        raise refused(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if current := (pod.get("spec") or {}).get("nodeName"):
        raise refused(name, f'pod {name} is already assigned to node "{current}"')
    if pod["spec"].get("schedulingGates"):
        raise refused(name, f"pod {name} has non-empty .spec.schedulingGates")
    changed: Object = copy(pod)
    changed["spec"]["nodeName"] = target["name"]
    notes = (binding.get("metadata") or {}).get("annotations")
    if notes:
        changed["metadata"]["annotations"] = {
            **(changed["metadata"].get("annotations") or {}),
            **notes,
        }
    conditions = changed.setdefault("status", {}).setdefault("conditions", [])
    scheduled = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": writes.now(),
    }
    conditions[:] = [c for c in conditions if c.get("type") != "PodScheduled"] + [scheduled]
    return changed


def refused(name: str, says: str) -> Conflict:
    return status.conflict(POD._replace(plural="pods/binding"), name, says)


def disrupts(pod: Object) -> bool:
    """Would taking the Pod away disrupt anything? One that has not started or is over does not."""
    phase = (pod.get("status") or {}).get("phase")
    return (
        phase not in ("Succeeded", "Failed", "Pending")
        and "deletionTimestamp" not in pod["metadata"]
    )


def budgets_of(pod: Object, budgets: Iterable[Object]) -> list[Object]:
    labels = pod["metadata"].get("labels") or {}
    return [
        b
        for b in budgets
        if (s := selectors.from_object((b.get("spec") or {}).get("selector"))) and s.matches(labels)
    ]


def spend(pod: Object, budgets: list[Object]) -> Object | None:
    """The budget after the eviction of a Pod, or None where none applies. Raises TooManyRequests."""
    if len(budgets) > 1:
        raise InternalError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    if not budgets:
        return None
    budget: Object = copy(budgets[0])
    report = budget.setdefault("status", {})
    if (
        not ready(pod)
        and (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
    ):
        return None
    if report.get("observedGeneration", 0) < budget["metadata"].get("generation", 1):
        raise _too_many(
            budget, "Cannot evict pod as it would violate the pod's disruption budget.", 10
        )
    allowed = report.get("disruptionsAllowed", 0)
    if allowed <= 0:
        says = f"The disruption budget {budget['metadata']['name']} needs {report.get('desiredHealthy', 0)} healthy pods and has {report.get('currentHealthy', 0)} currently"
        raise _too_many(budget, says, 0)
    report["disruptionsAllowed"] = allowed - 1
    report.setdefault("disruptedPods", {})[pod["metadata"]["name"]] = writes.now()
    return budget


def ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _too_many(budget: Object, says: str, after: int) -> TooManyRequests:
    details: dict[str, object] = {"causes": [{"reason": "DisruptionBudget", "message": says}]}
    if after:
        details["retryAfterSeconds"] = after
    return TooManyRequests(
        "Cannot evict pod as it would violate the pod's disruption budget.", details
    )
