"""A small HTTP/1.1 client for our own use: pooled connections, streamed bodies, upgrades.

It speaks to what a URL names (http, https) or to a Unix socket. An idle connection that turns out
dead is replaced for requests that may be repeated. Nobody is followed who sends a request elsewhere,
and no proxy is asked.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from urllib.parse import SplitResult, urlsplit

from jindou.transport import Headers
from jindou.transport.exchange import ClientResponse, Wire

REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
MOST_IDLE = 16

Place = tuple[str, str, int]  # scheme, host, port


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
        self._idle: dict[Place, list[Wire]] = {}
        self._closed = False

    @property
    def idle(self) -> dict[Place, int]:
        """How many connections wait for their next request, by scheme, host and port."""
        return {place: len(wires) for place, wires in self._idle.items() if wires}

    async def request(
        self,
        method: str,
        url: str,
        headers: Headers | Mapping[str, str] = (),
        body: bytes | AsyncIterator[bytes] = b"",
        timeout: float | None = 30.0,
        *,
        repeatable: bool = False,
    ) -> ClientResponse:
        """Send, and return when the head of the answer is here. `timeout` bounds that wait;
        `repeatable` says it of a request whose method does not. Raises OSError or TimeoutError."""
        parts = urlsplit(url)
        place, target = place_of(parts), target_of(parts)
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
                    may = repeatable or method in REPEATABLE
                    if fresh or not may or not isinstance(body, bytes):
                        raise
                    continue
                except BaseException:
                    wire.close()
                    raise
                wire.release = lambda wire: self._return(place, wire)
                if wire.complete and not wire._pieces:
                    await wire.piece()
                return response

    async def _connection(self, place: Place, *, new: bool = False) -> tuple[Wire, bool]:
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

    def _return(self, place: Place, wire: Wire) -> None:
        if place not in self._idle:
            self._forget_dead()
        idle = self._idle.setdefault(place, [])
        if wire.keep and wire.transport is not None and len(idle) < MOST_IDLE and not self._closed:
            idle.append(wire)
        else:
            wire.close()

    def _forget_dead(self) -> None:
        """Where nobody answers any more nothing is kept, for places come and go."""
        for place, wires in list(self._idle.items()):
            wires[:] = [wire for wire in wires if wire.transport is not None]
            if not wires:
                del self._idle[place]

    async def dial(
        self, method: str, url: str, headers: Headers, timeout: float = 30.0
    ) -> tuple[ClientResponse, Wire | None]:
        """Ask for an upgrade. Returns the answer, and the raw connection where it was 101."""
        parts = urlsplit(url)
        place, target = place_of(parts), target_of(parts)
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
        """What is in use goes on to its end, and is not kept."""
        self._closed = True
        for wires in self._idle.values():
            for wire in wires:
                wire.close()
        self._idle.clear()


def place_of(url: SplitResult) -> Place:
    return (
        url.scheme,
        url.hostname or "localhost",
        url.port or (443 if url.scheme == "https" else 80),
    )


def target_of(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


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
            name = line.partition(":")[0]
            raise ValueError(f"a header may not hold a line break: {name!r}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
