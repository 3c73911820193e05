"""The columns of kinds that extend a cluster, and of others that are seldom printed.

Source: the Table type of meta.k8s.io/v1, https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from typing import Any

from jindou.control.api.resources.cells import (
    NONE,
    UNSET,
    Cells,
    age,
    columns_of,
    containers,
    created,
    label_selector,
    labels,
)
from jindou.control.api.resources.registry import Column
from jindou.objects.kinds import Object

PRINTED_STATES = ("Running", "Failed", "Succeeded")


def name_of(obj: Object) -> str:
    name: str = obj["metadata"]["name"]
    return name


def conditions(obj: Object) -> list[dict[str, Any]]:
    return (obj.get("status") or {}).get("conditions") or []


def component_cells(obj: Object, now: float) -> list[Any]:
    for condition in obj.get("conditions") or []:
        if condition.get("type") == "Healthy":
            state = "Healthy" if condition.get("status") == "True" else "Unhealthy"
            return [name_of(obj), state, condition.get("message", ""), condition.get("error", "")]
    return [name_of(obj), "Unknown", "", ""]


def pod_template_cells(obj: Object, now: float) -> list[Any]:
    template = obj.get("template") or {}
    held = (template.get("metadata") or {}).get("labels")
    return [name_of(obj), *containers(template), labels(held)]


def address_cells(obj: Object, now: float) -> list[Any]:
    parent = obj["spec"].get("parentRef")
    if parent is None:
        return [name_of(obj), NONE]
    group = f".{parent['group']}" if parent.get("group") else ""
    parts = [
        f"{parent.get('resource', '')}{group}".lower(),
        parent.get("namespace"),
        parent["name"],
    ]
    return [name_of(obj), "/".join(part for part in parts if part)]


def driver_cells(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    asked = spec.get("tokenRequests")
    return [
        name_of(obj),
        spec.get("attachRequired", True),
        spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False),
        UNSET if asked is None else ",".join(token.get("audience", "") for token in asked),
        spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes") or []) or NONE,
        created(obj, now),
    ]


def attachment_cells(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    volume = spec["source"].get("persistentVolumeName", "")
    attached = (obj.get("status") or {}).get("attached", False)
    return [name_of(obj), spec["attacher"], volume, spec["nodeName"], attached, created(obj, now)]


def policy_cells(rules: str) -> Cells:
    def cells(obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        kind = spec.get("paramKind")
        told = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET
        return [name_of(obj), len(spec.get(rules) or []), told, created(obj, now)]

    return cells


def policy_binding_cells(obj: Object, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    reference = spec.get("paramRef") or {}
    told = UNSET
    if reference.get("name"):
        told = f"{reference.get('namespace') or '*'}/{reference['name']}"
    elif reference.get("selector"):
        told = label_selector(reference["selector"])
    return [name_of(obj), spec.get("policyName", ""), told, created(obj, now)]


def webhook_cells(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), len(obj.get("webhooks") or []), created(obj, now)]


def definition_cells(obj: Object, now: float) -> list[Any]:
    spec, names = obj["spec"], obj["spec"]["names"]
    versions = sorted(
        version["name"] + ("(storage)" if version.get("storage") else "")
        for version in spec["versions"]
        if version.get("served")
    )
    return [
        name_of(obj),
        spec["scope"],
        ",".join(versions),
        obj["metadata"].get("creationTimestamp"),
        spec["group"],
        names["kind"],
        ",".join(names.get("shortNames") or []),
        any(c["type"] == "Established" and c["status"] == "True" for c in conditions(obj)),
    ]


def claim_cells(obj: Object, now: float) -> list[Any]:
    status = obj.get("status") or {}
    deleted = "deletionTimestamp" in obj["metadata"]
    states = ["deleted"] if deleted else []
    if status.get("allocation"):
        states += ["allocated", *(["reserved"] if status.get("reservedFor") else [])]
    elif not deleted:
        states.append("pending")
    return [name_of(obj), ",".join(states), created(obj, now)]


def slice_cells(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    pool = spec["pool"]["name"]
    return [name_of(obj), spec.get("nodeName", ""), spec["driver"], pool, created(obj, now)]


def taint_cells(obj: Object, now: float) -> list[Any]:
    taint = obj["spec"]["taint"]
    added = taint.get("timeAdded")
    return [
        name_of(obj),
        taint["key"],
        taint.get("value", ""),
        taint["effect"],
        age(added, now) if added else "",
        created(obj, now),
    ]


def flow_cells(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    method = (spec.get("distinguisherMethod") or {}).get("type", NONE)
    dangling = next((c["status"] for c in conditions(obj) if c["type"] == "Dangling"), "?")
    return [
        name_of(obj),
        spec["priorityLevelConfiguration"]["name"],
        spec.get("matchingPrecedence", 0),
        method,
        created(obj, now),
        dangling,
    ]


def priority_level_cells(obj: Object, now: float) -> list[Any]:
    limited = obj["spec"].get("limited") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    return [
        name_of(obj),
        obj["spec"]["type"],
        limited.get("nominalConcurrencyShares", NONE),
        *(queuing.get(name, NONE) for name in ("queues", "handSize", "queueLengthLimit")),
        created(obj, now),
    ]


def migration_cells(obj: Object, now: float) -> list[Any]:
    resource = obj["spec"].get("resource") or {}
    group = f".{resource['group']}" if resource.get("group") else ""
    held = [c["type"] for c in conditions(obj) if c["status"] == "True"]
    state = [kind for kind in held if kind in PRINTED_STATES]
    return [name_of(obj), resource.get("resource", "") + group, state[-1] if state else "Unknown"]


def pod_certificate_cells(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    states = [c["type"] for c in conditions(obj) if c["type"] in ("Issued", "Denied", "Failed")]
    told = [spec.get(k, "") for k in ("podName", "serviceAccountName", "nodeName", "signerName")]
    annotations = labels(spec.get("unverifiedUserAnnotations"))
    return [name_of(obj), *told, states[-1] if states else "Pending", annotations]


ADMISSION, STORAGE, DEVICES = "admissionregistration.k8s.io", "storage.k8s.io", "resource.k8s.io"
FLOW, CERTIFICATES = "flowcontrol.apiserver.k8s.io", "certificates.k8s.io"

EXTENSION: dict[tuple[str, str], tuple[tuple[Column, ...], Cells]] = {
    ("", "ComponentStatus"): (columns_of("Name|Status|Message|Error"), component_cells),
    ("", "PodTemplate"): (columns_of("Name|Containers|Images|Pod Labels"), pod_template_cells),
    ("networking.k8s.io", "IPAddress"): (columns_of("Name|ParentRef"), address_cells),
    ("networking.k8s.io", "ServiceCIDR"): (columns_of("Name|CIDRs|Age"), lambda o, now: [name_of(o), ",".join(o["spec"].get("cidrs") or []), created(o, now)]),
    (STORAGE, "CSIDriver"): (columns_of("Name|AttachRequired:boolean|PodInfoOnMount:boolean|StorageCapacity:boolean|TokenRequests|RequiresRepublish:boolean|Modes|Age"), driver_cells),
    (STORAGE, "CSINode"): (columns_of("Name|Drivers:integer|Age"), lambda o, now: [name_of(o), len(o["spec"].get("drivers") or []), created(o, now)]),
    (STORAGE, "CSIStorageCapacity"): (columns_of("Name|Created At:date"), lambda o, now: [name_of(o), o["metadata"].get("creationTimestamp")]),
    (STORAGE, "VolumeAttachment"): (columns_of("Name|Attacher|PV|Node|Attached:boolean|Age"), attachment_cells),
    (STORAGE, "VolumeAttributesClass"): (columns_of("Name|DriverName|Age"), lambda o, now: [name_of(o), o["driverName"], created(o, now)]),
    (ADMISSION, "MutatingAdmissionPolicy"): (columns_of("Name|Mutations:integer|ParamKind|Age"), policy_cells("mutations")),
    (ADMISSION, "ValidatingAdmissionPolicy"): (columns_of("Name|Validations:integer|ParamKind|Age"), policy_cells("validations")),
    (ADMISSION, "MutatingAdmissionPolicyBinding"): (columns_of("Name|PolicyName|ParamRef|Age"), policy_binding_cells),
    (ADMISSION, "ValidatingAdmissionPolicyBinding"): (columns_of("Name|PolicyName|ParamRef|Age"), policy_binding_cells),
    (ADMISSION, "MutatingWebhookConfiguration"): (columns_of("Name|Webhooks:integer|Age"), webhook_cells),
    (ADMISSION, "ValidatingWebhookConfiguration"): (columns_of("Name|Webhooks:integer|Age"), webhook_cells),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (columns_of("Name|Scope|Versions|Created At:date|Group*|Kind*|ShortNames*|Established:boolean*"), definition_cells),
    (DEVICES, "ResourceClaim"): (columns_of("Name|State|Age"), claim_cells),
    (DEVICES, "ResourceSlice"): (columns_of("Name|Node|Driver|Pool|Age"), slice_cells),
    (DEVICES, "DeviceTaintRule"): (columns_of("Name|Key|Value|Effect|TimeAdded|Age"), taint_cells),
    (FLOW, "FlowSchema"): (columns_of("Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL"), flow_cells),
    (FLOW, "PriorityLevelConfiguration"): (columns_of("Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age"), priority_level_cells),
    ("storagemigration.k8s.io", "StorageVersionMigration"): (columns_of("Name|Resource|Status"), migration_cells),
    (CERTIFICATES, "ClusterTrustBundle"): (columns_of("Name|SignerName"), lambda o, now: [name_of(o), o["spec"].get("signerName") or NONE]),
    (CERTIFICATES, "PodCertificateRequest"): (columns_of("Name|PodName|ServiceAccountName|NodeName|SignerName|State|UnverifiedUserAnnotations"), pod_certificate_cells),
}  # fmt: skip
