"""The quick question of every write: does this object fit its schema just as it is?

Nearly every object does: no nulls, no unknown fields, every value of its type. One walk without
paths says so; whatever it is not sure about is left to `schema.mismatch` and `unknown_fields`,
which know the words.
"""

from __future__ import annotations

from typing import Any

from jindou.control.api.resources.schema import FORMS, Schema, is_canonical, well_formed
from jindou.control.api.resources.zeros import dropped_of

SPECIAL = FORMS | {"quantity"}
LEAVES: dict[str, type] = {"string": str, "boolean": bool, "integer": int}


def narrow(number: Any) -> bool:
    return -(2**31) <= number < 2**31  # type: ignore[no-any-return]


class Check:
    """A schema node made ready for asking; children are made when they are first met."""

    __slots__ = ("_schema", "anything", "drops", "fields", "items", "kind", "leaf", "maps")

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.kind = schema.type
        plain = not (schema.int_or_string or schema.preserve_unknown or schema.format in SPECIAL)
        self.leaf = LEAVES.get(schema.type) if plain else None
        self.anything = schema.open and not schema.has_properties and not schema.int_or_string
        self.drops = dropped_of(schema)
        self.fields: dict[str, Check] = {}
        self.items: Check | None = None
        self.maps: Check | None = None  # what every value of a map is

    def field(self, name: str) -> Check | None:
        """A child that was not asked for before; names of a map are not remembered."""
        schema = self._schema
        if schema.has_properties and name in schema.names:
            found = schema.field(name)
            assert found is not None
            check = self.fields[name] = check_of(found)
            return check
        if self.maps is None and (held := schema.additional) is not None:
            self.maps = check_of(held)
        return self.maps

    def item(self) -> Check | None:
        if self.items is None and (held := self._schema.items) is not None:
            self.items = check_of(held)
        return self.items


def check_of(schema: Schema) -> Check:
    found: Check | None = schema.check
    if found is None:
        found = schema.check = Check(schema)
    return found


def is_clean(schema: Schema, value: Any) -> bool:
    """True only where there is nothing to drop, to refuse or to warn about."""
    return _clean(check_of(schema), value)


def _clean(check: Check, value: Any) -> bool:
    leaf = check.leaf
    if leaf is not None:
        return type(value) is leaf
    if type(value) is dict:
        if check.anything:
            return not check._schema.type or not _has_null(value)
        if check.kind != "object":
            return False
        fields = check.fields
        for name, held in value.items():
            child = fields.get(name) or check.field(name)
            if child is None or (not held and name in check.drops):
                return False
            leaf = child.leaf
            if leaf is not None:
                if type(held) is not leaf or (leaf is int and not narrow(held)):
                    return False
            elif not _clean(child, held):
                return False
        return True
    if type(value) is list:
        if check.kind != "array":
            return False
        child = check.items or check.item()
        if child is None:
            return False
        for held in value:  # noqa: SIM110 - `all` would be another call for each
            if not _clean(child, held):
                return False
        return True
    return _scalar(check, value)


def _scalar(check: Check, value: Any) -> bool:
    schema = check._schema
    if schema.int_or_string:
        return type(value) is str or (type(value) is int and narrow(value))
    if schema.format in FORMS:
        return type(value) is str and well_formed(schema, value)
    if schema.format == "quantity":
        return type(value) is str and is_canonical(value)
    return check.kind == "number" and type(value) in (int, float)


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(held is None or _has_null(held) for held in value.values())
    return isinstance(value, list) and any(_has_null(held) for held in value)
