"""Conditions of a status: one of each type; the time of a transition is when its status changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jindou.control.controllers.groundwork import times
from jindou.objects.kinds import Object


def find(obj: Mapping[str, Any], type: str) -> Object | None:
    return among((obj.get("status") or {}).get("conditions") or (), type)


def among(conditions: Sequence[Object], type: str) -> Object | None:
    return next((condition for condition in conditions if condition["type"] == type), None)


def is_true(obj: Mapping[str, Any], type: str) -> bool:
    condition = find(obj, type)
    return condition is not None and condition.get("status") == "True"


def put(
    conditions: Sequence[Object],
    type: str,
    status: str,
    reason: str = "",
    message: str = "",
    **more: Any,
) -> list[Object]:
    """A new list with this condition last; the same list content where nothing changes."""
    old = among(conditions, type)
    if (
        old is not None
        and (old.get("status"), old.get("reason", "")) == (status, reason)
        and old.get("message", "") == message
    ):
        return list(conditions)
    changed = (
        old["lastTransitionTime"]
        if old is not None and old.get("status") == status and old.get("lastTransitionTime")
        else times.text()
    )
    new = {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": changed,
        **more,
    }
    kept = {key: value for key, value in new.items() if value not in ("", None)}
    return [*(c for c in conditions if c["type"] != type), kept]


def without(conditions: Sequence[Object], type: str) -> list[Object]:
    return [condition for condition in conditions if condition["type"] != type]
