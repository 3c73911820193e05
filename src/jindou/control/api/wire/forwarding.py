"""A request handed on to another server, and its answer handed back: whole, streamed, or as raw bytes.

Nothing is read further than the other side takes it. Headers that belong to one connection, and
credentials, stay behind. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any, Protocol

from jindou.transport import Answer, Duplex, Request, Response, Sink, Streamed, Upgraded
from jindou.transport.client import Pool
from jindou.transport.exchange import ClientResponse, Wire

HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade", "content-length",
    }
)  # fmt: skip
NOT_ONWARD = HOP_BY_HOP | {"authorization", "host", "expect", "http2-settings"}
AT_ONCE = 256 * 1024  # bodies up to this size are read whole and keep their Content-Length
BACKLOG = 256 * 1024

Pairs = list[tuple[str, str]]


class Elsewhere(Protocol):
    """What is served by other servers behind this one (`aggregation`)."""

    active: bool

    def find(self, path: str) -> Any:
        """Which of them a path is about; None: it is served here."""

    def answer(self, remote: Any, request: Request, user: Any) -> Awaitable[Answer]: ...


def onward(request: Request, extra: Iterable[tuple[str, str]] = ()) -> Pairs:
    """The headers for the other server."""
    kept = [
        (name, value)
        for name, value in request.headers.items()
        if name not in NOT_ONWARD and not name.startswith("impersonate-")
    ]
    return [*kept, *extra]


def back(response: ClientResponse) -> Pairs:
    return [(name, value) for name, value in response.all_headers if name not in HOP_BY_HOP]


def wants_upgrade(request: Request) -> bool:
    words = request.headers.get("connection", "").lower()
    return "upgrade" in words and bool(request.headers.get("upgrade"))


async def forward(
    pool: Pool,
    request: Request,
    url: str,
    extra: Iterable[tuple[str, str]] = (),
    timeout: float | None = None,
) -> Answer:
    """Raises ConnectionError, OSError or TimeoutError where the other server can't be reached."""
    if wants_upgrade(request):
        return await upgrade(pool, request, url, extra)
    body: bytes | AsyncIterator[bytes] = b""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) <= AT_ONCE:
        body = b"".join([piece async for piece in pieces_of(request)])
    elif length or "transfer-encoding" in request.headers or request.http2:
        body = pieces_of(request)
    if request.method in ("GET", "HEAD") and not isinstance(body, bytes):
        body = b"".join([piece async for piece in body])
    response = await pool.request(request.method, url, onward(request, extra), body, timeout)
    return await answer_of(request, response)


async def pieces_of(request: Request) -> AsyncIterator[bytes]:
    while piece := await request.piece():
        yield piece


async def answer_of(request: Request, response: ClientResponse) -> Answer:
    headers = back(response)
    length = response.headers.get("content-length", "")
    if request.method == "HEAD" or response.status in (204, 304):
        return Response(response.status, await response.read(), headers)
    if length.isdigit() and int(length) <= AT_ONCE:
        return Response(response.status, await response.read(), headers)
    return streamed(response, headers)


def streamed(response: ClientResponse, headers: Pairs) -> Streamed:
    """The body as it comes; when the asker goes away, the other server is told by a closed connection."""
    tasks: set[asyncio.Task[None]] = set()

    def start(sink: Sink) -> None:
        task = asyncio.get_running_loop().create_task(_pump_body(response, sink))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

        def gone() -> None:
            task.cancel()

        sink.on_close(gone)

    return Streamed(response.status, start, headers)


async def _pump_body(response: ClientResponse, sink: Sink) -> None:
    try:
        async for piece in response.pieces():
            sink.write(piece)
            if sink.pending > BACKLOG:
                await sink.drain()
    except (ConnectionError, OSError):
        sink.abort()
    except asyncio.CancelledError:
        response.close()
    else:
        sink.close()


async def upgrade(
    pool: Pool, request: Request, url: str, extra: Iterable[tuple[str, str]] = ()
) -> Answer:
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", request.headers["upgrade"]),
        *onward(request, extra),
    ]
    response, wire = await pool.dial(request.method, url, headers)
    if wire is None:
        return await answer_of(request, response)
    answered = [
        ("Connection", "Upgrade"),
        ("Upgrade", response.headers.get("upgrade", request.headers["upgrade"])),
        *back(response),
    ]

    async def start(client: Duplex) -> None:
        await relay(client, wire)

    return Upgraded(answered, start)


async def relay(client: Duplex, backend: Wire) -> None:
    """Bytes both ways until the backend has ended; an asker that only stops sending still gets its answer."""
    up = asyncio.ensure_future(_pump(client, backend))
    down = asyncio.ensure_future(_pump(backend, client))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if not down.done() and up.exception() is None and can_end_half(backend):
            backend.write_eof()
            await asyncio.wait({down})
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        backend.close()
        client.close()


def can_end_half(wire: Wire) -> bool:
    return wire.transport is not None and wire.transport.can_write_eof()


async def _pump(source: Duplex, sink: Duplex) -> None:
    while data := await source.receive():
        sink.write(data)
        await sink.drain()
