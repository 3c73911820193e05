"""What the fields of an object may hold: one tree, for built-in kinds and custom ones alike.

The tree is a structural OpenAPI v3 schema with the Kubernetes extensions (x-kubernetes-*), as
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
describes them. Everything that walks an object (unknown fields, defaults, patches, field ownership,
OpenAPI, protobuf) walks this. A node is shared and never changed after it is built.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from jindou.objects import quantities, times

MISSING: Any = object()
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
TIMES = {f"{META}.Time": False, f"{META}.MicroTime": True}  # has it microseconds?


class Schema:
    """One node. Children that are shared definitions are resolved when they are first asked for."""

    __slots__ = (
        "_additional",
        "_items",
        "_properties",
        "check",  # `checks.Check` of this node, once it was asked for
        "default",  # MISSING where there is none
        "embedded",  # x-kubernetes-embedded-resource
        "extra",  # pattern, minimum, oneOf, x-kubernetes-validations, ...: as in the document
        "format",
        "int_or_string",
        "list_keys",  # x-kubernetes-list-map-keys
        "list_type",  # atomic, set, map
        "map_type",  # granular, atomic
        "nullable",
        "patch_key",  # x-kubernetes-patch-merge-key
        "patch_strategy",  # subset of {"merge", "retainKeys", "replace"}
        "preserve_unknown",
        "ref",  # the name of a shared definition, or ""
        "required",
        "type",  # object, array, string, integer, number, boolean, or "" for anything
    )

    def __init__(
        self,
        type: str = "",
        *,
        ref: str = "",
        format: str = "",
        properties: Mapping[str, Schema | Callable[[], Schema]] | None = None,
        additional: Schema | Callable[[], Schema] | None = None,
        items: Schema | Callable[[], Schema] | None = None,
        required: tuple[str, ...] = (),
        list_type: str = "",
        list_keys: tuple[str, ...] = (),
        map_type: str = "",
        patch_strategy: frozenset[str] = frozenset(),
        patch_key: str = "",
        nullable: bool = False,
        preserve_unknown: bool = False,
        int_or_string: bool = False,
        embedded: bool = False,
        default: Any = MISSING,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.type = type
        self.ref = ref
        self.format = format
        self._properties = properties or {}
        self._additional = additional
        self._items = items
        self.required = required
        self.list_type = list_type
        self.list_keys = list_keys
        self.map_type = map_type
        self.patch_strategy = patch_strategy
        self.patch_key = patch_key
        self.nullable = nullable
        self.preserve_unknown = preserve_unknown
        self.int_or_string = int_or_string
        self.embedded = embedded
        self.default = default
        self.extra = extra or {}
        self.check: Any = None

    @property
    def names(self) -> list[str]:
        return list(self._properties)

    @property
    def has_properties(self) -> bool:
        return bool(self._properties)

    def field(self, name: str) -> Schema | None:
        """The schema of a field of an object: a property, else what a map holds, else None."""
        found = self._properties.get(name)
        if found is None:
            return self.additional
        return found if isinstance(found, Schema) else found()

    @property
    def additional(self) -> Schema | None:
        found = self._additional
        return found if found is None or isinstance(found, Schema) else found()

    @property
    def items(self) -> Schema | None:
        found = self._items
        return found if found is None or isinstance(found, Schema) else found()

    @property
    def open(self) -> bool:
        """May hold anything: no unknown fields below."""
        return self.preserve_unknown or (
            not self._properties and self._additional is None and self.type in ("", "object")
        )


METADATA = frozenset({"apiVersion", "kind", "metadata"})


def unknown_fields(schema: Schema, value: Any, *, drop: bool, path: str = "") -> list[str]:
    """Paths of fields that the schema does not know, as `spec.containers[0].foo`; with `drop` they
    are removed from the value in place."""
    found: list[str] = []
    _unknown(schema, value, drop, path, found)
    return found


def _unknown(schema: Schema, value: Any, drop: bool, path: str, found: list[str]) -> None:
    if isinstance(value, dict):
        if schema.open and not schema.has_properties:
            return
        for name in [*value]:
            child = schema.field(name)
            if child is None:
                if schema.preserve_unknown or (schema.embedded and name in METADATA):
                    continue
                found.append(f"{path}.{name}" if path else name)
                if drop:
                    del value[name]
            else:
                held = value[name]
                if isinstance(held, (dict, list)):
                    _unknown(child, held, drop, f"{path}.{name}" if path else name, found)
    elif isinstance(value, list):
        items = schema.items
        if items is not None and (
            items.has_properties or items.items is not None or items.additional is not None
        ):
            for n, item in enumerate(value):
                _unknown(items, item, drop, f"{path}[{n}]", found)


def is_int_or_string(value: Any) -> bool:
    """As Go's IntOrString holds it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return -(2**31) <= value < 2**31
    return isinstance(value, str)


def mismatch(schema: Schema, value: Any, path: str = "") -> str:
    """The first value of a wrong type, in the words of a Go decoder, or "". Nulls count as absent."""
    kind = schema.type
    if value is None or (not kind and not schema.int_or_string):
        return ""
    if schema.int_or_string:
        return "" if is_int_or_string(value) else _wrong(value, path, "int32")
    if kind == "object":
        if not isinstance(value, dict):
            return _wrong(value, path, "struct")
        for name, held in value.items():
            child = schema.field(name)
            if child is not None and (
                wrong := mismatch(child, held, f"{path}.{name}" if path else name)
            ):
                return wrong
        return ""
    if kind == "array":
        if not isinstance(value, list):
            return _wrong(value, path, "slice")
        items = schema.items
        if items is not None:
            for n, held in enumerate(value):
                if wrong := mismatch(items, held, f"{path}[{n}]"):
                    return wrong
        return ""
    if kind == "string":
        if schema.format == "byte" and isinstance(value, str) and not well_formed(schema, value):
            return wrong_base64(value)
        if schema.format == "quantity" and isinstance(value, (str, int, float)):
            return "" if is_quantity(value) else str(quantities.BadQuantity())
        if isinstance(value, str) and (micro := TIMES.get(schema.ref)) is not None:
            return times.fault(value, micro)
        return "" if isinstance(value, str) else _wrong(value, path, "string")
    if kind == "boolean":
        return "" if isinstance(value, bool) else _wrong(value, path, "bool")
    if kind == "integer":
        if isinstance(value, int) and not isinstance(value, bool):
            wide = schema.format == "int64" or not schema.format
            fits = -(2**63) <= value < 2**63 if wide else -(2**31) <= value < 2**31
            return "" if fits else _wrong(value, path, schema.format or "int64")
        return (
            ""
            if isinstance(value, float) and value.is_integer()
            else _wrong(value, path, schema.format or "int32")
        )
    if kind == "number":
        return (
            ""
            if isinstance(value, (int, float)) and not isinstance(value, bool)
            else _wrong(value, path, "float64")
        )
    return ""


FORMS = frozenset({"byte", "date-time", "micro-time"})
BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]*")


def well_formed(schema: Schema, text: str) -> bool:
    """Bytes that can be read, and times as they would be told."""
    if (micro := TIMES.get(schema.ref)) is not None:
        return times.is_canonical(text, micro)
    if schema.format != "byte":
        return True
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except ValueError:
        return False
    return True


def wrong_base64(text: str) -> str:
    good = BASE64.match(text)
    assert good is not None
    at = good.end() if good.end() < len(text.rstrip("=")) else len(text) // 4 * 4
    return f"illegal base64 data at input byte {at}"


@lru_cache(1024)
def is_canonical(value: str) -> bool:
    return is_quantity(value) and quantities.canonical(value) == value


@lru_cache(1024)
def is_quantity(value: str | int | float) -> bool:
    try:
        quantities.parse(value)
    except (quantities.BadQuantity, ArithmeticError):
        return False
    return True


JSON_NAMES = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    dict: "object",
    list: "array",
}


def _wrong(value: Any, path: str, expected: str) -> str:
    return f"json: cannot unmarshal {JSON_NAMES.get(type(value), 'null')} into Go struct field {path} of type {expected}"


def drop_nulls(value: Any) -> None:
    """A null is the same as an absent field; in place."""
    if isinstance(value, dict):
        for name in [name for name, held in value.items() if held is None]:
            del value[name]
        for held in value.values():
            if isinstance(held, (dict, list)):
                drop_nulls(held)
    elif isinstance(value, list):
        for held in value:
            if isinstance(held, (dict, list)):
                drop_nulls(held)


def apply_defaults(schema: Schema, value: Any) -> None:
    """Fill in the defaults that a custom resource's schema declares; in place."""
    if isinstance(value, dict):
        for name in schema.names:
            child = schema.field(name)
            assert child is not None
            if name in value and value[name] is None and not child.nullable and child.type:
                del value[name]
            if child.default is not MISSING and name not in value:
                value[name] = copy(child.default)
            if isinstance(value.get(name), (dict, list)):
                apply_defaults(child, value[name])
        extra = schema.additional
        if extra is not None:
            for name, held in value.items():
                if isinstance(held, (dict, list)) and name not in schema._properties:
                    apply_defaults(extra, held)
    elif isinstance(value, list) and schema.items is not None:
        for held in value:
            if isinstance(held, (dict, list)):
                apply_defaults(schema.items, held)


def copy(value: Any) -> Any:
    """A deep copy of JSON. To write it out and read it again is three times as fast as a walk."""
    if not value or not isinstance(value, (dict, list)):
        return value if not isinstance(value, (dict, list)) else type(value)()
    try:
        return orjson.loads(orjson.dumps(value))
    except (orjson.JSONEncodeError, orjson.JSONDecodeError):  # numbers and keys that are no JSON
        return walked(value)


def walked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: walked(held) for name, held in value.items()}
    if isinstance(value, list):
        return [walked(held) for held in value]
    return value


def from_document(node: Mapping[str, Any], meta: Callable[[], Schema] | None = None) -> Schema:
    """The schema of a custom resource, from the openAPIV3Schema of its definition. With `meta`, the
    metadata of embedded resources have that schema."""
    known = {
        "type", "format", "properties", "additionalProperties", "items", "required", "nullable", "default",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "x-kubernetes-embedded-resource",
    }  # fmt: skip
    additional = node.get("additionalProperties")
    properties: dict[str, Schema | Callable[[], Schema]] = {
        name: from_document(child or {}, meta)
        for name, child in (node.get("properties") or {}).items()
    }
    if node.get("x-kubernetes-embedded-resource") and meta is not None:
        properties |= {"apiVersion": Schema("string"), "kind": Schema("string"), "metadata": meta}
    return Schema(
        node.get("type", ""),
        format=node.get("format", ""),
        properties=properties,
        additional=from_document(additional, meta)
        if isinstance(additional, dict)
        else Schema()
        if additional is True
        else None,
        items=from_document(node["items"], meta) if isinstance(node.get("items"), dict) else None,
        required=tuple(node.get("required", ())),
        list_type=node.get("x-kubernetes-list-type", ""),
        list_keys=tuple(node.get("x-kubernetes-list-map-keys", ())),
        map_type=node.get("x-kubernetes-map-type", ""),
        nullable=bool(node.get("nullable")),
        preserve_unknown=bool(node.get("x-kubernetes-preserve-unknown-fields")),
        int_or_string=bool(node.get("x-kubernetes-int-or-string")),
        embedded=bool(node.get("x-kubernetes-embedded-resource")),
        default=node.get("default", MISSING),
        extra={name: held for name, held in node.items() if name not in known},
    )
