"""How large values can be, and what may be asked of whoever follows that through an expression."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from jindou.control.api.expressions.language.syntax import Node, Type

WHOLE = (1 << 64) - 1


class Size(NamedTuple):
    least: int
    most: int

    def union(self, other: Size) -> Size:
        return Size(min(self.least, other.least), max(self.most, other.most))

    def plus(self, other: Size) -> Size:
        return Size(cap(self.least + other.least), cap(self.most + other.most))

    def times(self, other: Size) -> Size:
        return Size(cap(self.least * other.least), cap(self.most * other.most))


UNKNOWN = Size(0, WHOLE)


def cap(number: float) -> int:
    return WHOLE if number >= WHOLE else int(number)


def part(number: int, factor: float) -> int:
    return cap(math.ceil(float(number) * factor))


class Entries(NamedTuple):
    """The sizes of what a list or map that an expression makes holds."""

    is_map: bool
    key: Size
    value: Size

    def union(self, other: Entries | None) -> Entries | None:
        if other is None:
            return None
        return Entries(self.is_map, self.key.union(other.key), self.value.union(other.value))


class Known(Protocol):
    """What the estimate of an expression knows of its nodes."""

    def type(self, node: Node) -> Type: ...
    def size(self, node: Node) -> Size: ...
    def items(self, node: Node) -> tuple[Size, str]:
        """The size of what a list holds, and its kind."""

    def sized(self, node: Node, size: Size) -> None:
        """The size of a result is known."""

    def joined(self, node: Node, args: list[Node]) -> None:
        """A result holds what two lists hold."""
