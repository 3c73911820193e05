"""What the cells of a Table say: ages, labels, selectors, as kubectl is used to them."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jindou.control.api.resources.registry import Column
from jindou.objects.kinds import Object

Cells = Callable[[Object, float], list[Any]]
NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"


def seconds_of(stamp: str) -> float:
    return float(calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")))


def age(stamp: str | None, now: float) -> str:
    return human(now - seconds_of(stamp)) if stamp else UNKNOWN


def human(seconds: float) -> str:
    """A duration as kubectl shortens it: 5s, 2m30s, 15m, 3h5m, 20h, 2d3h, 9d, 1y20d."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 8 * 365:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(first: int, one: str, second: int, two: str) -> str:
    return f"{first}{one}{second}{two}" if second else f"{first}{one}"


def created(obj: Object, now: float) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def labels(selector: dict[str, str] | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((selector or {}).items())) or NONE


def label_selector(selector: dict[str, Any] | None) -> str:
    if not selector:
        return NONE
    words = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for e in selector.get("matchExpressions") or []:
        values = ",".join(sorted(e.get("values") or ()))
        words.append(
            {
                "In": f"{e['key']} in ({values})",
                "NotIn": f"{e['key']} notin ({values})",
                "Exists": e["key"],
                "DoesNotExist": f"!{e['key']}",
            }[e["operator"]]
        )
    return ",".join(words) or NONE


def containers(template: Object) -> tuple[str, str]:
    held = template.get("spec", {}).get("containers", [])
    return ",".join(c["name"] for c in held), ",".join(c.get("image", "") for c in held)


NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
AGE = Column(
    "Age",
    description="CreationTimestamp is a timestamp representing the server time when this object was created.",
)


def columns_of(text: str) -> tuple[Column, ...]:
    """ "Ready|Desired:integer|Node*": a colon gives the type, a star means wide output only."""
    made = []
    for word in text.split("|"):
        name, _, kind = word.strip().rstrip("*").partition(":")
        if word == "Name":
            made.append(NAME)
        elif name == "Name":
            made.append(replace(NAME, priority=1))
        elif name == "Age":
            made.append(AGE)
        else:
            made.append(Column(name, kind or "string", priority=int(word.strip().endswith("*"))))
    return tuple(made)
