"""Numbers that may be written as a percentage of a whole. Pure."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal


def portion(value: int | str, whole: int, rounding: str = ROUND_CEILING) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return int((Decimal(value[:-1]) * whole / 100).to_integral_value(rounding))
    return int(value)
