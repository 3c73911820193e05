"""What is always there: fields that clients written in Go never leave out, and so count on.

`tools/compile_zeros.py` knows them from the Go types: structs held by value, and plain values
without omitempty. They are filled into what is kept; a null stays away. Nobody comes to own what
has the value that it would have anyway.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jindou.control.api.resources.builtin import read
from jindou.control.api.resources.schema import Schema


@cache
def zeros() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = read("zeros.json.z")
    return content


def zeros_of(schema: Schema) -> dict[str, Any]:
    return zeros().get(schema.ref, {}) if schema.ref else {}


class Zeros:
    """A schema as far as something below it is always there."""

    __slots__ = ("children", "items", "maps", "values")

    def __init__(self) -> None:
        self.values: list[tuple[str, Any]] = []
        self.children: list[tuple[str, Zeros]] = []
        self.items: Zeros | None = None
        self.maps: Zeros | None = None

    @property
    def empty(self) -> bool:
        return not (self.values or self.children or self.items or self.maps)


_KNOWN: dict[Schema, Zeros] = {}


def plan_of(schema: Schema) -> Zeros:
    found = _KNOWN.get(schema)
    if found is not None:
        return found
    plan = _KNOWN[schema] = Zeros()  # before its children: types may hold themselves
    plan.values = [(name, zero) for name, zero in zeros_of(schema).items() if zero is not None]
    for name in schema.names:
        child = schema.field(name)
        if child is not None and child.type in ("object", "array"):
            below = plan_of(child)
            if not below.empty:
                plan.children.append((name, below))
    if schema.items is not None and not (items := plan_of(schema.items)).empty:
        plan.items = items
    if schema.additional is not None and not (maps := plan_of(schema.additional)).empty:
        plan.maps = maps
    return plan


def fill_zeros(schema: Schema, obj: dict[str, Any]) -> None:
    """Fill in what is always there; in place, and once more changes nothing."""
    _fill(plan_of(schema), obj)


def _fill(plan: Zeros, value: Any) -> None:
    if type(value) is dict:
        for name, zero in plan.values:
            if name not in value:
                value[name] = {} if zero == {} else zero
        for name, child in plan.children:
            held = value.get(name)
            if held is not None:
                _fill(child, held)
        if plan.maps is not None:
            for held in value.values():
                _fill(plan.maps, held)
    elif type(value) is list and plan.items is not None:
        for held in value:
            _fill(plan.items, held)
