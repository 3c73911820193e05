"""The built-in kinds, from the data files that `tools/compile_kinds.py` makes. Loaded once, built lazily.

`kinds.json.z` holds {"types": name -> node, "resources": [...]}. A node's keys are one letter each:
t type, f format, $ reference, p properties, a additional, i items, q required, l list type, k list
keys, m map type, s patch strategy, y patch key, n preserve unknown, o int or string.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files
from typing import Any

import orjson

from jindou.control.api.resources.schema import Schema


def read(name: str) -> Any:
    data = files("jindou.control.api.resources").joinpath("data", name).read_bytes()
    return orjson.loads(zlib.decompress(data))


@cache
def kinds() -> dict[str, Any]:
    content: dict[str, Any] = read("kinds.json.z")
    return content


@cache
def type_named(name: str) -> Schema:
    return build(kinds()["types"][name], name)


def build(node: dict[str, Any], ref: str = "") -> Schema:
    """A node and its inline children; references stay calls until somebody looks."""

    def child(held: dict[str, Any] | None) -> Schema | Callable[[], Schema] | None:
        if held is None:
            return None
        return partial(_referred, held) if "$" in held else build(held)

    return Schema(
        node.get("t", ""),
        ref=ref,
        format=node.get("f", ""),
        properties={name: child(held) for name, held in node.get("p", {}).items()},  # type: ignore[misc]
        additional=child(node.get("a")),
        items=child(node.get("i")),
        required=tuple(node.get("q", ())),
        list_type=node.get("l", ""),
        list_keys=tuple(node.get("k", ())),
        map_type=node.get("m", ""),
        patch_strategy=frozenset(node.get("s", ())),
        patch_key=node.get("y", ""),
        preserve_unknown=bool(node.get("n")),
        int_or_string=bool(node.get("o")),
    )


_WITH_TRAITS: dict[str, Schema] = {}


def _referred(held: dict[str, Any]) -> Schema:
    """A shared definition, with what the place that names it adds (patch strategy, map type)."""
    name = held["$"]
    if len(held) == 1:
        return type_named(name)
    key = repr(sorted(held.items()))
    found = _WITH_TRAITS.get(key)
    if found is None:
        found = _WITH_TRAITS[key] = build(
            {**kinds()["types"][name], **{k: v for k, v in held.items() if k != "$"}}, name
        )
    return found
