"""What is cut out of shared bytes is the managedFields of the object itself, whatever users wrote."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jindou.client.shared import bare, bare_object

ENTRY = {
    "manager": 'a"}]},"b',
    "operation": "Update",
    "fieldsV1": {"f:spec": {'k:{"name":"}]},"}': {}, 'v:"}]}}"': {}}},
}
NESTED = {"template": {"metadata": {"labels": {"a": "b"}, "managedFields": [ENTRY]}}}
TEXTS = (
    "x",
    '{"a":{"b":1}}',
    "{{{",
    "}}}",
    ',"managedFields":[{"manager":',
    '"}]},"',
    "\\",
    '\\"}',
)


def encoded(annotation: str, entries: int, last: bool, nested: bool) -> tuple[bytes, Any]:
    meta: dict[str, Any] = {"name": "n", "annotations": {"a": annotation}}
    spec = NESTED if nested else {"text": '"}]}}'}
    rest = {} if last else {"spec": spec}
    wanted = {"apiVersion": "v1", "kind": "K", "metadata": dict(meta), **rest}
    if entries:
        meta["managedFields"] = [ENTRY] * entries
    return orjson.dumps({**wanted, "metadata": meta}) + b"\n", wanted


@given(
    st.sampled_from(TEXTS) | st.text(max_size=8), st.integers(0, 3), st.booleans(), st.booleans()
)
def test_nothing_else_goes(annotation: str, entries: int, last: bool, nested: bool) -> None:
    data, wanted = encoded(annotation, entries, last, nested)
    assert bare_object(data) == wanted


@pytest.mark.parametrize("annotation", ["x", '{"a":{"b":1}}', "[]"])
def test_it_is_cut_without_decoding(annotation: str) -> None:
    data, wanted = encoded(annotation, 2, False, True)
    assert orjson.loads(bare(data)) == wanted
