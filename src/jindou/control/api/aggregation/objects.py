"""APIServices as data: what one says, in which order groups come, and whether one is available. Pure.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/api-service-v1/
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import NamedTuple

from jindou.control.api.resources import overlay
from jindou.objects.kinds import Kind, Object

API_SERVICE = Kind("apiregistration.k8s.io", "v1", "APIService", "apiservices", False)
PREFIX = "apiregistration.k8s.io/apiservices/"
MANAGED = "kube-aggregator.kubernetes.io/automanaged"
LOCAL = ("True", "Local", "Local APIServices are always available")
PASSED = ("True", "Passed", "all checks passed")
CUSTOM_GROUP, CUSTOM_VERSION = 1000, 100
PRIORITIES = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600, "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100, "apiregistration.k8s.io": 20000,
}  # fmt: skip
VERSIONS = {
    ("", "v1"): 1, ("autoscaling", "v2"): 30, ("resource.k8s.io", "v1"): 21,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
}  # fmt: skip

Told = tuple[str, str, str]  # status, reason, message of a condition


class Remote(NamedTuple):
    """An APIService that a Service answers for."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    authority: str  # base64 of PEM
    insecure: bool
    group_priority: int
    version_priority: int

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def place(self) -> tuple[str, str]:
        return self.group, self.version


def remote_of(obj: Object) -> Remote | None:
    """None: it is served here."""
    spec = obj["spec"]
    service = spec.get("service")
    if not service:
        return None
    return Remote(
        obj["metadata"]["name"], spec.get("group", ""), spec["version"], service.get("namespace", ""),
        service.get("name", ""), service.get("port") or 443, spec.get("caBundle") or "",
        bool(spec.get("insecureSkipTLSVerify")), spec.get("groupPriorityMinimum", 0), spec.get("versionPriority", 0),
    )  # fmt: skip


def name_of(group: str, version: str) -> str:
    return f"{version}.{group}"


def priority_of(group: str) -> int:
    return PRIORITIES.get(group, CUSTOM_GROUP)


def version_priority_of(group: str, version: str) -> int:
    others = 15 if group in overlay.GROUP_ORDER else CUSTOM_VERSION
    return VERSIONS.get((group, version), others)


def managed(group: str, version: str) -> Object:
    """The APIService of what is served here."""
    spec: Object = {
        "version": version,
        "groupPriorityMinimum": priority_of(group),
        "versionPriority": version_priority_of(group, version),
    }
    label = "onstart" if group in overlay.GROUP_ORDER else "true"
    meta = {"name": name_of(group, version), "labels": {MANAGED: label}}
    return {"metadata": meta, "spec": {**({"group": group} if group else {}), **spec}}


def is_managed(obj: Object) -> bool:
    return MANAGED in (obj["metadata"].get("labels") or {}) and not obj["spec"].get("service")


def available(obj: Object) -> Object | None:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == "Available"), None)


def with_condition(obj: Object, told: Told, now: str) -> list[Object]:
    """The conditions of an APIService with what is known now."""
    status, reason, message = told
    held = available(obj)
    since = held.get("lastTransitionTime", now) if held and held.get("status") == status else now
    made = {
        "type": "Available", "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    }  # fmt: skip
    others = (obj.get("status") or {}).get("conditions") or ()
    return [*(c for c in others if c.get("type") != "Available"), made]


def examined(remote: Remote, service: Object | None, slices: Sequence[Object]) -> Told | None:
    """What its Service says against it; None: the server itself is to be asked."""
    name, at = f"service/{remote.service}", f'"{remote.namespace}"'
    if service is None:
        return "False", "ServiceNotFound", f"{name} in {at} is not present"
    spec = service.get("spec") or {}
    if spec.get("type", "ClusterIP") != "ClusterIP":
        return None
    port = next((p for p in spec.get("ports") or () if p.get("port") == remote.port), None)
    if port is None:
        says = f"{name} in {at} is not listening on port {remote.port}"
        return "False", "ServicePortError", says
    if not slices:
        return "False", "EndpointsNotFound", f"cannot find endpointslices for {name} in {at}"
    wanted = port.get("name") or ""
    if not any(_serves(held, wanted) for held in slices):
        says = f'endpointslices for {name} in {at} have no addresses with port name "{wanted}"'
        return "False", "MissingEndpoints", says
    return None


def _serves(held: Object, port: str) -> bool:
    ready = any(
        (e.get("conditions") or {}).get("ready", True) is not False
        for e in held.get("endpoints") or ()
    )
    return ready and any(
        (p.get("name") or "") == port and p.get("port") for p in held.get("ports") or ()
    )


def pem(authority: str) -> str:
    try:
        return base64.b64decode(authority).decode("latin-1").strip()
    except binascii.Error:
        return ""
