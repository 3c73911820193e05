"""Endpoints: the older list of a Service's Pods, one object for each, at most a thousand Pods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.discovery.backends import Backends
from jindou.control.controllers.discovery.endpoint_facts import (
    HEADLESS,
    Backend,
    Port,
    families,
    family,
    is_headless,
    ports_of,
)
from jindou.objects.errors import AlreadyExists, NotFound
from jindou.objects.kinds import ENDPOINTS, SERVICE, Kind, Object, Ref

MOST = 1000
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


class EndpointsOfServices:
    kind = SERVICE
    owns: Sequence[Kind] = ()
    name = "endpoints"
    pace = 0.25  # nothing of ours reads these: no hurry

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._services = informers.of(SERVICE)
        self._endpoints = informers.of(ENDPOINTS)
        self._endpoints.on_change(self._changed)
        self._backends = Backends(informers, wake)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        meta = obj["metadata"]
        if (meta.get("labels") or {}).get(MANAGED_BY) == CONTROLLER or new is None:
            self._wake(Ref(SERVICE, meta["namespace"], meta["name"]))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        service = self._services.get(ref.namespace, ref.name)
        held = self._endpoints.get(ref.namespace, ref.name)
        if service is None:
            if held is not None and (held["metadata"].get("labels") or {}).get(MANAGED_BY):
                await _delete(client, held)
            return None
        selector = service["spec"].get("selector")
        if not selector or service["spec"].get("type") == "ExternalName":
            return None
        wanted = plan_endpoints(service, self._backends.matching(ref.namespace, selector), held)
        if wanted is None:
            return None
        try:
            if held is None:
                written = await client.create(ENDPOINTS, wanted)
            else:
                written = await client.update(ENDPOINTS, wanted)
        except (NotFound, AlreadyExists):
            return 0.05
        await self._endpoints.caught_up(written["metadata"].get("resourceVersion", ""))
        return None


async def _delete(client: Client, held: Object) -> None:
    meta = held["metadata"]
    try:
        await client.delete(Ref(ENDPOINTS, meta["namespace"], meta["name"]), uid=meta["uid"])
    except NotFound:
        pass


def plan_endpoints(
    service: Object, backends: Iterable[Backend], held: Object | None
) -> Object | None:
    """The Endpoints to be written, or None where those there are say the same."""
    subsets, cut = plan_subsets(service, backends)
    meta = service["metadata"]
    labels = {
        name: value
        for name, value in (meta.get("labels") or {}).items()
        if name not in (HEADLESS, MANAGED_BY)
    }
    labels[MANAGED_BY] = CONTROLLER
    if is_headless(service):
        labels[HEADLESS] = ""
    annotations = {OVER_CAPACITY: "truncated"} if cut else {}
    if held is not None:
        old = held["metadata"]
        kept = dict(old.get("annotations") or {})
        was_cut = kept.pop(OVER_CAPACITY, None)
        same = (held.get("subsets") or []) == subsets and (old.get("labels") or {}) == labels
        if same and (was_cut is not None) == cut:
            return None
        return {
            **held,
            "metadata": {**old, "labels": labels, "annotations": kept | annotations},
            "subsets": subsets,
        }
    return {
        "apiVersion": ENDPOINTS.api_version,
        "kind": ENDPOINTS.name,
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
        },
        "subsets": subsets,
    }


def plan_subsets(service: Object, backends: Iterable[Backend]) -> tuple[list[Object], bool]:
    """Addresses that have the same ports, together; and whether some had to be left out."""
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    wanted = families(service)[0]
    groups: dict[tuple[Port, ...], tuple[list[Object], list[Object]]] = {}
    count, cut = 0, False
    for backend in sorted(backends, key=lambda one: (not one.ready, one.addresses)):
        address = next((a for a in backend.addresses if family(a) == wanted), None)
        if address is None or (backend.terminating and not publish):
            continue
        ready = publish or backend.ready
        if not ready and not _may_become_ready(backend):
            continue
        ports = ports_of(service, backend)
        if not ports and service["spec"].get("ports"):
            continue
        if count == MOST:
            cut = True
            break
        count += 1
        groups.setdefault(ports, ([], []))[not ready].append(_address(service, backend, address))
    subsets = []
    for ports, (ready_ones, others) in sorted(groups.items()):
        subset: Object = {}
        if ready_ones:
            subset["addresses"] = sorted(ready_ones, key=lambda one: one["ip"])
        if others:
            subset["notReadyAddresses"] = sorted(others, key=lambda one: one["ip"])
        if ports:
            subset["ports"] = [port.of_subset() for port in ports]
        subsets.append(subset)
    return subsets, cut


def _may_become_ready(backend: Backend) -> bool:
    if backend.restart == "Never":
        return not backend.finished
    if backend.restart == "OnFailure":
        return not backend.finished or backend.failed
    return True


def _address(service: Object, backend: Backend, address: str) -> Object:
    found: Object = {"ip": address}
    if backend.hostname and backend.subdomain == service["metadata"]["name"]:
        found["hostname"] = backend.hostname
    if backend.node:
        found["nodeName"] = backend.node
    found["targetRef"] = {
        "kind": "Pod",
        "namespace": backend.namespace,
        "name": backend.name,
        "uid": backend.uid,
    }
    return found
