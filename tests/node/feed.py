"""An informer that a test feeds by hand."""

from __future__ import annotations

import asyncio


class Feed:
    def __init__(self, *objects, synced: bool = True) -> None:
        self.synced = asyncio.Event()
        if synced:
            self.synced.set()
        self._held = {}
        self._handlers = []
        for obj in objects:
            self.put(obj)

    def on_change(self, handler) -> None:
        self._handlers.append(handler)
        for obj in self._held.values():
            handler(None, obj)

    def put(self, obj) -> None:
        key = key_of(obj)
        old = self._held.get(key)
        self._held[key] = obj
        for handler in self._handlers:
            handler(old, obj)

    def remove(self, namespace: str, name: str) -> None:
        old = self._held.pop((namespace, name))
        for handler in self._handlers:
            handler(old, None)

    def all(self, namespace: str = ""):
        return list(self._held.values())


def key_of(obj):
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def service(name, *addresses, namespace="default", ports=((80, "http"),), status=None, **spec):
    ports = [
        {"port": port, "name": label, "protocol": "TCP", "targetPort": port}
        if isinstance(label, str)
        else {"port": port, **label}
        for port, label in ports
    ]
    spec = {"type": "ClusterIP", "ports": ports, **spec}
    if addresses:
        spec["clusterIP"] = addresses[0]
        spec["clusterIPs"] = list(addresses)
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
        "status": status or {},
    }


def endpoint(address, *, ready=True, node="here", hostname="", **conditions):
    found = {"addresses": [address], "conditions": {"ready": ready, **conditions}}
    if hostname:
        found["hostname"] = hostname
    if node:
        found["nodeName"] = node
    return found


def endpoint_slice(owner, *endpoints, namespace="default", suffix="a", ports=((8080, "http"),)):
    address = endpoints[0]["addresses"][0] if endpoints else ""
    return {
        "metadata": {
            "name": f"{owner}-{suffix}",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": owner},
        },
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": name, "port": port, "protocol": "TCP"} for port, name in ports],
    }


def pod(name, *addresses, namespace="default", phase="Running"):
    return {
        "metadata": {"name": name, "namespace": namespace},
        "status": {"phase": phase, "podIPs": [{"ip": address} for address in addresses]},
    }
