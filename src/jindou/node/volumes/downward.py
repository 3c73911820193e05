"""What a Pod can be told of itself: values of fields and of resources, as the kubelet writes them.

Used for environment variables and for files of volumes. Pure functions.
Source: https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING

from jindou.objects import quantities
from jindou.objects.kinds import Object

KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}  # fmt: skip


class UnknownField(ValueError):
    pass


def field(pod: Object, path: str, addresses: Sequence[str] = (), hosts: Sequence[str] = ()) -> str:
    """The value at a field path. `addresses` are the Pod's, `hosts` the node's own."""
    meta, spec = pod["metadata"], pod["spec"]
    if keyed := KEYED.fullmatch(path):
        return str((meta.get(keyed[1]) or {}).get(keyed[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return pairs(meta.get(path.removeprefix("metadata.")) or {})
    if path in ("metadata.name", "metadata.namespace", "metadata.uid"):
        return str(meta.get(path.removeprefix("metadata."), ""))
    values = {
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": hosts[0] if hosts else "",
        "status.hostIPs": ",".join(hosts),
        "status.podIP": addresses[0] if addresses else "",
        "status.podIPs": ",".join(addresses),
    }
    if path not in values:
        raise UnknownField(f"unsupported fieldPath: {path}")
    return str(values[path])


def pairs(values: Mapping[str, str]) -> str:
    return "\n".join(f"{name}={quote(values[name])}" for name in sorted(values))


def quote(text: str) -> str:
    """A Go string literal."""
    parts = ['"']
    for char in text:
        if char in '"\\':
            parts.append(f"\\{char}")
        elif char in ESCAPES:
            parts.append(ESCAPES[char])
        elif char.isprintable():
            parts.append(char)
        elif ord(char) < 0x80:
            parts.append(f"\\x{ord(char):02x}")
        else:
            parts.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return "".join([*parts, '"'])


def resource(container: Object, reference: Object, allocatable: Mapping[str, str]) -> str:
    """A limit or request in units of the divisor, rounded up; an absent limit is the node's."""
    kind, _, name = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    if kind not in ("limits", "requests") or not name:
        raise UnknownField(f"unsupported container resource : {reference['resource']}")
    amount = (resources.get(kind) or {}).get(name)
    if amount is None:
        amount = allocatable.get(name, "0") if kind == "limits" else "0"
    divisor = quantities.parse(reference.get("divisor") or "1") or quantities.parse("1")
    return str(int((quantities.parse(amount) / divisor).to_integral_value(ROUND_CEILING)))


def container_of(pod: Object, name: str) -> Object | None:
    spec = pod["spec"]
    for part in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            if container["name"] == name:
                found: Object = container
                return found
    return None
