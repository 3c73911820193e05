"""Is an object right? Rules of the built-in kinds that the schema cannot say, with exact paths and words.

`validate` returns every fault, so that a person can mend all at once. Sources: the Kubernetes API
reference, and the answers of kube-apiserver to wrong objects.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from jindou.control.api.rules import names, updates
from jindou.control.api.rules.cluster import (
    certificates,
    flow_control,
    nodes,
    quotas,
    roles,
    webhooks,
)
from jindou.control.api.rules.names import (
    data_key,
    invalid,
    labels,
    qualified,
    required,
    too_long,
    unqualified,
)
from jindou.control.api.rules.network import addresses, services
from jindou.control.api.rules.network import traffic as network
from jindou.control.api.rules.pods import specs as pods
from jindou.control.api.rules.storage import claims
from jindou.control.api.rules.storage import volumes as storage
from jindou.control.api.rules.workloads import autoscaling, batch
from jindou.control.api.rules.workloads import classes as policies
from jindou.control.api.rules.workloads import templates as workloads
from jindou.objects.errors import Fault
from jindou.objects.kinds import Kind, Object

RBAC = roles.GROUP
WEBHOOKS = "admissionregistration.k8s.io"
NAME_RULES: dict[tuple[str, str], Callable[[str], str]] = {
    ("apiregistration.k8s.io", "APIService"): names.path_segment,
    (certificates.GROUP, "CertificateSigningRequest"): lambda name: "",
    ("", "Namespace"): names.label,
    ("", "Service"): names.label,
    **{
        (RBAC, kind): names.path_segment
        for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    },
}
ANNOTATIONS = 256 * 1024

RULES: dict[tuple[str, str], Callable[[Object], list[Fault]]] = {
    ("", "Pod"): pods.validate,
    ("", "Service"): services.validate,
    ("", "ConfigMap"): lambda obj: data_keys(obj, "data", "binaryData"),
    ("", "Secret"): lambda obj: [*data_keys(obj, "data"), *secret_type(obj)],
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("batch", "Job"): batch.job,
    ("batch", "CronJob"): batch.cron_job,
    (RBAC, "Role"): roles.role,
    (RBAC, "ClusterRole"): roles.cluster_role,
    (RBAC, "RoleBinding"): roles.role_binding,
    (RBAC, "ClusterRoleBinding"): roles.cluster_role_binding,
    ("scheduling.k8s.io", "PriorityClass"): policies.priority_class,
    ("node.k8s.io", "RuntimeClass"): policies.runtime_class,
    (certificates.GROUP, "CertificateSigningRequest"): certificates.signing_request,
    ("", "LimitRange"): quotas.limit_range,
    ("", "ResourceQuota"): quotas.resource_quota,
    ("discovery.k8s.io", "EndpointSlice"): network.endpoint_slice,
    ("networking.k8s.io", "NetworkPolicy"): network.network_policy,
    ("networking.k8s.io", "Ingress"): network.ingress,
    ("", "PersistentVolumeClaim"): claims.claim,
    ("", "PersistentVolume"): storage.volume,
    ("", "ReplicationController"): workloads.replication_controller,
    ("", "PodTemplate"): workloads.pod_template,
    ("apps", "ControllerRevision"): workloads.controller_revision,
    ("", "Endpoints"): addresses.endpoints,
    ("", "Event"): addresses.event,
    ("events.k8s.io", "Event"): addresses.event,
    ("networking.k8s.io", "IPAddress"): addresses.ip_address,
    ("networking.k8s.io", "IngressClass"): addresses.ingress_class,
    ("coordination.k8s.io", "Lease"): addresses.lease,
    ("storage.k8s.io", "CSINode"): storage.csi_node,
    ("storage.k8s.io", "CSIStorageCapacity"): storage.capacity,
    ("storage.k8s.io", "VolumeAttachment"): storage.attachment,
    ("storage.k8s.io", "VolumeAttributesClass"): storage.attributes_class,
    ("storage.k8s.io", "StorageClass"): claims.storage_class,
    ("policy", "PodDisruptionBudget"): policies.disruption_budget,
    (flow_control.GROUP, "FlowSchema"): flow_control.flow_schema,
    (flow_control.GROUP, "PriorityLevelConfiguration"): flow_control.priority_level,
    ("", "Node"): nodes.node,
    ("storage.k8s.io", "CSIDriver"): storage.driver,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaling.autoscaler,
    (WEBHOOKS, "MutatingWebhookConfiguration"): webhooks.configuration,
    (WEBHOOKS, "ValidatingWebhookConfiguration"): webhooks.configuration,
}


NEW_RULES: dict[tuple[str, str], Callable[[Object], list[Fault]]] = {
    ("events.k8s.io", "Event"): addresses.new_event,
    ("apps", "StatefulSet"): workloads.new_stateful_set,
    ("networking.k8s.io", "ServiceCIDR"): addresses.service_cidr,
    ("scheduling.k8s.io", "PriorityClass"): policies.new_priority_class,
}
"""What only a new object has to say."""


def validate(kind: Kind, obj: Object, old: Object | None) -> list[Fault]:
    """Every broken rule of an object that is to be written (`old` is None for a create)."""
    found = metadata(kind, obj, old)
    rule = RULES.get((kind.group, kind.name))
    if rule is not None and not (old is not None and as_judged(obj, old)):
        found += rule(obj)
    if old is not None:
        found += updates.validate(kind, obj, old)
    elif (rule := NEW_RULES.get((kind.group, kind.name))) is not None:
        found += rule(obj)
    return found


def as_judged(obj: Object, old: Object) -> bool:
    """Is all that the rule of a kind looks at as it was when it was judged before?"""
    names = {*obj, *old} - {"metadata"}
    noted = obj["metadata"].get("annotations") == old["metadata"].get("annotations")
    return noted and all(obj.get(name) == old.get(name) for name in names)


def metadata(kind: Kind, obj: Object, old: Object | None) -> list[Fault]:
    meta = obj["metadata"]
    found: list[Fault] = []
    name = meta.get("name", "")
    if old is None:
        if not name:
            found.append(required("metadata.name", "name or generateName is required"))
        else:
            rule = NAME_RULES.get((kind.group, kind.name), names.subdomain)
            if wrong := rule(name):
                found.append(invalid("metadata.name", name, wrong))
    found += labels(meta.get("labels"), "metadata.labels")
    size = 0
    for key, value in (meta.get("annotations") or {}).items():
        if wrong := qualified(key.lower()):
            found.append(invalid("metadata.annotations", key, wrong))
        size += len(key) + len(str(value))
    if size > ANNOTATIONS:
        found.append(too_long("metadata.annotations", ANNOTATIONS))
    for n, owner in enumerate(meta.get("ownerReferences") or ()):
        for part in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(part):
                at = f"metadata.ownerReferences[{n}].{part}"
                found.append(required(at, "must not be empty"))
    controllers = [owner for owner in meta.get("ownerReferences") or () if owner.get("controller")]
    if len(controllers) > 1:
        told = " and ".join(f"{owner.get('kind')}/{owner.get('name')}" for owner in controllers[:2])
        found.append(
            invalid(
                "metadata.ownerReferences",
                controllers,
                f'Only one reference can have Controller set to true. Found "true" in references for {told}',
            )
        )
    for n, finalizer in enumerate(meta.get("finalizers") or ()):
        found += unqualified("metadata.finalizers", finalizer)
        if "/" not in finalizer and finalizer not in (
            "orphan",
            "foregroundDeletion",
            "kubernetes",
        ):
            found.append(
                invalid(
                    f"metadata.finalizers[{n}]",
                    finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified",
                )
            )
    return found


def data_keys(obj: Object, *parts: str) -> list[Fault]:
    found: list[Fault] = []
    seen: set[str] = set()
    size = 0
    for part in parts:
        held: Mapping[str, Any] = obj.get(part) or {}
        for key, value in held.items():
            size += len(str(value))
            if wrong := data_key(key):
                found.append(invalid(f"{part}[{key}]", key, wrong))
            if key in seen:
                found.append(invalid(f"{part}[{key}]", key, "duplicate of key present in data"))
            seen.add(key)
    if size > 1024 * 1024 * (4 / 3 if parts == ("data",) and obj.get("kind") == "Secret" else 1):
        found.append(too_long("", 1024 * 1024))
    return found


NEEDED = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def secret_type(obj: Object) -> list[Fault]:
    found = []
    kind = obj.get("type", "")
    for key in NEEDED.get(kind, ()):
        if key not in (obj.get("data") or {}):
            found.append(required(f"data[{key}]"))
        elif key.startswith(".docker") and (wrong := unread(obj["data"][key])):
            found.append(invalid(f"data[{key}]", "<secret contents redacted>", wrong))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(
        obj.get("data") or {}
    ):
        found += [required("data[username]"), required("data[password]")]
    if kind == "kubernetes.io/service-account-token" and not (
        obj["metadata"].get("annotations") or {}
    ).get("kubernetes.io/service-account.name"):
        found.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
    return found


def unread(text: str) -> str:
    """Why the bytes are no JSON object, or ""."""
    if not text:
        return "unexpected end of JSON input"
    try:
        held = json.loads(base64.b64decode(text))
    except ValueError:
        return "invalid character looking for beginning of value"
    return (
        ""
        if isinstance(held, dict)
        else "json: cannot unmarshal into Go value of type map[string]interface {}"
    )
