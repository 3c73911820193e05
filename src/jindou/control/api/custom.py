"""Kinds that users define: the registry follows the stored CustomResourceDefinitions.

What must stay true: a definition that is Established is served as soon as its write is visible, and
after a restart before the first request; two definitions never share a name within a group.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson

from jindou.control.api.resources.definitions import is_established, resources_of, storage_version
from jindou.control.api.resources.registry import Converts, Registry, Resource
from jindou.control.api.rules.custom import definitions, structural
from jindou.control.store import Change, Store
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

PREFIX = "apiextensions.k8s.io/customresourcedefinitions/"


def faults(resource: Resource, obj: Object) -> list[Fault]:
    """What a custom resource's own schema says against an object."""
    return structural.validate(resource.schema, obj, None)


Conversions = Callable[[Object], Converts | None]
"""What translates between the versions of a definition; None: they differ in name only."""


def _none(crd: Object) -> Converts | None:
    return None


class CustomResources:
    def __init__(self, store: Store, registry: Registry, conversion: Conversions = _none) -> None:
        self._store = store
        self._registry = registry
        self._conversion = conversion
        self._marks: dict[str, int] = {}  # definition -> hash of what is served for it
        self._names: dict[
            str, tuple[str, frozenset[tuple[str, str]]]
        ] = {}  # by definition: group, names

    def start(self) -> None:
        listing = self._store.scan(PREFIX)
        for stored in listing.items:
            self._put(orjson.loads(stored.value))
        self._store.watch(PREFIX, listing.revision, self._deliver)

    def _deliver(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.value is not None:
                self._put(orjson.loads(change.value))
            else:
                name = change.key.rpartition("/")[2]
                self._names.pop(name, None)
                self._marks.pop(name, None)
                self._registry.set_custom(name, [])

    def _put(self, crd: Object) -> None:
        name = crd["metadata"]["name"]
        shape = [crd["spec"], (crd.get("status") or {}).get("acceptedNames"), is_established(crd)]
        mark = hash(orjson.dumps(shape))
        if self._marks.get(name) == mark:
            return  # only its metadata or conditions have changed
        self._marks[name] = mark
        accepted = (crd.get("status") or {}).get("acceptedNames") or {}
        taken = frozenset((what, value) for what, _, value in _all_names(accepted))
        self._names[name] = (crd["spec"]["group"], taken)
        made = self._conversion(crd)
        since = int(crd["metadata"].get("resourceVersion") or 0)
        resources = [replace(r, conversion=made, since=since) for r in resources_of(crd)]
        self._registry.set_custom(name, resources)

    def validate(self, crd: Object, old: Object | None) -> list[Fault]:
        found = definitions.validate(crd, old)
        for document, at in definitions.schemas(crd):
            if b'"x-kubernetes-validations"' in orjson.dumps(document):
                found += _rules(document, at, found)
        return found

    def complete(self, crd: Object) -> None:
        """Names that can be left out, and the status as the real controllers would set it; in place."""
        spec = crd.get("spec") or {}
        names = spec.get("names") or {}
        if names.get("kind"):
            names.setdefault("singular", names["kind"].lower())
            names.setdefault("listKind", f"{names['kind']}List")
        spec.setdefault("conversion", {}).setdefault("strategy", "None")
        status = crd.setdefault("status", {})
        clash = self._clash(crd["metadata"].get("name", ""), spec.get("group", ""), names)
        before = status.get("acceptedNames") or {}
        if clash:
            status["acceptedNames"] = before or {"plural": "", "kind": ""}
            accepted = ("False", clash[0], clash[1])
            established = ("False", "NotAccepted", "not all names are accepted")
        else:
            status["acceptedNames"] = dict(names)
            accepted = ("True", "NoConflicts", "no conflicts found")
            established = (
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
            )
        conditions = status.setdefault("conditions", [])
        _condition(conditions, "NamesAccepted", *accepted)
        if not clash or not _holds(conditions, "Established"):
            _condition(conditions, "Established", *established)
        stored = status.setdefault("storedVersions", [])
        version = storage_version(crd)
        if version and version not in stored:
            stored.append(version)

    def _clash(self, name: str, group: str, names: Object) -> tuple[str, str] | None:
        """(reason, message) where another definition of the group has one of these names; of several
        the last is told, as the real server does."""
        taken: set[tuple[str, str]] = set()
        for other, (its_group, its_names) in self._names.items():
            if its_group == group and other != name:
                taken |= its_names
        found = None
        for what, part, value in _all_names(names):
            if (what, value) in taken:
                found = (f"{part}Conflict", f'"{value}" is already in use')
        return found


def _rules(document: Object, at: str, found: list[Fault]) -> list[Fault]:
    """The library of the expressions is loaded only for a schema that has some."""
    from jindou.control.api.expressions import definitions as expressions

    if any(fault.field.startswith(at) for fault in found):
        return []
    return expressions.validate(document, at)


def _all_names(names: Object) -> list[tuple[str, str, str]]:
    """(what is named, the part that says it, the name): resources and kinds are named apart."""
    told = [
        ("resource", "Plural", names.get("plural")),
        ("resource", "Singular", names.get("singular")),
        *(("resource", "ShortNames", short) for short in names.get("shortNames") or ()),
        ("kind", "Kind", names.get("kind")),
        ("kind", "ListKind", names.get("listKind")),
    ]
    return [(what, part, value) for what, part, value in told if value]


def _holds(conditions: list[Any], kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)


def _condition(conditions: list[Any], kind: str, status: str, reason: str, message: str) -> None:
    """Set one condition; its time stays while its status does."""
    for condition in conditions:
        if condition.get("type") == kind:
            if condition.get("status") != status:
                condition["lastTransitionTime"] = _now()
            condition.update(status=status, reason=reason, message=message)
            return
    conditions.append(
        {
            "lastTransitionTime": _now(),
            "message": message,
            "reason": reason,
            "status": status,
            "type": kind,
        }
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
