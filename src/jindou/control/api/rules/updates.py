"""What may not change: immutable fields of the built-in kinds."""

from __future__ import annotations

from typing import Any

from jindou.control.api.resources.schema import copy
from jindou.control.api.rules import batch
from jindou.control.api.rules.names import forbidden, invalid
from jindou.objects.errors import Fault
from jindou.objects.kinds import Kind, Object

IMMUTABLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "ReplicaSet"): ("spec.selector",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "StatefulSet"): (
        "spec.selector",
        "spec.volumeClaimTemplates",
        "spec.serviceName",
        "spec.podManagementPolicy",
    ),
    ("", "Secret"): ("type",),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("storage.k8s.io", "StorageClass"): (
        "provisioner",
        "parameters",
        "reclaimPolicy",
        "volumeBindingMode",
    ),
    ("discovery.k8s.io", "EndpointSlice"): ("addressType",),
    ("scheduling.k8s.io", "PriorityClass"): ("value", "preemptionPolicy"),
}
POD_MAY = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)
CLAIM_MAY = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def validate(kind: Kind, obj: Object, old: Object) -> list[Fault]:
    found: list[Fault] = []
    place = (kind.group, kind.name)
    for path in IMMUTABLE.get(place, ()):
        new_value, old_value = _at(obj, path), _at(old, path)
        if new_value != old_value:
            found.append(invalid(path, new_value, "field is immutable"))
    if place == ("", "ResourceQuota"):
        scopes, before = ((one.get("spec") or {}).get("scopes") or [] for one in (obj, old))
        if set(scopes) != set(before):
            found.append(invalid("spec.scopes", scopes, "field is immutable"))
    if place == ("", "Pod"):
        found += pod(obj, old)
    elif place == ("batch", "Job"):
        found += batch.job_update(obj, old)
    elif place == ("", "Service"):
        found += service(obj, old)
    elif place in (("", "ConfigMap"), ("", "Secret")) and old.get("immutable"):
        if not obj.get("immutable"):
            found.append(forbidden("immutable", "field is immutable when `immutable` is set"))
        for part in ("data", "binaryData"):
            if (obj.get(part) or {}) != (old.get(part) or {}):
                found.append(forbidden(part, "field is immutable when `immutable` is set"))
    elif place == ("", "PersistentVolumeClaim"):
        may = ("resources", "volumeName", "volumeAttributesClassName")
        same = _without(obj.get("spec"), may) == _without(old.get("spec"), may)
        found += [] if same else [forbidden("spec", CLAIM_MAY)]
    for name in ("finalizers",):
        added = set(obj["metadata"].get(name) or ()) - set(old["metadata"].get(name) or ())
        if added and old["metadata"].get("deletionTimestamp"):
            found.append(
                forbidden(
                    "metadata.finalizers",
                    f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{', '.join(repr(a) for a in sorted(added))}}}".replace(
                        "'", '"'
                    ),
                )
            )
    return found


def _at(obj: Object, path: str) -> Any:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _without(spec: Object | None, names: tuple[str, ...]) -> Object:
    return {name: held for name, held in (spec or {}).items() if name not in names}


def pod(obj: Object, old: Object) -> list[Fault]:
    new_spec, old_spec = obj.get("spec") or {}, old.get("spec") or {}
    if new_spec == old_spec:
        return []
    allowed = copy(new_spec)
    for part in ("containers", "initContainers"):
        before = {c["name"]: c for c in old_spec.get(part) or ()}
        for container in allowed.get(part) or ():
            if (known := before.get(container.get("name"))) is not None:
                container["image"] = known.get("image")
    for name in ("activeDeadlineSeconds", "nodeName", "schedulingGates"):
        if name in old_spec:
            if name == "nodeName" and old_spec[name] != new_spec.get(name):
                continue
            allowed[name] = old_spec[name]
        elif name != "nodeName":
            allowed.pop(name, None)
    grace = old_spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0 and new_spec.get("terminationGracePeriodSeconds") == 1:
        allowed["terminationGracePeriodSeconds"] = grace
    kept = old_spec.get("tolerations") or []
    if all(t in (new_spec.get("tolerations") or []) for t in kept):
        if "tolerations" in old_spec:
            allowed["tolerations"] = kept
        else:
            allowed.pop("tolerations", None)
    return [] if allowed == old_spec else [forbidden("spec", POD_MAY)]


def service(obj: Object, old: Object) -> list[Fault]:
    new_spec, old_spec = obj.get("spec") or {}, old.get("spec") or {}
    before = old_spec.get("clusterIP")
    if (
        before
        and new_spec.get("type") != "ExternalName"
        and old_spec.get("type") != "ExternalName"
        and new_spec.get("clusterIP") != before
    ):
        return [
            invalid("spec.clusterIPs[0]", [new_spec.get("clusterIP")], "may not change once set")
        ]
    return []
