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
    def price(known: Known, node: Node, args: list[Node]) -> int:
        size = known.size(args[n])
        if kept:
            known.sized(node, size)
        return part(size.most, factor)

    return price


def _walk(known: Known, node: Node, args: list[Node]) -> int:
    if known.type(args[0]).kind == "list":
        size, kind = known.items(args[0])
        each = 1 + (part(size.most, 0.1) if kind in ("string", "bytes") else 0)
        return cap(known.size(args[0]).most * each)
    return part(known.size(args[0]).most, 0.1)


def _pattern(known: Known, node: Node, args: list[Node]) -> int:
    subject, pattern = known.size(args[0]), known.size(args[1])
    if node.function != "matches":  # type: ignore[union-attr]
        known.sized(node, Size(0, subject.most))
    return cap(part(cap(subject.most + 1), 0.1) * part(pattern.most, 0.25))


def _contains(known: Known, node: Node, args: list[Node]) -> int:
    return cap(part(known.size(args[0]).most, 0.1) * part(known.size(args[1]).most, 0.1))


def _add(known: Known, node: Node, args: list[Node]) -> int:
    kind = known.type(args[0]).kind
    if kind not in ("string", "bytes", "list", "dyn"):
        return 1
    whole = known.size(args[0]).plus(known.size(args[1]))
    known.joined(node, args)
    known.sized(node, whole)
    return 1 if kind == "list" else max(1 if kind == "dyn" else 0, part(whole.most, 0.1))


def _equal(known: Known, node: Node, args: list[Node]) -> int:
    kinds = [known.type(arg) for arg in args]
    if kinds[0] == kinds[1] and kinds[0].kind in (library.IP, library.CIDR):
        return 1
    return part(min(known.size(args[0]).most, known.size(args[1]).most), 0.1)


def _order(known: Known, node: Node, args: list[Node]) -> int:
    kind = known.type(args[0]).kind
    return _equal(known, node, args) if kind in ("string", "bytes", "dyn") else 1


def _in(known: Known, node: Node, args: list[Node]) -> int:
    return 1 if known.type(args[1]).kind == "map" else known.size(args[1]).most


def _string(known: Known, node: Node, args: list[Node]) -> int:
    if known.type(args[0]).kind != "bytes":
        return 1
    size = known.size(args[0])
    known.sized(node, Size(size.least // 4, size.most))
    return part(size.most, 0.1)


def _bytes(known: Known, node: Node, args: list[Node]) -> int:
    size = known.size(args[0])
    known.sized(node, Size(size.least, cap(size.most * 4)))
    return part(size.most, 0.1)


def _quote(known: Known, node: Node, args: list[Node]) -> int:
    size = known.size(args[0])
    known.sized(node, Size(cap(size.least + 2), cap(size.most * 2 + 2)))
    return part(size.most, 0.1)


def _replace(known: Known, node: Node, args: list[Node]) -> int:
    size, old, new = (known.size(arg) for arg in args[:3])
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
    known.sized(node, Size(fewest, most).times(new).plus(Size(left, kept)))
    return part(size.most, 0.2)


def _split(known: Known, node: Node, args: list[Node]) -> int:
    size = known.size(args[0])
    most = size.most
    if len(args) > 2 and isinstance(args[2], Const) and isinstance(args[2].value, int):
        most = args[2].value if args[2].value >= 0 else WHOLE
    known.sized(node, Size(0, most))
    return part(size.most, 0.2)


def _join(known: Known, node: Node, args: list[Node]) -> int:
    items, count = known.items(args[0])[0], known.size(args[0])
    size = count.times(items)
    if len(args) > 1:
        between = Size(max(0, count.least - 1), max(0, count.most - 1))
        size = size.plus(known.size(args[1]).times(between))
    known.sized(node, size)
    return part(size.most, 0.1)


def _address(known: Known, node: Node, args: list[Node]) -> int:
    return 1 if known.type(args[0]).kind == library.CIDR else part(known.size(args[0]).most, 0.1)


def _within(base: int) -> Price:
    def price(known: Known, node: Node, args: list[Node]) -> int:
        text = known.type(args[1]).kind == "string"
        return cap(base + (part(known.size(args[1]).most, 0.1) if text else 0))

    return price


def _validate(known: Known, node: Node, args: list[Node]) -> int:
    return part(part(known.size(args[1]).most, 0.1), 128 * 0.25)


def _product(known: Known, node: Node, args: list[Node]) -> int:
    return cap(known.size(args[0]).most * known.size(args[1]).most)


def _listing(size: Callable[[Known, list[Node]], Size], factor: float = 1.0) -> Price:
    """Of a function that makes a list of a size, after so much work for each item."""

    def price(known: Known, node: Node, args: list[Node]) -> int:
        found = size(known, args)
        known.sized(node, found)
        return cap(part(found.most, factor) + 1 + LISTED)

    return price


def _square(known: Known, args: list[Node]) -> Size:
    size = known.size(args[0])
    return size.times(size)


def _sliced(known: Known, args: list[Node]) -> Size:
    start, end = _number(args[1], 0), _number(args[2], known.size(args[0]).most)
    return Size(end - start, end - start) if end >= start else UNKNOWN


def _number(node: Node, default: int) -> int:
    written = isinstance(node, Const) and isinstance(node.value, int) and node.value >= 0
    return int(node.value) if written and isinstance(node, Const) else default


def _range(known: Known, args: list[Node]) -> Size:
    count = _number(args[0], WHOLE)
    return Size(count, count)


def _flatten(known: Known, node: Node, args: list[Node]) -> int:
    depth = _number(args[1], WHOLE) if len(args) > 1 else 1
    return _listing(lambda known, args: known.size(args[0]), float(depth))(known, node, args)


def _sort(known: Known, node: Node, args: list[Node]) -> int:
    kind = known.items(args[0])[1]
    return _listing(_square, 2.1 if kind in ("string", "bytes") else 2.0)(known, node, args)


def _double(known: Known, node: Node, args: list[Node]) -> int:
    return cap(known.size(args[0]).most * known.size(args[1]).most * 2)


PRICES: dict[str, Price] = {
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _walk),
    **dict.fromkeys(("url", "jsonpatch.escapeKey", "lowerAscii", "upperAscii", "substring", "trim"), _traversal(0, kept=True)),
    **dict.fromkeys(("quantity", "isQuantity", "semver", "isSemver", "cidr", "isIP", "isCIDR", "format"), _traversal(0)),
    **dict.fromkeys(("startsWith", "endsWith"), _traversal(1)),
    **dict.fromkeys(("find", "findAll", "matches"), _pattern),
    **dict.fromkeys(("_==_", "_!=_"), _equal),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _order),
    **dict.fromkeys(ANSWERED, lambda known, node, args: 1),
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
    "reverse": _listing(lambda known, args: known.size(args[0])),
    "lists.range": _listing(_range),
    "flatten": _flatten,
    "sets.contains": _product,
    "sets.intersects": _product,
    "sets.equivalent": _double,
}  # fmt: skip
