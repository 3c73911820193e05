"""Any log, any wish: the fast ways of reading agree with the slow and obvious one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jindou.node.endpoint import logs
from jindou.node.endpoint.logs import Wish, read

text = st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"").replace(b" ", b"_"))
entries = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from("FP"), text), max_size=30
)


def obvious(held, tail: int, stream: str) -> bytes:
    """Lines are ended by an F; what is left over at the end is a line too."""
    lines, current = [], None
    for own, tag, data in held:
        if stream and own != stream:
            continue
        current = (current or b"") + data
        if tag == "F":
            lines.append(current + b"\n")
            current = None
    if current is not None:
        lines.append(current)
    return b"".join(lines[len(lines) - tail :] if tail < len(lines) else lines)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    held=entries,
    part=st.floats(0, 1),
    tail=st.integers(0, 35),
    stream=st.sampled_from(["", "stdout", "stderr"]),
    block=st.sampled_from([1, 7, 64, 65536]),
)
def test_the_end_of_any_log(tmp_path_factory, held, part, tail, stream, block):
    cut = round(len(held) * part)
    folder = tmp_path_factory.mktemp("log")
    lines = [b"%dZ %s %s %s\n" % (n, s.encode(), t.encode(), d) for n, (s, t, d) in enumerate(held)]
    (folder / "0.log.1").write_bytes(b"".join(lines[:cut]))
    (folder / "0.log").write_bytes(b"".join(lines[cut:]))

    async def main():
        wish = Wish(tail=tail, stream=stream)
        return b"".join([piece async for piece in read(folder / "0.log", wish, lambda: False)])

    for file, rest in (("0.log.1", held[:cut]), ("0.log", held[cut:])):
        with (folder / file).open("rb") as opened:
            offset, found, _ = logs.tail_offset(opened, tail, stream, block=block)
            opened.seek(offset)
            shown = logs.Formatter(Wish(stream=stream)).take(opened.read())
        assert shown == obvious(rest, tail, stream)
        assert found <= tail
    assert asyncio.run(main()) == obvious(held, tail, stream)
