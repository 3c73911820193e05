"""What is always there: fields that clients written in Go never leave out, and so count on.

`tools/compile_zeros.py` knows them from the Go types: structs held by value, and plain values
without omitempty. They are filled into what is kept; a null stays away. Nobody comes to own what
has the value that it would have anyway. Plain values with omitempty are the other way about: they
are never there while they are zero.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jindou.control.api.resources.builtin import read
from jindou.control.api.resources.schema import JSON_NAMES, TIMES, Schema, is_quantity, mismatch
from jindou.objects import quantities, times

Facts = tuple[dict[str, Any], frozenset[str]]
NOTHING: Facts = ({}, frozenset())


@cache
def facts() -> dict[str, Facts]:
    return {name: (held, frozenset(gone)) for name, (held, gone) in read("zeros.json.z").items()}


def zeros_of(schema: Schema) -> dict[str, Any]:
    return facts().get(schema.ref, NOTHING)[0]


def dropped_of(schema: Schema) -> frozenset[str]:
    """Fields that are not there while they are zero."""
    return facts().get(schema.ref, NOTHING)[1]


class Zeros:
    """A schema as far as something below it is always there. `present` and `below` are the names of
    `values` and `children`: most objects have all of the first, and few have any of the others."""

    __slots__ = ("below", "children", "items", "maps", "present", "values")

    def __init__(self) -> None:
        self.values: list[tuple[str, Any]] = []
        self.children: dict[str, Zeros] = {}
        self.items: Zeros | None = None
        self.maps: Zeros | None = None
        self.present: frozenset[str] = frozenset()
        self.below: frozenset[str] = frozenset()

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
                plan.children[name] = below
    if schema.items is not None and not (items := plan_of(schema.items)).empty:
        plan.items = items
    if schema.additional is not None and not (maps := plan_of(schema.additional)).empty:
        plan.maps = maps
    plan.present, plan.below = frozenset(name for name, _ in plan.values), frozenset(plan.children)
    return plan


def fill_zeros(schema: Schema, obj: dict[str, Any]) -> None:
    """Fill in what is always there; in place, and once more changes nothing."""
    _fill(plan_of(schema), obj)


def _fill(plan: Zeros, value: Any) -> None:
    if type(value) is dict:
        if not plan.present <= value.keys():
            for name, zero in plan.values:
                if name not in value:
                    value[name] = {} if zero == {} else zero
        if not plan.below.isdisjoint(value):
            children = plan.children
            for name, held in value.items():
                if (child := children.get(name)) is not None and type(held) in BELOW:
                    _fill(child, held)
        if plan.maps is not None:
            for held in value.values():
                _fill(plan.maps, held)
    elif type(value) is list and (items := plan.items) is not None:
        present, below, maps = items.present, items.below, items.maps
        for held in value:
            if (
                type(held) is not dict
                or maps is not None
                or not present <= held.keys()
                or not below.isdisjoint(held)
            ):
                _fill(items, held)


BELOW = frozenset({dict, list})
ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}


def as_read(schema: Schema, value: Any, *, drop: bool = True) -> None:
    """As a Go decoder reads it, and an encoder writes it: a null in a list or a map is the zero value of
    what that holds, a quantity has one form, and what is zero may not be there (unless it is still to
    be seen that it was: `drop`); in place."""
    if isinstance(value, dict):
        dropped = dropped_of(schema) if drop else frozenset()
        for name in [*value]:
            held = value[name]
            if not held and name in dropped:
                del value[name]
                continue
            child = schema.field(name)
            if child is None:
                continue
            if held is None:
                if not schema.has_properties and child.type in ZEROS:
                    value[name] = ZEROS[child.type]
            elif child.format == "quantity":
                if isinstance(held, (str, int, float)) and is_quantity(held):
                    value[name] = quantities.canonical(held)
            elif isinstance(held, str):
                micro = TIMES.get(child.ref)
                if micro is not None and not times.fault(held, micro):
                    value[name] = times.canonical(held, micro)
            elif isinstance(held, (dict, list)):
                as_read(child, held, drop=drop)
    elif isinstance(value, list) and (items := schema.items) is not None:
        for n, held in enumerate(value):
            if held is None:
                value[n] = {} if items.type in ("object", "") else ZEROS.get(items.type, [])
            elif isinstance(held, (dict, list)):
                as_read(items, held, drop=drop)


def unfit(schema: Schema, value: Any) -> str:
    """The first value of a wrong type in the words of a Go decoder, or ""."""
    return _unfit(schema, value, "", "")


def _unfit(schema: Schema, value: Any, struct: str, path: str) -> str:
    if value is None or schema.format == "quantity":
        return ""
    if schema.type == "object" and isinstance(value, dict):
        inside = schema.ref.rpartition(".")[2] if schema.has_properties else ""
        for name, held in value.items():
            child = schema.field(name)
            below = f"{path}.{name}" if path and inside else name if inside else path
            if child is not None and (wrong := _unfit(child, held, inside or struct, below)):
                return wrong
        return ""
    if schema.type == "array" and isinstance(value, list):
        items = schema.items or Schema()
        return next((wrong for held in value if (wrong := _unfit(items, held, struct, path))), "")
    wrong = mismatch(schema, value)
    if not wrong.startswith("json: "):
        return wrong
    told = JSON_NAMES.get(type(value), "null")
    if (schema.type == "integer" or schema.int_or_string) and told == "number":
        told = f"number {value}"
    return f"json: cannot unmarshal {told} into Go struct field {struct}.{path} of type {in_go(schema)}"


def in_go(schema: Schema) -> str:
    if schema.int_or_string:
        return "int32"
    if schema.type == "array":
        return f"[]{in_go(schema.items or Schema())}"
    if schema.type == "object" and not schema.has_properties and schema.additional is not None:
        return f"map[string]{in_go(schema.additional)}"
    if schema.ref and schema.type == "object":
        return ".".join(schema.ref.split(".")[-2:])
    named = {"boolean": "bool", "number": "float64", "integer": schema.format or "int64"}
    return "[]uint8" if schema.format == "byte" else named.get(schema.type, schema.type)
