"""Every function by its name, with what a call of it costs. What is not here the library lends.

Costs are those of the real server: what its limits refuse, ours refuse.
Source: https://kubernetes.io/docs/reference/using-api/cel/#resource-constraints
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import orjson

from jindou.control.api.expressions.language import engine, kubernetes, operators
from jindou.control.api.expressions.language.frames import LISTED
from jindou.control.api.expressions.language.operators import no_overload
from jindou.control.api.expressions.language.values import (
    ABSENT,
    Address,
    CelError,
    CostExceeded,
    Network,
    Optional,
    Uint,
    equal,
    size,
)  # fmt: skip

Function = Callable[..., Any]
LONGEST = 16 * 1024 * 1024  # characters of a text that a function makes


def length(value: Any) -> int:
    if not isinstance(value, (str, bytes, list, dict)):
        raise no_overload()
    return len(value)


def _strings(work: Callable[[str, str], Any]) -> Function:
    def call(a: Any, b: Any) -> Any:
        if not (isinstance(a, str) and isinstance(b, str)):
            raise no_overload()
        return work(a, b)

    return call


def to_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, (Address, Network)):
        return kubernetes.address_text(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
    return str(engine.lent("string(a0)", value))


def formatted(text: Any, given: Any) -> str:
    """Values that the library does not know, or shows in another way, are shown by us."""
    plain = (str, int, float, bytes, type(None))
    shown = [
        item if isinstance(item, plain) and not isinstance(item, Uint) else shown_within(item, "")
        for item in _list(given)
    ]
    _fits(length(text) + sum(size(item) for item in shown))
    return str(engine.lent("a0.format(a1)", text, shown))


def replaced(text: Any, old: Any, new: Any, most: Any = -1) -> str:
    if not (all(isinstance(each, str) for each in (text, old, new)) and operators.is_int(most)):
        raise no_overload()
    count = text.count(old) if most < 0 else min(text.count(old), most)
    _fits(len(text) + count * (len(new) - len(old)))
    return str(text.replace(old, new, most))


def _fits(wanted: int) -> None:
    """What is made is no larger than it may be, whatever it costs."""
    if wanted > LONGEST:
        raise CostExceeded("operation cancelled: actual cost limit exceeded")


def shown_within(value: Any, quote: str = '"') -> str:
    """As `format` writes a value that is part of a list or a map."""
    if isinstance(value, list):
        return f"[{', '.join(shown_within(item) for item in value)}]"
    if isinstance(value, dict):
        pairs = sorted((shown_within(name), shown_within(held)) for name, held in value.items())
        return "{" + ", ".join(f"{name}:{held}" for name, held in pairs) + "}"
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, str):
        return orjson.dumps(value).decode() if quote else value
    kind = QUOTED.get(type(value), "") if quote else ""
    return f'{kind}("{to_string(value)}")' if kind else to_string(value)


QUOTED: dict[type, str] = {datetime.datetime: "timestamp", datetime.timedelta: "duration"}


# ---------------------------------------------------------------- lists


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise no_overload()
    return value


def index_of(value: Any, item: Any, *more: Any) -> int:
    if isinstance(value, str):
        return int(lend("indexOf", (value, item, *more), member=True))
    return next((n for n, held in enumerate(_list(value)) if equal(held, item)), -1)


def last_index_of(value: Any, item: Any, *more: Any) -> int:
    if isinstance(value, str):
        return int(lend("lastIndexOf", (value, item, *more), member=True))
    held = _list(value)
    return next((n for n in reversed(range(len(held))) if equal(held[n], item)), -1)


def is_sorted(value: Any) -> bool:
    held = _list(value)
    return all(operators.order(a, b) <= 0 for a, b in pairwise(held))


def total(value: Any) -> Any:
    held = _list(value)
    if not held:
        return 0
    found = held[0]
    for item in held[1:]:
        found = operators.add(found, item)
    return found


def _extreme(wanted: int, name: str) -> Function:
    def call(value: Any) -> Any:
        held = _list(value)
        if not held:
            raise CelError(f"{name} called on empty list")
        found = held[0]
        for item in held[1:]:
            if operators.order(item, found) == wanted:
                found = item
        return found

    return call


def find(text: Any, pattern: Any) -> str:
    return next(iter(find_all(text, pattern)), "")


def find_all(text: Any, pattern: Any, most: Any = -1) -> list[str]:
    if not (isinstance(text, str) and isinstance(pattern, str)):
        raise no_overload()
    found = engine.find_all(text, pattern)
    return found if most < 0 else found[:most]


def all_within(a: Any, b: Any) -> bool:
    return all(operators.contains(item, _list(a)) for item in _list(b))


def at_end(n: int) -> Function:
    def call(value: Any) -> Optional:
        return Optional(True, _list(value)[n]) if value else ABSENT

    return call


def numbers(count: Any) -> list[int]:
    if not operators.is_int(count):
        raise no_overload()
    return list(range(count))


def distinct(value: Any) -> list[Any]:
    found: list[Any] = []
    for item in _list(value):
        if not operators.contains(item, found):
            found.append(item)
    return found


def inserted(into: Any, key: Any, *value: Any) -> dict[Any, Any]:
    """A map with one more entry, or with those of another map: what the macros make maps with."""
    more = {key: value[0]} if value else key
    for name in more:
        if name in into:
            raise CelError(f"insert failed: key {operators.text(name)} already exists")
    return {**into, **more}


# ---------------------------------------------------------------- optionals


def _optional(work: Callable[[Optional], Any]) -> Function:
    def call(value: Any) -> Any:
        if not isinstance(value, Optional):
            raise no_overload()
        return work(value)

    return call


def content(value: Optional) -> Any:
    if not value.present:
        raise CelError("optional.none() dereference")
    return value.value


def of_non_zero(value: Any) -> Optional:
    empty = value is None or value is False or (operators.is_number(value) and value == 0)
    empty = empty or (isinstance(value, (str, bytes, list, dict)) and not value)
    return Optional(not empty, value)


def lend(name: str, given: tuple[Any, ...], *, member: bool) -> Any:
    """A function of the library's own."""
    names = [f"a{n}" for n in range(len(given))]
    if member:
        return engine.lent(f"{names[0]}.{name}({', '.join(names[1:])})", *given)
    return engine.lent(f"{name}({', '.join(names)})", *given)


FUNCTIONS: dict[str, Function] = {
    **kubernetes.FUNCTIONS,
    "_+_": operators.add,
    "_-_": operators.subtract,
    "_*_": operators.multiply,
    "_/_": operators.divide,
    "_%_": operators.modulo,
    "-_": operators.negate,
    "_==_": equal,
    "_!=_": lambda a, b: not equal(a, b),
    "_<_": lambda a, b: operators.order(a, b) < 0,
    "_<=_": lambda a, b: operators.order(a, b) <= 0,
    "_>_": lambda a, b: operators.order(a, b) > 0,
    "_>=_": lambda a, b: operators.order(a, b) >= 0,
    "@in": operators.contains,
    "_[_]": operators.index,
    "_[?_]": operators.optional_index,
    "_?._": operators.optional_index,
    "size": length,
    "type": operators.kind_of,
    "dyn": lambda value: value,
    "format": formatted,
    "replace": replaced,
    "int": operators.to_int,
    "uint": operators.to_uint,
    "double": operators.to_double,
    "bool": operators.to_bool,
    "bytes": operators.to_bytes,
    "string": to_string,
    "startsWith": _strings(str.startswith),
    "endsWith": _strings(str.endswith),
    "contains": _strings(lambda a, b: b in a),
    "matches": _strings(engine.matches),
    "find": find,
    "findAll": find_all,
    "indexOf": index_of,
    "lastIndexOf": last_index_of,
    "isSorted": is_sorted,
    "sum": total,
    "min": _extreme(-1, "min"),
    "max": _extreme(1, "max"),
    "distinct": distinct,
    "lists.range": numbers,
    "first": at_end(0),
    "last": at_end(-1),
    "sets.contains": all_within,
    "sets.equivalent": lambda a, b: all_within(a, b) and all_within(b, a),
    "sets.intersects": lambda a, b: any(operators.contains(i, _list(a)) for i in _list(b)),
    "cel.@mapInsert": inserted,
    "optional.of": lambda value: Optional(True, value),
    "optional.ofNonZeroValue": of_non_zero,
    "optional.none": lambda: ABSENT,
    "hasValue": _optional(lambda value: value.present),
    "value": _optional(content),
}

SELECTOR = 350_000


def _traversal(*which: int, factor: float = 0.1) -> Callable[..., int]:
    return lambda *given: math.ceil(sum(size(given[n]) for n in which) * factor)


def _least(a: Any, b: Any) -> int:
    return math.ceil(min(size(a), size(b)) * 0.1)


def _pattern(a: Any, b: Any, *more: Any) -> int:
    return math.ceil((1.0 + size(a)) * 0.1) * math.ceil(size(b) * 0.25)


def _walk(a: Any, *more: Any) -> int:
    return size(a)


def _sum(a: Any, b: Any) -> int:
    return math.ceil((size(a) + size(b)) * 0.1) if isinstance(a, (str, bytes)) else 1


def _join(held: Any, between: Any = "") -> int:
    if not isinstance(held, list):
        return 1
    whole = sum(size(item) for item in held) + size(between) * max(0, len(held) - 1)
    return math.ceil(whole * 0.2)


def _made(count: Any) -> int:
    """A list of so many items."""
    return 1 + LISTED + (max(0, count) if operators.is_int(count) else 0)


def _compared(held: Any, *more: Any) -> int:
    """Each item of a list with every other."""
    if not isinstance(held, list) or not held:
        return _made(0)
    factor = 2.1 if isinstance(held[0], (str, bytes)) else 2.0
    return _made(int(len(held) ** 2 * factor))


COSTS: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _walk),
    **dict.fromkeys(("url", "lowerAscii", "upperAscii", "substring", "trim", "jsonpatch.escapeKey"), _traversal(0)),
    **dict.fromkeys(("replace", "split"), _traversal(0, factor=0.2)),
    **dict.fromkeys(("quantity", "isQuantity", "semver", "isSemver", "ip", "isIP", "cidr", "isCIDR"), _traversal(0)),
    **dict.fromkeys(("format", "strings.quote"), _traversal(0)),
    **dict.fromkeys(("find", "findAll", "matches"), _pattern),
    **dict.fromkeys(("startsWith", "endsWith"), _traversal(1)),
    **dict.fromkeys(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"), _least),
    **dict.fromkeys(("sets.contains", "sets.equivalent", "sets.intersects"), lambda a, b: size(a) * size(b)),
    **dict.fromkeys(("distinct", "sort"), _compared),
    "cel.@mapInsert": _walk,
    "lists.range": _made,
    "reverse": lambda held: _made(size(held)),
    "slice": lambda held, start, end: _made(end - start) if operators.is_int(end) and operators.is_int(start) else 1,
    "flatten": lambda held, depth=1: _made(size(held) * max(1, depth)) if operators.is_int(depth) else 1,
    "join": _join,
    "contains": lambda a, b: math.ceil(size(a) * 0.1) * math.ceil(size(b) * 0.1),
    "@in": lambda a, b: size(b) if isinstance(b, list) else 1,
    "_+_": _sum,
    "validate": lambda a, b: math.ceil((1.0 + size(b)) * 0.1) * 16,
    "check": lambda *given: SELECTOR,
}  # fmt: skip
