"""Rules of how requests share the API: FlowSchemas say whose they are, PriorityLevels how many run.

Both are kept for clients that bring their own; the words are those of kube-apiserver.
Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from jindou.control.api.rules.names import (
    forbidden,
    invalid,
    label,
    required,
    subdomain,
    unsupported,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

GROUP = "flowcontrol.apiserver.k8s.io"
EXEMPT = "exempt"
LAST = 10000  # the greatest matchingPrecedence
MOST_QUEUES = 10_000_000
HASH_BITS = 60
METHODS = ("ByNamespace", "ByUser")
SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
ALONE = "if '*' is present, must not specify other {}"


def flow_schema(obj: Object) -> list[Fault]:
    return list(_flow_schema(obj["metadata"].get("name", ""), obj.get("spec") or {}))


def _flow_schema(name: str, spec: Object) -> Iterator[Fault]:
    at, place = "spec.matchingPrecedence", spec.get("matchingPrecedence") or 0
    if place <= 0:
        yield invalid(at, place, "must be a positive value")
    if place > LAST:
        yield invalid(at, place, f"must not be greater than {LAST}")
    if place == 1 and name != EXEMPT:
        yield invalid(at, place, "only the schema named 'exempt' may have matchingPrecedence 1")
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in METHODS:
        yield unsupported("spec.distinguisherMethod.type", method, METHODS)
    at, level = "spec.priorityLevelConfiguration.name", (spec.get("priorityLevelConfiguration") or {}).get("name", "")  # fmt: skip
    if not level:
        yield required(at, "must reference a priority level")
    elif wrong := subdomain(level):
        yield invalid(at, level, wrong)
    for n, rule in enumerate(spec.get("rules") or ()):
        yield from _rule(rule, f"spec.rules[{n}]")


def _rule(rule: Object, at: str) -> Iterator[Fault]:
    if not rule.get("subjects"):
        yield required(f"{at}.subjects", "subjects must contain at least one value")
    for n, subject in enumerate(rule.get("subjects") or ()):
        yield from _subject(subject, f"{at}.subjects[{n}]")
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        yield required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for n, one in enumerate(rule.get("resourceRules") or ()):
        yield from _resources(one, f"{at}.resourceRules[{n}]")
    for n, one in enumerate(rule.get("nonResourceRules") or ()):
        yield from _paths(one, f"{at}.nonResourceRules[{n}]")


def _subject(subject: Object, at: str) -> Iterator[Fault]:
    kind = subject.get("kind") or ""
    if kind not in SUBJECTS:
        yield unsupported(f"{at}.kind", kind, tuple(SUBJECTS))
        return
    part = SUBJECTS[kind]
    held, field = subject.get(part), f"{at}.{part}"
    if held is None:
        yield required(field, f"{part} is required when subject kind is '{kind}'")
    elif not held.get("name"):
        yield required(f"{field}.name")
    elif kind == "ServiceAccount" and held["name"] != "*" and (wrong := subdomain(held["name"])):
        yield invalid(f"{field}.name", held["name"], wrong)
    if held is not None and kind == "ServiceAccount":
        if not held.get("namespace"):
            yield required(f"{field}.namespace", "must specify namespace for service account")
        elif wrong := label(held["namespace"]):
            yield invalid(f"{field}.namespace", held["namespace"], wrong)
    for other in ("ServiceAccount", "User", "Group"):
        name = SUBJECTS[other]
        if other != kind and subject.get(name) is not None:
            yield forbidden(f"{at}.{name}", f"{name} is forbidden when subject kind is not '{other}'")  # fmt: skip


def _verbs(verbs: Sequence[str], at: str) -> Iterator[Fault]:
    if not verbs:
        yield required(at, "verbs must contain at least one value")
    elif "*" in verbs:
        if len(verbs) > 1:
            yield invalid(at, verbs, ALONE.format("verbs"))
    elif not set(verbs) <= set(VERBS):
        yield unsupported(at, verbs, VERBS)


def _resources(rule: Object, at: str) -> Iterator[Fault]:
    yield from _verbs(rule.get("verbs") or [], f"{at}.verbs")
    for name, word, words in (
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ):
        held = rule.get(name) or []
        if not held:
            yield required(f"{at}.{name}", f"resource rules must supply at least one {word}")
        elif "*" in held and len(held) > 1:
            yield invalid(f"{at}.{name}", held, ALONE.format(words))
    namespaces, field = rule.get("namespaces") or [], f"{at}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        says = "resource rules that are not cluster scoped must supply at least one namespace"
        yield required(field, says)
    elif "*" in namespaces:
        if len(namespaces) > 1:
            yield invalid(field, namespaces, ALONE.format("namespaces"))
    else:
        for n, name in enumerate(namespaces):
            if wrong := label(name):
                says = f"each member of this list must be '*' or a DNS-1123 label; {wrong}"
                yield invalid(f"{field}[{n}]", name, says)


def _paths(rule: Object, at: str) -> Iterator[Fault]:
    yield from _verbs(rule.get("verbs") or [], f"{at}.verbs")
    paths, field = rule.get("nonResourceURLs") or [], f"{at}.nonResourceURLs"
    if not paths:
        yield required(field, "nonResourceURLs must contain at least one value")
    elif "*" in paths:
        if len(paths) > 1:
            yield invalid(field, paths, ALONE.format("non-resource URLs"))
    else:
        for n, path in enumerate(paths):
            if wrong := _path(path):
                yield invalid(f"{field}[{n}]", path, wrong)


def _path(path: str) -> str:
    if not path:
        return "must not be empty"
    if not path.startswith("/"):
        return "must start with slash"
    if " " in path:
        return "must not contain white-space"
    if "//" in path:
        return "must not contain double slash"
    stars = path.count("*")
    if stars > 1 or (stars == 1 and not path.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


# ---------------------------------------------------------------- priority levels


def priority_level(obj: Object) -> list[Fault]:
    return list(_level(obj["metadata"].get("name", ""), obj.get("spec") or {}))


def _level(name: str, spec: Object) -> Iterator[Fault]:
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    if (name == EXEMPT) != (kind == "Exempt"):
        yield invalid("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'")
    if kind not in ("", "Exempt", "Limited"):
        yield unsupported("spec.type", kind, ("Exempt", "Limited"))
    if kind == "Exempt" and exempt is not None:
        yield from _shares(exempt, "spec.exempt")
        yield from _lent(exempt, "spec.exempt")
    if kind == "Limited" and limited is not None:
        yield from _limited(limited, "spec.limited")
    if kind == "Limited" and exempt is not None:
        yield forbidden("spec.exempt", "")
    if kind == "Limited" and limited is None:
        yield required("spec.limited")
    elif kind != "Limited" and limited is not None:
        yield forbidden("spec.limited", "")
        if not (limited.get("limitResponse") or {}).get("type"):
            yield required("spec.limited.limitResponse.type")
    if not kind:
        yield required("spec.type")


def _shares(held: Object, at: str) -> Iterator[Fault]:
    shares = held.get("nominalConcurrencyShares")
    if shares is not None and shares < 0:
        yield invalid(f"{at}.nominalConcurrencyShares", shares, "must be a non-negative integer")


def _lent(held: Object, at: str) -> Iterator[Fault]:
    lent = held.get("lendablePercent")
    if lent is not None and not 0 <= lent <= 100:
        yield invalid(f"{at}.lendablePercent", lent, "must be between 0 and 100, inclusive")


def _limited(limited: Object, at: str) -> Iterator[Fault]:
    yield from _shares(limited, at)
    yield from _response(limited.get("limitResponse") or {}, f"{at}.limitResponse")
    yield from _lent(limited, at)
    borrowed = limited.get("borrowingLimitPercent")
    if borrowed is not None and borrowed < 0:
        says = "if specified, must be a non-negative integer"
        yield invalid(f"{at}.borrowingLimitPercent", borrowed, says)


def _response(response: Object, at: str) -> Iterator[Fault]:
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind not in ("", "Queue", "Reject"):
        yield unsupported(f"{at}.type", kind, ("Queue", "Reject"))
    if kind == "Queue" and queuing is not None:
        yield from _queuing(queuing, f"{at}.queuing")
    elif kind == "Queue":
        yield required(f"{at}.queuing")
    elif queuing is not None:
        yield forbidden(f"{at}.queuing", "")
    if not kind:
        yield required(f"{at}.type")


def _queuing(queuing: Object, at: str) -> Iterator[Fault]:
    length, queues, hand = (
        queuing.get(name) or 0 for name in ("queueLengthLimit", "queues", "handSize")
    )
    if length <= 0:
        yield invalid(f"{at}.queueLengthLimit", length, "must be positive")
    if queues <= 0:
        yield invalid(f"{at}.queues", queues, "must be positive")
    elif queues > MOST_QUEUES:
        yield invalid(f"{at}.queues", queues, f"must not be greater than {MOST_QUEUES}")
    if hand <= 0:
        yield invalid(f"{at}.handSize", hand, "must be positive")
    elif hand > queues:
        yield invalid(f"{at}.handSize", hand, f"should not be greater than queues ({queues})")
    elif entropy(queues, hand) > HASH_BITS:
        says = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        yield invalid(f"{at}.handSize", hand, says)


def entropy(deck: int, hand: int) -> int:
    """Bits that dealing a hand from a deck takes."""
    return math.ceil(sum(math.log2(deck - n) for n in range(min(hand, HASH_BITS + 1))))
