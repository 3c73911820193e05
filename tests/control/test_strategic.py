"""The order that a strategic merge leaves, as the original leaves it."""

from __future__ import annotations

import pytest

from jindou.control.api.changes import strategic
from jindou.control.api.resources.builtin import type_named

SPEC = type_named("io.k8s.api.core.v1.PodSpec")


def named(names: str) -> list[dict[str, str]]:
    return [{"name": name, "image": "i"} for name in names]


@pytest.mark.parametrize(
    ("original", "patch", "order", "left"),
    [
        ("ab", "c", None, "cab"),
        ("ab", "b", None, "ab"),
        ("ab", "ba", None, "ba"),
        ("ab", "cb", None, "cab"),
        ("ab", "bc", None, "abc"),
        ("", "ba", None, "ba"),
        ("abs", "c", "bca", "bcas"),
        ("sab", "", "ba", "sba"),
    ],
)
def test_what_is_new_comes_ahead_of_what_others_put_there(original, patch, order, left):
    change = {"containers": named(patch)} if patch else {}
    if order:
        change["$setElementOrder/containers"] = [{"name": name} for name in order]
    merged = strategic.apply({"containers": named(original)}, change, SPEC)
    assert "".join(held["name"] for held in merged["containers"]) == left
