"""Nobody gives away rights that he has not got: who writes roles and bindings may not rise by them.

The verbs `escalate` (roles) and `bind` (bindings) are the ways around it.
Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from jindou.control.api.access.guard import MASTERS, Asked, Rights, User
from jindou.control.api.access.roles import GROUP
from jindou.control.api.resources.registry import Resource
from jindou.control.store import Store
from jindou.objects.errors import Forbidden, NotFound
from jindou.objects.kinds import Object

Rule = dict[str, Any]
EVERYTHING: list[Rule] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]
FIELDS = (
    ("apiGroups", "APIGroups"),
    ("resources", "Resources"),
    ("resourceNames", "ResourceNames"),
    ("nonResourceURLs", "NonResourceURLs"),
    ("verbs", "Verbs"),
)


def check(resource: Resource, obj: Object, old: Object | None, user: User, store: Store) -> None:
    """Raises Forbidden."""
    if MASTERS in user.groups:
        return
    kind, namespace = resource.kind, obj["metadata"].get("namespace", "")
    name = obj["metadata"].get("name", "")
    rights = Rights(store)
    if kind.name.endswith("Binding"):
        if _same(obj, old, "roleRef", "subjects"):
            return
        ref = obj["roleRef"]
        plural = "clusterroles" if ref["kind"] == "ClusterRole" else "roles"
        if rights.allows(user, Asked("bind", GROUP, plural, namespace, ref["name"])):
            return
        _find(store, plural, namespace, ref["name"])
        wanted = list(rights.of_role(ref, namespace))
    else:
        if _same(obj, old, "rules", "aggregationRule"):
            return
        if rights.allows(user, Asked("escalate", GROUP, kind.plural, namespace, name)):
            return
        wanted = EVERYTHING if obj.get("aggregationRule") else list(obj.get("rules") or ())
    missing = uncovered(list(rights.rules(user, namespace)), wanted)
    if missing:
        raise _refused(resource, name, user, missing)


def _same(obj: Object, old: Object | None, *fields: str) -> bool:
    return old is not None and all(obj.get(field) == old.get(field) for field in fields)


def _find(store: Store, plural: str, namespace: str, name: str) -> None:
    place = "" if plural == "clusterroles" else namespace
    if store.get(f"{GROUP}/{plural}/{place}/{name}") is None:
        raise NotFound(
            f'{plural}.{GROUP} "{name}" not found', {"name": name, "group": GROUP, "kind": plural}
        )


def uncovered(held: list[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The single rights among those wanted that no held rule contains."""
    return [
        one for rule in wanted for one in single(rule) if not any(_covers(h, one) for h in held)
    ]


def single(rule: Rule) -> Iterator[Rule]:
    """A rule as rules of one verb and one thing each."""
    verbs = rule.get("verbs") or ()
    for verb, url in itertools.product(verbs, rule.get("nonResourceURLs") or ()):
        yield {"nonResourceURLs": [url], "verbs": [verb]}
    groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
    for group, resource, verb in itertools.product(groups, resources, verbs):
        one = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
        names = rule.get("resourceNames") or ()
        yield from ({**one, "resourceNames": [name]} for name in names)
        if not names:
            yield one


def _covers(held: Rule, one: Rule) -> bool:
    def has(field: str, value: str) -> bool:
        return bool({"*", value} & set(held.get(field) or ()))

    if not has("verbs", one["verbs"][0]):
        return False
    if urls := one.get("nonResourceURLs"):
        return any(
            url in ("*", urls[0]) or (url.endswith("*") and urls[0].startswith(url[:-1]))
            for url in held.get("nonResourceURLs") or ()
        )
    resource = one["resources"][0]
    _, slash, part = resource.partition("/")
    if not has("apiGroups", one["apiGroups"][0]):
        return False
    if not has("resources", resource) and not (slash and has("resources", f"*/{part}")):
        return False
    names = held.get("resourceNames") or ()
    return not names or bool(set(one.get("resourceNames") or ()) & set(names))


def _refused(resource: Resource, name: str, user: User, missing: list[Rule]) -> Forbidden:
    label = f"{resource.kind.plural}.{GROUP}"
    groups = " ".join(_quoted(group) for group in user.groups)
    listed = "\n".join(_shown(rule) for rule in missing)
    return Forbidden(
        f'{label} "{name}" is forbidden: user {_quoted(user.name)} (groups=[{groups}]) is attempting '
        f"to grant RBAC permissions not currently held:\n{listed}",
        {"name": name, "group": GROUP, "kind": resource.kind.plural},
    )


def _shown(rule: Rule) -> str:
    parts = [
        f"{label}:[{', '.join(_quoted(value) for value in rule[field])}]"
        for field, label in FIELDS
        if rule.get(field)
    ]
    return f"{{{', '.join(parts)}}}"


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
