"""What an update leaves of a Service's addresses and ports: given once, kept while there is a use for them."""

from __future__ import annotations

from jindou.control.api.resources.schema import copy
from jindou.objects.kinds import Object


def restore(obj: Object, old: Object, name: str) -> None:
    if name in old:
        obj[name] = copy(old[name])
    else:
        obj.pop(name, None)


def keep_addresses(service: Object, old: Object) -> None:
    """What was given to a Service stays its own while its type has use for it; in place."""
    spec, before = service.setdefault("spec", {}), old.get("spec") or {}
    if "ExternalName" in (spec.get("type"), before.get("type")):
        return
    if not spec.get("clusterIP") and not spec.get("clusterIPs"):
        for name in ("clusterIP", "clusterIPs"):
            restore(spec, before, name)
    elif not spec.get("clusterIPs") and spec.get("clusterIP") == before.get("clusterIP"):
        restore(spec, before, "clusterIPs")
    elif not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]


def drop_unused(service: Object, old: Object) -> None:
    """What only the type of before had use for goes with it, unless it was changed too; in place."""
    spec, before = service["spec"], old.get("spec") or {}
    policy = spec.get("externalTrafficPolicy")
    inside_now = _reached_from_outside(before) and not _reached_from_outside(spec)
    if inside_now and policy == before.get("externalTrafficPolicy"):
        spec.pop("externalTrafficPolicy", None)
    if before.get("type") == "LoadBalancer" != spec.get("type"):
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(name) == before.get(name):
                spec.pop(name, None)
    if before.get("type") in NODE_PORTS and spec.get("type") not in NODE_PORTS:
        given = {port.get("nodePort") for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in given:
                port.pop("nodePort", None)


NODE_PORTS = ("NodePort", "LoadBalancer")


def _reached_from_outside(spec: Object) -> bool:
    return spec.get("type") in NODE_PORTS or bool(spec.get("externalIPs"))
