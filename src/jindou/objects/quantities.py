"""Quantities: "100m", "1.5Gi", "2e3", exactly, and in the canonical form that the API gives back.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

NUMBER = r"([+-]?(?:[0-9]{1,999}+(?:\.[0-9]{0,999}+)?|\.[0-9]{1,999}+))"
QUANTITY = re.compile(NUMBER + r"(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,4}))?")
MOST = Decimal(2**63 - 1)
BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
POWERS = {power: suffix for suffix, power in DECIMAL.items()}
NANO = Decimal("1e-9")


class BadQuantity(ValueError):
    def __init__(self) -> None:
        super().__init__(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )


@lru_cache(4096)
def parse(text: str | int | float) -> Decimal:
    """The exact value; finer than one billionth is rounded up, and of binary suffixes no more than
    64 bits hold. Numbers longer than anybody's are no quantities. Raises BadQuantity."""
    match = QUANTITY.fullmatch(str(text))
    if not match:
        raise BadQuantity
    number, suffix, exponent = Decimal(match[1]), match[2] or "", match[3]
    if exponent:
        value = number.scaleb(int(exponent))
    elif suffix in BINARY:
        value = max(-MOST, min(MOST, number * 1024 ** BINARY[suffix]))
    else:
        value = number.scaleb(DECIMAL[suffix])
    if (
        value != value.quantize(NANO, rounding=ROUND_CEILING)
        if value.copy_abs() < Decimal("1e15")
        else False
    ):
        value = value.quantize(NANO, rounding=ROUND_CEILING)
    return value


def value(text: str | int | float) -> int:
    """Rounded up to a whole number: bytes, pods."""
    return int(parse(text).to_integral_value(ROUND_CEILING))


def milli(text: str | int | float) -> int:
    """In thousandths, rounded up: CPU."""
    return int((parse(text) * 1000).to_integral_value(ROUND_CEILING))


@lru_cache(4096)
def canonical(text: str | int | float) -> str:
    """The form in which the API returns it: 1000m -> 1, 1024Mi -> 1Gi, 0.5 -> 500m."""
    match = QUANTITY.fullmatch(str(text))
    if not match:
        raise BadQuantity
    return written(parse(text), match[2] in BINARY, bool(match[3]))


def written(number: Decimal, binary: bool = False, exponent: bool = False) -> str:
    """A value in its canonical form, of the family that was asked for."""
    if binary and number == number.to_integral_value() and number.copy_abs() >= 1024:
        whole, power = int(number), 0
        while whole % 1024 == 0 and power < 6:
            whole, power = whole // 1024, power + 1
        return f"{whole}{next((s for s, p in BINARY.items() if p == power), '')}"
    return _decimal(number, exponent)


def _decimal(number: Decimal, exponent_form: bool) -> str:
    if not number:
        return "0"
    power = 18
    while power > -9:
        scaled = number.scaleb(-power)
        if scaled == scaled.to_integral_value():
            break
        power -= 3
    whole = int(number.scaleb(-power).to_integral_value(ROUND_CEILING))
    if exponent_form:
        return f"{whole}e{power}" if power else str(whole)
    return f"{whole}{POWERS[power]}"


def format_bytes(count: int) -> str:
    """A number of bytes as the kubelet writes capacities: whole Ki."""
    return f"{count // 1024}Ki"
