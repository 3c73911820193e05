"""Addresses and node ports of Services, given at the moment of the write as the real server does.

What is taken is known from the stored Services alone: at start it is read once, afterwards every
write keeps it. What is given to a write that does not come to be is taken back with `settle`. The
first part of the range is for addresses that users ask for by name.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable
from typing import Any

import orjson

from jindou.control.api.rules.names import invalid, unsupported
from jindou.control.store import Change, Store
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

NODE_PORTS = range(30000, 32768)
PREFIX = "core/services/"
FAMILIES = ("IPv4", "IPv6")
FIELDS = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
SAYS_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
SAYS_RANGE = "provided port is not in the valid range. The range of valid ports is 30000-32767"
SAYS_TWO = "must be RequireDualStack or PreferDualStack when multiple {} are specified"


class Allocation:
    """Taken addresses and ports; `assign` fills in a Service that is to be written."""

    def __init__(self, store: Store, cidr: str, cidr6: str) -> None:
        self._store = store
        self._networks = {"IPv4": ipaddress.ip_network(cidr), "IPv6": ipaddress.ip_network(cidr6)}
        self._owners: dict[str | tuple[int, str], str] = {}  # an address, a port -> a Service's key
        self._held: dict[str, set[str | tuple[int, str]]] = {}
        self._next = {"IPv4": 256, "IPv6": 256}
        for stored in store.scan(PREFIX).items:
            self._hold(stored.key, stored.value)
        self._stop: Callable[[], None] = store.watch(PREFIX, store.revision, self._changed)

    def _changed(self, changes: Any) -> None:
        for change in changes:
            assert isinstance(change, Change)
            self._hold(change.key, change.value)

    def settle(self, key: str) -> None:
        """The write of this Service came to nothing: it has what is stored, and no more."""
        stored = self._store.get(key)
        self._hold(key, stored.value if stored else None)

    def _hold(self, key: str, value: bytes | None) -> None:
        for old in self._held.pop(key, ()):
            if self._owners.get(old) == key:
                del self._owners[old]
        if value is None:
            return
        spec = orjson.loads(value)["spec"]
        for address in spec.get("clusterIPs") or ():
            if address and address != "None":
                self._take(key, address)
        for port in spec.get("ports") or ():
            if port.get("nodePort"):
                self._take(key, (port["nodePort"], port.get("protocol", "TCP")))
        if health := spec.get("healthCheckNodePort"):
            self._take(key, (health, "TCP"))

    def _take(self, key: str, what: str | tuple[int, str]) -> None:
        self._owners[what] = key
        self._held.setdefault(key, set()).add(what)

    def _taken(self, key: str, what: str | tuple[int, str]) -> bool:
        return self._owners.get(what, key) != key

    def assign(self, key: str, service: Object, old: Object | None) -> list[Fault]:
        """In place: clusterIP(s), families and node ports. Returns what is wrong with those asked for."""
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            for name in FIELDS:
                spec.pop(name, None)
            return []
        before = (old or {}).get("spec", {})
        if before.get("type") != "ExternalName":
            for name in FIELDS:
                if not spec.get(name) and before.get(name):
                    spec[name] = before[name]
        _narrow(spec, before)
        faults = self._families(spec)
        faults = faults or self._assign_addresses(key, spec)
        faults = faults or self._assign_ports(key, spec, before)
        faults = faults or self._assign_health(key, spec, before)
        if faults:
            self.settle(key)
        return faults

    def _families(self, spec: Object) -> list[Fault]:
        asked = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
        families = list(spec.get("ipFamilies") or ())
        several = len(asked) > 1 or len(families) > 1
        open_headless = asked == ["None"] and not spec.get("selector")
        policy = spec.setdefault(
            "ipFamilyPolicy", "RequireDualStack" if several or open_headless else "SingleStack"
        )
        for n, family in enumerate(families):
            if family not in FAMILIES:
                return [unsupported(f"spec.ipFamilies[{n}]", family, FAMILIES)]
        for words, given in (("ip families", families), ("cluster IPs", asked)):
            if policy == "SingleStack" and len(given) > 1:
                return [invalid("spec.ipFamilyPolicy", policy, SAYS_TWO.format(words))]
        for address in asked[len(families) :]:
            if address != "None":
                families.append("IPv6" if ":" in address else "IPv4")
        families = families or ["IPv4"]
        if policy != "SingleStack":
            families += [family for family in FAMILIES if family not in families]
        spec["ipFamilies"] = families
        return []

    def _assign_addresses(self, key: str, spec: Object) -> list[Fault]:
        asked = list(
            spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
        )
        if asked == ["None"]:
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return []
        chosen: list[str] = []
        for n, family in enumerate(spec["ipFamilies"]):
            wanted = asked[n] if n < len(asked) and asked[n] else ""
            if not wanted:
                chosen.append(self._free(family, key))
                continue
            try:
                address = ipaddress.ip_address(wanted)
            except ValueError:
                return [invalid(f"spec.clusterIPs[{n}]", wanted, SAYS_ADDRESS)]
            if address not in self._networks[family]:
                return [
                    invalid(
                        "spec.clusterIPs",
                        [wanted],
                        f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {self._networks[family]}",
                    )
                ]
            if self._taken(key, wanted):
                return [
                    invalid(
                        "spec.clusterIPs",
                        [wanted],
                        f"failed to allocate IP {wanted}: provided IP is already allocated",
                    )
                ]
            self._take(key, wanted)
            chosen.append(wanted)
        spec["clusterIP"], spec["clusterIPs"] = chosen[0], chosen
        return []

    def _free(self, family: str, key: str) -> str:
        network = self._networks[family]
        size = min(network.num_addresses, 1 << 16)
        low = min(256, size // 16)
        for step in range(size):
            offset = low + (self._next[family] - low + step) % (size - low - 1)
            address = str(network[offset])
            if address not in self._owners:
                self._next[family] = offset + 1
                self._take(key, address)
                return address
        raise RuntimeError(f"no address of {network} is free")

    def _assign_ports(self, key: str, spec: Object, before: Object) -> list[Fault]:
        if (
            spec.get("type") not in ("NodePort", "LoadBalancer")
            or spec.get("allocateLoadBalancerNodePorts") is False
        ):
            if spec.get("type") == "ClusterIP":
                for port in spec.get("ports") or ():
                    port.pop("nodePort", None)
            return []
        kept = {
            (p.get("port"), p.get("protocol", "TCP")): p["nodePort"]
            for p in before.get("ports") or ()
            if p.get("nodePort")
        }
        asked = {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}
        for n, port in enumerate(spec.get("ports") or ()):
            protocol = port.get("protocol", "TCP")
            number = port.get("nodePort")
            if number:
                if number not in NODE_PORTS:
                    return [invalid(f"spec.ports[{n}].nodePort", number, SAYS_RANGE)]
                if self._taken(key, (number, protocol)):
                    return [
                        invalid(
                            f"spec.ports[{n}].nodePort",
                            number,
                            "provided port is already allocated",
                        )
                    ]
            else:
                number = kept.get((port.get("port"), protocol)) or self._free_port(protocol, asked)
                port["nodePort"] = number
                asked.add(number)
            self._take(key, (number, protocol))
        return []

    def _assign_health(self, key: str, spec: Object, before: Object) -> list[Fault]:
        """Where a balancer of local traffic asks whether there is a Pod on the node."""
        local = spec.get("externalTrafficPolicy") == "Local"
        if spec.get("type") != "LoadBalancer" or not local:
            spec.pop("healthCheckNodePort", None)
            return []
        asked = {port.get("nodePort") for port in spec.get("ports") or ()}
        number = spec.get("healthCheckNodePort") or before.get("healthCheckNodePort")
        number = number or self._free_port("TCP", asked)
        if self._taken(key, (number, "TCP")):
            says = f"failed to allocate requested HealthCheck NodePort {number}: provided port is already allocated"
            return [invalid("spec.healthCheckNodePort", number, says)]
        spec["healthCheckNodePort"] = number
        self._take(key, (number, "TCP"))
        return []

    def _free_port(self, protocol: str, asked: set[int]) -> int:
        start = random.randrange(len(NODE_PORTS))
        for step in range(len(NODE_PORTS)):
            port = NODE_PORTS[(start + step) % len(NODE_PORTS)]
            if (port, protocol) not in self._owners and port not in asked:
                return port
        raise RuntimeError("no node port is free")


def _narrow(spec: Object, before: Object) -> None:
    """From two families to one: what was given for both is cut, unless it was changed as well."""
    if spec.get("ipFamilyPolicy") != "SingleStack" or len(before.get("ipFamilies") or ()) < 2:
        return
    for name in ("clusterIPs", "ipFamilies"):
        if spec.get(name) == before.get(name):
            spec[name] = spec[name][:1]
