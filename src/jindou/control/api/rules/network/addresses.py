"""Rules of what says who is where: Endpoints, addresses, their ranges, ingress classes, leases, events."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from jindou.control.api.rules.names import (
    invalid,
    label,
    qualified,
    required,
    subdomain,
    too_long,
    unqualified,
    unsupported,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

PORT = "must be between 1 and 65535, inclusive"
IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
PROTOCOLS = ("SCTP", "TCP", "UDP")
CONTROLLER = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/\S+")
LONGEST_CONTROLLER = 250


def endpoints(obj: Object) -> list[Fault]:
    return [
        fault
        for n, subset in enumerate(obj.get("subsets") or ())
        for fault in _subset(subset, f"subsets[{n}]")
    ]


def _subset(subset: Object, at: str) -> Iterator[Fault]:
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        yield required(at, "must specify `addresses` or `notReadyAddresses`")
    for part in ("addresses", "notReadyAddresses"):
        for n, address in enumerate(subset.get(part) or ()):
            field = f"{at}.{part}[{n}]"
            yield from _reachable(address.get("ip") or "", f"{field}.ip")
            host, node = address.get("hostname"), address.get("nodeName")
            if host and (wrong := label(host)):
                yield invalid(f"{field}.hostname", host, wrong)
            if node is not None and (wrong := subdomain(node)):
                yield invalid(f"{field}.nodeName", node, wrong)
    ports = subset.get("ports") or ()
    for n, port in enumerate(ports):
        field, name = f"{at}.ports[{n}]", port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{field}.name")
        elif name and (wrong := label(name)):
            yield invalid(f"{field}.name", name, wrong)
        if not 1 <= (port.get("port") or 0) <= 65535:
            yield invalid(f"{field}.port", port.get("port") or 0, PORT)
        if port.get("protocol", "TCP") not in PROTOCOLS:
            yield unsupported(f"{field}.protocol", port["protocol"], PROTOCOLS)
        if port.get("appProtocol") is not None and qualified(port["appProtocol"]):
            yield from unqualified(f"{field}.appProtocol", port["appProtocol"])


def _reachable(text: str, at: str) -> Iterator[Fault]:
    """A loopback address is refused by the original; here the API itself may have no other."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        yield invalid(at, text, IP)
        yield invalid(at, text, "must be a valid IP address")
        return
    if address.is_unspecified:
        yield invalid(at, text, f"may not be unspecified ({text})")
    if address.is_link_local:
        yield invalid(at, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address.is_multicast:
        yield invalid(at, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")  # fmt: skip


def ip_address(obj: Object) -> list[Fault]:
    found: list[Fault] = []
    name = obj["metadata"].get("name") or ""
    try:
        canonical = str(ipaddress.ip_address(name))
        if canonical != name:
            found.append(invalid("metadata.name", name, f"must be a canonical IP address ({canonical})"))  # fmt: skip
    except ValueError:
        found.append(invalid("metadata.name", name, IP))
    parent = (obj.get("spec") or {}).get("parentRef")
    if parent is None:
        return [*found, required("spec.parentRef")]
    found += [required(f"spec.parentRef.{n}") for n in ("resource", "name") if not parent.get(n)]
    return found


def service_cidr(obj: Object) -> list[Fault]:
    cidrs = (obj.get("spec") or {}).get("cidrs") or []
    if not cidrs:
        return [required("spec.cidrs", "at least one CIDR required")]
    found, families = [], []
    for n, text in enumerate(cidrs):
        try:
            families.append(ipaddress.ip_network(text).version)
        except ValueError:
            found.append(invalid(f"spec.cidrs[{n}]", text, CIDR))
    if len(set(families)) < len(families):
        says = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        found.append(invalid("spec.cidrs", cidrs, says))
    return found


def service_cidr_update(obj: Object, old: Object) -> Iterator[Fault]:
    """A second family may be added to the first; nothing else."""
    new, before = ((held.get("spec") or {}).get("cidrs") for held in (obj, old))
    says, at = "field is immutable", "spec.cidrs"
    if len(new or ()) != len(before or ()) and (len(before or ()), len(new or ())) != (1, 2):
        yield invalid(at, new, says)
        return
    for n, (one, known) in enumerate(zip(new or (), before or (), strict=False)):
        if one != known:
            yield invalid(f"{at}[{n}]", one, says)
    if new != before and len(new or ()) == 2 and len(before or ()) == 1:
        yield from service_cidr(obj)


def ingress_class(obj: Object) -> list[Fault]:
    name = (obj.get("spec") or {}).get("controller") or ""
    if not name:
        return [required("spec.controller")]
    found = []
    if len(name) > LONGEST_CONTROLLER:
        found.append(too_long("spec.controller", LONGEST_CONTROLLER))
    if not CONTROLLER.fullmatch(name):
        says = 'must be a domain-prefixed path (such as "acme.io/foo")'
        found.append(invalid("spec.controller", name, says))
    return found


def lease(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    found = []
    seconds, moves = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        found.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if moves is not None and moves < 0:
        says = "must be greater than or equal to 0"
        found.append(invalid("spec.leaseTransitions", moves, says))
    return found


def event(obj: Object) -> list[Fault]:
    return list(_event(obj))


def _event(obj: Object) -> Iterator[Fault]:
    """An object without a namespace has its events in the default one; those of the newer kind, with
    a time of their own, say who reports what."""
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    at, says = "involvedObject.namespace", "does not match event.namespace"
    where, namespace = about.get("namespace") or "", obj["metadata"].get("namespace") or ""
    if not obj.get("eventTime"):
        if where != namespace and not (not where and namespace == "default"):
            yield invalid(at, where, says)
        return
    if not where and namespace not in ("default", "kube-system"):
        yield invalid(at, where, says)
    name = "reportingComponent" if obj.get("apiVersion") == "v1" else "reportingController"
    who = obj.get(name) or ""
    if not who:
        yield required(name)
    yield from unqualified(name, who)
    for name in ("reportingInstance", "action", "reason"):
        if not obj.get(name):
            yield required(name)
        if len(obj.get(name) or "") > 128:
            yield invalid(name, "", "can have at most 128 characters")
    if len(obj.get("message") or obj.get("note") or "") > 1024:
        yield invalid("message", "", "can have at most 1024 characters")


def new_event(obj: Object) -> list[Fault]:
    """Of events.k8s.io: what older events have to say is not for new ones."""
    return list(_new_event(obj))


def _series(event: Object) -> Iterator[Fault]:
    if (series := event.get("series")) is not None:
        if (series.get("count") or 0) < 2:
            yield invalid("series.count", "", "should be at least 2")
        if not series.get("lastObservedTime"):
            yield required("series.lastObservedTime")


def _new_event(event: Object) -> Iterator[Fault]:
    yield from _series(event)
    if not event.get("eventTime"):
        yield required("eventTime")
    if event.get("type") not in ("Normal", "Warning"):
        yield invalid("type", "", f"has invalid value: {event.get('type') or ''}")
    for name in ("FirstTimestamp", "LastTimestamp", "Count"):
        if event.get(f"deprecated{name}"):
            yield invalid(name[0].lower() + name[1:], "", "needs to be unset")
    if any((event.get("deprecatedSource") or {}).values()):
        yield invalid("source", "", "needs to be unset")


EVENT_STAYS = (
    ("regarding", "involvedObject"), ("reason", "reason"), ("note", "message"), ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"), ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"), ("reason", "reason"), ("type", "type"), ("eventTime", "eventTime"),
    ("action", "action"), ("related", "related"), ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
)  # fmt: skip
"""Fields of events.k8s.io that never change, and what they are called in core; one is told twice."""


def event_update(obj: Object, old: Object) -> Iterator[Fault]:
    """By events.k8s.io only the series goes on."""
    if obj.get("series") != old.get("series"):
        yield from _series(obj)
    for name, told in EVENT_STAYS:
        if (obj.get(name) or None) != (old.get(name) or None):
            value = obj.get(name)
            shown = value if value or name in ("regarding", "related", "eventTime") else ""
            yield invalid(told, shown, "field is immutable")
