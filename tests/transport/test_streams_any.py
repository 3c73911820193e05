"""Any bytes at all: the framings refuse or understand them, and never fail otherwise."""

from __future__ import annotations

import asyncio
import itertools
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from jindou.transport.spdy import Connection, HeaderBlocks, control, data_frame
from jindou.transport.websocket import WebSocket
from tests.transport.test_websocket import masked


class Wire:
    def __init__(self, pieces):
        self.pieces = list(pieces)
        self.written = b""

    async def receive(self):
        await asyncio.sleep(0)
        return self.pieces.pop(0) if self.pieces else b""

    def write(self, data):
        self.written += data

    async def drain(self):
        pass


def split(data, cuts):
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


control_frames = st.builds(control, st.integers(0, 12), st.integers(0, 255), st.binary(max_size=60))
data_frames = st.builds(data_frame, st.integers(0, 9), st.binary(max_size=60), st.booleans())
noise = st.binary(max_size=40)
cuts = st.lists(st.integers(0, 10_000), max_size=5)


@settings(max_examples=200, deadline=None)
@given(
    frames=st.lists(st.one_of(control_frames, data_frames, noise), max_size=12),
    cuts=cuts,
    opened=st.booleans(),
)
def test_any_frames_of_spdy(frames, cuts, opened):
    async def main():
        start = b""
        if opened:
            start = control(1, 0, struct.pack(">IIH", 1, 0, 0) + HeaderBlocks().pack({"a": "b"}))
        streams = []

        def take(stream):
            streams.append(stream)
            return True

        wire = Wire(split(start + b"".join(frames), cuts))
        await asyncio.wait_for(Connection(wire, take).run(), 5)
        for stream in streams:
            while await asyncio.wait_for(stream.receive(), 5):
                pass

    asyncio.run(main())


client_frames = st.builds(masked, st.integers(0, 15), st.binary(max_size=200), final=st.booleans())


@settings(max_examples=200, deadline=None)
@given(frames=st.lists(st.one_of(client_frames, noise), max_size=12), cuts=cuts)
def test_any_frames_of_a_websocket(frames, cuts):
    async def main():
        socket = WebSocket(Wire(split(b"".join(frames), cuts)))
        while await asyncio.wait_for(socket.receive(), 5) is not None:
            pass
        assert socket.closed

    asyncio.run(main())


@settings(max_examples=100, deadline=None)
@given(messages=st.lists(st.binary(max_size=300), max_size=6), cuts=cuts, parts=st.integers(1, 3))
def test_whatever_is_sent_in_order_arrives_in_order(messages, cuts, parts):
    frames = b""
    for message in messages:
        step = len(message) // parts + 1
        pieces = [message[at : at + step] for at in range(0, max(len(message), 1), step)]
        for n, piece in enumerate(pieces):
            frames += masked(2 if n == 0 else 0, piece, final=n == len(pieces) - 1)

    async def main():
        socket = WebSocket(Wire(split(frames, cuts)))
        for message in messages:
            assert await socket.receive() == message
        assert await socket.receive() is None

    asyncio.run(main())
