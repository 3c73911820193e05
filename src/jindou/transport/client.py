"""A small HTTP/1.1 client for our own use: pooled connections, streamed bodies, upgrades.

It speaks to what a URL names (http, https) or to a Unix socket. Answers are parsed by httptools.
An idle connection that turns out dead is replaced once for requests that may be repeated.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from jindou.transport import Headers

HIGH_WATER = 4 * 1024 * 1024
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
MOST_IDLE = 16


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
            self._head.set_exception(error or ConnectionError("the connection was lost"))
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


class Pool:
    """Connections to any number of hosts, with one TLS context for all of them."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        unix: str = "",
        server_name: str = "",
        host: str = "",
    ) -> None:
        """`server_name` has to be on the certificate, `host` is told the server: else of the URL."""
        self._tls = tls
        self._unix = unix
        self._server_name = server_name
        self._host = host
        self._idle: dict[tuple[str, str, int], list[Wire]] = {}

    async def request(
        self,
        method: str,
        url: str,
        headers: Headers | Mapping[str, str] = (),
        body: bytes | AsyncIterator[bytes] = b"",
        timeout: float | None = 30.0,
    ) -> ClientResponse:
        """Send, and return when the head of the answer is here. `timeout` bounds that wait.
        Raises ConnectionError, OSError or TimeoutError."""
        parts = urlsplit(url)
        place = (
            parts.scheme,
            parts.hostname or "localhost",
            parts.port or (443 if parts.scheme == "https" else 80),
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        data = head(
            method,
            target,
            self._host or parts.netloc,
            headers,
            len(body) if isinstance(body, bytes) else None,
        )
        async with asyncio.timeout(timeout):
            while True:
                wire, fresh = await self._connection(place)
                try:
                    response = await wire.exchange(method, data, body)
                except ConnectionError:
                    wire.close()
                    if fresh or method not in REPEATABLE or not isinstance(body, bytes):
                        raise
                    continue
                except BaseException:
                    wire.close()
                    raise
                wire.release = lambda wire: self._return(place, wire)
                if wire.complete and not wire._pieces:
                    await wire.piece()
                return response

    async def _connection(
        self, place: tuple[str, str, int], *, new: bool = False
    ) -> tuple[Wire, bool]:
        idle = [] if new else self._idle.get(place, [])
        while idle:
            wire = idle.pop()
            if wire.transport is not None and not wire.transport.is_closing():
                return wire, False
        loop = asyncio.get_running_loop()
        scheme, host, port = place
        if self._unix:
            _, wire = await loop.create_unix_connection(Wire, self._unix)
            return wire, True
        tls = (self._tls or ssl.create_default_context()) if scheme == "https" else None
        name = (self._server_name or host) if tls else None
        _, wire = await loop.create_connection(Wire, host, port, ssl=tls, server_hostname=name)
        return wire, True

    def _return(self, place: tuple[str, str, int], wire: Wire) -> None:
        idle = self._idle.setdefault(place, [])
        if wire.keep and wire.transport is not None and len(idle) < MOST_IDLE:
            idle.append(wire)
        else:
            wire.close()

    async def dial(
        self, method: str, url: str, headers: Headers, timeout: float = 30.0
    ) -> tuple[ClientResponse, Wire | None]:
        """Ask for an upgrade. Returns the answer, and the raw connection where it was 101."""
        parts = urlsplit(url)
        place = (
            parts.scheme,
            parts.hostname or "localhost",
            parts.port or (443 if parts.scheme == "https" else 80),
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        async with asyncio.timeout(timeout):
            wire, _ = await self._connection(place, new=True)
            try:
                response = await wire.exchange(
                    method, head(method, target, self._host or parts.netloc, headers, 0), b""
                )
            except BaseException:
                wire.close()
                raise
        if response.status == 101:
            return response, wire
        wire.release = Wire.close
        return response, None

    def close(self) -> None:
        for wires in self._idle.values():
            for wire in wires:
                wire.close()
        self._idle.clear()


def head(
    method: str, target: str, host: str, headers: Headers | Mapping[str, str], length: int | None
) -> bytes:
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in pairs)]
    if length is None:
        lines.append("Transfer-Encoding: chunked")
    elif length or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {length}")
    for line in lines:
        if "\r" in line or "\n" in line:
            raise ValueError(f"a header may not hold a line break: {line!r}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
