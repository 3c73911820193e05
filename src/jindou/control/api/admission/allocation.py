"""Addresses and node ports of Services, given at the moment of the write as the real server does.

What is taken is known from the stored Services alone: at start it is read once, afterwards every
write keeps it. The first part of the range is for addresses that users ask for by name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import orjson

from jindou.control.api.rules.names import invalid, unsupported
from jindou.control.store import Change, Store
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

NODE_PORTS = range(30000, 32768)
PREFIX = "core/services/"
TYPES_WITH_ADDRESS = ("ClusterIP", "NodePort", "LoadBalancer")


class Allocation:
    """Taken addresses and ports; `assign` fills in a Service that is to be written."""

    def __init__(self, store: Store, cidr: str, cidr6: str) -> None:
        self._networks = {"IPv4": ipaddress.ip_network(cidr), "IPv6": ipaddress.ip_network(cidr6)}
        self._addresses: dict[str, str] = {}  # address -> key of its Service
        self._ports: dict[tuple[int, str], str] = {}
        self._next = {"IPv4": 256, "IPv6": 256}
        for stored in store.scan(PREFIX).items:
            self._take(stored.key, orjson.loads(stored.value))
        self._stop: Callable[[], None] = store.watch(PREFIX, store.revision, self._changed)

    def _changed(self, changes: Any) -> None:
        for change in changes:
            assert isinstance(change, Change)
            if change.value is None:
                self._addresses = {a: k for a, k in self._addresses.items() if k != change.key}
                self._ports = {p: k for p, k in self._ports.items() if k != change.key}
            else:
                self._take(change.key, orjson.loads(change.value))

    def _take(self, key: str, service: Object) -> None:
        self._addresses = {a: k for a, k in self._addresses.items() if k != key}
        self._ports = {p: k for p, k in self._ports.items() if k != key}
        spec = service["spec"]
        for address in spec.get("clusterIPs") or ():
            if address and address != "None":
                self._addresses[address] = key
        for port in spec.get("ports") or ():
            if port.get("nodePort"):
                self._ports[port["nodePort"], port.get("protocol", "TCP")] = key

    def assign(self, key: str, service: Object, old: Object | None) -> list[Fault]:
        """In place: clusterIP(s), families and node ports. Returns what is wrong with those asked for."""
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(name, None)
            return []
        before = (old or {}).get("spec", {})
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not spec.get(name) and before.get(name) and before.get("type") != "ExternalName":
                spec[name] = before[name]
        faults = self._families(spec)
        faults += self._assign_addresses(key, spec)
        faults += self._assign_ports(key, spec, before)
        return faults

    def _families(self, spec: Object) -> list[Fault]:
        policy = spec.setdefault("ipFamilyPolicy", "SingleStack")
        asked = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
        if not spec.get("ipFamilies"):
            given = ["IPv6" if ":" in a else "IPv4" for a in asked if a != "None"] or ["IPv4"]
            if policy != "SingleStack":
                given += [f for f in ("IPv4", "IPv6") if f not in given]
            spec["ipFamilies"] = given
        for n, family in enumerate(spec["ipFamilies"]):
            if family not in self._networks:
                return [unsupported(f"spec.ipFamilies[{n}]", family, ("IPv4", "IPv6"))]
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
                return [
                    invalid(
                        f"spec.clusterIPs[{n}]",
                        wanted,
                        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    )
                ]
            if address not in self._networks[family]:
                return [
                    invalid(
                        "spec.clusterIPs",
                        [wanted],
                        f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {self._networks[family]}",
                    )
                ]
            if self._addresses.get(wanted, key) != key:
                return [
                    invalid(
                        "spec.clusterIPs",
                        [wanted],
                        f"failed to allocate IP {wanted}: provided IP is already allocated",
                    )
                ]
            self._addresses[wanted] = key
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
            if address not in self._addresses:
                self._next[family] = offset + 1
                self._addresses[address] = key
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
                    return [
                        invalid(
                            f"spec.ports[{n}].nodePort",
                            number,
                            "provided port is not in the valid range. The range of valid ports is 30000-32767",
                        )
                    ]
                if self._ports.get((number, protocol), key) != key:
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
            self._ports[number, protocol] = key
        return []

    def _free_port(self, protocol: str, asked: set[int]) -> int:
        import random

        start = random.randrange(len(NODE_PORTS))
        for step in range(len(NODE_PORTS)):
            port = NODE_PORTS[(start + step) % len(NODE_PORTS)]
            if (port, protocol) not in self._ports and port not in asked:
                return port
        raise RuntimeError("no node port is free")
