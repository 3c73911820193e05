"""Bytes on the wire: HTTP/1.1 and HTTP/2, WebSocket, SPDY and TLS, for every server and client we have.

A server is a `Handler` behind `transport.server.serve`. A handler that can answer at once returns
a `Response` (no task is made); one that must wait returns an awaitable of one. Nothing here knows
an API object.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[str, str]]


class Peer(NamedTuple):
    """Who is at the other end of a connection."""

    address: str  # "127.0.0.1:52344", or the path of a Unix socket
    common_name: str = ""  # CN of a verified client certificate
    organizations: tuple[str, ...] = ()  # O of the same
    uid: int | None = None  # of the process at a Unix socket


class Request(Protocol):
    """One request, whole headers read; the body arrives by `body()` or piece by piece by `pieces()`."""

    method: str
    raw_path: str  # as sent, with the query
    headers: dict[str, str]  # names in lower case; repeated values joined by ", "
    peer: Peer
    http2: bool

    @property
    def path(self) -> str:
        """Percent-decoded, without the query."""
        ...

    @property
    def query(self) -> dict[str, list[str]]: ...

    async def body(self, limit: int = 3 * 1024 * 1024) -> bytes:
        """The whole body, gunzipped where so sent. Raises BodyTooLarge beyond `limit` bytes, or BodyBroken."""
        ...

    async def piece(self) -> bytes:
        """The next piece of the body, with back-pressure; b"" at its end."""
        ...


class BadBody(Exception):
    """Of a request; `code` is the status of the answer where no handler finds another."""

    code = 400


class BodyBroken(BadBody):
    """It is not packed as its headers say."""


class BodyTooLarge(BadBody):
    code = 413


class Response:
    """A whole answer. `body` may be many pieces, written in order without being joined."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, body: bytes | Sequence[bytes] = b"", headers: Headers = ()
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers


class Sink(Protocol):
    """The sending side of a streamed answer. `write` never blocks; watch `pending` and `drain`."""

    @property
    def pending(self) -> int:
        """Bytes accepted and not yet handed to the kernel."""
        ...

    def write(self, data: bytes) -> None: ...
    def close(self) -> None:
        """End the answer properly (last chunk, END_STREAM)."""
        ...

    def abort(self) -> None:
        """Drop the stream, or the connection where there is only one stream on it."""
        ...

    async def drain(self) -> None:
        """Wait until little is pending. Raises ConnectionError when the peer is gone."""
        ...

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call once when the peer goes away or the answer was ended."""
        ...


class Streamed:
    """An answer that goes on: headers now, then whatever `start` writes to the sink, whenever."""

    __slots__ = ("headers", "start", "status")

    def __init__(self, status: int, start: Callable[[Sink], None], headers: Headers = ()) -> None:
        self.status = status
        self.start = start
        self.headers = headers


class Duplex(Protocol):
    """A connection whose bytes are now ours: after an upgrade, or dialled."""

    async def receive(self) -> bytes:
        """The next bytes; b"" when the peer has ended its side."""
        ...

    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...


class Upgraded:
    """101 Switching Protocols: send `headers`, then hand the raw connection to `start` in a task."""

    __slots__ = ("headers", "start")

    def __init__(self, headers: Headers, start: Callable[[Duplex], Awaitable[None]]) -> None:
        self.headers = headers
        self.start = start


Answer = Response | Streamed | Upgraded
Handler = Callable[[Request], Answer | Awaitable[Answer]]
