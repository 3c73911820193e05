"""An HTTP server on asyncio: HTTP/1.1 by httptools, HTTP/2 where the client asks for it, upgrades.

A handler that answers at once costs no task. What must stay true: answers of one connection leave
in the order of their requests; a request whose framing is ambiguous (both Content-Length and
Transfer-Encoding, a bare line feed, an oversized head) is refused and its connection ended.
Sources: RFC 9110, RFC 9112.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, cast

import httptools

from jindou.transport import (
    Answer,
    BadBody,
    Handler,
    Headers,
    Peer,
    Response,
    Streamed,
    Upgraded,
)
from jindou.transport.closing import Closing
from jindou.transport.doors import Door
from jindou.transport.frames import server_frames
from jindou.transport.http2 import Http2Connection
from jindou.transport.requests import HIGH_WATER, HttpRequest, peer_of

MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
METHOD = re.compile(rb"[A-Za-z][A-Za-z-]{0,31} /")  # also one that nobody knows
UNREAD = 256 * 1024  # bytes of a body nobody wants that are let pass by to keep the connection
LINGER = 1.0  # seconds to read an answer that came before the whole request had been sent
IDLE = 120.0  # seconds that a connection may wait for its next request
HEAD_TIME = 20.0  # seconds for a head to arrive whole

REASONS = {status.value: status.phrase for status in HTTPStatus}
Deliver = Callable[[Answer], None]


def head(status: int, headers: Headers, length: int | None, close: bool) -> bytes:
    """Status line and headers. `length` None means chunked."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers]
    if status != 204 and status != 304:
        lines.append(
            "Transfer-Encoding: chunked\r\n" if length is None else f"Content-Length: {length}\r\n"
        )
    lines.append("Connection: close\r\n\r\n" if close else "\r\n")
    return "".join(lines).encode("latin-1")


class ChunkSink(Closing):
    """The sending side of a streamed answer over HTTP/1.1."""

    def __init__(self, connection: Connection, chunked: bool) -> None:
        self._connection = connection
        self._chunked = chunked
        super().__init__()

    @property
    def pending(self) -> int:
        transport = self._connection.transport
        return (
            0 if transport is None or transport.is_closing() else transport.get_write_buffer_size()
        )

    def write(self, data: bytes) -> None:
        if self._open and data:
            self._connection.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def close(self) -> None:
        if self._open:
            self._open = False
            if self._chunked:
                self._connection.send(b"0\r\n\r\n")
            self._connection.answered(close=not self._chunked)
            self.lost()

    def abort(self) -> None:
        self._open = False
        self._connection.abort()

    async def drain(self) -> None:
        if not self._open:
            raise ConnectionError("the peer is gone")
        await self._connection.drain()


class RawDuplex:
    """The bytes of a connection after an upgrade."""

    def __init__(self, connection: Connection, early: bytes) -> None:
        self._connection = connection
        self._pieces: deque[bytes] = deque([early] if early else [])
        self._size = len(early)
        self._eof = False
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and self._connection.transport:
            self._connection.transport.pause_reading()
        self._wake()

    def feed_eof(self) -> None:
        self._eof = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> bytes:
        while not self._pieces:
            if self._eof:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        data = b"".join(self._pieces)
        self._pieces.clear()
        if self._size > HIGH_WATER and self._connection.transport:
            self._connection.transport.resume_reading()
        self._size = 0
        return data

    def write(self, data: bytes) -> None:
        self._connection.send(data)

    async def drain(self) -> None:
        await self._connection.drain()

    def write_eof(self) -> None:
        transport = self._connection.transport
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def close(self) -> None:
        if self._connection.transport is not None:
            self._connection.transport.close()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.transport: asyncio.Transport | None = None
        self.peer = Peer("")
        self._parser: Any = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._count = 0
        self._head_size = 0
        self._strange = ""
        self._request: HttpRequest | None = None  # whose body is being read
        self._waiting: list[tuple[HttpRequest, bool]] = []  # pipelined behind the one answered now
        self._answering: HttpRequest | None = None
        self._close_after = False
        self._sink: ChunkSink | None = None
        self._duplex: RawDuplex | None = None
        self._task: asyncio.Task[None] | None = None
        self._drained: list[asyncio.Future[None]] = []
        self._paused = False
        self._eof = self._tls = self._lingering = False
        self._refusal: tuple[int, str] | None = None  # due after the answers before it
        self._over = False  # the last answer is given, and whatever follows is nobody's
        self.deadline = 0.0

    # ------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer = peer_of(transport)
        self._tls = transport.get_extra_info("ssl_object") is not None
        self._parser = httptools.HttpRequestParser(self)
        self._server.connections.add(self)
        self.deadline = self._server.now() + HEAD_TIME

    def connection_lost(self, error: Exception | None) -> None:
        self._server.forget(self)
        self.transport = None
        for future in self._drained:
            if not future.done():
                future.set_exception(ConnectionError("the peer is gone"))
        if self._sink is not None:
            self._sink.lost()
        if self._duplex is not None:
            self._duplex.feed_eof()
        if self._request is not None:
            self._request.feed_end()
        if self._task is not None and self._duplex is None:
            self._task.cancel()

    def eof_received(self) -> bool | None:
        """True keeps our direction open, which TLS can't do (and complains of)."""
        if self._duplex is not None:
            self._duplex.feed_eof()
            return not self._tls
        self._eof = True
        return self._answering is not None and self._sink is None and not self._tls

    def data_received(self, data: bytes) -> None:
        if self._duplex is not None:
            self._duplex.feed(data)
            return
        if self._lingering:
            return
        if self._request is None:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._duplex is not None:
                rest = data[upgrade.args[0] :]
                if rest:
                    self._duplex.feed(rest)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(error, httptools.HttpParserInvalidMethodError) and METHOD.match(data):
                return self._refuse(405, "the server does not know this method")
            self._refuse(431 if isinstance(cause, OverflowError) else 400, str(cause or error))
        except OverflowError as error:
            self._refuse(431, str(error))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        drained, self._drained = self._drained, []
        for future in drained:
            if not future.done():
                future.set_result(None)

    async def drain(self) -> None:
        if self.transport is None:
            raise ConnectionError("the peer is gone")
        if self._paused:
            future = asyncio.get_running_loop().create_future()
            self._drained.append(future)
            await future

    # ------------------------------------------------------------ httptools

    def on_message_begin(self) -> None:
        self._url, self._headers, self._count, self._strange = b"", {}, 0, ""

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_HEAD:
            raise OverflowError("the request line is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        if self._count > MAX_HEADERS or self._head_size > 4 * MAX_HEAD:
            raise OverflowError("the request has too many headers")
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        if known is None:
            self._headers[key] = text
        elif key in ("content-length", "host"):
            self._strange = f"{key} is given twice"
        else:
            self._headers[key] = f"{known}, {text}"

    def on_headers_complete(self) -> None:
        headers = self._headers
        self._head_size = 0
        if self._over:
            return
        if "transfer-encoding" in headers and "content-length" in headers:
            self._strange = "both Content-Length and Transfer-Encoding"
        elif headers.get("transfer-encoding", "chunked").lower() != "chunked":
            self._strange = "a Transfer-Encoding other than chunked"
        if self._strange:
            raise ValueError(self._strange)
        request = HttpRequest(
            self._parser.get_method().decode(),
            self._url.decode("latin-1"),
            headers,
            self.peer,
            False,
        )
        self._request = request
        keep = self._parser.should_keep_alive()
        if headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            request.feed_end()
        self._queue(request, keep)

    def on_body(self, data: bytes) -> None:
        request = self._request
        if request is None or self.transport is None:
            return
        if request.feed(data) > HIGH_WATER and not self.transport.is_closing():
            self.transport.pause_reading()
            request._resume = self.transport.resume_reading

    def on_message_complete(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.feed_end()

    # ------------------------------------------------------------ answering

    def _queue(self, request: HttpRequest, keep: bool) -> None:
        if self._answering is not None:
            self._waiting.append((request, keep))
            if len(self._waiting) > 64 and self.transport:
                self._refuse(429, "too many requests are waiting")
            return
        self._handle(request, keep)

    def _handle(self, request: HttpRequest, keep: bool) -> None:
        self._answering = request
        self._close_after = not keep
        self.deadline = 0.0
        try:
            answer = self._server.handler(request)
        except Exception as error:
            self._server.report(error, request)
            self._answer(request, Response(500, b"internal error\n"))
            return
        if isinstance(answer, (Response, Streamed, Upgraded)):
            self._answer(request, answer)
        else:
            self._task = asyncio.ensure_future(self._wait(request, answer))

    async def _wait(self, request: HttpRequest, answer: Awaitable[Answer]) -> None:
        try:
            found: Answer = await answer
        except asyncio.CancelledError:
            raise
        except BadBody as error:
            found = Response(error.code, f"{error}\n".encode())
            self._close_after = True
        except Exception as error:
            self._server.report(error, request)
            found = Response(500, b"internal error\n")
        self._task = None
        if self.transport is not None:
            self._answer(request, found)

    def _answer(self, request: HttpRequest, answer: Answer) -> None:
        if self.transport is None:
            return
        if isinstance(answer, Response):
            body = answer.body
            close = self._close_after or not request.pass_by(UNREAD)
            if isinstance(body, bytes):
                start = head(answer.status, answer.headers, len(body), close)
                self.send(start if request.method == "HEAD" else start + body)
            else:
                start = head(answer.status, answer.headers, sum(map(len, body)), close)
                self.transport.write(start)
                if request.method != "HEAD":
                    self._write_pieces(body)
            self.answered(close)
        elif isinstance(answer, Streamed):
            chunked = True
            self.send(head(answer.status, answer.headers, None, self._close_after))
            self._sink = ChunkSink(self, chunked)
            answer.start(self._sink)
            request.settle()
        else:
            lines = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
            self.send(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode("latin-1"))
            self._duplex = RawDuplex(self, b"".join(request._pieces))
            self._task = asyncio.ensure_future(self._upgraded(answer))

    def _write_pieces(self, pieces: Sequence[bytes]) -> None:
        """Joined to about 64 KiB: larger joins cost a copy of the whole, smaller writes a call each."""
        assert self.transport is not None
        part: list[bytes] = []
        size = 0
        for piece in pieces:
            part.append(piece)
            size += len(piece)
            if size >= 65536:
                self.transport.write(b"".join(part))
                part, size = [], 0
        if part:
            self.transport.write(b"".join(part))

    async def _upgraded(self, answer: Upgraded) -> None:
        assert self._duplex is not None
        try:
            await answer.start(self._duplex)
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:
            self._server.report(error, None)
        finally:
            self._duplex.close()

    def answered(self, close: bool = False) -> None:
        """The answer is written; go on with what was pipelined behind it."""
        self._sink = None
        self._answering = None
        if self.transport is None:
            return
        if close or self._close_after or self._server.closing:
            self._end()
        elif self._waiting:
            self._handle(*self._waiting.pop(0))
        elif self._refusal is not None:
            self._refuse(*self._refusal)
        elif self._eof:
            self.transport.close()
        else:
            self.deadline = self._server.now() + self._server.idle

    def _end(self, unread: bool = False) -> None:
        """Close; where the peer is still sending, not before it has had time to read the answer: a
        close with unread bytes is a reset, which takes the answer away (RFC 9112, section 9.6)."""
        if self.transport is None:
            return
        self._over = True
        if not unread and (self._request is None or self._request.ended):
            self.transport.close()
            return
        self._lingering = True
        self.transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER, self.transport.close)

    def _refuse(self, status: int, why: str) -> None:
        if self.transport is not None and not self.transport.is_closing():
            if self._answering is not None and self._request is None and self._sink is None:
                self._refusal, self._lingering = (status, why), True
                return
            body = f"{why}\n".encode()
            if self._answering is None and self._request is None and not self._over:
                self.transport.write(
                    head(status, (("Content-Type", "text/plain"),), len(body), True) + body
                )
            self._end(unread=True)

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def finish(self) -> None:
        """End what streams, and close when nothing is being answered."""
        if self._sink is not None:
            self._sink.close()
        elif self._answering is None and self.transport is not None:
            self.transport.close()

    def overdue(self, now: float) -> bool:
        return self.deadline > 0 and now > self.deadline and self._answering is None


class Chooser(asyncio.Protocol):
    """Hands a new connection to the protocol that ALPN agreed on (RFC 7301)."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        chosen: Connection | Http2Connection
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            chosen = Http2Connection(self._server, server_frames())
        else:
            chosen = Connection(self._server)
        cast(asyncio.Transport, transport).set_protocol(chosen)
        chosen.connection_made(transport)


class Server:
    """A handler behind one or more listening sockets."""

    idle = IDLE

    def __init__(
        self, handler: Handler, report: Callable[[Exception, Any], None] | None = None
    ) -> None:
        self.handler = handler
        self.connections: set[Any] = set()
        self.closing = False
        self._doors: list[Door] = []
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    def now(self) -> float:
        return self._loop.time()

    def forget(self, connection: Any) -> None:
        self.connections.discard(connection)
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def report(self, error: Exception, request: Any) -> None:
        if self._report is not None:
            self._report(error, request)
        else:
            self._loop.call_exception_handler({"message": "a request failed", "exception": error})

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        self._doors.append(Door(sock, self._protocol, tls))
        if self._timer is None:
            self._timer = self._loop.call_later(10.0, self._sweep)

    def _protocol(self) -> asyncio.Protocol:
        return Chooser(self)

    def _sweep(self) -> None:
        """One timer for all connections; silent while there are none."""
        now = self.now()
        for connection in list(self.connections):
            if connection.overdue(now):
                connection.abort()
        self._timer = self._loop.call_later(10.0, self._sweep)

    @property
    def addresses(self) -> list[Any]:
        return [door.sock.getsockname() for door in self._doors]

    async def close(self, grace: float = 1.0) -> None:
        """Stop listening, end what streams, and wait a little for the answers under way."""
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
        for door in self._doors:
            door.close()
        for connection in list(self.connections):
            connection.finish()
        if self.connections:
            self._emptied = self._loop.create_future()
            await asyncio.wait([self._emptied], timeout=grace)
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)  # lets the loop drop the sockets


def listening(address: str, port: int, freebind: bool = False) -> socket.socket:
    """A TCP socket that listens; `freebind` for an address that the machine has not yet (Linux).

    Its connections inherit that small writes are not held back: an event that follows another
    would wait 40 ms for the acknowledgement of the first."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if freebind:
        sock.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND
    try:
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def listening_unix(path: str, mode: int = 0o600) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    os.chmod(path, mode)
    sock.listen(256)
    sock.setblocking(False)
    return sock


async def serve(
    handler: Handler,
    sockets: Iterable[socket.socket],
    tls: ssl.SSLContext | None = None,
    report: Callable[[Exception, Any], None] | None = None,
) -> Server:
    """Answer on listening sockets until `close`. Unix sockets never use TLS."""
    server = Server(handler, report)
    for sock in sockets:
        await server.listen(sock, None if sock.family == socket.AF_UNIX else tls)
    return server
