"""What an expression costs at most, worked out before it is ever evaluated.

The numbers are those of the real server, for a definition that it refuses is refused here. Only the
upper end of an estimate is followed, and of sizes the lower end where it bears on one.
Source: https://kubernetes.io/docs/reference/using-api/cel/#resource-constraints
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jindou.control.api.expressions.cost.bounds import Bound
from jindou.control.api.expressions.cost.prices import PRICES
from jindou.control.api.expressions.cost.sizes import UNKNOWN, WHOLE, Entries, Size, cap
from jindou.control.api.expressions.language import library, syntax
from jindou.control.api.expressions.language.evaluation import dotted
from jindou.control.api.expressions.language.frames import LISTED, MAPPED, STRUCTURED
from jindou.control.api.expressions.language.syntax import (
    Call,
    Const,
    Fold,
    Ident,
    ListOf,
    MapOf,
    Node,
    Select,
    Type,
)  # fmt: skip

RULE_LIMIT = 10_000_000
DEFINITION_LIMIT = 100_000_000
SCALARS = frozenset({"bool", "double", "duration", "int", "timestamp", "uint"})


class Local(NamedTuple):
    path: tuple[str, ...]
    size: Size | None
    entries: Entries | None


def estimate(data: bytes, bound: Bound | None) -> int:
    """The most that a checked expression can cost; `bound` is of `self` and `oldSelf`."""
    estimator = Estimator(syntax.types(data), bound)
    return estimator.cost(syntax.decode(data).tree)


class Estimator:
    def __init__(self, types: Mapping[int, Type], bound: Bound | None) -> None:
        self._types = types
        self._bound = bound
        self._paths: dict[int, tuple[str, ...]] = {}
        self._sizes: dict[int, Size] = {}
        self._entries: dict[int, Entries] = {}
        self._locals: dict[str, list[Local]] = {}

    # ------------------------------------------------------------ what is known of a node

    def type(self, node: Node) -> Type:
        if isinstance(node, Const) and node.id not in self._types:
            return Type("string" if isinstance(node.value, str) else "int")
        return self._types.get(node.id, Type("dyn"))

    def _local(self, node: Node) -> Local | None:
        held = self._locals.get(node.name) if isinstance(node, Ident) else None
        return held[-1] if held else None

    def path(self, node: Node) -> tuple[str, ...]:
        if (local := self._local(node)) is not None:
            return local.path
        return self._paths.get(node.id, ())

    def size(self, node: Node) -> Size:
        return self._size(node) or UNKNOWN

    def _size(self, node: Node) -> Size | None:
        if node.id in self._sizes:
            return self._sizes[node.id]
        if (size := _written(node)) is not None:
            return size
        if (size := self._declared(self.path(node))) is not None:
            self._sizes[node.id] = size
            return size
        if _scalar(self.type(node)):
            return Size(1, 1)
        local = self._local(node)
        return local.size if local is not None else None

    def _declared(self, path: tuple[str, ...]) -> Size | None:
        if not path or self._bound is None:
            return None
        found = self._bound.at(path[1:])
        return None if found is None else Size(0, found.most)

    def entries(self, node: Node) -> Entries | None:
        if node.id in self._entries:
            return self._entries[node.id]
        local = self._local(node)
        return local.entries if local is not None else None

    def items(self, node: Node) -> tuple[Size, str]:
        """The size of what a list holds, and its kind."""
        inner = self.type(node).of
        path = self.path(node)
        declared = self._declared((*path, "@items")) if path else None
        return declared or UNKNOWN, inner[0].kind if inner else ""

    # ------------------------------------------------------------ costs

    def cost(self, node: Node) -> int:
        if isinstance(node, Const):
            return 0
        if isinstance(node, Ident):
            local = self._local(node)
            self._paths[node.id] = local.path if local is not None else (node.name,)
            return 1
        if isinstance(node, Select):
            return self._select(node)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, ListOf):
            return self._list(node)
        if isinstance(node, MapOf):
            return self._map(node)
        return self._fold(node)

    def _select(self, node: Select) -> int:
        found = self.cost(node.operand)
        if node.test:
            return found
        self._paths[node.id] = (*self.path(node.operand), node.field)
        kind = self.type(node.operand).kind
        return found + 1 if kind in ("map", "message", "dyn") else found

    def _list(self, node: ListOf) -> int:
        found, size = LISTED, Size(WHOLE if node.elements else 0, 0)
        for part in node.elements:
            found += self.cost(part)
            size = size.union(self.size(part))
        self._entries[node.id] = Entries(False, Size(1, 1), size)
        return cap(found)

    def _map(self, node: MapOf) -> int:
        found = STRUCTURED if node.message else MAPPED
        empty = 0 if not node.entries else WHOLE
        key, value = Size(empty, 0), Size(empty, 0)
        for entry in node.entries:
            if not isinstance(entry.key, str):
                found += self.cost(entry.key)
                key = key.union(self.size(entry.key))
            found += self.cost(entry.value)
            value = value.union(self.size(entry.value))
        self._entries[node.id] = Entries(True, key, value)
        return cap(found)

    def _fold(self, node: Fold) -> int:
        found = self.cost(node.over) + self.cost(node.start)
        self._push(node.result_name, self._kept(node.start))
        entries, path = self.entries(node.over), self.path(node.over)
        is_map = entries.is_map if entries else self.type(node.over).kind != "list"
        names = [(node.variable, is_map)] if not node.second else [(node.variable, True), (node.second, False)]  # fmt: skip
        for name, key in names:
            step = (
                ("@keys" if is_map else "@indices") if key else ("@values" if is_map else "@items")
            )
            size = (entries.key if key else entries.value) if entries else None
            self._push(name, Local((*path, step), size, None))
        loop = self.cost(node.going_on) + self.cost(node.step)
        for name, _ in names:
            self._locals[name].pop()
        found += self.cost(node.result)
        self._locals[node.result_name].pop()
        count = self.size(node.over)
        if isinstance(node.start, (ListOf, MapOf)):
            self._sizes[node.id] = count
            if (inner := self.entries(node.step)) is not None:
                self._entries[node.id] = inner
        elif isinstance(node.start, Const) and (size := self._size(node.start)) is not None:
            self._sizes[node.id] = size
        return cap(found + count.most * loop)

    def _kept(self, node: Node) -> Local:
        return Local(self.path(node), self._size(node), self.entries(node))

    def _push(self, name: str, local: Local) -> None:
        self._locals.setdefault(name, []).append(local)

    # ------------------------------------------------------------ calls

    def _call(self, node: Call) -> int:
        name, target = node.function, node.target
        space = dotted(target)
        if space and f"{space}.{name}" in library.NAMESPACED and space not in self._locals:
            name, target = f"{space}.{name}", None
        args = [target, *node.args] if target is not None else list(node.args)
        costs = [self.cost(arg) for arg in args]
        total = cap(sum(costs))
        if name == "dyn":
            self._copy(node, args[0])
            return total + 1
        if name == "_?_:_":
            self._either(node, args)
            return cap(costs[0] + max(costs[1], costs[2]))
        if name in ("_&&_", "_||_"):
            return total
        if name == "_[_]":
            self._index(node, args[0])
            return cap(total + 1)
        price = PRICES.get(name)
        found = cap(total + (1 if price is None else price(self, node, args)))
        self._size(node)
        return found

    def _copy(self, node: Node, other: Node) -> None:
        if (size := self._size(other)) is not None:
            self._sizes[node.id] = size
        if (entries := self.entries(other)) is not None:
            self._entries[node.id] = entries

    def _either(self, node: Node, args: list[Node]) -> None:
        self._sizes[node.id] = self.size(args[1]).union(self.size(args[2]))
        entries = self.entries(args[1])
        both = entries.union(self.entries(args[2])) if entries else None
        if both is not None:
            self._entries[node.id] = both

    def _index(self, node: Node, held: Node) -> None:
        step = "@items" if self.type(held).kind == "list" else "@values"
        self._paths[node.id] = (*self.path(held), step)
        if (entries := self.entries(held)) is not None:
            self._sizes[node.id] = entries.value

    def sized(self, node: Node, size: Size) -> None:
        self._sizes[node.id] = size

    def joined(self, node: Node, args: list[Node]) -> None:
        entries = self.entries(args[0])
        both = entries.union(self.entries(args[1])) if entries else None
        if both is not None:
            self._entries[node.id] = both


def _written(node: Node) -> Size | None:
    """Of what is written out in the expression."""
    if isinstance(node, Const):
        size = len(node.value) if isinstance(node.value, (str, bytes)) else 1
        return Size(size, size)
    if isinstance(node, ListOf):
        return Size(len(node.elements), len(node.elements))
    if isinstance(node, MapOf) and not node.message:
        return Size(len(node.entries), len(node.entries))
    return None


def _scalar(kind: Type) -> bool:
    return kind.kind in SCALARS or (kind.kind == "optional_type" and _scalar(kind.of[0]))


def excess(name: str, cost: int, limit: int) -> str:
    """What is said of a cost above its limit."""
    factor = cost / limit
    told = (
        "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    )
    return (
        f"Forbidden: {name} exceeds budget by factor of {told} (try simplifying the rule, or adding "
        "maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
