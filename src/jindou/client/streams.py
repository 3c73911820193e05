"""Two-way bytes over HTTP: the body of a long answer, and the client's end of a WebSocket.

Source: https://www.rfc-editor.org/rfc/rfc6455
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator

from jindou.objects.errors import Unavailable
from jindou.transport import Duplex
from jindou.transport.exchange import ClientResponse

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PROTOCOLS = {"portforward": "v4.channel.k8s.io"}
LARGEST = 16 * 1024 * 1024
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


def handshake(action: str) -> tuple[list[tuple[str, str]], str]:
    """Headers that ask for a WebSocket, and the answer to its challenge."""
    key = base64.b64encode(os.urandom(16))
    accept = base64.b64encode(hashlib.sha1(key + MAGIC, usedforsecurity=False).digest())
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key.decode()),
        ("Sec-WebSocket-Protocol", PROTOCOLS.get(action, "v5.channel.k8s.io")),
    ]
    return headers, accept.decode()


class Pieces:
    """A long answer, read as it comes; nothing can be sent."""

    def __init__(self, response: ClientResponse) -> None:
        self._response = response
        self._pieces: AsyncIterator[bytes] = response.pieces()

    async def receive(self) -> bytes:
        try:
            async for piece in self._pieces:
                if piece:
                    return piece
        except OSError as error:
            raise Unavailable(f"the stream was lost: {error}") from error
        return b""

    async def send(self, data: bytes) -> None:
        raise Unavailable("this stream can only be read")

    async def close(self) -> None:
        self._response.close()


class WebSocket:
    """Whole messages. `receive` answers pings itself, and gives b"" only at the end."""

    def __init__(self, wire: Duplex) -> None:
        self._wire = wire
        self._buffer = bytearray()
        self._closed = False

    async def receive(self) -> bytes:
        parts: list[bytes] = []
        while not self._closed:
            frame = await self._frame()
            if frame is None:
                break
            final, code, data = frame
            if code == PING:
                self._wire.write(_encode(PONG, data))
            elif code == CLOSE:
                self._end()
            elif code != PONG:
                parts.append(data)
                if final and (message := b"".join(parts)):
                    return message
                if final:
                    parts.clear()
        self._closed = True
        self._wire.close()
        return b""

    async def send(self, data: bytes) -> None:
        if self._closed:
            raise Unavailable("the stream has ended")
        try:
            self._wire.write(_encode(BINARY, data))
            await self._wire.drain()
        except OSError as error:
            raise Unavailable(f"the stream was lost: {error}") from error

    async def close(self) -> None:
        if not self._closed:
            self._end()
        self._wire.write_eof()
        self._wire.close()

    def _end(self) -> None:
        self._closed = True
        self._wire.write(_encode(CLOSE, (1000).to_bytes(2, "big")))

    async def _frame(self) -> tuple[bool, int, bytes] | None:
        if not await self._fill(2):
            return None
        first, second = self._buffer[0], self._buffer[1]
        size, at = second & 127, 2
        if size >= 126:
            at = 4 if size == 126 else 10
            if not await self._fill(at):
                return None
            size = int.from_bytes(self._buffer[2:at], "big")
        if size > LARGEST or not await self._fill(at + size):
            return None
        data = bytes(self._buffer[at : at + size])
        del self._buffer[: at + size]
        return bool(first & 128), first & 15, data

    async def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            try:
                data = await self._wire.receive()
            except OSError:
                return False
            if not data:
                return False
            self._buffer += data
        return True


def _encode(code: int, data: bytes) -> bytes:
    """One masked frame, as a client has to send it."""
    mask, size = os.urandom(4), len(data)
    if size < 126:
        head = bytes((128 | code, 128 | size))
    elif size < 65536:
        head = bytes((128 | code, 128 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((128 | code, 128 | 127)) + size.to_bytes(8, "big")
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
    return head + mask + masked.to_bytes(size, "big")
