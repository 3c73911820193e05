"""What clients are warned of, as headers that no text can break out of."""

from __future__ import annotations

from jindou.control.api.wire.negotiation import warnings_of


def test_a_text_is_quoted_and_told_once():
    texts = ['unknown field "spec.x"', 'unknown field "spec.x"', "a\\b", "ü"]
    assert warnings_of(texts) == [
        ("Warning", '299 - "unknown field \\"spec.x\\""'),
        ("Warning", '299 - "a\\\\b"'),
        ("Warning", '299 - "Ã¼"'),
    ]


def test_a_text_that_could_end_the_header_is_not_told():
    assert warnings_of(["a\r\nSet-Cookie: b", "a\0", "a\x85"]) == []


def test_more_than_clients_take_is_cut_short():
    found = warnings_of([f"{n} " + "x" * 1000 for n in range(100)])
    assert len(found) == 16
    assert all(len(text) < 300 for _, text in found)
    assert len(warnings_of(["x" * 3000])[0][1]) > 3000
