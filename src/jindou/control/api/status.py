"""Errors as Status objects, byte for byte as kube-apiserver writes them.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from jindou.control.store import Forgotten, StoreFailed, StoreFull
from jindou.objects.errors import (
    AlreadyExists,
    CloudError,
    Conflict,
    Expired,
    Fault,
    Forbidden,
    InternalError,
    Invalid,
    NotFound,
    Unknown,
)
from jindou.objects.kinds import Kind

BARE = frozenset(
    {404, 405, 406, 415}
)  # what was asked for is nothing: details are there, and empty


class PageExpired(Expired):
    """The next page can't be shown as of the first; `token` goes on at the present instead."""

    token = ""


def of(error: Exception) -> dict[str, Any]:
    """The Status of an error; the order of its fields is part of the wire."""
    if isinstance(error, StoreFull):
        error = InternalError(
            f"the disk is full: the object was not stored; free some room, then repeat the request: {error}"
        )
    elif isinstance(error, StoreFailed):
        error = Unknown(
            "the disk failed while writing: it is not known whether the request took effect; read the object before repeating it"
        )
    elif isinstance(error, Forgotten):
        error = Expired(f"too old resource version: {error.after} ({error.oldest})")
    elif not isinstance(error, CloudError):
        error = InternalError(f"Internal error occurred: {error}")
    details = dict(error.details)
    if isinstance(error, Invalid) and error.faults:
        details["causes"] = [
            {"reason": f.reason, "message": f.message, "field": f.field} for f in error.faults
        ]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {"continue": error.token} if isinstance(error, PageExpired) else {},
        "status": "Failure",
        "message": error.message,
        **({"reason": error.reason} if error.reason else {}),
        **(
            {"details": details}
            if details or error.code in BARE or isinstance(error, Invalid)
            else {}
        ),
        "code": error.code,
    }


def encode(status: dict[str, Any]) -> bytes:
    return orjson.dumps(status) + b"\n"


def _details(kind: Kind, name: str) -> dict[str, Any]:
    """`kind` of the details is the plural for everything but Invalid."""
    return {
        **({"name": name} if name else {}),
        **({"group": kind.group} if kind.group else {}),
        "kind": kind.plural,
    }


def _label(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def not_found(kind: Kind, name: str) -> NotFound:
    return NotFound(f'{_label(kind)} "{name}" not found', _details(kind, name))


def forbidden(kind: Kind, name: str, says: str) -> Forbidden:
    quoted = f' "{name}"' if name else ""
    return Forbidden(f"{_label(kind)}{quoted} is forbidden: {says}", _details(kind, name))


def already_exists(kind: Kind, name: str) -> AlreadyExists:
    return AlreadyExists(f'{_label(kind)} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> Conflict:
    says = (
        why
        or "the object has been modified; please apply your changes to the latest version and try again"
    )
    return Conflict(
        f'Operation cannot be fulfilled on {_label(kind)} "{name}": {says}', _details(kind, name)
    )


def invalid(kind: Kind, name: str, faults: Sequence[Fault]) -> Invalid:
    full = f"{kind.name}.{kind.group}" if kind.group else kind.name
    faults = list(dict.fromkeys(faults))  # the same is said once
    told = [f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    details = {
        **({"name": name} if name else {}),
        **({"group": kind.group} if kind.group else {}),
        "kind": kind.name,
    }
    return Invalid(f'{full} "{name}" is invalid: {text}', details, faults)


def success(kind: Kind, name: str, uid: str) -> dict[str, Any]:
    details = {
        "name": name,
        **({"group": kind.group} if kind.group else {}),
        "kind": kind.plural,
        "uid": uid,
    }
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }
