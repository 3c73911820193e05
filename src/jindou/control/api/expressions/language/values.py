"""What CEL knows besides JSON: unsigned numbers, optionals, types, lists with keys, and opaque values.

Times and durations are Python's own (a time always with its zone). Every opaque value says its CEL
type as `cel_type`; equality and order are those of the value, not of its text.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, ClassVar
from urllib.parse import SplitResult

from jindou.control.api.expressions.language import library


class CelError(Exception):
    """An evaluation that failed; the message is the user's to read."""


class CostExceeded(CelError):
    """The evaluation was ended: it has cost more than it may."""


class Uint(int):
    __slots__ = ()


class Optional:
    """A value that may be absent."""

    __slots__ = ("present", "value")
    cel_type = "optional_type"

    def __init__(self, present: bool, value: Any = None) -> None:
        self.present = present
        self.value = value


ABSENT = Optional(False)


@dataclass(frozen=True)
class TypeName:
    name: str
    cel_type: ClassVar[str] = "type"


class Keyed(list[Any]):
    """A list whose elements are told apart by a key (x-kubernetes-list-type: map, set): their
    order says nothing, and adding one replaces that of the same key."""

    __slots__ = ("key",)

    def __init__(self, items: Any, key: Callable[[Any], Any]) -> None:
        super().__init__(items)
        self.key = key


class Struct(dict[str, Any]):
    """A map that was made as a message of some type: `Object.spec{...}`."""

    __slots__ = ("name",)

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.name = name


@dataclass(frozen=True)
class Quantity:
    value: Decimal
    cel_type: ClassVar[str] = library.QUANTITY


@dataclass(frozen=True)
class Address:
    value: IPv4Address | IPv6Address
    cel_type: ClassVar[str] = library.IP


@dataclass(frozen=True)
class Network:
    address: IPv4Address | IPv6Address
    value: IPv4Network | IPv6Network
    cel_type: ClassVar[str] = library.CIDR


@dataclass(frozen=True)
class Url:
    text: str
    parts: SplitResult
    cel_type: ClassVar[str] = library.URL


@dataclass(frozen=True)
class Semver:
    order: tuple[Any, ...]
    cel_type: ClassVar[str] = library.SEMVER


@dataclass(frozen=True)
class Format:
    name: str
    cel_type: ClassVar[str] = library.FORMAT


@dataclass(frozen=True)
class Opaque:
    """What a caller brings along with functions of its own: an authorizer and what it is asked."""

    cel_type: str
    held: Any  # `call(function, *arguments)` of it answers for the value
    fields: Mapping[str, Any] = field(default_factory=dict)


def type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    for kind, name in KINDS:
        if isinstance(value, kind):
            return name
    return str(getattr(value, "cel_type", "dyn"))


KINDS: tuple[tuple[type, str], ...] = (
    (type(None), "null_type"),
    (str, "string"),
    (Uint, "uint"),
    (int, "int"),
    (float, "double"),
    (list, "list"),
    (dict, "map"),
    (bytes, "bytes"),
    (datetime.datetime, "google.protobuf.Timestamp"),
    (datetime.timedelta, "google.protobuf.Duration"),
)
SCALARS = (str, bytes, datetime.datetime, datetime.timedelta)


def equal(a: Any, b: Any) -> bool:
    """CEL's equality: numbers by value, everything else only within its own type."""
    kind = type(a)
    if kind is str or kind is bytes:
        return type(b) is kind and bool(a == b)
    if kind is bool or type(b) is bool:
        return kind is type(b) and bool(a == b)
    if isinstance(a, (int, float)):
        return isinstance(b, (int, float)) and a == b
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and _same_items(a, b)
    if isinstance(a, dict):
        if not isinstance(b, dict) or len(a) != len(b):
            return False
        return all(name in b and equal(held, b[name]) for name, held in a.items())
    if isinstance(a, Optional):
        if not isinstance(b, Optional) or a.present != b.present:
            return False
        return not a.present or equal(a.value, b.value)
    return type_of(a) == type_of(b) and bool(a == b)


def _same_items(a: list[Any], b: list[Any]) -> bool:
    if not isinstance(a, Keyed):
        return all(equal(one, other) for one, other in zip(a, b))
    by_key = {a.key(item): item for item in b}
    return all(a.key(item) in by_key and equal(item, by_key[a.key(item)]) for item in a)


def size(value: Any) -> int:
    """What a traversal of a value costs: its length, or 1."""
    return len(value) if isinstance(value, (str, bytes, list, dict)) else 1
