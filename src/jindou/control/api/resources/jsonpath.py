"""The part of JSONPath that printer columns and scale paths use: .a.b, .a[0], .a[*].b, ['k'], filters by equality."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

STEP = re.compile(
    r"\.?(?:(?P<name>[A-Za-z0-9_\-/\\.]*?(?:\\\.[A-Za-z0-9_\-/]+)*[A-Za-z0-9_\-/]|\*)(?=[.\[]|$)"
    r"|\[(?P<index>-?\d+|\*)\]|\[['\"](?P<key>[^'\"]+)['\"]\]"
    r"|\[\?\(@\.(?P<field>[\w.]+)\s*==\s*['\"](?P<value>[^'\"]*)['\"]\)\])"
)


@lru_cache(512)
def steps(path: str) -> tuple[tuple[str, str, str], ...]:
    """(kind, argument, second argument). Raises ValueError where the path is not understood."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    found, at = [], 0
    while at < len(text):
        match = STEP.match(text, at)
        if not match or match.end() == at:
            raise ValueError(f"JSONPath {path!r} is not understood at {text[at:]!r}")
        if match["field"]:
            found.append(("filter", match["field"], match["value"]))
        elif match["index"] is not None:
            found.append(("index", match["index"], ""))
        else:
            found.append(("name", (match["key"] or match["name"]).replace("\\.", "."), ""))
        at = match.end()
    return tuple(found)


def find(obj: Any, path: str) -> list[Any]:
    """All values at a path, in order; absent ones are left out."""
    values = [obj]
    for kind, first, second in steps(path):
        following: list[Any] = []
        for value in values:
            if kind == "filter" and isinstance(value, list):
                following += [
                    v for v in value if str(next(iter(find(v, f".{first}")), "")) == second
                ]
            elif kind == "index" and isinstance(value, list):
                following += value if first == "*" else value[int(first) :][:1]
            elif kind == "name" and first == "*":
                following += (
                    list(value.values())
                    if isinstance(value, dict)
                    else value
                    if isinstance(value, list)
                    else []
                )
            elif kind == "name" and isinstance(value, dict) and first in value:
                following.append(value[first])
        values = following
    return values
