"""CEL's operators and plain conversions over Python values, with the bounds of its numbers.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

from jindou.control.api.expressions.language.values import (
    SCALARS,
    CelError,
    Keyed,
    Opaque,
    Optional,
    TypeName,
    Uint,
    equal,
    type_of,
)  # fmt: skip

MOST, LEAST = (1 << 63) - 1, -(1 << 63)
WHOLE = re.compile(r"[-+]?0*[0-9]{1,19}")
UNSIGNED = re.compile(r"0*[0-9]{1,20}")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def no_overload() -> CelError:
    return CelError("no such overload")


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(a: Any, b: Any) -> type:
    """The one type of both operands of an arithmetic operator."""
    kind = type(a)
    if kind is not type(b) or kind is bool:
        raise no_overload()
    return kind


def _whole(value: int, kind: type) -> int:
    if kind is Uint:
        if not 0 <= value < 1 << 64:
            raise CelError("unsigned integer overflow")
        return Uint(value)
    if not LEAST <= value <= MOST:
        raise CelError("integer overflow")
    return value


def add(a: Any, b: Any) -> Any:
    if isinstance(a, list) and isinstance(b, list):
        return _join(a, b)
    times = (datetime.datetime, datetime.timedelta)
    if isinstance(a, times) and isinstance(b, times):
        if isinstance(a, datetime.datetime) and isinstance(b, datetime.datetime):
            raise no_overload()
        return _moment(lambda: a + b)  # type: ignore[operator]
    kind = _kind(a, b)
    if kind in (int, Uint):
        return _whole(int(a) + int(b), kind)
    if kind in (float, str, bytes):
        return a + b
    raise no_overload()


def _moment(work: Any) -> Any:
    try:
        return work()
    except OverflowError:
        raise CelError("timestamp overflow") from None


def _join(a: list[Any], b: list[Any]) -> list[Any]:
    if not isinstance(a, Keyed):
        return [*a, *b]
    key = a.key
    new = {key(item): item for item in b}
    kept = [new.pop(key(item), item) for item in a]
    return Keyed([*kept, *new.values()], key)


def subtract(a: Any, b: Any) -> Any:
    if isinstance(a, datetime.datetime) and isinstance(b, (datetime.datetime, datetime.timedelta)):
        return _moment(lambda: a - b)
    if isinstance(a, datetime.timedelta) and isinstance(b, datetime.timedelta):
        return a - b
    kind = _kind(a, b)
    if kind in (int, Uint):
        return _whole(int(a) - int(b), kind)
    if kind is float:
        return a - b
    raise no_overload()


def multiply(a: Any, b: Any) -> Any:
    kind = _kind(a, b)
    if kind in (int, Uint):
        return _whole(int(a) * int(b), kind)
    if kind is float:
        return a * b
    raise no_overload()


def divide(a: Any, b: Any) -> Any:
    kind = _kind(a, b)
    if kind is float:
        if b == 0:
            return (
                math.nan
                if a == 0 or math.isnan(a)
                else math.copysign(math.inf, a) * math.copysign(1, b)
            )
        return a / b
    if kind not in (int, Uint):
        raise no_overload()
    if b == 0:
        raise CelError("division by zero")
    found = abs(int(a)) // abs(int(b))
    return _whole(-found if (a < 0) != (b < 0) else found, kind)


def modulo(a: Any, b: Any) -> Any:
    kind = _kind(a, b)
    if kind not in (int, Uint):
        raise no_overload()
    if b == 0:
        raise CelError("modulus by zero")
    found = abs(int(a)) % abs(int(b))
    return _whole(-found if a < 0 else found, kind)


def negate(a: Any) -> Any:
    if type(a) is int:
        return _whole(-a, int)
    if isinstance(a, float):
        return -a
    raise no_overload()


def order(a: Any, b: Any) -> int:
    """-1, 0 or 1; numbers of different types are compared by value."""
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    if numbers and isinstance(a, bool) != isinstance(b, bool):
        raise no_overload()
    if not numbers and not (isinstance(a, SCALARS) and type(a) is type(b)):
        raise no_overload()
    return int(a > b) - int(a < b)


def contains(item: Any, within: Any) -> bool:
    if isinstance(within, dict):
        return not isinstance(item, bool) and _hashable(item) and item in within
    if isinstance(within, list):
        return any(equal(item, held) for held in within)
    raise no_overload()


def _hashable(item: Any) -> bool:
    return isinstance(item, (str, int, float, bytes))


def index(value: Any, at: Any) -> Any:
    if isinstance(value, Optional):
        return value if not value.present else optional_index(value.value, at)
    if isinstance(value, dict):
        if not _hashable(at) or at not in value:
            raise CelError(f"no such key: {text(at)}")
        return value[at]
    if isinstance(value, list) and is_number(at):
        if not 0 <= at < len(value) or at != int(at):
            raise CelError(f"index out of bounds: {text(at)}")
        return value[int(at)]
    raise no_overload()


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def optional_index(value: Any, at: Any) -> Optional:
    if isinstance(value, Optional):
        return value if not value.present else optional_index(value.value, at)
    if isinstance(value, dict):
        found = _hashable(at) and at in value
        return Optional(found, value[at] if found else None)
    if isinstance(value, list) and is_int(at):
        found = 0 <= at < len(value)
        return Optional(found, value[at] if found else None)
    return Optional(False)


def select(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        try:
            return value[name]
        except KeyError:
            raise CelError(f"no such key: {name}") from None
    if isinstance(value, Optional):
        return value if not value.present else optional_index(value.value, name)
    if isinstance(value, Opaque) and name in value.fields:
        return value.fields[name]
    raise no_overload()


def has(value: Any, name: str) -> bool:
    if isinstance(value, dict):
        return name in value
    if isinstance(value, Optional):
        return value.present and has(value.value, name)
    raise no_overload()


def text(value: Any) -> str:
    """A value in a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


# ---------------------------------------------------------------- conversions


def to_int(value: Any) -> int:
    if isinstance(value, bool):
        raise no_overload()
    if isinstance(value, str):
        if not WHOLE.fullmatch(value):
            raise CelError("type conversion error from 'string' to 'int'")
        return _whole(int(value), int)
    if isinstance(value, float):
        if math.isnan(value) or not LEAST <= value <= MOST:
            raise CelError("integer overflow")
        return _whole(int(value), int)
    if isinstance(value, int):
        return _whole(int(value), int)
    if isinstance(value, datetime.datetime):
        return int((value - EPOCH) // datetime.timedelta(seconds=1))
    raise no_overload()


def to_uint(value: Any) -> int:
    if isinstance(value, str) and UNSIGNED.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and not math.isnan(value) and not math.isinf(value):
        value = int(value)
    if not is_int(value):
        raise no_overload()
    return _whole(int(value), Uint)


def to_double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise no_overload()
    try:
        return float(value)
    except ValueError:
        raise CelError("type conversion error from 'string' to 'double'") from None


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "TRUE", "True", "t", "1"):
        return True
    if value in ("false", "FALSE", "False", "f", "0"):
        return False
    raise CelError("type conversion error from 'string' to 'bool'")


def to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise no_overload()


def kind_of(value: Any) -> TypeName:
    return TypeName(type_of(value))
