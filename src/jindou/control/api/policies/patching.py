"""What a MutatingAdmissionPolicy makes of an object: an apply configuration merged in, or a JSON patch.

CEL makes such objects of types that are named after where they go, `Object.spec{replicas: 3}`. The
compiler is given a message for each name that an expression uses, with the fields it uses.
Source: https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jindou.control.api.changes import json_patch
from jindou.control.api.changes.apply import merged
from jindou.control.api.expressions.compiler import CompileError
from jindou.control.api.expressions.language.functions import to_string
from jindou.control.api.expressions.language.values import CelError, Struct
from jindou.control.api.expressions.types import DYN, Shape
from jindou.control.api.policies import variables as known
from jindou.control.api.policies.compiled import Expression
from jindou.control.api.resources.schema import Schema, copy, unknown_fields
from jindou.objects.errors import CloudError
from jindou.objects.kinds import Object

TOKEN = re.compile(
    r"""(?P<text>[rRbB]{0,2}(?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))"""
    r"""|(?P<type>\bObject(?:\.[A-Za-z_]\w*)+)(?=\s*\{)|(?P<field>\b[A-Za-z_]\w*)(?=\s*:)"""
)
JSON_PATCH = {"op": Shape("string"), "path": Shape("string"), "from": Shape("string"), "value": DYN}
APPLY, PATCH = "ApplyConfiguration", "JSONPatch"
RESULTS = {APPLY: "Object", PATCH: "LIST<JSONPatch>"}


class Unfit(CelError):
    """An object that an expression made does not go where it should."""


def mangled(text: str) -> tuple[str, dict[str, dict[str, Shape]]]:
    """The expression with `Object_spec` for `Object.spec`, which the compiler can name, in the same
    length; and the messages that it needs."""
    types, fields = {"Object"}, set()

    def replace(match: re.Match[str]) -> str:
        if match["type"]:
            types.add(name := match["type"].replace(".", "_"))
            return name
        if match["field"]:
            fields.add(match["field"])
        return match[0]

    changed = TOKEN.sub(replace, text)
    given = dict.fromkeys(sorted(fields), DYN)
    return changed, {**dict.fromkeys(sorted(types), given), PATCH: JSON_PATCH}


def expression(shapes: Mapping[str, Shape], how: str, text: str, *, params: bool) -> Expression:
    """Compiled; what is wrong with it is its `error`."""
    changed, messages = mangled(text)
    environment = known.environment(shapes, params=params, messages=messages)
    try:
        program = environment.compile(changed, text)
    except CompileError as error:
        return Expression(text, None, f"compilation failed: {error}")
    wanted = RESULTS[how]
    if program.result != wanted:
        got = known.named(program.result)
        got = got.replace("_", ".") if got.startswith("Object_") else got
        says = f"must evaluate to {known.named(wanted)} but got {got}"
        return Expression(text, None, says)
    return Expression(text, program)


def applied(schema: Schema, obj: Object, value: Any) -> Object:
    """The object with an apply configuration merged in. Raises Unfit."""
    _check_names(value, "Object")
    patch = plain(value)
    patch |= {name: obj[name] for name in ("apiVersion", "kind") if name in obj}
    if unknown := unknown_fields(schema, copy(patch), drop=False):
        raise Unfit(
            "error applying patch: failed to convert patch object to typed object: "
            f".{unknown[0]}: field not declared in schema"
        )
    if atomics := list(_atomics(schema, patch, "")):
        raise Unfit(
            "error applying patch: invalid ApplyConfiguration: "
            f"may not mutate atomic arrays, maps or structs: {', '.join(atomics)}"
        )
    return merged(obj, patch, schema)


def patched(obj: Object, value: Any) -> Object:
    """The object after a JSON patch; as it was where a test of the patch fails. Raises Unfit."""
    found = copy(obj)
    for held in value:
        operation = {"op": "", "path": "", **plain(held)}
        if isinstance(held.get("value"), Struct):
            _check_names(held["value"], held["value"].name.replace("_", "."))
        try:
            found = json_patch.apply(found, [operation])
        except CloudError:
            if operation["op"] == "test":
                return obj
            raise Unfit(f"JSON Patch: {_missing(operation)}") from None
    if not isinstance(found, dict):
        raise Unfit("JSON Patch: the whole can only be replaced by an object")
    return found


def _missing(operation: Mapping[str, Any]) -> str:
    """Why an operation does not apply, as the original says it of what is not there."""
    how, path = operation["op"], str(operation["path"])
    if how == "remove":
        key = path.rpartition("/")[2]
        return f"error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
    what = "key" if how == "replace" else "path"
    return f"{how} operation does not apply: doc is missing {what}: {path}: missing value"


def _check_names(value: Any, wanted: str) -> None:
    if isinstance(value, Struct):
        name = value.name.replace("_", ".")
        if name != wanted:
            raise Unfit(
                f'type mismatch: unexpected type name "{name}", expected "{wanted}", '
                "which matches field name path from root Object type"
            )
    if isinstance(value, dict):
        for field, held in value.items():
            _check_names(held, f"{wanted}.{field}")
    elif isinstance(value, list):
        for held in value:
            _check_names(held, wanted)


def _atomics(schema: Schema, value: Any, at: str) -> Iterator[str]:
    """What would be replaced as a whole, with all that is not said again."""
    if isinstance(value, dict):
        if schema.map_type == "atomic":
            yield at
        for name, held in value.items():
            if (child := schema.field(name)) is not None:
                yield from _atomics(child, held, f"{at}.{name}")
    elif isinstance(value, list):
        if schema.list_type not in ("map", "set"):
            yield at
        if schema.items is not None:
            for n, held in enumerate(value):
                yield from _atomics(schema.items, held, f"{at}[{n}]")


def plain(value: Any) -> Any:
    """A value of CEL as JSON."""
    if isinstance(value, dict):
        return {str(name): plain(held) for name, held in value.items()}
    if isinstance(value, list):
        return [plain(held) for held in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime.datetime, datetime.timedelta)):
        return to_string(value)
    raise Unfit("valueExpression evaluated to a type that could not marshal to JSON")
