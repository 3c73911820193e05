"""Tables: the columns that `kubectl get` prints, computed on the server as the real one does.

A built-in kind that kubectl prints specially has a function that yields its cells; any other has
Name and Age; a custom resource has the columns of its definition, as JSONPaths.
Source: the Table type of meta.k8s.io/v1, https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from jindou.control.api.resources.cells import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Cells,
    age,
    columns_of,
    created,
    human,
    label_selector,
    labels,
)
from jindou.control.api.resources.extension_columns import EXTENSION
from jindou.control.api.resources.jsonpath import find
from jindou.control.api.resources.registry import Column, Resource
from jindou.control.api.resources.workload_columns import WORKLOADS
from jindou.objects.kinds import Object


def service_cells(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    kind = spec.get("type", "ClusterIP")
    external = ",".join(spec.get("externalIPs") or []) or NONE
    if kind == "ExternalName":
        external = spec.get("externalName", NONE)
    elif kind == "LoadBalancer":
        found = [
            i.get("ip") or i.get("hostname")
            for i in obj.get("status", {}).get("loadBalancer", {}).get("ingress") or []
        ]
        external = ",".join([*found, *(spec.get("externalIPs") or [])]) or "<pending>"
    ports = ",".join(
        f"{p['port']}:{p['nodePort']}/{p.get('protocol', 'TCP')}"
        if p.get("nodePort")
        else f"{p['port']}/{p.get('protocol', 'TCP')}"
        for p in spec.get("ports") or []
    )
    cluster = (spec.get("clusterIPs") or [spec.get("clusterIP")])[0]
    return [
        obj["metadata"]["name"],
        kind,
        cluster or NONE,
        external,
        ports or NONE,
        created(obj, now),
        labels(spec.get("selector")),
    ]


def endpoints_cells(obj: Object, now: float) -> list[Any]:
    found = [
        f"{a['ip']}:{p['port']}" if p else a["ip"]
        for subset in obj.get("subsets") or []
        for a in subset.get("addresses") or []
        for p in subset.get("ports") or [None]
    ]
    return [obj["metadata"]["name"], _few(found), created(obj, now)]


def _few(words: Sequence[str], most: int = 3) -> str:
    more = f" + {len(words) - most} more..." if len(words) > most else ""
    return ",".join(words[:most]) + more or NONE


def endpoint_slice_cells(obj: Object, now: float) -> list[Any]:
    ports = [str(p.get("port", "*")) for p in obj.get("ports") or []]
    found = [a for e in obj.get("endpoints") or [] for a in e.get("addresses", [])]
    return [
        obj["metadata"]["name"],
        obj.get("addressType", ""),
        _few(ports) if ports else "<unset>",
        _few(found) if found else "<unset>",
        created(obj, now),
    ]


def node_cells(obj: Object, now: float) -> list[Any]:
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    ready = next((c["status"] for c in status.get("conditions", []) if c["type"] == "Ready"), None)
    words = ["Ready" if ready == "True" else "NotReady" if ready else "Unknown"]
    if spec.get("unschedulable"):
        words.append("SchedulingDisabled")
    roles = sorted(
        k.removeprefix("node-role.kubernetes.io/")
        for k in meta.get("labels") or {}
        if k.startswith("node-role.kubernetes.io/")
    )
    addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses", []))}
    info = status.get("nodeInfo", {})
    return [
        meta["name"], ",".join(words), ",".join(roles) or NONE, created(obj, now), info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE), addresses.get("ExternalIP", NONE), info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN, info.get("containerRuntimeVersion") or UNKNOWN,
    ]  # fmt: skip


def event_cells(obj: Object, now: float) -> list[Any]:
    about = obj.get("involvedObject", {})
    series = obj.get("series") or {}
    count = series.get("count") or obj.get("count") or 1
    last = (
        series.get("lastObservedTime")
        or obj.get("lastTimestamp")
        or obj.get("firstTimestamp")
        or obj.get("eventTime")
    )
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    source = obj.get("source") or {}
    name = source.get("component") or obj.get("reportingComponent") or ""
    return [
        age(last, now), obj.get("type", ""), obj.get("reason", ""), f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""), ", ".join(filter(None, (name, source.get("host")))), (obj.get("message") or "").strip(),
        age(first, now), count, obj["metadata"]["name"],
    ]  # fmt: skip


def volume_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    claim = spec.get("claimRef") or {}
    return [
        obj["metadata"]["name"], spec.get("capacity", {}).get("storage", ""), _modes(spec.get("accessModes")), spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", ""), f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName", ""), spec.get("volumeAttributesClassName") or "<unset>", status.get("reason", ""), created(obj, now), spec.get("volumeMode", ""),
    ]  # fmt: skip


def claim_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    bound = bool(spec.get("volumeName"))
    return [
        obj["metadata"]["name"], "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", ""), spec.get("volumeName", ""),
        status.get("capacity", {}).get("storage", "") if bound else "", _modes(status.get("accessModes") or spec.get("accessModes")) if bound else "",
        spec.get("storageClassName", ""), spec.get("volumeAttributesClassName") or "<unset>", created(obj, now), spec.get("volumeMode", ""),
    ]  # fmt: skip


def _modes(modes: Sequence[str] | None) -> str:
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    return ",".join(short[m] for m in modes or () if m in short)


def ingress_cells(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    hosts = [r["host"] for r in spec.get("rules") or [] if r.get("host")]
    found = [
        i.get("ip") or i.get("hostname")
        for i in obj.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    ]
    return [
        obj["metadata"]["name"],
        spec.get("ingressClassName") or NONE,
        ",".join(hosts) or "*",
        ",".join(found),
        "80, 443" if spec.get("tls") else "80",
        created(obj, now),
    ]


def ingress_class_cells(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    told, given = NONE, spec.get("parameters")
    if given:
        group = f".{given['apiGroup']}" if given.get("apiGroup") else ""
        told = f"{given['kind']}{group}/{given['name']}"
    return [obj["metadata"]["name"], spec.get("controller", ""), told, created(obj, now)]


def binding_cells(obj: Object, now: float) -> list[Any]:
    role, subjects = obj["roleRef"], obj.get("subjects") or []
    by = {
        kind: ", ".join(
            f"{s.get('namespace', '')}/{s['name']}" if kind == "ServiceAccount" else s["name"]
            for s in subjects
            if s["kind"] == kind
        )
        for kind in ("User", "Group", "ServiceAccount")
    }
    return [
        obj["metadata"]["name"],
        f"{role['kind']}/{role['name']}",
        created(obj, now),
        by["User"],
        by["Group"],
        by["ServiceAccount"],
    ]


def disruption_budget_cells(obj: Object, now: float) -> list[Any]:
    spec = obj["spec"]
    return [
        obj["metadata"]["name"],
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        obj.get("status", {}).get("disruptionsAllowed", 0),
        created(obj, now),
    ]


def quota_cells(obj: Object, now: float) -> list[Any]:
    hard, used = obj.get("status", {}).get("hard") or {}, obj.get("status", {}).get("used") or {}
    shown = {name: f"{name}: {used.get(name, 0)}/{limit}" for name, limit in sorted(hard.items())}
    limits = [text for name, text in shown.items() if name.startswith("limits.")]
    return [
        obj["metadata"]["name"],
        ", ".join(t for n, t in shown.items() if not n.startswith("limits.")),
        ", ".join(limits),
        created(obj, now),
    ]


def request_state(status: Object) -> str:
    """Of a CertificateSigningRequest: what was decided, and what came of it."""
    said = {condition.get("type") for condition in status.get("conditions") or ()}
    decided = next((word for word in ("Denied", "Approved") if word in said), "Pending")
    outcome = [*(["Failed"] if "Failed" in said else []), *(["Issued"] if status.get("certificate") else [])]  # fmt: skip
    return ",".join([decided, *outcome])


PRINTED: dict[tuple[str, str], tuple[tuple[Column, ...], Cells]] = {
    **EXTENSION,
    **WORKLOADS,
    ("", "Service"): (columns_of("Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector*"), service_cells),
    ("", "Endpoints"): (columns_of("Name|Endpoints|Age"), endpoints_cells),
    ("discovery.k8s.io", "EndpointSlice"): (columns_of("Name|AddressType|Ports|Endpoints|Age"), endpoint_slice_cells),
    ("", "Node"): (columns_of("Name|Status|Roles|Age|Version|Internal-IP*|External-IP*|OS-Image*|Kernel-Version*|Container-Runtime*"), node_cells),
    ("", "Event"): (columns_of("Last Seen|Type|Reason|Object|Subobject*|Source*|Message|First Seen*|Count*|Name*"), event_cells),
    ("", "Namespace"): (columns_of("Name|Status|Age"), lambda o, now: [o["metadata"]["name"], o.get("status", {}).get("phase", ""), created(o, now)]),
    ("", "ConfigMap"): (columns_of("Name|Data|Age"), lambda o, now: [o["metadata"]["name"], len(o.get("data") or {}) + len(o.get("binaryData") or {}), created(o, now)]),
    ("", "Secret"): (columns_of("Name|Type|Data|Age"), lambda o, now: [o["metadata"]["name"], o.get("type", ""), len(o.get("data") or {}), created(o, now)]),
    ("", "ServiceAccount"): (columns_of("Name|Age"), lambda o, now: [o["metadata"]["name"], created(o, now)]),
    ("", "PersistentVolume"): (columns_of("Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|VolumeMode*"), volume_cells),
    ("", "PersistentVolumeClaim"): (columns_of("Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|VolumeMode*"), claim_cells),
    ("", "ResourceQuota"): (columns_of("Name|Request|Limit|Age"), quota_cells),
    ("", "LimitRange"): (columns_of("Name|Created At:date"), lambda o, now: [o["metadata"]["name"], o["metadata"].get("creationTimestamp")]),
    ("autoscaling", "Scale"): (columns_of("Name|Desired:integer|Available:integer|Age"), lambda o, now: [o["metadata"]["name"], o["spec"].get("replicas", 0), o["status"].get("replicas", 0), created(o, now)]),
    ("networking.k8s.io", "Ingress"): (columns_of("Name|Class|Hosts|Address|Ports|Age"), ingress_cells),
    ("networking.k8s.io", "IngressClass"): (columns_of("Name|Controller|Parameters|Age"), ingress_class_cells),
    ("networking.k8s.io", "NetworkPolicy"): (columns_of("Name|Pod-Selector|Age"), lambda o, now: [o["metadata"]["name"], label_selector(o["spec"].get("podSelector")), created(o, now)]),
    ("policy", "PodDisruptionBudget"): (columns_of("Name|Min Available|Max Unavailable|Allowed Disruptions:integer|Age"), disruption_budget_cells),
    ("rbac.authorization.k8s.io", "RoleBinding"): (columns_of("Name|Role|Age|Users*|Groups*|ServiceAccounts*"), binding_cells),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): (columns_of("Name|Role|Age|Users*|Groups*|ServiceAccounts*"), binding_cells),
    ("rbac.authorization.k8s.io", "Role"): (columns_of("Name|Created At:date"), lambda o, now: [o["metadata"]["name"], o["metadata"].get("creationTimestamp")]),
    ("rbac.authorization.k8s.io", "ClusterRole"): (columns_of("Name|Created At:date"), lambda o, now: [o["metadata"]["name"], o["metadata"].get("creationTimestamp")]),
    ("storage.k8s.io", "StorageClass"): (
        columns_of("Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age"),
        lambda o, now: [
            o["metadata"]["name"],
            o.get("provisioner", ""), o.get("reclaimPolicy", "Delete"), o.get("volumeBindingMode", "Immediate"), bool(o.get("allowVolumeExpansion")), created(o, now),
        ],
    ),
    ("scheduling.k8s.io", "PriorityClass"): (columns_of("Name|Value:integer|Global-Default:boolean|Age|PreemptionPolicy"), lambda o, now: [o["metadata"]["name"], o.get("value", 0), bool(o.get("globalDefault")), created(o, now), o.get("preemptionPolicy", "PreemptLowerPriority")]),
    ("coordination.k8s.io", "Lease"): (columns_of("Name|Holder|Age"), lambda o, now: [o["metadata"]["name"], o.get("spec", {}).get("holderIdentity", ""), created(o, now)]),
    ("node.k8s.io", "RuntimeClass"): (columns_of("Name|Handler|Age"), lambda o, now: [o["metadata"]["name"], o.get("handler", ""), created(o, now)]),
    ("apps", "ControllerRevision"): (columns_of("Name|Controller|Revision|Age"), lambda o, now: [o["metadata"]["name"], next((f"{r['kind'].lower()}.{r['apiVersion'].rpartition('/')[0]}/{r['name']}" for r in o["metadata"].get("ownerReferences") or [] if r.get("controller")), NONE), o.get("revision", 0), created(o, now)]),
    ("apiregistration.k8s.io", "APIService"): (columns_of("Name|Service|Available|Age"), lambda o, now: [o["metadata"]["name"], "Local" if not o["spec"].get("service") else f"{o['spec']['service']['namespace']}/{o['spec']['service']['name']}", next((c["status"] for c in o.get("status", {}).get("conditions", []) if c["type"] == "Available"), "Unknown"), created(o, now)]),
    ("certificates.k8s.io", "CertificateSigningRequest"): (columns_of("Name|Age|SignerName|Requestor|RequestedDuration|Condition"), lambda o, now: [o["metadata"]["name"], created(o, now), o["spec"].get("signerName", ""), o["spec"].get("username", ""), human(o["spec"]["expirationSeconds"]) if o["spec"].get("expirationSeconds") else NONE, request_state(o.get("status") or {})]),
}  # fmt: skip


def _generic(obj: Object, now: float) -> list[Any]:
    return [obj["metadata"]["name"], created(obj, now)]


def custom_cell(column: Column, value: Any, now: float) -> Any:
    """A value of another type than its column's is not shown."""
    if column.type == "date":
        if isinstance(value, str):
            return age(value, now)
        return UNKNOWN if column.path == ".metadata.creationTimestamp" else None
    if column.type == "string" or value is None:
        return orjson.dumps(value).decode() if isinstance(value, (dict, list)) else value
    if column.type == "boolean" or isinstance(value, bool):
        return value if column.type == "boolean" and isinstance(value, bool) else None
    if not isinstance(value, (int, float)):
        return None
    return int(value) if column.type == "integer" else float(value)


def _custom(columns: Sequence[Column]) -> Cells:
    def cells(obj: Object, now: float) -> list[Any]:
        made: list[Any] = [obj["metadata"]["name"]]
        for column in columns:
            found = find(obj, column.path)
            made.append(custom_cell(column, found[0] if found else None, now))
        return made

    return cells


def printer(resource: Resource) -> tuple[tuple[Column, ...], Cells]:
    if resource.custom:
        columns = resource.columns or (Column("Age", "date", path=".metadata.creationTimestamp"),)
        return (NAME, *columns), _custom(columns)
    storage = resource.storage or resource.kind
    return PRINTED.get((storage.group, storage.name), ((NAME, AGE), _generic))


def definitions(columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [
        {
            "name": c.name,
            "type": c.type,
            "format": c.format,
            "description": c.description,
            "priority": c.priority,
        }
        for c in columns
    ]


def row(resource: Resource, cells: Cells, obj: Object, include: str, now: float) -> dict[str, Any]:
    made: dict[str, Any] = {"cells": cells(obj, now)}
    phase = obj.get("status", {}).get("phase") if resource.kind.name == "Pod" else None
    if phase in ("Succeeded", "Failed"):
        made["conditions"] = [
            {
                "type": "Completed",
                "status": "True",
                "reason": phase,
                "message": "The pod has completed successfully."
                if phase == "Succeeded"
                else "The pod failed.",
            }
        ]
    if include == "Object":
        made["object"] = obj
    elif include == "None":
        made["object"] = None
    else:
        made["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"],
        }
    return made


def table(
    resource: Resource,
    objects: Sequence[Object],
    metadata: Object,
    include: str,
    now: float,
    headings: bool = True,
) -> Object:
    columns, cells = printer(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions(columns) if headings else None,
        "rows": [row(resource, cells, obj, include, now) for obj in objects],
    }
