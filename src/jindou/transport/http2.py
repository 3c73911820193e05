"""One HTTP/2 connection of the server: many requests at once, each a stream.

What must stay true: all that is to be written in one turn of the event loop leaves in one write (a
hundred watches on a connection cost one system call and one TLS record each time, not a hundred);
no stream holds more than `QUEUE` bytes of an answer in the framing library, so a slow reader costs
little memory; a request body is given credit only as it is consumed. Source: RFC 9113.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from typing import cast

from jindou.transport import (
    Answer,
    BadBody,
    Headers,
    Peer,
    Response,
    Streamed,
    Upgraded,
)
from jindou.transport.closing import Closing
from jindou.transport.frames import CALM, CANCEL, BadFrames, Fields, Frames
from jindou.transport.requests import HIGH_WATER, HttpRequest, Owner, peer_of

QUEUE = 256 * 1024
WRITE = 256 * 1024
HOP = {"connection", "transfer-encoding", "keep-alive", "upgrade"}  # have no place in HTTP/2


class Stream:
    """A request and its answer."""

    __slots__ = ("answered", "pieces", "request", "sink", "task", "uncredited")

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.pieces: Iterator[bytes] | None = None  # of an answer that is still being queued
        self.sink: StreamSink | None = None
        self.task: asyncio.Task[None] | None = None
        self.answered = False
        self.uncredited = 0


class StreamSink(Closing):
    """The sending side of a streamed answer."""

    def __init__(self, connection: Http2Connection, number: int) -> None:
        self._connection = connection
        self._number = number
        super().__init__()
        self._drained: list[asyncio.Future[None]] = []

    @property
    def pending(self) -> int:
        return self._connection.queued(self._number) if self._open else 0

    def write(self, data: bytes) -> None:
        if self._open and data:
            self._connection.send(self._number, data, False)

    def close(self) -> None:
        if self._open:
            self._connection.send(self._number, b"", True)
            self._connection.finished(self._number)
            self.lost()

    def abort(self) -> None:
        if self._open:
            self._connection.reset(self._number, CANCEL)
            self.lost()

    async def drain(self) -> None:
        while self._open and self.pending > QUEUE:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drained.append(future)
            await future
        if not self._open:
            raise ConnectionError("the peer is gone")

    def room(self) -> None:
        if self._drained and self.pending <= QUEUE:
            while self._drained:
                future = self._drained.pop(0)
                if not future.done():
                    future.set_result(None)

    def lost(self) -> None:
        self._open = False
        while self._drained:
            future = self._drained.pop(0)
            if not future.done():
                future.set_exception(ConnectionError("the peer is gone"))
        super().lost()


class Http2Connection(asyncio.Protocol):
    def __init__(self, server: Owner, frames: Frames) -> None:
        self._server = server
        self._frames = frames
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.peer = Peer("")
        self._streams: dict[int, Stream] = {}
        self._flushing = False
        self._paused = False
        self._closing = False
        self._idle_since = 0.0

    # ------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer = peer_of(transport)
        self._server.connections.add(self)
        self._idle_since = self._server.now()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._server.forget(self)
        for number in list(self._streams):
            self._drop(number)

    def data_received(self, data: bytes) -> None:
        self._flushing = True  # at the end of this, and not once more in the next turn
        try:
            for what, number, value in self._frames.receive(data):
                if what == "request":
                    self._begin(number, value)
                elif what == "data":
                    self._body(number, value)
                elif what == "end":
                    if number in self._streams:
                        self._streams[number].request.feed_end()
                elif what == "reset":
                    self._drop(number)
                elif what == "window":
                    self._room(number)
        except BadFrames:
            self._flush()
            if self.transport is not None:
                self.transport.close()
            return
        self._flush()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._room(0)
        self._flush()

    # ------------------------------------------------------------ requests

    def _begin(self, number: int, fields: Fields) -> None:
        headers: dict[str, str] = {}
        method = path = ""
        for raw_name, raw_value in fields:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name == ":method":
                method = value
            elif name == ":path":
                path = value
            elif name == ":authority":
                headers.setdefault("host", value)
            elif name[0] != ":":
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        request = HttpRequest(method, path, headers, self.peer, True)
        stream = self._streams[number] = Stream(request)
        request._resume = lambda: self._credit(number)
        if self._closing or len(self._streams) > 1000:
            self.reset(number, CALM)
            return
        try:
            answer = self._server.handler(request)
        except Exception as error:
            self._server.report(error, request)
            answer = Response(500, b"internal error\n")
        if isinstance(answer, (Response, Streamed, Upgraded)):
            self._answer(number, answer)
        else:
            stream.task = asyncio.ensure_future(self._wait(number, request, answer))

    async def _wait(self, number: int, request: HttpRequest, answer: Awaitable[Answer]) -> None:
        try:
            found: Answer = await answer
        except asyncio.CancelledError:
            raise
        except BadBody as error:
            found = Response(error.code, f"{error}\n".encode())
        except Exception as error:
            self._server.report(error, request)
            found = Response(500, b"internal error\n")
        stream = self._streams.get(number)
        if stream is not None:
            stream.task = None
            self._answer(number, found)

    def _body(self, number: int, data: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.answered:
            self._frames.consumed(number, len(data))
        elif stream.request.feed(data) < HIGH_WATER // 2:
            self._frames.consumed(number, len(data) + stream.uncredited)
            stream.uncredited = 0
        else:
            stream.uncredited += len(data)

    def _credit(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and stream.uncredited:
            self._frames.consumed(number, stream.uncredited)
            stream.uncredited = 0
            self.flush_soon()

    # ------------------------------------------------------------ answers

    def _answer(self, number: int, answer: Answer) -> None:
        stream = self._streams[number]
        stream.answered = True
        if isinstance(answer, Upgraded):
            answer = Response(400, b"HTTP/2 can't be upgraded; use HTTP/1.1\n")
        if isinstance(answer, Streamed):
            self._frames.respond(number, fields_of(answer.status, answer.headers, None), False)
            stream.sink = StreamSink(self, number)
            answer.start(stream.sink)
            stream.request.settle()
        else:
            body = answer.body
            size = len(body) if isinstance(body, bytes) else sum(map(len, body))
            head_only = stream.request.method == "HEAD" or not size
            self._frames.respond(number, fields_of(answer.status, answer.headers, size), head_only)
            if head_only:
                self.finished(number)
            elif isinstance(body, bytes) and size <= QUEUE:
                self._frames.send(number, body, True)
                self.finished(number)
            else:
                stream.pieces = parts(body)
                self._pump(number, stream)
        self.flush_soon()

    def _pump(self, number: int, stream: Stream) -> None:
        """Queue more of a long answer, as far as there is room."""
        assert stream.pieces is not None
        while self._frames.queued(number) < QUEUE:
            piece = next(stream.pieces, None)
            if piece is None:
                stream.pieces = None
                self._frames.send(number, b"", True)
                self.finished(number)
                return
            self._frames.send(number, piece, False)

    def _room(self, number: int) -> None:
        for one in [number] if number else list(self._streams):
            stream = self._streams.get(one)
            if stream is None:
                continue
            if stream.pieces is not None:
                self._pump(one, stream)
            elif stream.sink is not None:
                stream.sink.room()

    def queued(self, number: int) -> int:
        held = 0 if self.transport is None else self.transport.get_write_buffer_size()
        return self._frames.queued(number) + held

    def send(self, number: int, data: bytes, end: bool) -> None:
        if number in self._streams:
            self._frames.send(number, data, end)
            self.flush_soon()

    def reset(self, number: int, code: int) -> None:
        self._frames.reset(number, code)
        self._drop(number)
        self.flush_soon()

    def finished(self, number: int) -> None:
        """The answer is queued whole. A body that nobody wanted to read is not waited for."""
        stream = self._streams.pop(number, None)
        if stream is not None and stream.uncredited:
            self._frames.consumed(number, stream.uncredited)
        self._idle_since = self._server.now()

    def _drop(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        stream.request.feed_end()
        if stream.task is not None:
            stream.task.cancel()
        if stream.sink is not None:
            stream.sink.lost()

    # ------------------------------------------------------------ writing

    def flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        while not self._paused:
            data = self._frames.outgoing(WRITE)
            if not data:
                break
            transport.write(data)
            more = len(data) > WRITE // 2  # it ends where a frame ends
            for number, stream in list(self._streams.items()):
                if stream.pieces is not None:
                    self._pump(number, stream)
                    more = True
                elif stream.sink is not None:
                    stream.sink.room()
            if not more:
                break
        if (self._closing and not self._streams) or self._frames.over:
            transport.close()

    def finish(self) -> None:
        """End what streams, take no new requests, and close when all is answered."""
        self._closing = True
        if self.transport is None or self.transport.is_closing():
            return
        self._frames.end()
        for stream in list(self._streams.values()):
            if stream.sink is not None:
                stream.sink.close()
        self._flush()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def overdue(self, now: float) -> bool:
        return not self._streams and now - self._idle_since > self._server.idle


def fields_of(status: int, headers: Headers, size: int | None) -> list[tuple[bytes, bytes]]:
    fields = [(b":status", b"%d" % status)]
    for name, value in headers:
        low = name.lower()
        if low not in HOP:
            fields.append((low.encode("latin-1"), value.encode("latin-1")))
    if size is not None and status not in (204, 304):
        fields.append((b"content-length", b"%d" % size))
    return fields


def parts(body: bytes | Sequence[bytes]) -> Iterator[bytes]:
    """About 64 KiB at a time."""
    if isinstance(body, bytes):
        for at in range(0, len(body), 65536):
            yield body[at : at + 65536]
        return
    held: list[bytes] = []
    size = 0
    for piece in body:
        held.append(piece)
        size += len(piece)
        if size >= 65536:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
