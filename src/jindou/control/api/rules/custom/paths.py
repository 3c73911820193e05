"""The path of a field that a rule names, `.spec.names['x.y']`, followed through the schema."""

from __future__ import annotations

import re

from jindou.control.api.resources.schema import Schema

ESCAPE = re.compile(r"\\(.)", re.DOTALL)
ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}  # fmt: skip
TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|[.\[\]]|[^.\[\]']+")


class BadPath(ValueError):
    """The path is not one, or leads nowhere in the schema; the message says which."""


def field_path(text: str, schema: Schema, *, brackets: bool = True) -> str:
    """As it is shown in a message. Raises BadPath."""
    return followed(text, schema, brackets=brackets)[0]


def followed(text: str, schema: Schema, *, brackets: bool = True) -> tuple[str, Schema]:
    shown, node = "", schema
    tokens = iter(TOKEN.findall(text))
    for mark in tokens:
        if mark == ".":
            name = _next(tokens)
        elif mark == "[":
            if not brackets:
                raise BadPath("array notation is not allowed")
            name = _unquoted(_next(tokens))
            if (closing := _next(tokens)) != "]":
                raise BadPath(f"expected ] but got {closing}")
        else:
            raise BadPath(f"expected [ or . but got: {mark}")
        if node.has_properties:
            below = node.field(name) if name in node.names else None
            shown = f"{shown}.{name}" if shown else name
        else:
            below = node.additional
            shown = f"{shown}[{name}]"
        if below is None:
            raise BadPath("does not refer to a valid field")
        node = below
    return shown, node


def _next(tokens: object) -> str:
    found = next(tokens, None)  # type: ignore[call-overload]
    if found is None:
        raise BadPath("unexpected end of JSON path")
    return str(found)


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] != "'" or text[-1] != "'":
        raise BadPath(f"expected single quoted string but got {text}")

    def plain(match: re.Match[str]) -> str:
        if match[1] not in ESCAPED:
            raise BadPath(f"invalid string literal: invalid escape char {match[0]}")
        return ESCAPED[match[1]]

    return ESCAPE.sub(plain, text[1:-1])
