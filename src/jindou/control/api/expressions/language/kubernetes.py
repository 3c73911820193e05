"""The functions that Kubernetes adds to CEL: quantities, addresses, URLs, versions, formats.

Source: https://kubernetes.io/docs/reference/using-api/cel/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from jindou.control.api.expressions.language.library import FORMATS as FORMAT_NAMES
from jindou.control.api.expressions.language.operators import MOST, is_int, no_overload
from jindou.control.api.expressions.language.values import (
    Address,
    CelError,
    Format,
    Network,
    Optional,
    Quantity,
    Semver,
    Url,
)  # fmt: skip
from jindou.control.api.rules import names
from jindou.control.api.rules.custom import formats
from jindou.objects import quantities

SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)
MOST_DIGITS = 20  # of a number in a version


def succeeds(make: Callable[..., Any]) -> Callable[..., bool]:
    def test(*given: Any) -> bool:
        try:
            make(*given)
        except CelError:
            return False
        return True

    return test


def _expect(kind: type, *values: Any) -> None:
    if not all(isinstance(value, kind) for value in values):
        raise no_overload()


# ---------------------------------------------------------------- quantities


def quantity(text: Any) -> Quantity:
    _expect(str, text)
    try:
        return Quantity(quantities.parse(text))
    except (quantities.BadQuantity, ArithmeticError) as error:
        raise CelError(str(error)) from None


def _other(value: Any) -> Decimal:
    if is_int(value):
        return Decimal(value)
    _expect(Quantity, value)
    found: Decimal = value.value
    return found


def plus(a: Any, b: Any) -> Quantity:
    _expect(Quantity, a)
    return Quantity(a.value + _other(b))


def minus(a: Any, b: Any) -> Quantity:
    _expect(Quantity, a)
    return Quantity(a.value - _other(b))


def sign(a: Any) -> int:
    _expect(Quantity, a)
    return int(a.value > 0) - int(a.value < 0)


def is_integer(a: Any) -> bool:
    _expect(Quantity, a)
    return bool(a.value == a.value.to_integral_value()) and abs(a.value) <= MOST


def as_integer(a: Any) -> int:
    if not is_integer(a):
        raise CelError("cannot convert value to integer")
    return int(a.value)


def as_float(a: Any) -> float:
    _expect(Quantity, a)
    return float(a.value)


def compared(a: Any, b: Any) -> int:
    """Of two quantities or two versions."""
    if type(a) is not type(b) or not isinstance(a, (Quantity, Semver)):
        raise no_overload()
    assert isinstance(b, (Quantity, Semver))
    one, other = _rank(a), _rank(b)
    return int(one > other) - int(one < other)


def _rank(value: Quantity | Semver) -> Any:
    return value.value if isinstance(value, Quantity) else value.order


# ---------------------------------------------------------------- addresses


def ip(value: Any) -> Address:
    if isinstance(value, Network):
        return Address(value.address)
    _expect(str, value)
    if "%" in value:
        raise CelError(f'IP address "{value}" with zone value is not allowed')
    return Address(_unmapped(value, ipaddress.ip_address, value))


def _unmapped(text: str, read: Callable[[str], Any], shown: str) -> Any:
    try:
        found = read(text)
    except ValueError:
        raise CelError(
            f'IP Address "{shown}" parse error during conversion from string: '
            f'ParseAddr("{shown}"): unable to parse IP'
        ) from None
    first = found if hasattr(found, "packed") else found.ip
    if getattr(first, "ipv4_mapped", None) is not None:
        raise CelError(f'IPv4-mapped IPv6 address "{shown}" is not allowed')
    return found


def cidr(value: Any) -> Network:
    _expect(str, value)
    base, slash, bits = value.partition("/")
    if not slash or not bits.isdecimal() or (bits != "0" and bits.startswith("0")) or "%" in base:
        raise CelError(
            f"network address parse error during conversion from string: netip.ParsePrefix(\"{value}\"): no '/'"
        )
    try:
        held = ipaddress.ip_interface(value)
    except ValueError as error:
        raise CelError(
            f"network address parse error during conversion from string: {error}"
        ) from None
    if getattr(held.ip, "ipv4_mapped", None) is not None:
        raise CelError(f'IPv4-mapped IPv6 address "{value}" is not allowed')
    return Network(held.ip, held.network)


def is_canonical(text: Any) -> bool:
    return bool(str(ip(text).value) == text)


def contains_ip(net: Any, other: Any) -> bool:
    _expect(Network, net)
    held = other if isinstance(other, Address) else ip(other)
    return bool(held.value.version == net.value.version and held.value in net.value)


def contains_cidr(net: Any, other: Any) -> bool:
    _expect(Network, net)
    held = other if isinstance(other, Network) else cidr(other)
    inner: Any = held.value
    return bool(inner.version == net.value.version and inner.subnet_of(net.value))


def masked(net: Any) -> Network:
    _expect(Network, net)
    return Network(net.value.network_address, net.value)


def prefix_length(net: Any) -> int:
    _expect(Network, net)
    return int(net.value.prefixlen)


def address_text(value: Any) -> str:
    if isinstance(value, Network):
        return f"{value.address}/{value.value.prefixlen}"
    return str(value.value)


def _asked(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def ask(value: Any) -> bool:
        _expect(Address, value)
        return test(value.value)

    return ask


def _global(address: Any) -> bool:
    return not (
        address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local
        or str(address) == "255.255.255.255"
    )  # fmt: skip


def _local_multicast(address: Any) -> bool:
    packed = address.packed
    if address.version == 4:
        return bool(packed[:3] == b"\xe0\x00\x00")
    return bool(packed[0] == 0xFF and packed[1] & 0x0F == 2)


# ---------------------------------------------------------------- URLs


def url(text: Any) -> Url:
    _expect(str, text)
    says = f'URL parse error during conversion from string: parse "{text}"'
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - says whether it is one
    except ValueError as error:
        raise CelError(f"{says}: {error}") from None
    odd = any(letter <= " " or letter == "\x7f" for letter in text)
    if odd or not (parts.scheme or text.startswith("/")):
        raise CelError(f"{says}: invalid URI for request")
    return Url(text, parts)


def url_host(value: Any) -> str:
    _expect(Url, value)
    return str(value.parts.netloc.rpartition("@")[2])


def url_name(value: Any) -> str:
    host = url_host(value)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def url_port(value: Any) -> str:
    _expect(Url, value)
    return "" if value.parts.port is None else str(value.parts.port)


def url_scheme(value: Any) -> str:
    _expect(Url, value)
    return str(value.parts.scheme)


def url_path(value: Any) -> str:
    _expect(Url, value)
    return quote(unquote(value.parts.path), safe="/!$&'()*+,;=:@~%")


def url_query(value: Any) -> dict[str, list[str]]:
    _expect(Url, value)
    return parse_qs(value.parts.query, keep_blank_values=True)


# ---------------------------------------------------------------- versions


def semver(text: Any, lenient: Any = False) -> Semver:
    _expect(str, text)
    _expect(bool, lenient)
    match = SEMVER.fullmatch(_full(text) if lenient else text)
    if match is None:
        raise CelError("Invalid character(s) found in version" if text else "Version string empty")
    before = match[4]
    numbers = [*match.group(1, 2, 3), *(p for p in (before or "").split(".") if p.isdecimal())]
    if any(len(number) > MOST_DIGITS or int(number) >= 1 << 64 for number in numbers):
        raise CelError("Error parsing version segment: value out of range")
    parts = tuple(
        (0, int(p), "") if p.isdecimal() else (1, 0, p) for p in (before or "").split(".")
    )
    return Semver(((int(match[1]), int(match[2]), int(match[3])), before is None, parts))


def _full(text: str) -> str:
    """v1.02 as 1.2.0."""
    core = re.match(r"v?([\d.]*)(.*)", text.strip(), re.DOTALL)
    assert core is not None
    numbers = [part.lstrip("0") or "0" for part in core[1].split(".")]
    return ".".join(numbers + ["0"] * (3 - len(numbers))) + core[2]


def version_part(n: int) -> Callable[[Any], int]:
    def part(value: Any) -> int:
        _expect(Semver, value)
        return int(value.order[0][n])

    return part


# ---------------------------------------------------------------- formats


def _told(check: Callable[[str], str]) -> Callable[[str], list[str]]:
    return lambda text: [wrong] if (wrong := check(text)) else []


def _prefix(check: Callable[[str], str]) -> Callable[[str], list[str]]:
    return lambda text: (
        [wrong] if (wrong := check(text[:-1] + "a" if text.endswith("-") else text)) else []
    )


def _form(name: str, says: str) -> Callable[[str], list[str]]:
    return lambda text: [] if formats.fits(name, text) else [says]


CHECKS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": _told(names.label),
    "dns1123Subdomain": _told(names.subdomain),
    "dns1035Label": _told(names.label_1035),
    "qualifiedName": _told(names.qualified),
    "dns1123LabelPrefix": _prefix(names.label),
    "dns1123SubdomainPrefix": _prefix(names.subdomain),
    "dns1035LabelPrefix": _prefix(names.label_1035),
    "labelValue": _told(names.label_value),
    "uri": lambda text: [] if succeeds(url)(text) else [f'parse "{text}": invalid URI for request'],
    "uuid": _form("uuid", "does not match the UUID format"),
    "byte": _form("byte", "invalid base64"),
    "date": _form("date", "invalid date"),
    "datetime": _form("date-time", "invalid datetime"),
}


def named_format(name: Any) -> Optional:
    return Optional(name in FORMAT_NAMES, Format(name))


def check_format(held: Any, text: Any) -> Optional:
    _expect(Format, held)
    _expect(str, text)
    wrong = CHECKS[held.name](text)
    return Optional(bool(wrong), wrong)


def family(value: Any) -> int:
    _expect(Address, value)
    return int(value.value.version)


def escape_key(text: Any) -> str:
    _expect(str, text)
    return str(text.replace("~", "~0").replace("/", "~1"))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "quantity": quantity,
    "isQuantity": succeeds(quantity),
    "add": plus,
    "sub": minus,
    "sign": sign,
    "isInteger": is_integer,
    "asInteger": as_integer,
    "asApproximateFloat": as_float,
    "compareTo": compared,
    "isGreaterThan": lambda a, b: compared(a, b) > 0,
    "isLessThan": lambda a, b: compared(a, b) < 0,
    "ip": ip,
    "isIP": succeeds(ip),
    "ip.isCanonical": is_canonical,
    "family": family,
    "isUnspecified": _asked(lambda a: bool(a.is_unspecified)),
    "isLoopback": _asked(lambda a: bool(a.is_loopback)),
    "isLinkLocalUnicast": _asked(lambda a: bool(a.is_link_local)),
    "isLinkLocalMulticast": _asked(_local_multicast),
    "isGlobalUnicast": _asked(_global),
    "cidr": cidr,
    "isCIDR": succeeds(cidr),
    "containsIP": contains_ip,
    "containsCIDR": contains_cidr,
    "masked": masked,
    "prefixLength": prefix_length,
    "url": url,
    "isURL": succeeds(url),
    "getScheme": url_scheme,
    "getHost": url_host,
    "getHostname": url_name,
    "getPort": url_port,
    "getEscapedPath": url_path,
    "getQuery": url_query,
    "semver": semver,
    "isSemver": succeeds(semver),
    "major": version_part(0),
    "minor": version_part(1),
    "patch": version_part(2),
    "validate": check_format,
    "format.named": named_format,
    **{f"format.{name}": (lambda name=name: Format(name)) for name in FORMAT_NAMES},
    "jsonpatch.escapeKey": escape_key,
}
