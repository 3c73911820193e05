"""EndpointSlices of the Services that select Pods, and copies of Endpoints that people write.

Changes of many Pods within a few milliseconds become one write.
"""

from __future__ import annotations

from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informer, Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.discovery.backends import Backends
from jindou.control.controllers.discovery.endpoint_facts import (
    MANAGED_BY,
    SERVICE_NAME,
    TRIGGER_TIME,
    Backend,
    Port,
    family,
)
from jindou.control.controllers.discovery.slices import (
    CONTROLLER,
    Group,
    SlicePlan,
    plan_endpoints,
    plan_slices,
    slice_labels,
)
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.groundwork.owners import reference_to
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.objects.errors import AlreadyExists, CloudError, NotFound
from jindou.objects.kinds import (
    ENDPOINT_SLICE,
    ENDPOINTS,
    NODE,
    SERVICE,
    Kind,
    Object,
    Ref,
    ref_of,
)

ZONE = "topology.kubernetes.io/zone"
MIRROR = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
MOST_MIRRORED = 1000


def _service_of(manager: str, obj: Object) -> tuple[str, ...]:
    labels = obj["metadata"].get("labels") or {}
    if labels.get(MANAGED_BY) != manager or SERVICE_NAME not in labels:
        return ()
    return (f"{obj['metadata']['namespace']}/{labels[SERVICE_NAME]}",)


class EndpointSlices:
    kind = SERVICE
    owns: Sequence[Kind] = ()
    name = "endpointslices"
    pace = 0.02

    def __init__(self) -> None:
        self._events = Recorder("endpoint-slice-controller")
        self._zones: dict[str, str] = {}
        self._triggered: dict[Ref, float] = {}

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._services = informers.of(SERVICE)
        self._slices = informers.of(ENDPOINT_SLICE)
        self._slices.index(CONTROLLER, lambda obj: _service_of(CONTROLLER, obj))
        self._slices.on_change(self._slice_changed)
        self._backends = Backends(informers, wake)
        informers.of(NODE).on_change(self._node_changed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        name = obj["metadata"]["name"]
        zone = (new["metadata"].get("labels") or {}).get(ZONE, "") if new is not None else ""
        if zone != self._zones.get(name, ""):
            self._zones[name] = zone
            for namespace, service in self._services.names():
                self._wake(Ref(SERVICE, namespace, service))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        """Someone else's hand in our slices is put right."""
        for key in _service_of(CONTROLLER, new if new is not None else old or {}):
            namespace, _, name = key.partition("/")
            self._wake(Ref(SERVICE, namespace, name))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        service = self._services.get(ref.namespace, ref.name)
        if service is None or service["metadata"].get("deletionTimestamp"):
            self._triggered.pop(ref, None)
            return None
        selector = service["spec"].get("selector")
        if not selector or service["spec"].get("type") == "ExternalName":
            return None
        backends = self._backends.matching(ref.namespace, selector)
        plan = plan_slices(
            service,
            plan_endpoints(service, backends, self._zones),
            self._slices.by(CONTROLLER, f"{ref.namespace}/{ref.name}"),
            _base(SERVICE, service, slice_labels(service)),
        )
        trigger = self._trigger(ref, service, backends)
        try:
            await apply(client, self._slices, plan, trigger)
        except NotFound:
            return 0.05
        except CloudError as error:
            text = (
                f"Failed to update endpoint slices for Service {ref.namespace}/{ref.name}: {error}"
            )
            if not service["metadata"].get("deletionTimestamp"):
                self._events.event(client, service, "FailedToUpdateEndpointSlices", text, "Warning")
            raise
        return None

    def _trigger(self, ref: Ref, service: Object, backends: Sequence[Backend]) -> str:
        """When the change happened that these slices are about; "" where it is none of the Pods'."""
        created = times.parse(service["metadata"].get("creationTimestamp"))
        latest = max((one.changed for one in backends), default=created)
        if latest <= self._triggered.get(ref, 0.0):
            return ""
        self._triggered[ref] = latest
        return times.text(latest)


class EndpointsMirror:
    """Endpoints of a Service without a selector, as slices."""

    kind = ENDPOINTS
    owns: Sequence[Kind] = ()
    name = "endpointslicemirroring"
    pace = 0.02

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._services = informers.of(SERVICE)
        self._endpoints = informers.of(ENDPOINTS)
        self._slices = informers.of(ENDPOINT_SLICE)
        self._slices.index(MIRROR, lambda obj: _service_of(MIRROR, obj))
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and not new["spec"].get("selector"):
            self._wake(ref_of(ENDPOINTS, new))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for key in _service_of(MIRROR, new if new is not None else old or {}):
            namespace, _, name = key.partition("/")
            self._wake(Ref(ENDPOINTS, namespace, name))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        endpoints = self._endpoints.get(ref.namespace, ref.name)
        service = self._services.get(ref.namespace, ref.name)
        existing = self._slices.by(MIRROR, f"{ref.namespace}/{ref.name}")
        if endpoints is None or service is None or not is_mirrored(endpoints, service):
            plan = SlicePlan([], [], existing)
        else:
            labels = slice_labels({**service, "metadata": endpoints["metadata"]}, MIRROR)
            base = _base(ENDPOINTS, endpoints, labels)
            plan = plan_mirror(service, endpoints, existing, base)
        await apply(client, self._slices, plan, "")
        return None


def is_mirrored(endpoints: Object, service: Object) -> bool:
    meta = endpoints["metadata"]
    return not (
        service["spec"].get("selector")
        or (meta.get("labels") or {}).get(SKIP_MIRROR) == "true"
        or LEADER in (meta.get("annotations") or {})
        or meta.get("deletionTimestamp")
    )


def plan_mirror(
    service: Object, endpoints: Object, existing: Sequence[Object], base: Object
) -> SlicePlan:
    wanted: dict[Group, dict[str, Object]] = {}
    for subset in endpoints.get("subsets") or ():
        ports = tuple(
            Port(
                port.get("name", ""),
                port["port"],
                port.get("protocol", "TCP"),
                port.get("appProtocol", ""),
            )
            for port in subset.get("ports") or ()
        )
        addresses = [(one, True) for one in subset.get("addresses") or ()]
        addresses += [(one, False) for one in subset.get("notReadyAddresses") or ()]
        for address, ready in addresses[:MOST_MIRRORED]:
            group = wanted.setdefault(Group(family(address["ip"]), ports), {})
            found: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
            for name in ("hostname", "nodeName", "targetRef"):
                if address.get(name):
                    found[name] = address[name]
            group[(address.get("targetRef") or {}).get("uid") or address["ip"]] = found
    if not wanted:
        return SlicePlan([], [], list(existing))
    bare = {**service, "spec": {**service["spec"], "ipFamilies": []}}
    return plan_slices(bare, wanted, existing, base)


def _base(kind: Kind, owner: Object, labels: dict[str, str]) -> Object:
    meta = owner["metadata"]
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.name,
        "metadata": {
            "generateName": f"{meta['name']}-",
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [reference_to(kind, owner)],
        },
    }


async def apply(client: Client, informer: Informer, plan: SlicePlan, trigger: str) -> None:
    """Deletions last, so that no endpoint is missing in between."""
    latest = 0
    for obj in (*plan.create, *plan.update):
        meta = dict(obj["metadata"])
        annotations = dict(meta.get("annotations") or {})
        annotations.pop(TRIGGER_TIME, None)
        if trigger:
            annotations[TRIGGER_TIME] = trigger
        meta["annotations"] = annotations
        if not annotations:
            del meta["annotations"]
        obj = {**obj, "metadata": meta}
        if "name" in meta:
            written = await client.update(ENDPOINT_SLICE, obj)
        else:
            written = await client.create(ENDPOINT_SLICE, obj)
        latest = max(latest, int(written["metadata"].get("resourceVersion") or 0))
    for obj in plan.delete:
        try:
            await client.delete(ref_of(ENDPOINT_SLICE, obj), uid=obj["metadata"]["uid"])
        except (NotFound, AlreadyExists):
            continue
    await informer.caught_up(str(latest))
