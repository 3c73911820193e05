"""Rules of the classes and limits that admission reads: they have to make sense before they are used."""

from __future__ import annotations

from jindou.control.api.rules.names import (
    duplicate,
    forbidden,
    invalid,
    label,
    labels,
    required,
    unsupported,
)
from jindou.control.api.rules.placement import label_selector, tolerations
from jindou.control.api.rules.workloads.templates import amount, share
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object
from jindou.objects.quantities import BadQuantity, parse

HIGHEST = 1_000_000_000
SYSTEM = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
UNHEALTHY = ("AlwaysAllow", "IfHealthyBudget")
TOLERATION = ("key", "operator", "value", "effect")
POLICIES = ("Never", "PreemptLowerPriority")


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
    return found


def new_priority_class(obj: Object) -> list[Fault]:
    policy = obj.get("preemptionPolicy", POLICIES[1])
    return [] if policy in POLICIES else [unsupported("preemptionPolicy", policy, POLICIES)]


def runtime_class(obj: Object) -> list[Fault]:
    found = []
    handler = obj.get("handler", "")
    if not handler:
        found.append(required("handler"))
    elif wrong := label(handler):
        found.append(invalid("handler", handler, wrong))
    scheduling = obj.get("scheduling") or {}
    found += tolerations(scheduling.get("tolerations") or (), "scheduling.tolerations")
    held = scheduling.get("tolerations") or []
    for n, one in enumerate(held):
        if one in held[:n]:
            shown = {name[0].upper() + name[1:]: one.get(name, "") for name in TOLERATION}
            shown["TolerationSeconds"] = one.get("tolerationSeconds")
            found.append(duplicate(f"scheduling.tolerations[{n}]", shown))
    found += labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
    fixed = (obj.get("overhead") or {}).get("podFixed") or {}
    found += quantities(fixed, "overhead.podFixed")
    return found


def disruption_budget(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        return [invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")]
    found = [
        fault
        for name in ("minAvailable", "maxUnavailable")
        for rule in (amount, share)
        for fault in rule(spec.get(name), f"spec.{name}")
    ]
    found += label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in UNHEALTHY:
        found.append(unsupported("spec.unhealthyPodEvictionPolicy", policy, UNHEALTHY))
    return found


def quantities(held: Object, at: str) -> list[Fault]:
    found = []
    for name, value in held.items():
        try:
            parse(value)
        except BadQuantity as error:
            found.append(invalid(f"{at}[{name}]", value, str(error)))
    return found
