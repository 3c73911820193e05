"""Which EndpointSlices there should be, with as few changes to those there are as possible.

Source: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jindou.control.controllers.discovery.endpoint_facts import (
    HEADLESS,
    MANAGED_BY,
    SERVICE_NAME,
    Backend,
    Port,
    families,
    family,
    is_headless,
    ports_of,
)
from jindou.objects.kinds import Object

MOST = 100  # endpoints in one slice
CONTROLLER = "endpointslice-controller.k8s.io"


class Group(NamedTuple):
    """Endpoints that can share a slice."""

    family: str
    ports: tuple[Port, ...]


class SlicePlan(NamedTuple):
    create: list[Object]
    update: list[Object]
    delete: list[Object]


def endpoint(service: Object, backend: Backend, address: str, zones: Mapping[str, str]) -> Object:
    meta = service["metadata"]
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    found: Object = {
        "addresses": [address],
        "conditions": {
            "ready": publish or (backend.ready and not backend.terminating),
            "serving": backend.ready,
            "terminating": backend.terminating,
        },
    }
    if backend.hostname and backend.subdomain == meta["name"]:
        found["hostname"] = backend.hostname
    if backend.node:
        found["nodeName"] = backend.node
    found["targetRef"] = {
        "kind": "Pod",
        "namespace": backend.namespace,
        "name": backend.name,
        "uid": backend.uid,
    }
    if zones.get(backend.node):
        found["zone"] = zones[backend.node]
    return found


def plan_endpoints(
    service: Object, backends: Iterable[Backend], zones: Mapping[str, str]
) -> dict[Group, dict[str, Object]]:
    """Endpoints by what they can share, each under the uid of its Pod."""
    found: dict[Group, dict[str, Object]] = {}
    usable = [one for one in backends if one.addresses and not one.finished]
    for wanted in families(service, (a for one in usable for a in one.addresses)):
        for backend in usable:
            address = next((a for a in backend.addresses if family(a) == wanted), None)
            ports = ports_of(service, backend)
            if address is None or (not ports and service["spec"].get("ports")):
                continue
            group = found.setdefault(Group(wanted, ports), {})
            group[backend.uid] = endpoint(service, backend, address, zones)
    return found


def slice_labels(service: Object, manager: str = CONTROLLER) -> dict[str, str]:
    own = (MANAGED_BY, SERVICE_NAME, HEADLESS)
    held = service["metadata"].get("labels") or {}
    labels = {name: value for name, value in held.items() if name not in own}
    labels[MANAGED_BY], labels[SERVICE_NAME] = manager, service["metadata"]["name"]
    if is_headless(service):
        labels[HEADLESS] = ""
    return labels


def plan_slices(
    service: Object,
    wanted: Mapping[Group, Mapping[str, Object]],
    existing: Sequence[Object],
    base: Object,
) -> SlicePlan:
    """`base` is a slice without endpoints: labels, owner, name prefix. A service without any
    endpoint keeps one empty slice of each family, so that readers know that it was looked at."""
    plan = SlicePlan([], [], [])
    families_wanted = families(service) if service["spec"].get("ipFamilies") else []
    groups = dict(wanted)
    held = {group.family for group, endpoints in groups.items() if endpoints}
    for missing in families_wanted or (["IPv4"] if not held else []):
        if missing not in held:
            groups[Group(missing, ())] = {}
    left = list(existing)
    for group, endpoints in groups.items():
        ports = [port.of_slice() for port in group.ports]
        same = [
            one
            for one in left
            if one["addressType"] == group.family and _port_key(one) == _port_key({"ports": ports})
        ]
        left = [one for one in left if one not in same]
        _fill(plan, group, ports, endpoints, same, base)
    plan.delete.extend(left)
    return plan


def _fill(
    plan: SlicePlan,
    group: Group,
    ports: list[Object],
    endpoints: Mapping[str, Object],
    existing: list[Object],
    base: Object,
) -> None:
    missing = dict(endpoints)
    kept: list[tuple[Object, list[Object]]] = []
    for one in existing:
        held = []
        for old in one.get("endpoints") or ():
            found = missing.pop((old.get("targetRef") or {}).get("uid") or _text(old), None)
            if found is not None:
                held.append(found)
        kept.append((one, held))
    fresh = list(missing.values())
    for one, held in sorted(kept, key=lambda pair: -len(pair[1])):
        room = MOST - len(held)
        held += fresh[:room]
        del fresh[:room]
        if not held and (endpoints or one is not existing[0]):
            plan.delete.append(one)
        elif _differs(one, held, base):
            meta = {**one["metadata"], "labels": base["metadata"]["labels"]}
            plan.update.append({**one, "metadata": meta, "endpoints": held})
    while fresh or not (endpoints or existing):
        plan.create.append(
            {**base, "addressType": group.family, "ports": ports, "endpoints": fresh[:MOST]}
        )
        del fresh[:MOST]
        if not fresh:
            return


def _text(endpoint: Object) -> str:
    return ",".join(endpoint.get("addresses") or ())


def _differs(one: Object, endpoints: list[Object], base: Object) -> bool:
    return (one.get("endpoints") or []) != endpoints or one["metadata"].get("labels") != base[
        "metadata"
    ]["labels"]


def _port_key(one: Object) -> frozenset[tuple[str, int, str, str]]:
    return frozenset(
        (
            port.get("name") or "",
            port.get("port") or 0,
            port.get("protocol") or "TCP",
            port.get("appProtocol") or "",
        )
        for port in one.get("ports") or ()
    )
