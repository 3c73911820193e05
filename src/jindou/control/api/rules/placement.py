"""Rules of where a Pod wants to be: affinity, spreading, and what it tolerates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from jindou.control.api.rules.names import (
    duplicate,
    forbidden,
    invalid,
    label,
    label_value,
    labels,
    qualified,
    quoted,
    required,
    subdomain,
    unqualified,
    unsupported,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
KNOWN_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
ALL_KEYS = (
    'operator must be Exists when `key` is empty, which means "match all values and all keys"'
)
DECIMAL = "must be a valid decimal integer in canonical form"
HONOURED = ("Honor", "Ignore")
WHEN = ("DoNotSchedule", "ScheduleAnyway")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def placement(spec: Object, at: str) -> Iterator[Fault]:
    yield from tolerations(spec.get("tolerations") or (), f"{at}.tolerations")
    yield from _spreads(spec.get("topologySpreadConstraints") or (), f"{at}.topologySpreadConstraints")  # fmt: skip
    if not (affinity := spec.get("affinity")):
        return
    yield from _node_affinity(affinity.get("nodeAffinity") or {}, f"{at}.affinity.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        yield from _pod_affinity(affinity.get(name) or {}, f"{at}.affinity.{name}")


def tolerations(held: Iterable[Object], at: str) -> Iterator[Fault]:
    for n, one in enumerate(held):
        field, key, effect = f"{at}[{n}]", one.get("key") or "", one.get("effect") or ""
        operator, value = one.get("operator") or "", one.get("value") or ""
        if key and qualified(key):
            yield from unqualified(f"{field}.key", key)
        if not key and operator != "Exists":
            yield invalid(f"{field}.operator", operator, ALL_KEYS)
        if one.get("tolerationSeconds") is not None and effect != "NoExecute":
            says = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid(f"{field}.effect", effect, says)
        match operator:
            case "" | "Equal":
                if wrong := label_value(value):
                    yield invalid(f"{field}.operator", value, wrong)
            case "Exists":
                if value:
                    says = "value must be empty when `operator` is 'Exists'"
                    yield invalid(f"{field}.operator", value, says)
            case "Gt" | "Lt":
                yield from _number(value, f"{field}.value")
            case _:
                yield unsupported(f"{field}.operator", operator, ("Equal", "Exists"))
        if effect and effect not in EFFECTS:
            yield unsupported(f"{field}.effect", effect, KNOWN_EFFECTS, ordered=False)


def _number(value: str, at: str) -> Iterator[Fault]:
    if not re.fullmatch(r"-?[1-9][0-9]*|0", value):
        yield invalid(at, value, DECIMAL)
    elif not -(2**63) <= int(value) < 2**63:
        yield invalid(at, value, f"strconv.ParseInt: parsing {quoted(value)}: value out of range")


def _spreads(spreads: Iterable[Object], at: str) -> Iterator[Fault]:
    seen: set[tuple[str, str]] = set()
    for n, one in enumerate(spreads):
        field = f"{at}[{n}]"
        skew, key, when = one.get("maxSkew") or 0, one.get("topologyKey") or "", one.get("whenUnsatisfiable") or ""  # fmt: skip
        if skew <= 0:
            yield invalid(f"{field}.maxSkew", skew, "must be greater than zero")
        if not key:
            yield required(f"{field}.topologyKey", "can not be empty")
        if (domains := one.get("minDomains")) is not None:
            if domains <= 0:
                yield invalid(f"{field}.minDomains", domains, "must be greater than zero")
            if when != "DoNotSchedule":
                says = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"
                yield invalid(f"{field}.minDomains", domains, says)
        if when not in WHEN:
            yield unsupported(f"{field}.whenUnsatisfiable", when, WHEN)
        if (key, when) in seen:
            yield duplicate(f"{field}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {when}}}")
        seen.add((key, when))
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if one.get(name) not in (None, *HONOURED):
                yield unsupported(f"{field}.{name}", one[name], HONOURED)
        if one.get("matchLabelKeys") and one.get("labelSelector") is None:
            says = "must not be specified when labelSelector is not set"
            yield forbidden(f"{field}.matchLabelKeys", says)
        for m, wish in enumerate(one.get("matchLabelKeys") or ()):
            if qualified(wish):
                yield from unqualified(f"{field}.matchLabelKeys[{m}]", wish)
        yield from label_selector(one.get("labelSelector"), f"{field}.labelSelector")


def _node_affinity(held: Object, at: str) -> Iterator[Fault]:
    if (needed := held.get(REQUIRED)) is not None:
        terms = needed.get("nodeSelectorTerms") or ()
        field = f"{at}.{REQUIRED}.nodeSelectorTerms"
        if not terms:
            yield required(field, "must have at least one node selector term")
        for n, term in enumerate(terms):
            yield from node_term(term, f"{field}[{n}]")
    for n, one in enumerate(held.get(PREFERRED) or ()):
        field = f"{at}.{PREFERRED}[{n}]"
        yield from _weight(one, field)
        yield from node_term(one.get("preference") or {}, f"{field}.preference")


def _values(one: Object, at: str) -> Iterator[Fault]:
    """Of an expression that asks for a set: operators that need values, and those that take none."""
    if one["operator"] in ("In", "NotIn"):
        if not one.get("values"):
            yield required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif one.get("values"):
        yield forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")  # fmt: skip


def node_term(term: Object, at: str) -> Iterator[Fault]:
    for n, one in enumerate(term.get("matchExpressions") or ()):
        field, values = f"{at}.matchExpressions[{n}]", one.get("values") or ()
        match one.get("operator"):
            case "In" | "NotIn" | "Exists" | "DoesNotExist":
                yield from _values(one, field)
            case "Gt" | "Lt":
                if len(values) != 1:
                    yield required(f"{field}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")  # fmt: skip
            case operator:
                yield invalid(f"{field}.operator", operator or "", "not a valid selector operator")
        if qualified(one.get("key") or ""):
            yield from unqualified(f"{field}.key", one.get("key") or "")
        yield from _told(one, field)
    for n, one in enumerate(term.get("matchFields") or ()):
        field = f"{at}.matchFields[{n}]"
        if one.get("operator") not in ("In", "NotIn"):
            yield invalid(f"{field}.operator", one.get("operator") or "", "not a valid selector operator")  # fmt: skip
        elif len(one.get("values") or ()) != 1:
            yield required(f"{field}.values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")  # fmt: skip
        if one.get("key") != "metadata.name":
            yield invalid(f"{field}.key", one.get("key") or "", "not a valid field selector key")
            continue
        for m, value in enumerate(one.get("values") or ()):
            if wrong := subdomain(value):
                yield invalid(f"{field}.values[{m}]", value, wrong)


def _pod_affinity(held: Object, at: str) -> Iterator[Fault]:
    for n, term in enumerate(held.get(REQUIRED) or ()):
        yield from _pod_term(term, f"{at}.{REQUIRED}[{n}]")
    for n, one in enumerate(held.get(PREFERRED) or ()):
        field = f"{at}.{PREFERRED}[{n}]"
        yield from _weight(one, field)
        yield from _pod_term(one.get("podAffinityTerm") or {}, f"{field}.podAffinityTerm")


def _pod_term(term: Object, at: str) -> Iterator[Fault]:
    yield from label_selector(term.get("labelSelector"), f"{at}.labelSelector")
    yield from label_selector(term.get("namespaceSelector"), f"{at}.namespaceSelector")
    for name in term.get("namespaces") or ():
        if wrong := label(name):
            yield invalid(f"{at}.namespace", name, wrong)
    key = term.get("topologyKey") or ""
    if not key:
        yield required(f"{at}.topologyKey", "can not be empty")
    if qualified(key):
        yield from unqualified(f"{at}.topologyKey", key)


def _weight(one: Object, at: str) -> Iterator[Fault]:
    weight = one.get("weight") or 0
    if not 1 <= weight <= 100:
        yield invalid(f"{at}.weight", weight, "must be in the range 1-100")


def label_selector(selector: Object | None, at: str) -> Iterator[Fault]:
    if not selector:
        return
    yield from labels(selector.get("matchLabels"), f"{at}.matchLabels")
    for n, one in enumerate(selector.get("matchExpressions") or ()):
        field, key = f"{at}.matchExpressions[{n}]", one.get("key") or ""
        match one.get("operator"):
            case "In" | "NotIn" | "Exists" | "DoesNotExist":
                yield from _values(one, field)
            case operator:
                yield invalid(f"{field}.operator", operator or "", "not a valid selector operator")
        if qualified(key):
            yield from unqualified(f"{field}.key", key)
        yield from _told(one, field)


def _told(one: Object, at: str) -> Iterator[Fault]:
    """What an expression compares with can be the value of a label."""
    for n, value in enumerate(one.get("values") or ()):
        if wrong := label_value(value):
            yield invalid(f"{at}.values[{n}]", value, wrong)
