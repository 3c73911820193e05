"""Defaults of Pods and of templates of Pods: as in `defaults`, in place and idempotent."""

from __future__ import annotations

from typing import Any

from jindou.objects import quantities
from jindou.objects.kinds import Object


def fill(obj: Object, **defaults: Any) -> None:
    for name, value in defaults.items():
        if name not in obj:
            obj[name] = value


def pod(obj: Object) -> None:
    pod_spec(obj.setdefault("spec", {}))
    spec = obj["spec"]
    fill(spec, enableServiceLinks=True)
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
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
        if container.get(name) is not None:
            probe_defaults(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet") is not None:
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
    if probe.get("httpGet") is not None:
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
        fill(claim.setdefault("spec", {}), volumeMode="Filesystem")


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


# ---------------------------------------------------------------- status


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


def gated(since: str) -> Object:
    return {
        "type": "PodScheduled",
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": since,
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    }
