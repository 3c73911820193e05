"""Rules of the classes and limits that admission reads: they have to make sense before they are used."""

from __future__ import annotations

from jindou.control.api.rules.names import (
    duplicate,
    forbidden,
    invalid,
    label,
    required,
    unsupported,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object
from jindou.objects.quantities import BadQuantity, parse

HIGHEST = 1_000_000_000
SYSTEM = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
POLICIES = ("Never", "PreemptLowerPriority")
BOUNDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def priority_class(obj: Object) -> list[Fault]:
    found = []
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith("system-"):
        if SYSTEM.get(name) != value:
            says = "priority class names with 'system-' prefix are reserved for system use only. error: "
            says += f"value of {name} should be {SYSTEM[name]}" if name in SYSTEM else f"{name} is not a known system priority class"  # fmt: skip
            found.append(forbidden("metadata.name", says))
    elif value > HIGHEST:
        says = f"maximum allowed value of a user defined priority is {HIGHEST}"
        found.append(forbidden("value", says))
    policy = obj.get("preemptionPolicy", POLICIES[1])
    if policy not in POLICIES:
        found.append(unsupported("preemptionPolicy", policy, POLICIES))
    return found


def runtime_class(obj: Object) -> list[Fault]:
    found = []
    handler = obj.get("handler", "")
    if not handler:
        found.append(required("handler"))
    elif wrong := label(handler):
        found.append(invalid("handler", handler, wrong))
    fixed = (obj.get("overhead") or {}).get("podFixed") or {}
    found += quantities(fixed, "overhead.podFixed")
    return found


def limit_range(obj: Object) -> list[Fault]:
    found: list[Fault] = []
    seen: set[str] = set()
    for n, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        at = f"spec.limits[{n}]"
        kind = item.get("type", "")
        if not kind:
            found.append(required(f"{at}.type"))
        elif kind in seen:
            found.append(duplicate(f"{at}.type", kind))
        seen.add(kind)
        wrong = [
            fault
            for bound in BOUNDS
            for fault in quantities(item.get(bound) or {}, f"{at}.{bound}")
        ]
        found += wrong
        if kind == "Pod":
            for bound in ("default", "defaultRequest"):
                if item.get(bound):
                    says = "may not be specified when `type` is 'Pod'"
                    found.append(forbidden(f"{at}.{bound}", says))
        if not wrong:
            found += order(item, at)
    return found


def order(item: Object, at: str) -> list[Fault]:
    """min <= defaultRequest <= default <= max, as far as they are given."""
    found = []
    for low, high in (("min", "max"), ("min", "defaultRequest"), ("min", "default"), ("defaultRequest", "max"), ("defaultRequest", "default"), ("default", "max")):  # fmt: skip
        for name, value in (item.get(low) or {}).items():
            other = (item.get(high) or {}).get(name)
            if other is not None and parse(value) > parse(other):
                says = f"{WORDS[low]} value {value} is greater than {WORDS[high]} value {other}"
                found.append(invalid(f"{at}.{low}[{name}]", value, says))
    return found


WORDS = {"min": "min", "max": "max", "default": "default", "defaultRequest": "default request"}


def quantities(held: Object, at: str) -> list[Fault]:
    found = []
    for name, value in held.items():
        try:
            parse(value)
        except BadQuantity as error:
            found.append(invalid(f"{at}[{name}]", value, str(error)))
    return found
