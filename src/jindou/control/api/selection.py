"""Which objects a list, a watch or a deletion of many is about: labels, fields and names.

What a selector needs of an object is small, so it is taken out of the bytes once per revision and
remembered; the object itself is not.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from jindou.control.api import encoding
from jindou.control.api.resources.jsonpath import find
from jindou.control.api.resources.registry import Resource
from jindou.control.store import Stored
from jindou.objects import selectors
from jindou.objects.errors import BadRequest
from jindou.objects.kinds import Object

MOST = 8192
EMPTY: dict[str, str] = {}


class Facts(NamedTuple):
    """Of one object at one revision."""

    labels: dict[str, str]
    fields: dict[str, str]


class Selection(NamedTuple):
    """`name` is what metadata.name= pins; `fields` are the other field requirements."""

    namespace: str = ""
    name: str = ""
    labels: selectors.Selector = selectors.EVERYTHING
    fields: tuple[selectors.FieldRequirement, ...] = ()

    @property
    def everything(self) -> bool:
        return not self.name and not self.labels and not self.fields

    @property
    def needs_facts(self) -> bool:
        return bool(self.labels or self.fields)

    def admits(self, key: str) -> bool:
        """By its key alone, which ends in NAMESPACE/NAME."""
        return not self.name or key.rpartition("/")[2] == self.name

    def matches(self, facts: Facts) -> bool:
        if self.labels and not self.labels.matches(facts.labels):
            return False
        return all((facts.fields.get(f.path, "") == f.value) == f.equal for f in self.fields)


def select(resource: Resource, namespace: str, labels: str, fields: str) -> Selection:
    """Raises BadRequest for a selector that is malformed or names a field that can't be selected."""
    name, rest = "", []
    for term in selectors.parse_fields(fields) if fields else ():
        if term.path not in resource.selectable:
            raise BadRequest(
                f'Unable to find "{resource.kind.api_version}, Resource={resource.kind.plural}" that match label selector "{labels}", field selector "{fields}": field label not supported: {term.path}'
            )
        if term.path == "metadata.name" and term.equal and not name:
            name = term.value
        elif term.path == "metadata.namespace" and term.equal and not namespace:
            namespace = term.value
        else:
            rest.append(term)
    return Selection(
        namespace, name, selectors.parse(labels) if labels else selectors.EVERYTHING, tuple(rest)
    )


def facts_of(resource: Resource, obj: Object) -> Facts:
    meta = obj["metadata"]
    fields = {path: text_at(obj, path) for path in resource.selectable}
    return Facts(meta.get("labels") or EMPTY, fields)


def text_at(obj: Object, path: str) -> str:
    """A field as selectors compare it: absent is "", except for what a kind defaults."""
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            break
    if path == "source" and isinstance(value, dict):
        value = value.get("component")
    if path == "reportingComponent" and not value:
        value = (obj.get("source") or {}).get("component")
    if path == "status.podIPs" and isinstance(value, list):
        value = ",".join(held.get("ip", "") for held in value)
    if value is None:
        if path in ABSENT:
            return ABSENT[path]
        if "[" in path or "\\" in path:
            found = find(obj, f".{path}")
            value = found[0] if found else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


ABSENT = {
    "spec.unschedulable": "false",
    "spec.hostNetwork": "false",
    "status.replicas": "0",
    "status.successful": "0",
}


class FactsCache:
    """The facts of the objects that selectors looked at last, by key and revision."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, int, str], Facts] = OrderedDict()

    def of(self, resource: Resource, stored: Stored) -> Facts:
        key = (stored.key, stored.revision, resource.kind.group)
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = facts_of(resource, encoding.loads(resource, stored.value))
            if len(self._held) > MOST:
                self._held.popitem(last=False)
        return found
