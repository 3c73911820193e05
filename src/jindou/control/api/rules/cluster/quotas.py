"""Rules of ResourceQuotas and LimitRanges: which resources there are, and which bounds make sense."""

from __future__ import annotations

from collections.abc import Iterator

from jindou.control.api.rules.names import (
    duplicate,
    forbidden,
    invalid,
    qualified,
    required,
    unqualified,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object
from jindou.objects.quantities import BadQuantity, canonical, parse

WHOLE = frozenset(
    ("pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
     "persistentvolumeclaims", "services.nodeports", "services.loadbalancers")
)  # fmt: skip
COMPUTE = frozenset(("cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"))  # fmt: skip
EPHEMERAL = frozenset(("ephemeral-storage", "requests.ephemeral-storage", "limits.ephemeral-storage"))  # fmt: skip
QUOTA = WHOLE | COMPUTE | EPHEMERAL | {"requests.storage"}
STANDARD = QUOTA | {"storage"}
OF_CONTAINERS = ("cpu", "memory", "ephemeral-storage")
BOUNDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
SAYS_STORAGE = "either minimum or maximum storage value is required, but neither was provided"
LIMITED = ("Pod", "Container", "PersistentVolumeClaim")
SCOPES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass")  # fmt: skip
CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
SAYS_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def is_huge(name: str) -> bool:
    return name.startswith(("hugepages-", "requests.hugepages-"))


def resource_name(name: str, at: str) -> list[Fault]:
    if qualified(name):
        return unqualified(at, name)
    if "/" not in name and name not in STANDARD and not is_huge(name):
        return [invalid(at, name, "must be a standard resource type or fully qualified")]
    return []


def resource_quota(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    hard = spec.get("hard") or {}
    found: list[Fault] = []
    for name, value in hard.items():
        at = f"spec.hard[{name}]"
        found += resource_name(name, at)
        if "/" not in name and name not in QUOTA and not is_huge(name):
            found.append(invalid(at, name, "must be a standard resource for quota"))
        found += amount(name, value, at)
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in SCOPES:
            found.append(invalid("spec.scopes", scopes, "unsupported scope"))
        for name in sorted(hard):
            if not fits(scope, name):
                says = "unsupported scope applied to resource"
                found.append(invalid("spec.scopes", scopes, says))
    found += conflicts(scopes, scopes)
    if (selector := spec.get("scopeSelector")) is not None:
        found += selected(selector, hard, scopes)
    return found


def amount(name: str, value: str, at: str) -> list[Fault]:
    try:
        number = parse(value)
    except BadQuantity as error:
        return [invalid(at, value, str(error))]
    found = []
    if number < 0:
        found.append(invalid(at, canonical(value), "must be greater than or equal to 0"))
    if name in WHOLE and number != number.to_integral_value():
        found.append(invalid(at, canonical(value), "must be an integer"))
    return found


def fits(scope: str, name: str) -> bool:
    """Does a scope say anything about this resource?"""
    if name not in QUOTA and not is_huge(name):
        return True
    if scope == "BestEffort":
        return name == "pods"
    if scope == "VolumeAttributesClass":
        return name in ("persistentvolumeclaims", "requests.storage")
    return scope not in SCOPES or name == "pods" or name in COMPUTE


def conflicts(held: list[str], shown: list[str]) -> list[Fault]:
    return [
        invalid("spec.scopes", shown, "conflicting scopes")
        for pair in CONFLICTS
        if set(pair) <= set(held)
    ]


def selected(selector: Object, hard: Object, scopes: list[str]) -> Iterator[Fault]:
    at = "spec.scopeSelector.matchExpressions"
    terms = selector.get("matchExpressions") or []
    for term in terms:
        scope, operator = term.get("scopeName", ""), term.get("operator", "")
        values = term.get("values") or []
        if scope not in SCOPES:
            yield invalid(f"{at}.scopeName", scope, "unsupported scope")
        for name in sorted(hard):
            if not fits(scope, name):
                yield invalid(at, selector, "unsupported scope applied to resource")
        plain = scope in SCOPES and scope not in ("PriorityClass", "VolumeAttributesClass")
        if plain and operator != "Exists":
            yield invalid(f"{at}.operator", operator, SAYS_EXISTS)
        if operator in ("In", "NotIn"):
            if not values:
                says = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                yield required(f"{at}.values", says)
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                says = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                yield invalid(f"{at}.values", values, says)
        else:
            yield invalid(f"{at}.operator", operator, "not a valid selector operator")
    yield from conflicts([term.get("scopeName", "") for term in terms], scopes)


# ---------------------------------------------------------------- limit ranges


def limit_range(obj: Object) -> list[Fault]:
    found: list[Fault] = []
    seen: set[str] = set()
    for n, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        at, kind = f"spec.limits[{n}]", item.get("type", "")
        if qualified(kind):
            found += unqualified(f"{at}.type", kind)
        elif "/" not in kind and kind not in LIMITED:
            says = "must be a standard limit type or fully qualified"
            found.append(invalid(f"{at}.type", kind, says))
        if kind in seen:
            found.append(duplicate(f"{at}.type", kind))
        seen.add(kind)
        found += limits_of(item, kind, at)
    return found


def limits_of(item: Object, kind: str, at: str) -> Iterator[Fault]:
    wrong = False
    for bound in BOUNDS:
        if bound == BOUNDS[-1] and not has_storage(item, kind):
            yield required(f"{at}.limits", SAYS_STORAGE)
        held = item.get(bound) or {}
        if kind == "Pod" and bound.startswith("default"):
            if held:
                yield forbidden(f"{at}.{bound}", "may not be specified when `type` is 'Pod'")
            continue
        for name, value in held.items():
            field = f"{at}.{bound}[{name}]"
            yield from resource_name(name, field)
            if kind in ("Pod", "Container") and not is_of_containers(name):
                yield invalid(field, name, "must be a standard resource for containers")
            try:
                parse(value)
            except BadQuantity as error:
                wrong = True
                yield invalid(field, value, str(error))
    if not wrong:
        names = [name for bound in BOUNDS for name in item.get(bound) or ()]
        for name in dict.fromkeys(names):
            yield from order(item, kind, name, at)


def has_storage(item: Object, kind: str) -> bool:
    bounded = any("storage" in (item.get(edge) or {}) for edge in ("min", "max"))
    return bounded or kind != "PersistentVolumeClaim"


def is_of_containers(name: str) -> bool:
    return "/" in name or name in OF_CONTAINERS or name.startswith("hugepages-")


WORDS = {"min": "min", "max": "max", "default": "default", "defaultRequest": "default request"}
ORDERS = (
    ("min", "max", "min", "min"), ("min", "defaultRequest", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest"),
    ("min", "default", "default", "min"), ("default", "max", "default", "max"),
)  # fmt: skip
"""The smaller and the larger, the field that is blamed, and whose value is shown with it."""


def order(item: Object, kind: str, name: str, at: str) -> Iterator[Fault]:
    """min <= defaultRequest <= default <= max, as far as they are given; then the ratio."""
    held = {
        bound: canonical(item[bound][name])
        for bound in (*WORDS, "maxLimitRequestRatio")
        if name in (item.get(bound) or {}) and not (kind == "Pod" and bound.startswith("default"))
    }
    for low, high, blamed, shown in ORDERS:
        if low in held and high in held and parse(held[low]) > parse(held[high]):
            word = "default limit" if (low, high) == ("defaultRequest", "default") else WORDS[high]
            says = f"{WORDS[low]} value {held[low]} is greater than {word} value {held[high]}"
            yield invalid(f"{at}.{blamed}[{name}]", held[shown], says)
    if (most := held.get("maxLimitRequestRatio")) is None:
        return
    field = f"{at}.maxLimitRequestRatio[{name}]"
    if parse(most) < 1:
        yield invalid(field, most, f"ratio {most} is less than 1")
    if "min" in held and "max" in held and parse(held["min"]):
        ratio = parse(held["max"]) / parse(held["min"])
        if parse(most) > ratio:
            yield invalid(field, most, f"ratio {most} is greater than max/min = {ratio:.6f}")
