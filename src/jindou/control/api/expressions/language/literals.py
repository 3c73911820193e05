"""Literals that can't be right: patterns, times and durations that do not parse, lists of mixed types.

The compiler takes them, the real server does not: it says so when the expression is written.
"""

from __future__ import annotations

from collections.abc import Iterator

from jindou.control.api.expressions.language import engine, syntax
from jindou.control.api.expressions.language.syntax import (
    Call,
    Const,
    Fold,
    ListOf,
    MapOf,
    Node,
    Select,
    Type,
)  # fmt: skip
from jindou.control.api.expressions.language.values import CelError

PARSED = {"duration": "duration(a0)", "timestamp": "timestamp(a0)", "matches": "''.matches(a0)"}


def complaints(data: bytes, tree: Node) -> list[tuple[int, str]]:
    """(place in the text, what is wrong), of a checked expression."""
    found = list(_unparsed(tree))
    if not any(isinstance(node, (ListOf, MapOf)) for node in _all(tree)) and not found:
        return []
    types = syntax.types(data)
    free = {
        call.args[-1].id
        for call in _all(tree)
        if isinstance(call, Call) and call.function == "format"
    }
    for node in _all(tree):
        if isinstance(node, ListOf) and node.id not in free:
            found += _mixed(node.elements, types)
        elif isinstance(node, MapOf) and not node.message:
            keys = tuple(entry.key for entry in node.entries if not isinstance(entry.key, str))
            found += [*_mixed(keys, types), *_mixed(tuple(e.value for e in node.entries), types)]
    if not found:
        return []
    places = syntax.positions(data)
    return sorted((places.get(id, 0), says) for id, says in found)


def _unparsed(tree: Node) -> Iterator[tuple[int, str]]:
    for node in _all(tree):
        if isinstance(node, Call) and node.function in PARSED and node.args:
            literal = node.args[-1]
            if isinstance(literal, Const) and isinstance(literal.value, str):
                try:
                    engine.lent(PARSED[node.function], literal.value)
                except CelError:
                    yield literal.id, f"invalid {node.function} argument"


def _mixed(parts: tuple[Node, ...], types: dict[int, Type]) -> Iterator[tuple[int, str]]:
    first: Type | None = None
    for part in parts:
        kind = types.get(part.id, Type("dyn"))
        if kind.kind in ("dyn", "optional_type") or kind.of:
            continue
        if first is None:
            first = kind
        elif kind != first:
            yield part.id, f"expected type '{first.kind}' but found '{kind.kind}'"
            return


def _all(node: Node) -> Iterator[Node]:
    yield node
    below: tuple[Node | None, ...] = ()
    if isinstance(node, Select):
        below = (node.operand,)
    elif isinstance(node, Call):
        below = (node.target, *node.args)
    elif isinstance(node, ListOf):
        below = node.elements
    elif isinstance(node, MapOf):
        keys = (entry.key for entry in node.entries if not isinstance(entry.key, str))
        below = (*keys, *(entry.value for entry in node.entries))
    elif isinstance(node, Fold):
        below = (node.over, node.start, node.going_on, node.step, node.result)
    for part in below:
        if part is not None:
            yield from _all(part)
