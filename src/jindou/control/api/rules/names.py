"""What names, labels and other identifiers may look like, in the words of the API server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jindou.control.api import depth
from jindou.objects.errors import Fault

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
ENV_NAME = re.compile(r"[^=\x00-\x1f\x7f]+")

SUBDOMAIN_SAYS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_SAYS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
    "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_SAYS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_SAYS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
DATA_KEY_SAYS = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', "
    "regex used for validation is '[-._a-zA-Z0-9]+')"
)
LABEL_VALUE_SAYS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def quoted(value: Any) -> str:
    return depth.dumps(value).decode()


def required(field: str, says: str = "") -> Fault:
    return Fault("FieldValueRequired", f"Required value{': ' + says if says else ''}", field)


def invalid(field: str, value: Any, says: str) -> Fault:
    return Fault("FieldValueInvalid", f"Invalid value: {quoted(value)}: {says}", field)


def forbidden(field: str, says: str) -> Fault:
    return Fault("FieldValueForbidden", f"Forbidden{': ' + says if says else ''}", field)


def duplicate(field: str, value: Any) -> Fault:
    return Fault("FieldValueDuplicate", f"Duplicate value: {quoted(value)}", field)


def unsupported(field: str, value: Any, known: Sequence[str], *, ordered: bool = True) -> Fault:
    listed = ", ".join(quoted(k) for k in (sorted(known) if ordered else known))
    return Fault(
        "FieldValueNotSupported",
        f"Unsupported value: {quoted(value)}: supported values: {listed}",
        field,
    )


def not_found(field: str, value: Any) -> Fault:
    return Fault("FieldValueNotFound", f"Not found: {quoted(value)}", field)


def too_long(field: str, most: int) -> Fault:
    return Fault("FieldValueTooLong", f"Too long: may not be more than {most} bytes", field)


def subdomain(value: str) -> str:
    if len(value) > 253:
        return "must be no more than 253 bytes"
    return "" if SUBDOMAIN.fullmatch(value) else SUBDOMAIN_SAYS


def label(value: str) -> str:
    if len(value) > 63:
        return "must be no more than 63 bytes"
    return "" if LABEL.fullmatch(value) else LABEL_SAYS


def label_1035(value: str) -> str:
    if len(value) > 63:
        return "must be no more than 63 bytes"
    return "" if LABEL_1035.fullmatch(value) else LABEL_1035_SAYS


def port_name(value: str) -> str:
    """Of a port that is told by its name (IANA_SVC_NAME)."""
    if len(value) > 15:
        return "must be no more than 15 characters"
    if not re.fullmatch(r"[-a-z0-9]+", value):
        return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not any(c.isalpha() for c in value):
        return "must contain at least one letter (a-z)"
    if "--" in value:
        return "must not contain consecutive hyphens"
    if value[0] == "-" or value[-1] == "-":
        return "must not begin or end with a hyphen"
    return ""


def path_segment(value: str) -> str:
    if value in (".", ".."):
        return f"may not be '{value}'"
    for mark in ("/", "%"):
        if mark in value:
            return f"may not contain '{mark}'"
    return ""


def qualified(value: str) -> str:
    """A label or annotation key, a finalizer: an optional DNS prefix, a slash, and a name."""
    prefix, slash, name = value.rpartition("/")
    if slash and (wrong := subdomain(prefix) if prefix else "prefix part must be non-empty"):
        return wrong if not prefix else f"prefix part {wrong}"
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 bytes"
    return "" if QUALIFIED.fullmatch(name) else QUALIFIED_SAYS


def unqualified(field: str, value: str) -> list[Fault]:
    """All that is wrong with such a name, which may be more than one thing."""
    prefix, slash, name = value.rpartition("/")
    says = []
    if slash and (wrong := subdomain(prefix) if prefix else "prefix part must be non-empty"):
        says.append(wrong if not prefix else f"prefix part {wrong}")
    if wrong := qualified(name):
        says.append(wrong)
        if wrong != QUALIFIED_SAYS and not QUALIFIED.fullmatch(name):
            says.append(QUALIFIED_SAYS)
    return [invalid(field, value, one) for one in says]


def data_key(value: str) -> str:
    """Of a ConfigMap or Secret."""
    if len(value) > 253:
        return "must be no more than 253 characters"
    if value == "." or value == "..":
        return f"must not be '{value}'"
    if value.startswith(".."):
        return "must not start with '..'"
    return "" if DATA_KEY.fullmatch(value) else DATA_KEY_SAYS


def label_value(value: str) -> str:
    if len(value) > 63:
        return "must be no more than 63 bytes"
    return "" if not value or QUALIFIED.fullmatch(value) else LABEL_VALUE_SAYS


def labels(held: Mapping[str, Any] | None, field: str) -> list[Fault]:
    found = []
    for key, value in (held or {}).items():
        if qualified(key):
            found += unqualified(field, key)
        if wrong := label_value(str(value)):
            found.append(invalid(field, value, wrong))
    return found
