"""What a Service's endpoints are made of: facts of Pods, and ports resolved to numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from jindou.control.controllers.groundwork import conditions, times
from jindou.objects.kinds import Object

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


class Backend(msgspec.Struct, frozen=True, gc=False):
    """One Pod, as services see it."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    node: str
    ready: bool
    terminating: bool
    finished: bool
    failed: bool
    restart: str  # restart policy
    hostname: str
    subdomain: str
    ports: tuple[tuple[str, str, int], ...]  # name, protocol, number
    changed: float  # when its readiness last changed

    def port(self, target: str, protocol: str) -> int | None:
        for name, held, number in self.ports:
            if (name, held) == (target, protocol):
                return number
        return None


def backend_of(pod: Object) -> Backend:
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    ready = conditions.find(pod, "Ready") or {}
    phase = status.get("phase", "")
    addresses = tuple(one["ip"] for one in status.get("podIPs") or () if one.get("ip"))
    if not addresses and status.get("podIP"):
        addresses = (status["podIP"],)
    sidecars = [
        one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"
    ]
    return Backend(
        meta.get("namespace", ""),
        meta["name"],
        meta["uid"],
        meta.get("labels") or {},
        addresses,
        spec.get("nodeName", ""),
        ready.get("status") == "True",
        "deletionTimestamp" in meta,
        phase in ("Succeeded", "Failed"),
        phase == "Failed",
        spec.get("restartPolicy", "Always"),
        spec.get("hostname", ""),
        spec.get("subdomain", ""),
        tuple(
            (port["name"], port.get("protocol", "TCP"), port["containerPort"])
            for container in (*spec.get("containers", ()), *sidecars)
            for port in container.get("ports") or ()
            if port.get("name")
        ),
        times.parse(ready.get("lastTransitionTime") or meta.get("creationTimestamp")),
    )


class Port(NamedTuple):
    name: str
    number: int
    protocol: str
    application: str  # appProtocol

    def of_slice(self) -> Object:
        more = {"appProtocol": self.application} if self.application else {}
        return {"name": self.name, "port": self.number, "protocol": self.protocol, **more}

    def of_subset(self) -> Object:
        return {name: value for name, value in self.of_slice().items() if value}


def ports_of(service: Object, backend: Backend) -> tuple[Port, ...]:
    """The service's ports as numbers of this Pod; those that it does not have are left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol", "TCP")
        target = port.get("targetPort", port["port"])
        if isinstance(target, str) and not target.isdigit():
            number = backend.port(target, protocol)
        else:
            number = int(target) or int(port["port"])
        if number is not None:
            found.append(Port(port.get("name", ""), number, protocol, port.get("appProtocol", "")))
    return tuple(found)


def families(service: Object, addresses: Iterable[str] = ()) -> list[str]:
    """IPv4, IPv6 or both: as the service says, else as its Pods are."""
    held = service["spec"].get("ipFamilies")
    if held:
        return list(held)
    return sorted({family(address) for address in addresses}) or ["IPv4"]


def family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def is_headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")
