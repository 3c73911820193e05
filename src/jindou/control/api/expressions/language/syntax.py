"""The tree of a checked expression, from the bytes in which the compiler gives it.

Only what an evaluation needs is read. Source: cel/expr/syntax.proto and checked.proto of
https://github.com/google/cel-spec
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from jindou.control.api.resources import protobuf


class Const(NamedTuple):
    value: Any
    uint: bool = False
    id: int = 0


class Ident(NamedTuple):
    name: str
    id: int = 0


class Select(NamedTuple):
    operand: Node
    field: str
    test: bool  # has(operand.field)
    id: int = 0


class Call(NamedTuple):
    function: str
    target: Node | None
    args: tuple[Node, ...]
    id: int = 0


class ListOf(NamedTuple):
    elements: tuple[Node, ...]
    optional: frozenset[int]
    id: int = 0


class Entry(NamedTuple):
    key: Node | str  # str: a field of a message
    value: Node
    optional: bool


class MapOf(NamedTuple):
    message: str
    entries: tuple[Entry, ...]
    id: int = 0


class Fold(NamedTuple):
    """A comprehension: `all`, `exists`, `map`, `filter`, ..."""

    variable: str
    second: str  # of the macros with two variables: the value; "" without
    over: Node
    result_name: str
    start: Node
    going_on: Node
    step: Node
    result: Node
    id: int = 0


Node: TypeAlias = Const | Ident | Select | Call | ListOf | MapOf | Fold


class Checked(NamedTuple):
    tree: Node
    names: frozenset[str]  # variables (and types) that it refers to


class Type(NamedTuple):
    """Of a node: int, string, list, map, message, dyn, ...; with those it holds."""

    kind: str
    of: tuple[Type, ...] = ()


PRIMITIVES = ("", "bool", "int", "uint", "double", "string", "bytes")
WELL_KNOWN = ("", "dyn", "timestamp", "duration")


def types(data: bytes) -> dict[int, Type]:
    """The types that the checker has found, by the ids of nodes."""
    return {
        _last(entry, 1, 0): _type(_last(entry, 2))
        for number, entry in _fields(_last(data, 2))
        if number == 3
    }


def positions(data: bytes) -> dict[int, int]:
    """Where nodes are in the text, in characters."""
    told = _last(_last(data, 2), 5)
    return {
        _last(entry, 1, 0): _last(entry, 2, 0) for number, entry in _fields(told) if number == 4
    }


def _type(data: bytes) -> Type:
    for number, held in _fields(data):
        if number == 2:
            return Type("null")
        if number == 3:
            return Type(PRIMITIVES[held])
        if number == 4:
            return Type("wrapper")
        if number == 5:
            return Type(WELL_KNOWN[held])
        if number == 6:
            return Type("list", (_type(_last(held, 1)),))
        if number == 7:
            return Type("map", (_type(_last(held, 1)), _type(_last(held, 2))))
        if number == 9:
            return Type("message", (Type(held.decode()),))
        if number == 14:
            parts = tuple(_type(part) for n, part in _fields(held) if n == 2)
            return Type(_text(held, 1), parts)
    return Type("dyn")


def decode(data: bytes) -> Checked:
    checked = _last(_last(data, 2), 4)
    names = frozenset(
        _text(_last(entry, 2), 1)
        for number, entry in _fields(_last(data, 2))
        if number == 2 and _last(_last(entry, 2), 1)
    )
    return Checked(_node(checked), names)


def _node(data: bytes) -> Node:
    return _bare(data)._replace(id=_last(data, 2, 0))


def _bare(data: bytes) -> Node:
    for number, held in _fields(data):
        if number == 3:
            return _const(held)
        if number == 4:
            return Ident(_text(held, 1))
        if number == 5:
            return Select(_node(_last(held, 1)), _text(held, 2), bool(_last(held, 3, 0)))
        if number == 6:
            target = _last(held, 1, None)
            return Call(
                _text(held, 2),
                None if target is None else _node(target),
                tuple(_node(part) for n, part in _fields(held) if n == 3),
            )
        if number == 7:
            return ListOf(
                tuple(_node(part) for n, part in _fields(held) if n == 1),
                frozenset(_indices(held)),
            )
        if number == 8:
            entries = tuple(_entry(part) for n, part in _fields(held) if n == 2)
            return MapOf(_text(held, 1), entries)
        if number == 9:
            return Fold(
                _text(held, 1), _text(held, 8), _node(_last(held, 2)), _text(held, 3),
                _node(_last(held, 4)), _node(_last(held, 5)), _node(_last(held, 6)), _node(_last(held, 7)),
            )  # fmt: skip
    return Const(None)


def _entry(data: bytes) -> Entry:
    key = _last(data, 3, None)
    name: Node | str = _text(data, 2) if key is None else _node(key)
    return Entry(name, _node(_last(data, 4)), bool(_last(data, 5, 0)))


def _const(data: bytes) -> Const:
    for number, held in _fields(data):
        if number == 1:
            return Const(None)
        if number == 2:
            return Const(bool(held))
        if number == 3:
            return Const(held - (1 << 64) if held >> 63 else held)
        if number == 4:
            return Const(held, uint=True)
        if number == 5:
            return Const(struct.unpack("<d", held)[0])
        if number == 6:
            return Const(held.decode())
        if number == 7:
            return Const(held)
    return Const(None)


def _indices(data: bytes) -> Iterator[int]:
    for number, held in _fields(data):
        if number == 2 and isinstance(held, int):
            yield held
        elif number == 2:
            at = 0
            while at < len(held):
                value, at = protobuf.varint(held, at)
                yield value


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    return protobuf.fields(data)


def _last(data: bytes, number: int, default: Any = b"") -> Any:
    found = default
    for n, held in _fields(data):
        if n == number:
            found = held
    return found


def _text(data: bytes, number: int) -> str:
    found: bytes = _last(data, number)
    return found.decode()
