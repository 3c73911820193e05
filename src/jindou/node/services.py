"""From Services and their EndpointSlices to the forwarding of this machine.

Which endpoints serve which address is decided here, by pure functions; the network driver only
spreads packets. `Services` keeps the few fields that decide, for each Service apart, so a change of
one endpoint is worked out for its Service alone; the balances of all others stay the same objects,
by which the driver knows them as unchanged. All changes of one turn of the loop go out together.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from jindou.client.informers import Informer
from jindou.machine.network import Balance, Endpoint, Network, NetworkError, Rules
from jindou.objects.kinds import Object

log = logging.getLogger("jindou.services")

OWNER = "kubernetes.io/service-name"  # the label of a slice that names its Service
VERSIONS = {"IPv4": 4, "IPv6": 6}
AFFINITY_SECONDS = 10800
RETRY_SECONDS = 1.0
READY, DRAINING = 2, 1  # how fit a backend is; draining ones serve only while none is ready

Key = tuple[str, str]  # namespace and name of a Service


class Port(NamedTuple):
    name: str
    protocol: str
    number: int
    node_port: int


class Address(NamedTuple):
    """One place where a Service can be reached."""

    address: str
    local: bool  # only endpoints on this node


class Spec(NamedTuple):
    """What of a Service decides about packets."""

    addresses: tuple[Address, ...]
    ports: tuple[Port, ...]
    versions: tuple[int, ...]  # IP versions of its node ports
    local_node_ports: bool
    affinity: int


class Backend(NamedTuple):
    address: str
    local: bool
    fitness: int


class Slice(NamedTuple):
    ports: tuple[tuple[str, str, int], ...]  # name, protocol, number
    backends: tuple[Backend, ...]


def spec_of(service: Object) -> Spec | None:
    """None: the Service has no address to forward from (headless, ExternalName)."""
    spec = service.get("spec", {})
    kind = spec.get("type", "ClusterIP")
    own = [a for a in spec.get("clusterIPs") or [spec.get("clusterIP")] if a and a != "None"]
    if kind == "ExternalName" or not own:
        return None
    outside_local = spec.get("externalTrafficPolicy") == "Local"
    outside = list(spec.get("externalIPs") or ())
    if kind == "LoadBalancer":
        ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
        outside += [i["ip"] for i in ingress if i.get("ip") and i.get("ipMode") != "Proxy"]
    inside_local = spec.get("internalTrafficPolicy") == "Local"
    addresses = dict.fromkeys(Address(address, inside_local) for address in _plain(own))
    addresses.update(dict.fromkeys(Address(address, outside_local) for address in _plain(outside)))
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    sticky = spec.get("sessionAffinity") == "ClientIP"
    families = spec.get("ipFamilies") or ["IPv6" if ":" in address else "IPv4" for address in own]
    return Spec(
        tuple(addresses),
        tuple(
            Port(
                port.get("name", ""),
                port.get("protocol", "TCP").lower(),
                port["port"],
                port.get("nodePort", 0) if kind in ("NodePort", "LoadBalancer") else 0,
            )
            for port in spec.get("ports") or ()
        ),
        tuple(VERSIONS[family] for family in families),
        outside_local,
        (config.get("timeoutSeconds") or AFFINITY_SECONDS) if sticky else 0,
    )


def slice_of(item: Object, node_name: str) -> Slice:
    backends = []
    for endpoint in item.get("endpoints") or ():
        fitness = _fitness(endpoint.get("conditions") or {})
        if fitness and item.get("addressType") in VERSIONS:
            local = endpoint.get("nodeName") == node_name
            for address in _plain(endpoint["addresses"][:1]):
                backends.append(Backend(address, local, fitness))
    ports = [
        (port.get("name") or "", (port.get("protocol") or "TCP").lower(), port["port"])
        for port in item.get("ports") or ()
        if port.get("port")
    ]
    return Slice(tuple(ports), tuple(backends))


def _plain(addresses: Iterable[str]) -> Iterator[str]:
    """In the one spelling that the kernel's answers have; what is no address is left out."""
    for address in addresses:
        with contextlib.suppress(ValueError):
            yield str(ipaddress.ip_address(address))


def _fitness(conditions: Mapping[str, bool | None]) -> int:
    """Conditions that nobody stated mean ready."""
    ready = conditions.get("ready")
    serving = conditions.get("serving")
    if ready or ready is None:
        return READY
    return DRAINING if serving and conditions.get("terminating") else 0


def balances_of(
    spec: Spec, slices: Iterable[Slice], elsewhere: Mapping[Endpoint, Endpoint]
) -> tuple[Balance, ...]:
    """All balances of one Service. `elsewhere` moves endpoints of this machine that listen on its
    loopback address only."""
    slices = list(slices)
    found = []
    for port in spec.ports:
        candidates = [
            (Endpoint(backend.address, number), backend)
            for one in slices
            for name, protocol, number in one.ports
            if name == port.name and protocol == port.protocol
            for backend in one.backends
        ]
        everywhere, here = (
            tuple(elsewhere.get(endpoint, endpoint) for endpoint in chosen)
            for chosen in (
                _fittest(candidates),
                _fittest([(endpoint, b) for endpoint, b in candidates if b.local]),
            )
        )
        for place in spec.addresses:
            version = _version(place.address)
            endpoints = here if place.local else everywhere
            endpoints = tuple(e for e in endpoints if _version(e.address) == version)
            found.append(
                Balance(place.address, port.protocol, port.number, endpoints, spec.affinity)
            )
        if port.node_port:
            endpoints = here if spec.local_node_ports else everywhere
            endpoints = tuple(e for e in endpoints if _version(e.address) in spec.versions)
            found.append(Balance("", port.protocol, port.node_port, endpoints, spec.affinity))
    return tuple(found)


def _fittest(candidates: Iterable[tuple[Endpoint, Backend]]) -> list[Endpoint]:
    """The ready ones; if there is none, those that still serve while they end. In a fixed order."""
    fitness: dict[Endpoint, int] = {}
    for endpoint, backend in candidates:
        fitness[endpoint] = max(backend.fitness, fitness.get(endpoint, 0))
    best = max(fitness.values(), default=0)
    return sorted(endpoint for endpoint, value in fitness.items() if value == best)


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def loopback(addresses: Collection[str], api: Endpoint | None) -> dict[Endpoint, Endpoint]:
    """An API server that listens on 127.0.0.1 is reached by units at the machine's addresses.

    For IPv4 only: the kernel routes nothing to ::1.
    """
    if api is None or not api.address.startswith("127."):
        return {}
    return {Endpoint(a, api.port): api for a in addresses if _version(a) == 4}


def rules(
    services: Iterable[Object],
    slices: Iterable[Object],
    node_name: str,
    addresses: Collection[str] = (),
    api: Endpoint | None = None,
) -> Rules:
    """All at once; `Services` comes to the same by way of changes."""
    elsewhere = loopback(addresses, api)
    by_owner: dict[Key, list[Slice]] = {}
    for item in slices:
        if key := owner(item):
            by_owner.setdefault(key, []).append(slice_of(item, node_name))
    found: list[Balance] = []
    for service in services:
        if spec := spec_of(service):
            found += balances_of(spec, by_owner.get(_key(service), ()), elsewhere)
    return Rules(tuple(found))


def _key(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def owner(item: Object) -> Key | None:
    """The Service that a slice belongs to."""
    name = (item["metadata"].get("labels") or {}).get(OWNER)
    return (item["metadata"].get("namespace", ""), name) if name else None


class Services:
    """Keeps the network's forwarding what Services and EndpointSlices ask for.

    `addresses` are those of this machine; `api` is where the API server listens. When that is
    127.0.0.1, units reach it at the gateway's address and the same port.
    """

    def __init__(
        self,
        network: Network,
        services: Informer,
        slices: Informer,
        node_name: str,
        addresses: Collection[str] = (),
        api: Endpoint | None = None,
    ) -> None:
        self._network = network
        self._informers = (services, slices)
        self._node_name = node_name
        self._elsewhere = loopback({*addresses, *network.gateway}, api)
        self._specs: dict[Key, Spec] = {}
        self._slices: dict[Key, dict[str, Slice]] = {}
        self._balances: dict[Key, tuple[Balance, ...]] = {}
        self._fixed: list[Balance] = []
        self._dirty: dict[Key, None] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        for place, to in self._elsewhere.items():
            if place.address in network.gateway:
                self.move(place, to, ("tcp",))

    def move(self, place: Endpoint, to: Endpoint, protocols: Iterable[str]) -> None:
        """A program of this machine that should be at `place` is at `to`. Call before `start`."""
        self._elsewhere[place] = to
        self._fixed += [Balance(place.address, name, place.port, (to,)) for name in protocols]

    def start(self) -> None:
        """Follow the informers; the network is left as it is until both have all."""
        services, slices = self._informers
        services.on_change(self._service_changed)
        slices.on_change(self._slice_changed)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="services")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        key = _key(new or old or {})
        spec = spec_of(new) if new else None
        if spec == self._specs.get(key):
            return
        if spec:
            self._specs[key] = spec
        else:
            del self._specs[key]
        self._touch(key)

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        before = owner(old) if old else None
        after = owner(new) if new else None
        name = _key(new or old or {})[1]
        if before and before != after:
            some = self._slices.get(before, {})
            some.pop(name, None)
            if not some:
                self._slices.pop(before, None)
            self._touch(before)
        if after and new:
            known = self._slices.setdefault(after, {})
            compact = slice_of(new, self._node_name)
            if known.get(name) != compact:
                known[name] = compact
                self._touch(after)

    def _touch(self, key: Key) -> None:
        self._dirty[key] = None
        self._changed.set()

    async def _run(self) -> None:
        for informer in self._informers:
            await informer.synced.wait()
        self._changed.set()
        while True:
            await self._changed.wait()
            await asyncio.sleep(0)  # what else this turn of the loop brings
            self._changed.clear()
            self._work_out()
            try:
                await self._network.program(Rules(tuple(self._all())))
            except NetworkError as error:
                log.error("%s; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    def _work_out(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            spec = self._specs.get(key)
            if spec is None:
                self._balances.pop(key, None)
                continue
            slices = self._slices.get(key, {}).values()
            same = {balance: balance for balance in self._balances.get(key, ())}
            self._balances[key] = tuple(
                same.get(balance, balance) for balance in balances_of(spec, slices, self._elsewhere)
            )

    def _all(self) -> Iterator[Balance]:
        return itertools.chain(self._fixed, *self._balances.values())
