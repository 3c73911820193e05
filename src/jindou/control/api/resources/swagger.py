"""The OpenAPI v2 document in protobuf: what a kubectl before 1.29 wants before it applies anything.

Each message is a table from the JSON name of a field to its number and type; what the format has
no field for (oneOf, anyOf, nullable) is left out, as the real server does.
Source: openapi.v2.Document of https://github.com/google/gnostic-models, and
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ASKED_AS = (MEDIA_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
Table = Mapping[str, tuple[int, str]]

MESSAGES: dict[str, Table] = {
    "Document": {
        "swagger": (1, "string"), "info": (2, "Info"), "paths": (8, "paths"), "definitions": (9, "schemas"),
    },
    "Info": {"title": (1, "string"), "version": (2, "string")},
    "PathItem": {
        "get": (2, "Operation"), "put": (3, "Operation"), "post": (4, "Operation"), "delete": (5, "Operation"),
        "options": (6, "Operation"), "head": (7, "Operation"), "patch": (8, "Operation"), "parameters": (9, "parameters"), "x-": (10, "any"),
    },
    "Operation": {
        "tags": (1, "strings"), "description": (3, "string"), "operationId": (5, "string"), "produces": (6, "strings"),
        "consumes": (7, "strings"), "parameters": (8, "parameters"), "responses": (9, "responses"), "x-": (13, "any"),
    },
    "BodyParameter": {
        "description": (1, "string"), "name": (2, "string"), "in": (3, "string"), "required": (4, "bool"),
        "schema": (5, "Schema"), "x-": (6, "any"),
    },
    "QueryParameter": {
        "required": (1, "bool"), "in": (2, "string"), "description": (3, "string"), "name": (4, "string"),
        "type": (6, "string"), "format": (7, "string"), "uniqueItems": (20, "bool"), "x-": (23, "any"),
    },
    "PathParameter": {
        "required": (1, "bool"), "in": (2, "string"), "description": (3, "string"), "name": (4, "string"),
        "type": (5, "string"), "format": (6, "string"), "uniqueItems": (19, "bool"), "x-": (22, "any"),
    },
    "Response": {"description": (1, "string"), "schema": (2, "response schema"), "x-": (5, "any")},
    "Schema": {
        "$ref": (1, "string"), "format": (2, "string"), "title": (3, "string"), "description": (4, "string"),
        "default": (5, "any"), "multipleOf": (6, "double"), "maximum": (7, "double"), "exclusiveMaximum": (8, "bool"),
        "minimum": (9, "double"), "exclusiveMinimum": (10, "bool"), "maxLength": (11, "int"), "minLength": (12, "int"),
        "pattern": (13, "string"), "maxItems": (14, "int"), "minItems": (15, "int"), "uniqueItems": (16, "bool"),
        "maxProperties": (17, "int"), "minProperties": (18, "int"), "required": (19, "strings"), "enum": (20, "anys"),
        "additionalProperties": (21, "additional"), "type": (22, "type"), "items": (23, "items"),
        "allOf": (24, "Schemas"), "properties": (25, "schemas"), "x-": (31, "any"),
    },
}  # fmt: skip


def encode(document: Mapping[str, Any]) -> bytes:
    return _message("Document", document)


def _varint(number: int) -> bytes:
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(number: int, data: bytes) -> bytes:
    return b"%b%b%b" % (_varint(number << 3 | 2), _varint(len(data)), data)


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode())


def _message(name: str, value: Mapping[str, Any]) -> bytes:
    table = MESSAGES[name]
    out = []
    for key, held in value.items():
        field = table.get(key)
        if field is not None:
            out.append(KINDS.get(field[1], _nested(field[1]))(field[0], held))
        elif key.startswith("x-") and "x-" in table:
            out.append(_bytes(table["x-"][0], _text(1, key) + _bytes(2, _any(held))))
    return b"".join(out)


def _nested(name: str) -> Callable[[int, Any], bytes]:
    return lambda number, value: _bytes(number, _message(name, value))


def _any(value: Any) -> bytes:
    """YAML of any value; JSON is YAML."""
    return _bytes(2, orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


def _named(number: int, items: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(_bytes(number, _text(1, name) + _bytes(2, data)) for name, data in items)


def _parameters(number: int, value: list[dict[str, Any]]) -> bytes:
    out = []
    for held in value:
        if held["in"] == "body":
            parameter = _bytes(1, _message("BodyParameter", held))
        else:
            place, name = (3, "QueryParameter") if held["in"] == "query" else (4, "PathParameter")
            parameter = _bytes(2, _bytes(place, _message(name, held)))
        out.append(_bytes(number, _bytes(1, parameter)))
    return b"".join(out)


def _schemas(number: int, value: Mapping[str, Any]) -> bytes:
    named = ((name, _message("Schema", held)) for name, held in value.items())
    return _bytes(number, _named(1, named))


def _paths(number: int, value: Mapping[str, Any]) -> bytes:
    named = ((path, _message("PathItem", held)) for path, held in value.items())
    return _bytes(number, _named(2, named))


def _responses(number: int, value: Mapping[str, Any]) -> bytes:
    named = ((code, _bytes(1, _message("Response", held))) for code, held in value.items())
    return _bytes(number, _named(1, named))


def _additional(number: int, value: Any) -> bytes:
    if isinstance(value, bool):
        return _bytes(number, _varint(2 << 3) + _varint(value))
    return _bytes(number, _bytes(1, _message("Schema", value)))


KINDS: dict[str, Callable[[int, Any], bytes]] = {
    "string": _text,
    "strings": lambda number, value: b"".join(_text(number, text) for text in value),
    "bool": lambda number, value: _varint(number << 3) + _varint(bool(value)),
    "int": lambda number, value: _varint(number << 3) + _varint(int(value)),
    "double": lambda number, value: _varint(number << 3 | 1) + struct.pack("<d", value),
    "any": lambda number, value: _bytes(number, _any(value)),
    "anys": lambda number, value: b"".join(_bytes(number, _any(held)) for held in value),
    "type": lambda number, value: _bytes(number, _text(1, value)),
    "items": lambda number, value: _bytes(number, _bytes(1, _message("Schema", value))),
    "response schema": lambda number, value: _bytes(number, _bytes(1, _message("Schema", value))),
    "Schemas": lambda number, value: b"".join(_bytes(number, _message("Schema", v)) for v in value),
    "schemas": _schemas,
    "paths": _paths,
    "parameters": _parameters,
    "responses": _responses,
    "additional": _additional,
}
