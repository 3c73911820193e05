"""Which objects a list, a watch or a deletion of many is about: labels, fields and names.

What a selector needs of an object is small, so it is taken out of the bytes once per revision and
remembered; the object itself is not.
"""

from __future__ import annotations

import contextlib
import keyword
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from jindou.control.api.engine import encoding
from jindou.control.api.resources.jsonpath import find
from jindou.control.api.resources.registry import EVERYWHERE, Resource
from jindou.control.store import Stored
from jindou.objects import selectors
from jindou.objects.errors import BadRequest, CloudError

MOST = 8192
EMPTY: dict[str, str] = {}


class Facts(NamedTuple):
    """Of one object at one revision."""

    labels: dict[str, str]
    held: Any  # the part of the object that selectors can name, or the texts of its fields by path

    def text(self, path: str) -> str:
        return self.held[path] if isinstance(self.held, dict) else text_at(self.held, path)


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
        return all((facts.text(f.path) == f.value) == f.equal for f in self.fields)


def select(resource: Resource, namespace: str, labels: str, fields: str) -> Selection:
    """Raises BadRequest for a selector that is malformed or names a field that can't be selected."""
    name, rest = "", []
    for term in selectors.parse_fields(fields) if fields else ():
        if term.path not in resource.selectable:
            raise unknown(resource, term.path)
        if term.path == "metadata.name" and term.equal and not name:
            name = term.value
        elif (
            term.path == "metadata.namespace"
            and term.equal
            and not namespace
            and resource.kind.namespaced
        ):
            namespace = term.value
        else:
            rest.append(term)
    return Selection(
        namespace, name, selectors.parse(labels) if labels else selectors.EVERYTHING, tuple(rest)
    )


def unknown(resource: Resource, path: str) -> BadRequest:
    """Kinds with fields of their own say it in other words than those that have none."""
    if resource.kind.name == "Job":
        return BadRequest(f'field label "{path}" not supported for Job')
    if resource.custom or resource.selectable - EVERYWHERE:
        return BadRequest(f"field label not supported: {path}")
    known = ", ".join(f'"{name}"' for name in sorted(EVERYWHERE))
    return BadRequest(f'"{path}" is not a known field selector: only {known}')


def facts_of(resource: Resource, value: bytes) -> Facts:
    """From kept bytes; only what selectors can ask for is decoded, where that is possible. What a
    webhook converts has been prepared."""
    if resource.conversion is not None:
        value = encoding.served(resource, value)
    if value.startswith(encoding.head_of(resource.kind)):
        decode = reader(resource.selectable)
        if decode is not None:
            with contextlib.suppress(msgspec.ValidationError):
                part = decode(value)
                return Facts(part.metadata.labels or EMPTY, part)
    obj = encoding.seen(resource, value)
    texts = {path: text_at(obj, path) for path in resource.selectable}
    return Facts(obj["metadata"].get("labels") or EMPTY, texts)


@lru_cache(256)
def reader(selectable: frozenset[str]) -> Callable[[bytes], Any] | None:
    """A decoder that skips whatever no selector names; None where a path is more than names."""
    tree: dict[str, Any] = {"metadata": {"labels": {}}}
    for path in {*selectable, "source.component"} if "source" in selectable else selectable:
        below = tree
        for part in path.split("."):
            if not part.isidentifier() or keyword.iskeyword(part):
                return None
            below = below.setdefault(part, {})
    return msgspec.json.Decoder(_shape("Root", tree)).decode


def _shape(name: str, tree: dict[str, Any]) -> Any:
    fields = [
        (part, _shape(part, below) | None if below and part != "labels" else Any, None)
        for part, below in tree.items()
    ]
    return msgspec.defstruct(name, fields, gc=False)


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def text_at(obj: Any, path: str) -> str:
    """A field as selectors compare it: absent is "", except for what a kind defaults."""
    value = obj
    for part in path.split("."):
        value = _part(value, part)
        if value is None:
            break
    if path == "source":
        value = _part(value, "component") or _part(obj, "reportingComponent")
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
        self._held: OrderedDict[tuple[str, int, str, str], Facts] = OrderedDict()

    def of(self, resource: Resource, stored: Stored) -> Facts:
        key = (stored.key, stored.revision, resource.kind.group, resource.kind.version)
        found = self._held.get(key)
        if found is None:
            try:
                found = facts_of(resource, stored.value)
            except CloudError:  # not converted, for those in this process who look at metadata only
                return facts_of(replace(resource, conversion=None), stored.value)
            self._held[key] = found
            if len(self._held) > MOST:
                self._held.popitem(last=False)
        return found
