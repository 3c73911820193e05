"""One connection of the client: a request and its answer at a time, or raw bytes after an upgrade.

Answers are parsed by httptools, and read no further than they are taken.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

import httptools

HIGH_WATER = 4 * 1024 * 1024
LARGEST_HEAD = 1024 * 1024


class ClientResponse:
    """An answer whose head has arrived; read its body, or close it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.status = 0
        self.headers: dict[str, str] = {}
        self.all_headers: list[tuple[str, str]] = []

    async def read(self, limit: int = 1 << 31) -> bytes:
        parts, size = [], 0
        async for piece in self.pieces():
            parts.append(piece)
            size += len(piece)
            if size > limit:
                self.close()
                raise ValueError(f"the answer is larger than {limit} bytes")
        return b"".join(parts)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Leaving early closes the connection."""
        try:
            while (piece := await self._wire.piece()) is not None:
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Give up the rest of the body. Harmless where all of it was read."""
        wire = self._wire
        if wire.answers(self) and (wire.release is not None or not wire.complete):
            wire.release = None
            wire.close()


class Wire(asyncio.Protocol):
    """One connection: at most one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.release: Any = None
        self.complete = True
        self.keep = False
        self._parser: Any = None
        self._response: ClientResponse | None = None
        self._head: asyncio.Future[ClientResponse] | None = None
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._ended = False
        self._head_size = 0
        self._method = ""
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self.raw = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:  # a dead peer of a silent watch
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if (
            self._parser is not None
            and self._response is not None
            and not self.complete
            and not self._lengthless()
        ):
            self._error = error or ConnectionError("the connection was lost")
        self._ended = True
        self.keep = False
        if self._lengthless():
            self.complete = True
        if self._head is not None and not self._head.done():
            lost = ConnectionError("the connection was lost")
            self._head.set_exception(self._error or error or lost)
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionError("the connection was lost"))
        self._wake()

    def _lengthless(self) -> bool:
        response = self._response
        return (
            response is not None
            and "content-length" not in response.headers
            and "chunked" not in response.headers.get("transfer-encoding", "")
        )

    def data_received(self, data: bytes) -> None:
        if self.raw:
            self._take(data)
            return
        if self._parser is None:
            self.close()
            return
        if self._head is not None and not self._head.done():
            self._head_size += len(data)
            if self._head_size > LARGEST_HEAD:
                self._error = ConnectionError("the head of the answer is too large")
                self.close()
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.raw = True
            rest = data[upgrade.args[0] :]
            if rest:
                self._take(rest)
        except httptools.HttpParserError as error:
            self._error = ConnectionError(f"not an HTTP answer: {error}")
            self.close()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        if self.transport is None:
            raise ConnectionError("the connection was lost")
        if self._paused:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._response is not None
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._response.headers[key] = text
        self._response.all_headers.append((key, text))

    def on_headers_complete(self) -> None:
        assert self._response is not None
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._response.headers.clear()
            self._response.all_headers.clear()
            return
        self._response.status = status
        self.keep = self._parser.should_keep_alive()
        if status == 101:
            self.raw = True
        if self._method == "HEAD" or status in (204, 304):
            self._finish()
        if self._head is not None and not self._head.done():
            self._head.set_result(self._response)

    def on_body(self, data: bytes) -> None:
        self._take(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 101 or 100 <= status < 200:
            return
        self._finish()

    def _finish(self) -> None:
        self.complete = True
        self._ended = True
        self._wake()

    def _take(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and self.transport is not None:
            self.transport.pause_reading()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # use

    def answers(self, response: ClientResponse) -> bool:
        return self._response is response

    async def piece(self) -> bytes | None:
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                if self.complete and self.release is not None:
                    release, self.release = self.release, None
                    release(self)
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        data = b"".join(self._pieces) if len(self._pieces) > 1 else self._pieces[0]
        self._pieces.clear()
        if self._size > HIGH_WATER and self.transport is not None:
            self.transport.resume_reading()
        self._size = 0
        return data

    async def exchange(
        self, method: str, head: bytes, body: bytes | AsyncIterator[bytes]
    ) -> ClientResponse:
        if self.transport is None:
            raise ConnectionError("the connection was lost")
        self._method = method
        self._parser = httptools.HttpResponseParser(self)
        self._response = ClientResponse(self)
        self._head = asyncio.get_running_loop().create_future()
        self._pieces.clear()
        self._size, self._ended, self.complete, self._error = 0, False, False, None
        self._head_size = 0
        if isinstance(body, bytes):
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            async for piece in body:
                await self.drain()
                self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.transport.write(b"0\r\n\r\n")
        return await self._head

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # Duplex, after an upgrade

    async def receive(self) -> bytes:
        return await self.piece() or b""

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def write_eof(self) -> None:
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
