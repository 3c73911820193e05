"""Rules of what Services are made of and of what stands before them: slices, policies, ingresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from jindou.control.api.rules.names import (
    duplicate,
    invalid,
    label,
    label_value,
    path_segment,
    port_name,
    qualified,
    required,
    subdomain,
    unqualified,
    unsupported,
)
from jindou.control.api.rules.placement import label_selector
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
PORT = "must be between 1 and 65535, inclusive"
PROTOCOLS = ("TCP", "UDP", "SCTP")
WAYS = ("Ingress", "Egress")
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")


def endpoint_slice(obj: Object) -> list[Fault]:
    kind = obj.get("addressType") or ""
    if kind not in ("FQDN", "IPv4", "IPv6"):
        return [unsupported("addressType", kind, ("FQDN", "IPv4", "IPv6"))] if kind else [required("addressType")]  # fmt: skip
    return [*_slice_ports(obj), *_endpoints(obj, kind)]


def _endpoints(obj: Object, kind: str) -> Iterator[Fault]:
    for n, endpoint in enumerate(obj.get("endpoints") or ()):
        field, addresses = f"endpoints[{n}].addresses", endpoint.get("addresses") or ()
        if not addresses:
            yield required(field)
        for m, address in enumerate(addresses):
            if kind == "FQDN":
                if wrong := subdomain(address):
                    yield invalid(f"{field}[{m}]", address, wrong)
            elif not (version := _version(address)):
                yield invalid(f"{field}[{m}]", address, IP)
            elif version != kind:
                yield invalid(field, address, f"must be an {kind} address")
        yield from _about(endpoint, f"endpoints[{n}]")


def _about(endpoint: Object, at: str) -> Iterator[Fault]:
    for name, rule in (("nodeName", subdomain), ("hostname", label)):
        if (value := endpoint.get(name)) is not None and (wrong := rule(value)):
            yield invalid(f"{at}.{name}", value, wrong)
    hints = endpoint.get("hints") or {}
    for part, rule in (("forZones", label_value), ("forNodes", subdomain)):
        seen: set[str] = set()
        for n, hint in enumerate(hints.get(part) or ()):
            field, name = f"{at}.hints.{part}[{n}].name", hint.get("name") or ""
            if name in seen:
                yield duplicate(field, name)
            seen.add(name)
            if wrong := rule(name):
                yield invalid(field, name, wrong)


def _version(address: str) -> str:
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return ""


def _slice_ports(obj: Object) -> Iterator[Fault]:
    seen: set[str] = set()
    for n, port in enumerate(obj.get("ports") or ()):
        name = port.get("name") or ""
        if name in seen:
            yield duplicate(f"ports[{n}].name", name)
        seen.add(name)
        if name and (wrong := label(name)):
            yield invalid(f"ports[{n}].name", name, wrong)
        protocol = port.get("protocol", "TCP")
        if protocol not in ("TCP", "UDP", "SCTP"):
            yield unsupported(f"ports[{n}].protocol", protocol, ("SCTP", "TCP", "UDP"))
        if (spoken := port.get("appProtocol")) is not None and qualified(spoken):
            yield from unqualified(f"ports[{n}].appProtocol", spoken)


def network_policy(obj: Object) -> list[Fault]:
    return list(_network_policy(obj.get("spec") or {}))


def _network_policy(spec: Object) -> Iterator[Fault]:
    yield from label_selector(spec.get("podSelector"), "spec.podSelector")
    kinds = spec.get("policyTypes") or []
    if len(kinds) > 2:
        yield invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes")
        kinds = []
    for n, kind in enumerate(kinds):
        if kind not in WAYS:
            yield unsupported(f"spec.policyTypes[{n}]", kind, WAYS, ordered=False)
    for way, peers in (("ingress", "from"), ("egress", "to")):
        for n, rule in enumerate(spec.get(way) or ()):
            for m, port in enumerate(rule.get("ports") or ()):
                number, field = port.get("port"), f"spec.{way}[{n}].ports[{m}].port"
                if port.get("protocol", "TCP") not in PROTOCOLS:
                    at = f"spec.{way}[{n}].ports[{m}].protocol"
                    yield unsupported(at, port["protocol"], PROTOCOLS, ordered=False)
                if isinstance(number, int) and not 1 <= number <= 65535:
                    yield invalid(field, number, PORT)
                elif isinstance(number, str) and (wrong := port_name(number)):
                    yield invalid(field, number, wrong)
                if (last := port.get("endPort")) is not None:
                    yield from _last(last, number, f"spec.{way}[{n}].ports[{m}].endPort")
            for m, peer in enumerate(rule.get(peers) or ()):
                yield from _peer(peer, f"spec.{way}[{n}].{peers}[{m}]")


def _last(last: int, first: int | str | None, at: str) -> Iterator[Fault]:
    if not isinstance(first, int):
        word = "non-numeric" if first else "not specified"
        yield invalid(at, last, f"may not be specified when `port` is {word}")
        return
    if last < first:
        yield invalid(at, last, "must be greater than or equal to `port`")
    if not 1 <= last <= 65535:
        yield invalid(at, last, PORT)


def _peer(peer: Object, at: str) -> Iterator[Fault]:
    named = [k for k in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(k) is not None]
    if not named:
        yield required(at, "must specify a peer")
    if (block := peer.get("ipBlock")) is not None:
        for field, cidr in (("cidr", block.get("cidr") or ""), *(
            (f"except[{n}]", one) for n, one in enumerate(block.get("except") or ())
        )):  # fmt: skip
            if not cidr and field == "cidr":
                yield required(f"{at}.ipBlock.cidr")
                continue
            try:
                ipaddress.ip_network(cidr, strict=False)
            except ValueError:
                says = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
                yield invalid(f"{at}.ipBlock.{field}", cidr, says)
    for name in ("podSelector", "namespaceSelector"):
        yield from label_selector(peer.get(name), f"{at}.{name}")


def ingress(obj: Object) -> list[Fault]:
    return list(_ingress(obj.get("spec") or {}))


def _ingress(spec: Object) -> Iterator[Fault]:
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        yield invalid(
            "spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified"
        )
    if (backend := spec.get("defaultBackend")) is not None:
        yield from _backend(backend, "spec.defaultBackend")
    for n, rule in enumerate(spec.get("rules") or ()):
        host, field = rule.get("host") or "", f"spec.rules[{n}]"
        if host and (wrong := subdomain(host.removeprefix("*."))):
            yield invalid(f"{field}.host", host, wrong)
        if rule.get("http") is not None and not rule["http"].get("paths"):
            yield required(f"{field}.http.paths")
        for m, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            yield from _ingress_path(path, f"{field}.http.paths[{m}]")
    for n, secured in enumerate(spec.get("tls") or ()):
        for m, host in enumerate(secured.get("hosts") or ()):
            if wrong := subdomain(host.removeprefix("*.")):
                yield invalid(f"spec.tls[{n}].hosts[{m}]", host, wrong)
        secret = secured.get("secretName") or ""
        if secret and (wrong := subdomain(secret)):
            yield invalid(f"spec.tls[{n}].secretName", secret, wrong)
    chosen = spec.get("ingressClassName")
    if chosen is not None and (wrong := subdomain(chosen)):
        yield invalid("spec.ingressClassName", chosen, wrong)


def _ingress_path(path: Object, at: str) -> Iterator[Fault]:
    kind, text = path.get("pathType"), path.get("path") or ""
    if kind is None:
        yield required(f"{at}.pathType", "pathType must be specified")
        return
    if kind not in PATH_TYPES:
        yield unsupported(f"{at}.pathType", kind, PATH_TYPES)
    elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        yield invalid(f"{at}.path", text, "must be an absolute path")
    yield from _backend(path.get("backend") or {}, f"{at}.backend")


def _backend(backend: Object, at: str) -> Iterator[Fault]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield invalid(at, "", "cannot set both resource and service backends")
    elif service is not None:
        name = service.get("name") or ""
        if not name:
            yield required(f"{at}.service.name")
        elif wrong := label(name):
            yield invalid(f"{at}.service.name", name, wrong)
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            yield invalid(at, "", "cannot set both port name & port number")
        elif not port.get("name") and not port.get("number"):
            yield required(at, "port name or number is required")
        elif port.get("number") and not 1 <= port["number"] <= 65535:
            yield invalid(f"{at}.service.port.number", port["number"], PORT)
        elif port.get("name") and (wrong := port_name(port["name"])):
            yield invalid(f"{at}.service.port.name", port["name"], wrong)
    elif resource is not None:
        group = resource.get("apiGroup")
        if group is not None and (wrong := subdomain(group)):
            yield invalid(f"{at}.resource.apiGroup", group, wrong)
        for part in ("kind", "name"):
            if not (value := resource.get(part)):
                yield required(f"{at}.resource.{part}")
            elif wrong := path_segment(value):
                yield invalid(f"{at}.resource.{part}", value, wrong)
    else:
        yield invalid(at, "", "resource or service backend is required")
