"""Is a custom resource right? What an OpenAPI v3 schema says of values: bounds, patterns, enums.

Of an update only what changed is judged: a value that is as it was stays, whatever its schema says now.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jindou.control.api.resources.schema import MISSING, Schema, from_document
from jindou.control.api.rules.custom import patterns
from jindou.control.api.rules.custom.formats import fits
from jindou.control.api.rules.names import (
    duplicate,
    invalid,
    label_1035,
    labels,
    quoted,
    required,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
ROOT = ("apiVersion", "kind", "metadata")
ALTERNATIVES = (
    ("anyOf", "must validate at least one schema (anyOf)"),
    ("oneOf", "must validate one and only one schema (oneOf)"),
)
GO_NAMES = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
}


def validate(schema: Schema, obj: Object, old: Object | None) -> list[Fault]:
    found: list[Fault] = []
    _check(schema, _body(obj), "", found, MISSING if old is None else _body(old))
    return found


def _body(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ROOT}


def matched(schema: Schema, old: Any) -> Callable[[Any], Any]:
    """Finds the item of before that has the same keys, or MISSING; of other lists none has a counterpart."""
    if schema.list_type != "map" or not isinstance(old, list):
        return lambda item: MISSING

    def key(item: Any) -> tuple[str, ...] | None:
        if not isinstance(item, dict):
            return None
        return tuple(repr(item.get(name)) for name in schema.list_keys)

    known = {key(item): item for item in old}
    return lambda item: known.get(key(item), MISSING)


def _check(schema: Schema, value: Any, at: str, found: list[Fault], old: Any = MISSING) -> None:
    """`old` is the value of before, MISSING where there is none to compare with."""
    if old is not MISSING and type(old) is type(value) and old == value:
        return
    if value is None:
        if not schema.nullable and schema.type:
            found.append(_wrong_type(at, value, schema.type))
        return
    if schema.int_or_string:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            found.append(_wrong_type(at, value, "integer,string"))
    elif schema.type and not _is(value, schema.type):
        found.append(_wrong_type(at, value, schema.type))
        return
    _combined(schema.extra, value, at, found)
    if isinstance(value, str) and schema.format and not fits(schema.format, value):
        says = f"{at} in body must be of type {schema.format}: {quoted(value)}"
        found.append(Fault("FieldValueTypeInvalid", f"Invalid value: {quoted(value)}: {says}", at))
    _constraints(schema.extra, value, at, found)
    if isinstance(value, dict):
        _object(schema, value, at, found, old if isinstance(old, dict) else {})
    elif isinstance(value, list):
        _array(schema, value, at, found, old)


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES.get(kind, (object,)))


def _wrong_type(at: str, value: Any, expected: str) -> Fault:
    given = "null" if value is None else GO_NAMES.get(type(value), "")
    name = at or "<nil>"
    return Fault(
        "FieldValueTypeInvalid",
        f'Invalid value: "{given}": {name} in body must be of type {expected}: "{given}"',
        at,
    )


def _object(
    schema: Schema, value: dict[str, Any], at: str, found: list[Fault], old: dict[str, Any]
) -> None:
    if schema.embedded:
        _embedded(value, at, found)
    for name in schema.required:
        if name not in value and not (at == "" and name in ROOT):
            found.append(required(f"{at}.{name}" if at else name))
    for name, held in value.items():
        child = schema.field(name)
        if child is not None:
            _check(child, held, f"{at}.{name}" if at else name, found, old.get(name, MISSING))


def _embedded(value: dict[str, Any], at: str, found: list[Fault]) -> None:
    """An object within the object: it says what it is, and its metadata are right."""
    version, kind = value.get("apiVersion"), value.get("kind")
    if not version:
        found.append(required(f"{at}.apiVersion"))
    elif str(version).count("/") > 1:
        says = f"unexpected GroupVersion string: {version}"
        found.append(invalid(f"{at}.apiVersion", version, says))
    if not kind:
        found.append(required(f"{at}.kind"))
    elif wrong := label_1035(str(kind).lower()):
        says = f"may have mixed case, but should otherwise match: {wrong}"
        found.append(invalid(f"{at}.kind", kind, says))
    meta = value.get("metadata")
    if isinstance(meta, dict) and isinstance(meta.get("labels"), dict):
        found += labels(meta["labels"], f"{at}.metadata.labels")


def _array(schema: Schema, value: list[Any], at: str, found: list[Fault], old: Any) -> None:
    items = schema.items
    earlier = matched(schema, old)
    seen: set[str] = set()
    for n, held in enumerate(value):
        if items is not None:
            _check(items, held, f"{at}[{n}]", found, earlier(held))
        if schema.list_type == "set":
            mark = repr(held)
        elif schema.list_type == "map" and isinstance(held, dict):
            mark = repr([held.get(key) for key in schema.list_keys])
        else:
            continue
        if mark in seen:
            shown = (
                held if schema.list_type == "set" else {k: held.get(k) for k in schema.list_keys}
            )
            found.append(duplicate(f"{at}[{n}]", shown))
        seen.add(mark)


def _constraints(extra: Mapping[str, Any], value: Any, at: str, found: list[Fault]) -> None:
    if not extra:
        return
    if "enum" in extra and value not in extra["enum"]:
        found.append(_not_in(extra["enum"], value, at))
    if isinstance(value, str):
        _text(extra, value, at, found)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _number(extra, value, at, found)
    elif isinstance(value, list):
        _length(extra, len(value), at, found, "Items", "items")
        if extra.get("uniqueItems") and len({repr(v) for v in value}) < len(value):
            found.append(invalid(at, value, f"{at} in body shouldn't contain duplicates"))
    elif isinstance(value, dict):
        _length(extra, len(value), at, found, "Properties", "properties")


def _not_in(known: Sequence[Any], value: Any, at: str) -> Fault:
    """The supported values as the schema lists them."""
    listed = ", ".join(quoted(str(word)) for word in known)
    says = f"Unsupported value: {quoted(value)}: supported values: {listed}"
    return Fault("FieldValueNotSupported", says, at)


def _text(extra: Mapping[str, Any], value: str, at: str, found: list[Fault]) -> None:
    pattern = extra.get("pattern")
    if pattern and not patterns.matches(pattern, value):
        found.append(invalid(at, value, f"{at} in body should match '{pattern}'"))
    most, least = extra.get("maxLength"), extra.get("minLength")
    if most is not None and len(value) > most:
        found.append(Fault("FieldValueTooLong", f"Too long: may not be more than {most} bytes", at))
    if least is not None and len(value) < least:
        found.append(invalid(at, value, f"{at} in body should be at least {least} chars long"))


def _number(extra: Mapping[str, Any], value: float, at: str, found: list[Fault]) -> None:
    least, most = extra.get("minimum"), extra.get("maximum")
    if least is not None:
        open_end = extra.get("exclusiveMinimum")
        if value < least or (open_end and value == least):
            word = "greater than" if open_end else "greater than or equal to"
            found.append(invalid(at, value, f"{at} in body should be {word} {least}"))
    if most is not None:
        open_end = extra.get("exclusiveMaximum")
        if value > most or (open_end and value == most):
            word = "less than" if open_end else "less than or equal to"
            found.append(invalid(at, value, f"{at} in body should be {word} {most}"))
    step = extra.get("multipleOf")
    if step and not math.isclose(value / step, round(value / step), abs_tol=1e-9):
        found.append(invalid(at, value, f"{at} in body should be a multiple of {step}"))


def _length(
    extra: Mapping[str, Any], size: int, at: str, found: list[Fault], part: str, word: str
) -> None:
    most, least = extra.get(f"max{part}"), extra.get(f"min{part}")
    if most is not None and size > most:
        found.append(
            Fault("FieldValueTooMany", f"Too many: {size}: must have at most {most} items", at)
        )
    if least is not None and size < least:
        found.append(invalid(at, size, f"{at} in body should have at least {least} {word}"))


def _combined(extra: Mapping[str, Any], value: Any, at: str, found: list[Fault]) -> None:
    """allOf, anyOf, oneOf and not: schemas that only restrict. Of alternatives that all fail, the
    nearest one says why."""
    if not extra:
        return
    for word, says in ALTERNATIVES:
        nodes = extra.get(word)
        if not nodes:
            continue
        told = [_node(node, value, at) for node in nodes]
        fitting = told.count([])
        if fitting == 1 or (fitting and word == "anyOf"):
            continue
        if word == "oneOf":
            counted = f"Found {fitting} valid alternatives" if fitting else "Found none valid"
            says = f"{says}. {counted}"
        found.append(Fault("FieldValueInvalid", f'Invalid value: "": "{at}" {says}', "<nil>"))
        if not fitting:
            nearest = min(told, key=len)
            found.extend(nearest)
    for node in extra.get("allOf", ()):
        found.extend(_node(node, value, at))
    if "not" in extra and not _node(extra["not"], value, at):
        says = f'Invalid value: "": "{at}" must not validate the schema (not)'
        found.append(Fault("FieldValueInvalid", says, "<nil>"))


def _node(node: Mapping[str, Any], value: Any, at: str) -> list[Fault]:
    found: list[Fault] = []
    _check(_schema_of(node), value, at, found)
    return found


_BUILT: dict[int, tuple[Mapping[str, Any], Schema]] = {}


def _schema_of(node: Mapping[str, Any]) -> Schema:
    """Of a logical part of a schema, built once; the part is held so that its id stays its own."""
    held = _BUILT.get(id(node))
    if held is None:
        if len(_BUILT) > 4096:
            _BUILT.clear()
        held = _BUILT[id(node)] = (node, from_document({**node, "nullable": True}))
    return held[1]
