"""The formats of strings that a custom resource's schema can ask for; an unknown one asks for nothing."""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
import re
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")
HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*\.?"
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
DURATION = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d|w)(\s*(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d|w))*|0"
)
MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(\1[0-9A-Fa-f]{2}){4}")
BSON = re.compile(r"[0-9a-fA-F]{24}")
COLOR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


def parses(read: Callable[[str], object]) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            read(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return fits


def _date_time(text: str) -> bool:
    if not DATE_TIME.fullmatch(text):
        return False
    return parses(datetime.datetime.fromisoformat)(text[:19].upper())


def _uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) and not any(c.isspace() for c in text)


def _uuid(version: int = 0) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            found = uuid.UUID(text)
        except ValueError:
            return False
        return len(text) in (32, 36) and version in (0, found.version)

    return fits


def _cidr(text: str) -> bool:
    return "/" in text and parses(lambda t: ipaddress.ip_network(t, strict=False))(text)


FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _date_time,
    "datetime": _date_time,
    "date": parses(datetime.date.fromisoformat),
    "duration": lambda text: bool(DURATION.fullmatch(text)),
    "email": lambda text: bool(EMAIL.fullmatch(text)),
    "hostname": lambda text: bool(HOST.fullmatch(text)),
    "ipv4": parses(ipaddress.IPv4Address),
    "ipv6": parses(ipaddress.IPv6Address),
    "cidr": _cidr,
    "mac": lambda text: bool(MAC.fullmatch(text)),
    "uri": _uri,
    "uuid": _uuid(),
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
    "bsonobjectid": lambda text: bool(BSON.fullmatch(text)),
    "hexcolor": lambda text: bool(COLOR.fullmatch(text)),
    "byte": parses(lambda text: base64.b64decode(text, validate=True)),
}


def fits(name: str, text: str) -> bool:
    check = FORMATS.get(name)
    return check is None or check(text)
