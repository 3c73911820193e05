"""How large the values of a schema may be at most: what the estimate of a rule's cost rests on.

Where a schema sets no limit, that of a request does. Source: the answers of kube-apiserver to rules
over schemas with and without limits, https://kubernetes.io/docs/reference/using-api/cel/#resource-constraints
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jindou.control.api.expressions.types import ROOT, said_of
from jindou.control.api.resources.schema import MISSING, Schema

REQUEST = 3 * 1024 * 1024  # bytes
LEAST = {"boolean": 4, "integer": 1, "number": 1}
TIMES = {"duration": (32, 3), "date": (12, 12), "date-time": (32, 21)}  # at most, at least


@dataclass
class Bound:
    """`most` characters, items or entries; `least` bytes that it takes in JSON."""

    most: int
    least: int
    fields: Mapping[str, Bound] = field(default_factory=dict)
    of: Bound | None = None  # items, or values of a map
    is_map: bool = False

    def at(self, path: tuple[str, ...]) -> Bound | None:
        found: Bound | None = self
        for step in path:
            if found is None:
                return None
            if step in ("@items", "@values"):
                found = found.of
            elif step == "@keys":
                found = Bound(0, 2) if found.is_map else None
            elif step.startswith("@"):
                return None
            else:
                found = found.fields.get(step)
        return found


def bound_of(schema: Schema, root: bool = False) -> Bound | None:
    """None: rules can't see it."""
    extra = schema.extra
    if schema.int_or_string:
        return Bound(extra["maxLength"] * 4 if "maxLength" in extra else REQUEST - 2, 1)
    if schema.type == "array":
        inner = bound_of(schema.items, schema.items.embedded) if schema.items else None
        if inner is None:
            return None
        return Bound(extra.get("maxItems", (REQUEST - 2) // (inner.least + 1)), 2, of=inner)
    if schema.type == "object":
        values = schema.additional
        if values is not None and not root:
            inner = bound_of(values, values.embedded)
            if inner is None:
                return None
            most = extra.get("maxProperties", (REQUEST - 2) // (inner.least + 6))
            return Bound(most, 2, of=inner, is_map=True)
        return _object(schema, root)
    if schema.type == "string":
        return _string(schema)
    return Bound(0, LEAST[schema.type]) if schema.type in LEAST else None


def _object(schema: Schema, root: bool) -> Bound:
    children = {name: schema.field(name) for name in schema.names}
    if root:
        children |= ROOT
    fields: dict[str, Bound] = {}
    least = 2
    for name, child in children.items():
        assert child is not None
        inner = bound_of(child, child.embedded)
        if inner is None:
            continue
        if said := said_of(schema, name):
            fields[said] = inner
        if name in schema.required and child.default is MISSING:
            least += len(name) + inner.least + 4
    return Bound(0, least, fields)


def _string(schema: Schema) -> Bound:
    extra = schema.extra
    if schema.format in TIMES:
        return Bound(*TIMES[schema.format])
    if schema.format == "byte":
        return Bound(extra.get("maxLength", REQUEST - 2), 2)
    if "maxLength" in extra:
        return Bound(extra["maxLength"] * 4, 2)
    if words := extra.get("enum"):
        return Bound(max((len(word) for word in words if isinstance(word, str)), default=0), 2)
    return Bound(REQUEST - 2, 2)


def cardinality(least: int) -> int:
    """How often at most something of this size can be in one request."""
    return REQUEST // (least + 1)
