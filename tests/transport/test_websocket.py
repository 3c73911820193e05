"""The server's side of WebSocket against frames written byte by byte."""

from __future__ import annotations

import asyncio
import struct

import pytest

from jindou.transport import Response, Upgraded
from jindou.transport.server import listening, serve
from jindou.transport.websocket import BadHandshake, WebSocket, choose, frame, handshake, unmask

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def masked(opcode: int, payload: bytes, *, final: bool = True, mask: bytes = b"\x01\x02\x03\x04"):
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", (0x80 if final else 0) | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack(">BBH", (0x80 if final else 0) | opcode, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", (0x80 if final else 0) | opcode, 0x80 | 127, size)
    return head + mask + unmask(payload, mask)


def echo(request):
    try:
        protocol = choose(request, ("b", "c"))
        if protocol is None:
            return Response(403, b"")
        headers = handshake(request, protocol)
    except BadHandshake as error:
        return Response(error.status, str(error).encode())

    async def talk(wire):
        socket = WebSocket(wire)
        while (message := await socket.receive()) is not None:
            if message == b"bye":
                await socket.close(1000)
                continue
            await socket.send(message, text=socket.text)

    return Upgraded(headers, talk)


def converse(data: bytes, *extra: str, until_close: bool = True) -> bytes:
    """What the server answers to a handshake and these frames, up to its end."""

    async def main():
        sock = listening("127.0.0.1", 0)
        server = await serve(echo, [sock])
        reader, writer = await asyncio.open_connection("127.0.0.1", sock.getsockname()[1])
        lines = ["GET / HTTP/1.1", "Host: h", "Upgrade: websocket", "Connection: Upgrade", *extra]
        if not any(line.startswith("Sec-WebSocket-Version") for line in extra):
            lines.append("Sec-WebSocket-Version: 13")
        if not any(line.startswith("Sec-WebSocket-Key") for line in extra):
            lines.append(f"Sec-WebSocket-Key: {KEY}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()
            await writer.wait_closed()
            await server.close(0.2)

    return asyncio.run(main())


def frames_of(answer: bytes) -> bytes:
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    return rest


CLOSED = masked(8, struct.pack(">H", 1000))


def test_the_handshake_is_that_of_the_rfc():
    answer = converse(CLOSED, "Sec-WebSocket-Protocol: a, c, b")
    assert b"Sec-WebSocket-Accept: " + ACCEPT in answer
    assert b"Sec-WebSocket-Protocol: c" in answer


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        (("Sec-WebSocket-Version: 8", "Connection: close"), b"426"),
        (("Sec-WebSocket-Key: short", "Connection: close"), b"400"),
        (("Sec-WebSocket-Key: !!!", "Connection: close"), b"400"),
        (("Sec-WebSocket-Protocol: x", "Connection: close"), b"403"),
    ],
)
def test_a_wrong_handshake_is_refused(extra, status):
    assert converse(b"", *extra).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_messages_of_every_length_come_back_whole(size):
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]
    got = frames_of(converse(masked(2, payload) + CLOSED))
    assert got == frame(2, payload) + frame(8, struct.pack(">H", 1000))


def test_fragments_are_joined_and_pings_answered_between_them():
    sent = masked(1, b"hel", final=False) + masked(9, b"?") + masked(0, b"lo") + CLOSED
    got = frames_of(converse(sent))
    assert got == frame(10, b"?") + frame(1, b"hello") + frame(8, struct.pack(">H", 1000))


def test_our_close_is_answered_by_the_peer_and_ends_the_connection():
    got = frames_of(converse(masked(2, b"bye") + CLOSED))
    assert got == frame(8, struct.pack(">H", 1000))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(2, b"x"), 1002, id="unmasked"),
        pytest.param(masked(0, b"x"), 1002, id="continuation-of-nothing"),
        pytest.param(masked(2, b"x", final=False) + masked(2, b"y"), 1002, id="two-starts"),
        pytest.param(masked(3, b"x"), 1002, id="unknown-opcode"),
        pytest.param(b"\xc2" + masked(2, b"x")[1:], 1002, id="reserved-bit"),
        pytest.param(masked(9, b"x" * 126), 1002, id="long-ping"),
        pytest.param(masked(9, b"x", final=False), 1002, id="fragmented-ping"),
        pytest.param(masked(8, b"x"), 1002, id="close-of-one-byte"),
        pytest.param(masked(1, b"\xff"), 1007, id="text-that-is-none"),
        pytest.param(b"\x82\xff" + struct.pack(">Q", 1 << 40), 1009, id="too-large"),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_told_why(data, code):
    got = frames_of(converse(data))
    assert got[:1] == b"\x88"
    assert struct.unpack(">H", got[2:4]) == (code,)


def test_frames_may_arrive_in_any_pieces():
    async def main():
        class Wire:
            def __init__(self, data):
                self.data, self.written = data, b""

            async def receive(self):
                piece, self.data = self.data[:1], self.data[1:]
                return piece

            def write(self, data):
                self.written += data

            async def drain(self):
                pass

        wire = Wire(masked(2, b"one") + masked(2, b"x" * 300))
        socket = WebSocket(wire)
        assert await socket.receive() == b"one"
        assert await socket.receive() == b"x" * 300
        assert await socket.receive() is None
        assert socket.closed

    asyncio.run(main())
