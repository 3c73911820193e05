"""The defaults that the real API server fills in, per kind: clients crash where they are missing.

In place, idempotent, and quick where nothing is to do. Source: the field descriptions of the
Kubernetes API reference ("Defaults to ...") and recorded answers of kube-apiserver.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

from jindou.control.api.rules import cluster_defaults
from jindou.objects import quantities
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
        begin_job(obj)
    elif (kind.group, kind.name) == ("apps", "DaemonSet"):
        obj["metadata"].setdefault("annotations", {})[TEMPLATE_GENERATION] = "1"
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


def gated(since: str) -> Object:
    return {
        "type": "PodScheduled",
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": since,
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    }


TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def begin_job(job: Object) -> None:
    """A selector of its own, unless it brings one, and the labels that go with it."""
    meta, spec = job["metadata"], job["spec"]
    template = spec.setdefault("template", {})
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    if not spec["manualSelector"]:
        for prefix in ("", "batch.kubernetes.io/"):
            labels.setdefault(f"{prefix}job-name", meta.get("name", ""))
            labels.setdefault(f"{prefix}controller-uid", meta["uid"])
        held = spec.setdefault("selector", {}).setdefault("matchLabels", {})
        held.setdefault("batch.kubernetes.io/controller-uid", meta["uid"])
    if not meta.get("labels") and labels:
        meta["labels"] = dict(labels)
    if not labels:
        del template["metadata"]["labels"]


def count_templates(obj: Object, old: Object) -> None:
    """Of a DaemonSet: how many templates it has had."""
    before = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    number = int(before) if before.isdigit() else 0
    changed = obj["spec"].get("template") != old["spec"].get("template")
    annotations = obj["metadata"].setdefault("annotations", {})
    annotations[TEMPLATE_GENERATION] = str(number + changed)


STATUS_EMPTY = {"Deployment", "CronJob", "Job", "CertificateSigningRequest"}


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by CPU and memory of all containers."""
    requests: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    guaranteed = True
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        resources = container.get("resources") or {}
        held = {
            n
            for n in ("cpu", "memory")
            if quantities.parse((resources.get("limits") or {}).get(n, "0"))
        }
        for name in ("cpu", "memory"):
            if quantities.parse((resources.get("requests") or {}).get(name, "0")):
                requests[name] = requests.get(name, 0) + quantities.parse(
                    resources["requests"][name]
                )
            if name in held:
                limits[name] = limits.get(name, 0) + quantities.parse(resources["limits"][name])
        guaranteed = guaranteed and held == {"cpu", "memory"}
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed and requests == limits else "Burstable"


def fill(obj: Object, **defaults: Any) -> None:
    for name, value in defaults.items():
        if name not in obj:
            obj[name] = value


# ---------------------------------------------------------------- pods


def pod(obj: Object) -> None:
    pod_spec(obj.setdefault("spec", {}))
    spec = obj["spec"]
    fill(spec, enableServiceLinks=True)
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        resources = container["resources"]
        limits = resources.get("limits")
        if limits:
            requests = resources.setdefault("requests", {})
            for name, value in limits.items():
                requests.setdefault(name, value)
    if spec.get("hostNetwork"):
        for container in spec.get("containers", []):
            for port in container.get("ports", []):
                fill(port, hostPort=port["containerPort"])


def pod_spec(spec: Object) -> None:
    fill(
        spec, restartPolicy="Always", dnsPolicy="ClusterFirst", schedulerName="default-scheduler",
        terminationGracePeriodSeconds=30, securityContext={},
    )  # fmt: skip
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for name in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(name) or ():
            container_defaults(container, resources=name != "ephemeralContainers")
    for volume in spec.get("volumes") or ():
        volume_defaults(volume)
    for constraint in spec.get("topologySpreadConstraints") or ():
        fill(constraint, whenUnsatisfiable=constraint.get("whenUnsatisfiable", "DoNotSchedule"))


def container_defaults(container: Object, resources: bool = True) -> None:
    image = container.get("image", "")
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = "Always" if tag_of(image) == "latest" else "IfNotPresent"
    fill(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    if resources:
        held = container.setdefault("resources", {})
        for part in ("limits", "requests"):
            normalize_quantities(held.get(part))
    for port in container.get("ports") or ():
        fill(port, protocol="TCP")
    for env in container.get("env") or ():
        source = env.get("valueFrom") or {}
        if "fieldRef" in source:
            fill(source["fieldRef"], apiVersion="v1")
        if "resourceFieldRef" in source:
            fill(source["resourceFieldRef"], divisor="0")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name):
            probe_defaults(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet"):
            http_get(hook["httpGet"])


LONGEST_NAME = 255  # of a repository


def tag_of(image: str) -> str:
    """The tag of a reference; "latest" where there is neither tag nor digest."""
    name, _, tag = image.rpartition("/")[2].partition(":")
    if (
        "@" in image or name != name.lower() or len(image) > LONGEST_NAME
    ):  # a digest, or no reference at all
        return ""
    return tag or "latest"


def probe_defaults(probe: Object) -> None:
    fill(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if probe.get("httpGet"):
        http_get(probe["httpGet"])
    if probe.get("grpc"):
        fill(probe["grpc"], service="")


def http_get(action: Object) -> None:
    fill(action, path="/", scheme="HTTP")


def normalize_quantities(held: Object | None) -> None:
    for name, value in (held or {}).items():
        try:
            (held or {})[name] = quantities.canonical(value)
        except quantities.BadQuantity:
            pass  # validation says it better


SOURCES = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "fc",
    "flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "hostPath", "image", "iscsi", "nfs", "persistentVolumeClaim",
    "photonPersistentDisk", "portworxVolume", "projected", "quobyte", "rbd", "scaleIO", "secret", "storageos", "vsphereVolume",
)  # fmt: skip


def volume_defaults(volume: Object) -> None:
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(name) is not None:
            fill(volume[name], defaultMode=420)
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        downward_item(item)
    for source in (volume.get("projected") or {}).get("sources") or ():
        if "serviceAccountToken" in source:
            fill(source["serviceAccountToken"], expirationSeconds=3600)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            downward_item(item)
    if volume.get("hostPath") is not None:
        fill(volume["hostPath"], type="")
    if volume.get("emptyDir") and "sizeLimit" in volume["emptyDir"]:
        normalize_quantities_of(volume["emptyDir"], "sizeLimit")
    if not any(name in volume for name in SOURCES):
        volume["emptyDir"] = {}
    claim = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if claim:
        fill(claim["spec"], volumeMode="Filesystem")


def normalize_quantities_of(obj: Object, name: str) -> None:
    held = {name: obj[name]}
    normalize_quantities(held)
    obj[name] = held[name]


def downward_item(item: Object) -> None:
    if "fieldRef" in item:
        fill(item["fieldRef"], apiVersion="v1")
    if "resourceFieldRef" in item:
        fill(item["resourceFieldRef"], divisor="0")


def template(spec: Object) -> None:
    held = spec.get("template")
    if isinstance(held, dict):
        held.setdefault("metadata", {})
        pod_spec(held.setdefault("spec", {}))


# ---------------------------------------------------------------- workloads


def deployment(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec.setdefault("strategy", {})
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")
    template(spec)


def replica_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, replicas=1)
    template(spec)


def replication_controller(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, replicas=1)
    labels = (spec.get("template") or {}).get("metadata", {}).get("labels")
    if labels and not spec.get("selector"):
        spec["selector"] = dict(labels)
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)
    template(spec)


def stateful_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        fill(strategy["rollingUpdate"], maxUnavailable=1, partition=0)
    fill(
        spec.setdefault("persistentVolumeClaimRetentionPolicy", {}),
        whenDeleted="Retain",
        whenScaled="Retain",
    )
    for claim in spec.get("volumeClaimTemplates") or ():
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        fill(claim, status={"phase": "Pending"})
        fill(claim.setdefault("spec", {}), volumeMode="Filesystem")
    template(spec)


def daemon_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, revisionHistoryLimit=10)
    strategy = spec.setdefault("updateStrategy", {})
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable=1, maxSurge=0)
    template(spec)


def job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    job_spec(spec)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels and "uid" in obj["metadata"] and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def job_spec(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        fill(spec, completions=1, parallelism=1)
    most = 6 if spec.get("backoffLimitPerIndex") is None else 2**31 - 1
    fill(spec, parallelism=1, backoffLimit=most, completionMode="NonIndexed", suspend=False)
    policy = spec.get("podFailurePolicy")
    fill(spec, podReplacementPolicy="Failed" if policy else "TerminatingOrFailed")
    fill(spec, manualSelector=False)
    for rule in (policy or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            fill(pattern, status="True")
    template(spec)


def cron_job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(
        spec,
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )
    held = spec.setdefault("jobTemplate", {})
    held.setdefault("metadata", {})
    template(held.setdefault("spec", {}))


# ---------------------------------------------------------------- the rest


def service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, type="ClusterIP", sessionAffinity="None")
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


def claim(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, volumeMode="Filesystem")
    for part in ("limits", "requests"):
        normalize_quantities((spec.get("resources") or {}).get(part))


def storage_class(obj: Object) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def autoscaler(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, minReplicas=1)
    if obj.get("apiVersion") == "autoscaling/v1":
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
    ("", "Pod"): pod,
    ("", "PodTemplate"): template,
    ("", "ReplicationController"): replication_controller,
    ("", "Service"): service,
    ("", "Secret"): secret,
    ("", "Namespace"): namespace,
    ("", "Node"): node,
    ("", "Endpoints"): endpoints,
    ("", "PersistentVolume"): volume,
    ("", "PersistentVolumeClaim"): claim,
    ("discovery.k8s.io", "EndpointSlice"): endpoint_slice,
    ("apps", "Deployment"): deployment,
    ("apps", "ReplicaSet"): replica_set,
    ("apps", "StatefulSet"): stateful_set,
    ("apps", "DaemonSet"): daemon_set,
    ("batch", "Job"): job,
    ("batch", "CronJob"): cron_job,
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
