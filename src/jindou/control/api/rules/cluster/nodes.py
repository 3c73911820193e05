"""Rules of Nodes: the taints they bear, and what of them stays."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from jindou.control.api.rules.names import (
    forbidden,
    invalid,
    label_value,
    qualified,
    quoted,
    required,
    unqualified,
    unsupported,
)
from jindou.control.api.rules.placement import KNOWN_EFFECTS
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
RANGES_STAY = 'node updates may not change podCIDR except from "" to valid'


def node(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    return [*_taints(spec.get("taints") or ()), *_ranges(spec.get("podCIDRs") or [])]


def _taints(taints: Sequence[Object]) -> Iterator[Fault]:
    seen: set[tuple[str, str]] = set()
    for n, taint in enumerate(taints):
        at, key, effect = f"metadata.taints[{n}]", taint.get("key") or "", taint.get("effect") or ""
        if qualified(key):
            yield from unqualified(f"{at}.key", key)
        if wrong := label_value(taint.get("value") or ""):
            yield invalid(f"{at}.value", taint["value"], wrong)
        if not effect:
            yield required(f"{at}.effect")
        elif effect not in KNOWN_EFFECTS:
            yield unsupported(f"{at}.effect", effect, KNOWN_EFFECTS, ordered=False)
        if (key, effect) in seen:
            shown = {"Key": key, "Value": taint.get("value") or "", "Effect": effect, "TimeAdded": taint.get("timeAdded")}  # fmt: skip
            says = "taints must be unique by key and effect pair"
            yield Fault("FieldValueDuplicate", f"Duplicate value: {quoted(shown)}: {says}", at)
        seen.add((key, effect))


def _ranges(ranges: Sequence[str]) -> Iterator[Fault]:
    families = []
    for n, text in enumerate(ranges):
        try:
            families.append(ipaddress.ip_network(text, strict=False).version)
        except ValueError:
            yield invalid(f"spec.podCIDRs[{n}]", text, CIDR)
    if len(set(families)) < len(families):
        says = "may specify no more than one CIDR for each IP family"
        yield invalid("spec.podCIDRs", ranges, says)


def node_update(obj: Object, old: Object) -> Iterator[Fault]:
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if before.get("podCIDRs") and before["podCIDRs"] != spec.get("podCIDRs"):
        yield forbidden("spec.podCIDRs", RANGES_STAY)
    given, had = spec.get("providerID") or "", before.get("providerID") or ""
    if had and given != had:
        says = "field cannot be modified once set" if given else "field cannot be cleared once set"
        yield invalid("spec.providerID", None, says)
