"""The binding of a Pod to a node, as the change of the Pod that it is."""

from __future__ import annotations

from jindou.control.api import status
from jindou.control.api.engine import writes
from jindou.control.api.resources.schema import copy
from jindou.control.api.rules.names import required
from jindou.objects.errors import Conflict
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
    changed.setdefault("status", {}).pop("nominatedNodeName", None)
    conditions = changed["status"].setdefault("conditions", [])
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
