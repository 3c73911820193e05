"""What a call of each function costs at most, from the sizes of what it is given.

The numbers are those of the real server. A price may also say how large the result is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from jindou.control.api.expressions.cost.sizes import UNKNOWN, WHOLE, Known, Size, cap, part
from jindou.control.api.expressions.language import library
from jindou.control.api.expressions.language.frames import LISTED
from jindou.control.api.expressions.language.syntax import Const, Node

ANSWERED = frozenset(  # for one, whatever they are given
    {"masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast", "isLinkLocalUnicast",
     "isGlobalUnicast", "format.named", "sign", "asInteger", "isInteger", "asApproximateFloat", "isGreaterThan",
     "isLessThan", "compareTo", "add", "sub", "major", "minor", "patch", "getScheme", "getHostname", "getHost",
     "getPort", "getEscapedPath", "getQuery"}
)  # fmt: skip

Price = Callable[[Known, Node, "list[Node]"], int]


def _traversal(n: int, factor: float = 0.1, *, kept: bool = False) -> Price:
    def price(e: Known, node: Node, args: list[Node]) -> int:
        size = e.size(args[n])
        if kept:
            e.sized(node, size)
        return part(size.most, factor)

    return price


def _walk(e: Known, node: Node, args: list[Node]) -> int:
    if e.type(args[0]).kind == "list":
        size, kind = e.items(args[0])
        each = 1 + (part(size.most, 0.1) if kind in ("string", "bytes") else 0)
        return cap(e.size(args[0]).most * each)
    return part(e.size(args[0]).most, 0.1)


def _pattern(e: Known, node: Node, args: list[Node]) -> int:
    subject, pattern = e.size(args[0]), e.size(args[1])
    if node.function != "matches":  # type: ignore[union-attr]
        e.sized(node, Size(0, subject.most))
    return cap(part(cap(subject.most + 1), 0.1) * part(pattern.most, 0.25))


def _contains(e: Known, node: Node, args: list[Node]) -> int:
    return cap(part(e.size(args[0]).most, 0.1) * part(e.size(args[1]).most, 0.1))


def _add(e: Known, node: Node, args: list[Node]) -> int:
    kind = e.type(args[0]).kind
    if kind not in ("string", "bytes", "list", "dyn"):
        return 1
    whole = e.size(args[0]).plus(e.size(args[1]))
    e.joined(node, args)
    e.sized(node, whole)
    return 1 if kind == "list" else max(1 if kind == "dyn" else 0, part(whole.most, 0.1))


def _equal(e: Known, node: Node, args: list[Node]) -> int:
    kinds = [e.type(arg) for arg in args]
    if kinds[0] == kinds[1] and kinds[0].kind in (library.IP, library.CIDR):
        return 1
    return part(min(e.size(args[0]).most, e.size(args[1]).most), 0.1)


def _order(e: Known, node: Node, args: list[Node]) -> int:
    kind = e.type(args[0]).kind
    return _equal(e, node, args) if kind in ("string", "bytes", "dyn") else 1


def _in(e: Known, node: Node, args: list[Node]) -> int:
    return 1 if e.type(args[1]).kind == "map" else e.size(args[1]).most


def _string(e: Known, node: Node, args: list[Node]) -> int:
    if e.type(args[0]).kind != "bytes":
        return 1
    size = e.size(args[0])
    e.sized(node, Size(size.least // 4, size.most))
    return part(size.most, 0.1)


def _bytes(e: Known, node: Node, args: list[Node]) -> int:
    size = e.size(args[0])
    e.sized(node, Size(size.least, cap(size.most * 4)))
    return part(size.most, 0.1)


def _quote(e: Known, node: Node, args: list[Node]) -> int:
    size = e.size(args[0])
    e.sized(node, Size(cap(size.least + 2), cap(size.most * 2 + 2)))
    return part(size.most, 0.1)


def _replace(e: Known, node: Node, args: list[Node]) -> int:
    size, old, new = (e.size(arg) for arg in args[:3])
    if old.least == 0:
        most, kept = cap(size.most + 1), size.most
    elif new.most <= old.least:
        most, kept = 0, size.most
    else:
        most, kept = math.ceil(size.most / old.least), 0
    if old.most == 0:
        fewest, left = cap(size.least + 1), size.least
    elif old.most <= new.least:
        fewest, left = 0, size.least
    else:
        fewest, left = math.ceil(size.least / old.most), 0
    e.sized(node, Size(fewest, most).times(new).plus(Size(left, kept)))
    return part(size.most, 0.2)


def _split(e: Known, node: Node, args: list[Node]) -> int:
    size = e.size(args[0])
    most = size.most
    if len(args) > 2 and isinstance(args[2], Const) and isinstance(args[2].value, int):
        most = args[2].value if args[2].value >= 0 else WHOLE
    e.sized(node, Size(0, most))
    return part(size.most, 0.2)


def _join(e: Known, node: Node, args: list[Node]) -> int:
    items, count = e.items(args[0])[0], e.size(args[0])
    size = count.times(items)
    if len(args) > 1:
        between = Size(max(0, count.least - 1), max(0, count.most - 1))
        size = size.plus(e.size(args[1]).times(between))
    e.sized(node, size)
    return part(size.most, 0.1)


def _address(e: Known, node: Node, args: list[Node]) -> int:
    return 1 if e.type(args[0]).kind == library.CIDR else part(e.size(args[0]).most, 0.1)


def _within(base: int) -> Price:
    def price(e: Known, node: Node, args: list[Node]) -> int:
        text = e.type(args[1]).kind == "string"
        return cap(base + (part(e.size(args[1]).most, 0.1) if text else 0))

    return price


def _validate(e: Known, node: Node, args: list[Node]) -> int:
    return part(part(e.size(args[1]).most, 0.1), 128 * 0.25)


def _product(e: Known, node: Node, args: list[Node]) -> int:
    return cap(e.size(args[0]).most * e.size(args[1]).most)


def _listing(size: Callable[[Known, list[Node]], Size], factor: float = 1.0) -> Price:
    """Of a function that makes a list of a size, after so much work for each item."""

    def price(e: Known, node: Node, args: list[Node]) -> int:
        found = size(e, args)
        e.sized(node, found)
        return cap(part(found.most, factor) + 1 + LISTED)

    return price


def _square(e: Known, args: list[Node]) -> Size:
    size = e.size(args[0])
    return size.times(size)


def _sliced(e: Known, args: list[Node]) -> Size:
    start, end = _number(args[1], 0), _number(args[2], e.size(args[0]).most)
    return Size(end - start, end - start) if end >= start else UNKNOWN


def _number(node: Node, default: int) -> int:
    written = isinstance(node, Const) and isinstance(node.value, int) and node.value >= 0
    return int(node.value) if written and isinstance(node, Const) else default


def _range(e: Known, args: list[Node]) -> Size:
    count = _number(args[0], WHOLE)
    return Size(count, count)


def _flatten(e: Known, node: Node, args: list[Node]) -> int:
    depth = _number(args[1], WHOLE) if len(args) > 1 else 1
    return _listing(lambda e, args: e.size(args[0]), float(depth))(e, node, args)


def _sort(e: Known, node: Node, args: list[Node]) -> int:
    kind = e.items(args[0])[1]
    return _listing(_square, 2.1 if kind in ("string", "bytes") else 2.0)(e, node, args)


def _double(e: Known, node: Node, args: list[Node]) -> int:
    return cap(e.size(args[0]).most * e.size(args[1]).most * 2)


PRICES: dict[str, Price] = {
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _walk),
    **dict.fromkeys(("url", "jsonpatch.escapeKey", "lowerAscii", "upperAscii", "substring", "trim"), _traversal(0, kept=True)),
    **dict.fromkeys(("quantity", "isQuantity", "semver", "isSemver", "cidr", "isIP", "isCIDR", "format"), _traversal(0)),
    **dict.fromkeys(("startsWith", "endsWith"), _traversal(1)),
    **dict.fromkeys(("find", "findAll", "matches"), _pattern),
    **dict.fromkeys(("_==_", "_!=_"), _equal),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _order),
    **dict.fromkeys(ANSWERED, lambda e, node, args: 1),
    "ip.isCanonical": _traversal(0, 0.2),
    "ip": _address,
    "containsIP": _within(4),
    "containsCIDR": _within(7),
    "validate": _validate,
    "replace": _replace,
    "split": _split,
    "join": _join,
    "contains": _contains,
    "_+_": _add,
    "@in": _in,
    "string": _string,
    "bytes": _bytes,
    "strings.quote": _quote,
    "distinct": _listing(_square, 2.0),
    "sort": _sort,
    "slice": _listing(_sliced),
    "reverse": _listing(lambda e, args: e.size(args[0])),
    "lists.range": _listing(_range),
    "flatten": _flatten,
    "sets.contains": _product,
    "sets.intersects": _product,
    "sets.equivalent": _double,
}  # fmt: skip
