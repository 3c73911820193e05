"""What may not change: immutable fields of the built-in kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jindou.control.api.rules.cluster import certificates, nodes
from jindou.control.api.rules.names import forbidden, invalid
from jindou.control.api.rules.network import addresses
from jindou.control.api.rules.pods.updates import pod_update
from jindou.control.api.rules.storage import claims
from jindou.control.api.rules.storage import volumes as storage
from jindou.control.api.rules.workloads import batch, job_status
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
    ("scheduling.k8s.io", "PriorityClass"): ("preemptionPolicy",),
    ("apps", "ControllerRevision"): ("data",),
    ("node.k8s.io", "RuntimeClass"): ("handler",),
    ("networking.k8s.io", "IngressClass"): ("spec.controller",),
    ("storage.k8s.io", "CSIDriver"): ("spec.attachRequired", "spec.volumeLifecycleModes"),
    ("storage.k8s.io", "CSIStorageCapacity"): ("nodeTopology", "storageClassName"),
    ("storage.k8s.io", "VolumeAttachment"): ("spec",),
    ("networking.k8s.io", "IPAddress"): ("spec.parentRef",),
    ("", "PersistentVolume"): ("spec.volumeMode",),
}
UNSHOWN = frozenset(
    {
        *(("storage.k8s.io", name) for name in ("StorageClass", "VolumeAttachment")),
        ("discovery.k8s.io", "EndpointSlice"), ("node.k8s.io", "RuntimeClass"),
        ("networking.k8s.io", "IPAddress"),
    }
)  # fmt: skip
"""Kinds of which the original does not say what was wanted instead."""
TEXTS = frozenset({"spec.controller"})
ROLE_SAYS = "cannot change roleRef"
PLACES = {"spec.volumeMode": "volumeMode", "spec.attachRequired": "spec.attachedRequired"}


def validate(kind: Kind, obj: Object, old: Object) -> list[Fault]:
    found: list[Fault] = []
    place = (kind.group, kind.name)
    for path in IMMUTABLE.get(place, ()):
        new_value, old_value = _at(obj, path), _at(old, path)
        if (new_value or None) != (old_value or None):
            says = ROLE_SAYS if path == "roleRef" else "field is immutable"
            shown = None if place in UNSHOWN else new_value
            if path in TEXTS:
                shown = shown or ""
            found.append(invalid(PLACES.get(path, path), shown, says))
    if place == ("", "ResourceQuota"):
        scopes, before = ((one.get("spec") or {}).get("scopes") or [] for one in (obj, old))
        if set(scopes) != set(before):
            found.append(invalid("spec.scopes", scopes, "field is immutable"))
    if place == ("", "Pod"):
        found += pod_update(obj, old)
    elif place == ("batch", "Job"):
        found += batch.job_update(obj, old)
    elif place == ("", "Service"):
        found += service(obj, old)
    elif place == ("scheduling.k8s.io", "PriorityClass"):
        if obj.get("value") != old.get("value"):
            found.append(forbidden("value", "may not be changed in an update."))
    elif place == ("", "PersistentVolume"):
        new_source, source = (_source(one.get("spec") or {}) for one in (obj, old))
        if new_source != source:
            says = "spec.persistentvolumesource is immutable after creation"
            found.append(forbidden("spec.persistentvolumesource", says))
        near, before = ((one.get("spec") or {}).get("nodeAffinity") for one in (obj, old))
        if before and near != before:
            says = "field is immutable, except for updating from beta label to GA"
            found.append(invalid("nodeAffinity", near, says))
    elif place in (("", "ConfigMap"), ("", "Secret")) and old.get("immutable"):
        if not obj.get("immutable"):
            found.append(forbidden("immutable", "field is immutable when `immutable` is set"))
        for part in ("data", "binaryData"):
            if (obj.get(part) or {}) != (old.get(part) or {}):
                found.append(forbidden(part, "field is immutable when `immutable` is set"))
    elif place == ("", "PersistentVolumeClaim"):
        found += claims.claim_update(obj, old)
    elif place == ("storage.k8s.io", "CSINode"):
        found += storage.csi_node_update(obj, old)
    elif place == ("networking.k8s.io", "ServiceCIDR"):
        found += addresses.service_cidr_update(obj, old)
    elif place == ("storage.k8s.io", "VolumeAttributesClass"):
        for name in ("driverName", "parameters"):
            if (obj.get(name) or None) != (old.get(name) or None):
                found.append(forbidden(name, f"updates to {name} are forbidden."))
    elif place == ("events.k8s.io", "Event"):
        found += addresses.event_update(obj, old)
    elif place == ("", "Node"):
        found += nodes.node_update(obj, old)
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


def _source(spec: Object) -> Object:
    """Of a PersistentVolume: where its bytes are."""
    return {name: held for name, held in spec.items() if name not in storage.NOT_SOURCE}


def _at(obj: Object, path: str) -> Any:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def service(obj: Object, old: Object) -> Iterator[Fault]:
    spec, was = obj.get("spec") or {}, old.get("spec") or {}
    before, kinds = was.get("clusterIP"), (spec.get("type"), was.get("type"))
    if before and "ExternalName" not in kinds and spec.get("clusterIP") != before:
        yield invalid("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set")
    elif (given := spec.get("clusterIPs")) and given[0] != spec.get("clusterIP"):
        yield invalid("spec.clusterIPs", given, "first value must match `clusterIP`")
    if kinds != ("LoadBalancer", "LoadBalancer"):
        return
    if spec.get("loadBalancerClass") != was.get("loadBalancerClass"):
        says = "may not change once set"
        yield invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), says)
    local = (spec.get("externalTrafficPolicy"), was.get("externalTrafficPolicy"))
    port = was.get("healthCheckNodePort")
    if local == ("Local", "Local") and port and spec.get("healthCheckNodePort") != port:
        yield forbidden("spec.healthCheckNodePort", "field is immutable")


def part_faults(obj: Object, old: Object, part: str) -> list[Fault]:
    if obj.get("kind") == "CertificateSigningRequest" and part in ("status", "approval"):
        return certificates.change_faults(obj, old, part)
    if obj.get("kind") == "Job" and part == "status" and obj["apiVersion"] == "batch/v1":
        return job_status.faults(obj, old)
    if part != "ephemeralcontainers":
        return []
    before = {c["name"]: c for c in (old.get("spec") or {}).get("ephemeralContainers") or ()}
    after = {c.get("name"): c for c in (obj.get("spec") or {}).get("ephemeralContainers") or ()}
    at = "spec.ephemeralContainers"
    found = []
    for name, container in before.items():
        if name not in after:
            found.append(
                forbidden(at, f"existing ephemeral containers {name} may not be removed\n")
            )
        elif after[name] != container:
            found.append(
                forbidden(at, f"existing ephemeral containers {name} may not be changed\n")
            )
    return found
