"""The defaults that the real API server fills in, per kind: clients crash where they are missing.

In place, idempotent, and quick where nothing is to do. Source: the field descriptions of the
Kubernetes API reference ("Defaults to ...") and recorded answers of kube-apiserver.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable

from jindou.control.api.rules.defaults import cluster as cluster_defaults
from jindou.control.api.rules.defaults import pods as pod_defaults
from jindou.control.api.rules.defaults import workloads as workload_defaults
from jindou.control.api.rules.defaults.pods import fill, gated, normalize_quantities, qos_class
from jindou.objects.kinds import Kind, Object

Default = Callable[[Object], None]


def apply_defaults(kind: Kind, obj: Object) -> None:
    """Fill in what the user left out."""
    rule = RULES.get((kind.group, kind.name))
    if rule is not None:
        rule(obj)


def start_status(kind: Kind, obj: Object) -> None:
    """The status of a new object, where the server itself begins one; and what tells its Pods from others."""
    if (kind.group, kind.name) == ("batch", "Job"):
        workload_defaults.begin_job(obj)
    elif (kind.group, kind.name) == ("apps", "DaemonSet"):
        obj["metadata"].setdefault("annotations", {})[workload_defaults.TEMPLATE_GENERATION] = "1"
    if kind.group == "" and kind.name == "Pod":
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
        if obj["spec"].get("schedulingGates"):
            obj["status"]["conditions"] = [gated(obj["metadata"]["creationTimestamp"])]
    elif kind.group == "" and kind.name == "PersistentVolumeClaim":
        obj["status"] = {"phase": "Pending"}
    elif kind.group == "" and kind.name == "PersistentVolume":
        since = obj["metadata"]["creationTimestamp"]
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": since}
    elif kind.group == "" and kind.name == "Namespace":
        obj["status"] = {"phase": "Active"}
        held = obj.setdefault("spec", {}).get("finalizers") or ()
        obj["spec"]["finalizers"] = [*(name for name in held if name != "kubernetes"), "kubernetes"]
    elif kind.group == "" and kind.name == "Service":
        obj["status"] = {"loadBalancer": {}}
    elif kind.name in STATUS_EMPTY:
        obj["status"] = {}


STATUS_EMPTY = {"Deployment", "CronJob", "Job", "CertificateSigningRequest"}


def service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for name, value in (("type", "ClusterIP"), ("sessionAffinity", "None")):
        if not spec.get(name):
            spec[name] = value
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec["sessionAffinity"] == "ClientIP":
        fill(
            spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}),
            timeoutSeconds=10800,
        )
    for port in spec.get("ports") or ():
        fill(port, protocol="TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if spec["type"] in ("NodePort", "LoadBalancer") or spec.get("externalIPs"):
        fill(spec, externalTrafficPolicy="Cluster")
        if spec["type"] == "LoadBalancer":
            fill(spec, allocateLoadBalancerNodePorts=True)
    if spec["type"] != "ExternalName":
        fill(spec, internalTrafficPolicy="Cluster")


def secret(obj: Object) -> None:
    fill(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        data = obj.setdefault("data", {})
        for name, value in plain.items():
            data[name] = base64.b64encode(str(value).encode()).decode()


def namespace(obj: Object) -> None:
    labels = obj["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")


def endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            fill(port, protocol="TCP")


def endpoint_slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        fill(port, name="", protocol="TCP")


def volume(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    normalize_quantities(spec.get("capacity"))
    if spec.get("hostPath") is not None:
        fill(spec["hostPath"], type="")


SOURCES = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))
"""What a volume may be filled from, as `dataSource` says it; other kinds are left out of it."""


def claim(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, volumeMode="Filesystem")
    one, other = spec.get("dataSource"), spec.get("dataSourceRef")
    new = "resourceVersion" not in obj["metadata"]
    if new and one is not None and (one.get("apiGroup") or "", one.get("kind")) not in SOURCES:
        del spec["dataSource"]
        one = None
    if one is not None and other is None:
        spec["dataSourceRef"] = dict(one)
    elif other is not None and one is None and not other.get("namespace"):
        spec["dataSource"] = {k: v for k, v in other.items() if k != "namespace"}
    for part in ("limits", "requests"):
        normalize_quantities((spec.get("resources") or {}).get(part))


def storage_class(obj: Object) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


OTHER_METRICS = "autoscaling.alpha.kubernetes.io/metrics"  # than one of CPU, in v1


def autoscaler(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, minReplicas=1)
    notes = (obj.get("metadata") or {}).get("annotations") or {}
    if obj.get("apiVersion") == "autoscaling/v1" and OTHER_METRICS not in notes:
        fill(spec, targetCPUUtilizationPercentage=80)
    if (behavior := spec.get("behavior")) is not None:
        pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
        percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
        up, down = (behavior.setdefault(side, {}) for side in ("scaleUp", "scaleDown"))
        fill(up, stabilizationWindowSeconds=0, selectPolicy="Max", policies=[pods, percent])
        fill(down, selectPolicy="Max", policies=[dict(percent)])
    if obj.get("apiVersion") == "autoscaling/v2" and not spec.get("metrics"):
        spec["metrics"] = [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 80},
                },
            }
        ]


def network_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                fill(port, protocol="TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def binding(obj: Object) -> None:
    role = obj.setdefault("roleRef", {})
    if isinstance(role, dict) and not role.get("apiGroup"):
        role["apiGroup"] = "rbac.authorization.k8s.io"
    for subject in obj.get("subjects") or ():
        if "apiGroup" not in subject and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = "rbac.authorization.k8s.io"


def priority_class(obj: Object) -> None:
    fill(obj, preemptionPolicy="PreemptLowerPriority")


def node(obj: Object) -> None:
    spec = obj.get("spec") or {}
    if one := spec.get("podCIDR"):
        if (spec.get("podCIDRs") or [""])[0] != one:
            spec["podCIDRs"] = [one]
    elif spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    status = obj.get("status") or {}
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])
    for part in ("capacity", "allocatable"):
        normalize_quantities(status.get(part))


def custom_resource_definition(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    service = ((spec["conversion"].get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service:
        fill(service, port=443)
    names = spec.setdefault("names", {})
    if names.get("kind"):
        fill(names, singular=names["kind"].lower(), listKind=f"{names['kind']}List")


def webhooks(mutating: bool) -> Default:
    def rule(obj: Object) -> None:
        for hook in obj.get("webhooks") or ():
            fill(
                hook, failurePolicy="Fail", matchPolicy="Equivalent", namespaceSelector={}, objectSelector={}, timeoutSeconds=10,
                **({"reinvocationPolicy": "Never"} if mutating else {}),
            )  # fmt: skip
            service_ref = hook.get("clientConfig", {}).get("service")
            if service_ref:
                fill(service_ref, port=443)
            for held in hook.get("rules") or ():
                fill(held, scope="*")

    return rule


def _many(rule: Default, *names: str, group: str = "") -> Iterable[tuple[tuple[str, str], Default]]:
    return (((group, name), rule) for name in names)


RULES: dict[tuple[str, str], Default] = {
    ("", "Pod"): pod_defaults.pod,
    ("", "PodTemplate"): pod_defaults.template,
    ("", "ReplicationController"): workload_defaults.replication_controller,
    ("", "Service"): service,
    ("", "Secret"): secret,
    ("", "Namespace"): namespace,
    ("", "Node"): node,
    ("", "Endpoints"): endpoints,
    ("", "PersistentVolume"): volume,
    ("", "PersistentVolumeClaim"): claim,
    ("discovery.k8s.io", "EndpointSlice"): endpoint_slice,
    ("apps", "Deployment"): workload_defaults.deployment,
    ("apps", "ReplicaSet"): workload_defaults.replica_set,
    ("apps", "StatefulSet"): workload_defaults.stateful_set,
    ("apps", "DaemonSet"): workload_defaults.daemon_set,
    ("batch", "Job"): workload_defaults.job,
    ("batch", "CronJob"): workload_defaults.cron_job,
    ("storage.k8s.io", "StorageClass"): storage_class,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaler,
    ("networking.k8s.io", "NetworkPolicy"): network_policy,
    **dict(_many(binding, "RoleBinding", "ClusterRoleBinding", group="rbac.authorization.k8s.io")),
    ("scheduling.k8s.io", "PriorityClass"): priority_class,
    ("", "LimitRange"): cluster_defaults.limit_range,
    ("storage.k8s.io", "CSIDriver"): cluster_defaults.csi_driver,
    ("apiregistration.k8s.io", "APIService"): cluster_defaults.api_service,
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): cluster_defaults.flow_schema,
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): cluster_defaults.priority_level,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): custom_resource_definition,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): webhooks(True),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): webhooks(False),
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicy",
    ): cluster_defaults.admission_policy,
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicyBinding",
    ): cluster_defaults.admission_binding,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): cluster_defaults.admission_policy,
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicyBinding",
    ): cluster_defaults.admission_binding,
}
