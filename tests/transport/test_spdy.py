"""SPDY against frames packed by hand."""

from __future__ import annotations

import asyncio
import struct
import zlib

import pytest

from jindou.transport import spdy
from jindou.transport.spdy import Broken, Connection, HeaderBlocks, control, data_frame


class Wire:
    """A connection in memory: `sent` is what the server wrote."""

    def __init__(self):
        self.inflow = asyncio.Queue()
        self.sent = bytearray()
        self.told = asyncio.Event()

    def feed(self, *frames: bytes) -> None:
        self.inflow.put_nowait(b"".join(frames))

    def end(self) -> None:
        self.inflow.put_nowait(b"")

    async def receive(self) -> bytes:
        return await self.inflow.get()

    def write(self, data: bytes) -> None:
        self.sent += data
        self.told.set()

    async def drain(self) -> None:
        pass


def syn(blocks: HeaderBlocks, id: int, headers: dict[str, str], flags: int = 0) -> bytes:
    return control(1, flags, struct.pack(">IIH", id, 0, 0) + blocks.pack(headers))


def frames(data: bytes) -> list[tuple]:
    """(kind, flags, payload) of control frames, ("data", stream, flags, payload) of the others."""
    found, at = [], 0
    while at < len(data):
        first, second = struct.unpack_from(">II", data, at)
        flags, length = second >> 24, second & 0xFFFFFF
        payload = bytes(data[at + 8 : at + 8 + length])
        at += 8 + length
        if first & 0x80000000:
            assert first >> 16 == 0x8003
            found.append((first & 0xFFFF, flags, payload))
        else:
            found.append(("data", first, flags, payload))
    return found


def on_connection(scenario):
    async def main():
        wire, streams = Wire(), asyncio.Queue()

        def opened(stream):
            streams.put_nowait(stream)
            return stream.headers.get("refuse") != "yes"

        connection = Connection(wire, opened)
        task = asyncio.create_task(connection.run())
        try:
            await asyncio.wait_for(scenario(wire, streams, task), 5)
        finally:
            wire.end()
            await task

    asyncio.run(main())


def test_the_dictionary_is_the_agreed_one():
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_header_blocks_share_one_history():
    ours, theirs = HeaderBlocks(), HeaderBlocks()
    for n in range(3):
        held = {"streamtype": "data", "port": str(8080 + n), "requestid": str(n)}
        packed = ours.pack(held)
        assert theirs.unpack(packed) == held
    assert len(packed) < 30


@pytest.mark.parametrize(
    "block",
    [
        b"",
        struct.pack(">I", 1),
        struct.pack(">II", 1, 1 << 30) + b"x",
        struct.pack(">I", 1 << 31) + b"\0" * 64,
    ],
)
def test_a_header_block_that_lies_is_refused(block):
    deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
    packed = deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(Broken):
        HeaderBlocks().unpack(packed)


def test_a_header_block_that_inflates_without_end_is_refused():
    deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
    packed = deflate.compress(b"\0" * 10_000_000) + deflate.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(Broken):
        HeaderBlocks().unpack(packed)


def test_a_stream_is_answered_and_carries_both_ways():
    async def scenario(wire, streams, task):
        blocks = HeaderBlocks()
        wire.feed(syn(blocks, 1, {"streamtype": "data"}), data_frame(1, b"he"))
        stream = await streams.get()
        assert stream.headers == {"streamtype": "data"}
        wire.feed(data_frame(1, b"llo", end=True))
        got = b""
        while piece := await stream.receive():
            got += piece
        assert got == b"hello"
        await stream.send(b"world")
        await stream.end()
        reply, data, fin = frames(wire.sent)
        assert reply[0] == 2
        assert struct.unpack(">I", reply[2][:4]) == (1,)
        assert blocks.unpack(reply[2][4:]) == {}
        assert data == ("data", 1, 0, b"world")
        assert fin == ("data", 1, 1, b"")

    on_connection(scenario)


def test_frames_may_arrive_byte_by_byte():
    async def scenario(wire, streams, task):
        for byte in syn(HeaderBlocks(), 1, {"a": "b"}) + data_frame(1, b"xyz", end=True):
            wire.feed(bytes([byte]))
        stream = await streams.get()
        got = b""
        while piece := await stream.receive():
            got += piece
        assert got == b"xyz"

    on_connection(scenario)


def test_pings_of_the_client_are_answered_and_only_those():
    async def scenario(wire, streams, task):
        wire.feed(control(6, 0, struct.pack(">I", 2)), control(6, 0, struct.pack(">I", 7)))
        await wire.told.wait()
        assert frames(wire.sent) == [(6, 0, struct.pack(">I", 7))]

    on_connection(scenario)


def test_an_unwanted_stream_is_refused_and_data_for_it_too():
    async def scenario(wire, streams, task):
        wire.feed(syn(HeaderBlocks(), 1, {"refuse": "yes"}), data_frame(3, b"x"))
        await streams.get()
        while len(frames(wire.sent)) < 2:
            wire.told.clear()
            await wire.told.wait()
        assert frames(wire.sent) == [
            (3, 0, struct.pack(">II", 1, spdy.REFUSED_STREAM)),
            (3, 0, struct.pack(">II", 3, spdy.INVALID_STREAM)),
        ]

    on_connection(scenario)


def test_a_reset_ends_the_stream_in_both_directions():
    async def scenario(wire, streams, task):
        wire.feed(syn(HeaderBlocks(), 1, {}))
        stream = await streams.get()
        wire.feed(control(3, 0, struct.pack(">II", 1, spdy.CANCEL)))
        assert await stream.receive() == b""
        assert stream.was_reset
        with pytest.raises(ConnectionError):
            await stream.send(b"x")

    on_connection(scenario)


def test_the_end_of_the_connection_ends_every_stream():
    async def scenario(wire, streams, task):
        wire.feed(syn(HeaderBlocks(), 1, {}))
        stream = await streams.get()
        wire.end()
        await task
        assert await stream.receive() == b""
        with pytest.raises(ConnectionError):
            await stream.send(b"x")

    on_connection(scenario)


def test_what_is_read_opens_the_window_again():
    async def scenario(wire, streams, task):
        wire.feed(syn(HeaderBlocks(), 1, {}), data_frame(1, b"x" * 40_000))
        stream = await streams.get()
        assert len(await stream.receive()) == 40_000
        updates = [f for f in frames(wire.sent) if f[0] == 9]
        assert (9, 0, struct.pack(">II", 1, 40_000)) in updates
        assert any(struct.unpack(">II", f[2])[0] == 0 for f in updates)

    on_connection(scenario)


def test_a_stream_that_nobody_reads_holds_the_connection_until_it_is_read():
    async def scenario(wire, streams, task):
        wire.feed(syn(HeaderBlocks(), 1, {}), data_frame(1, b"x" * 2_000_000))
        wire.feed(control(6, 0, struct.pack(">I", 1)))
        stream = await streams.get()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(f[0] == 6 for f in frames(wire.sent))
        await stream.receive()
        while not any(f[0] == 6 for f in frames(wire.sent)):
            wire.told.clear()
            await wire.told.wait()

    on_connection(scenario)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x80\x02\x00\x01\x00\x00\x00\x00", id="version-2"),
        pytest.param(control(1, 0, b"\0\0\0\1"), id="short-syn-stream"),
        pytest.param(b"\x80\x03\x00\x01\x00\xff\xff\xff", id="huge-control-frame"),
        pytest.param(syn(HeaderBlocks(), 2, {}), id="even-stream"),
        pytest.param(control(6, 0, b""), id="empty-ping"),
        pytest.param(control(1, 0, struct.pack(">IIH", 1, 0, 0) + b"garbage"), id="no-zlib"),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_sent_away(data):
    async def scenario(wire, streams, task):
        wire.feed(data)
        await task
        assert frames(wire.sent)[-1][0] == 7

    on_connection(scenario)


def test_a_stream_number_that_was_used_is_sent_away():
    async def scenario(wire, streams, task):
        blocks = HeaderBlocks()
        wire.feed(syn(blocks, 3, {}), syn(blocks, 1, {}))
        await task
        assert frames(wire.sent)[-1][0] == 7

    on_connection(scenario)
