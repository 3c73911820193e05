"""A request as every server of ours sees it, whichever HTTP version brought it, and who sent it."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

from jindou.transport import BodyBroken, BodyTooLarge, Handler, Peer

HIGH_WATER = 1024 * 1024  # bytes of a request body held before the reading stops


class Owner(Protocol):
    """What a connection needs of the server that it belongs to."""

    handler: Handler
    connections: set[Any]
    idle: float  # seconds that a connection may wait for its next request

    def now(self) -> float: ...
    def forget(self, connection: Any) -> None: ...
    def report(self, error: Exception, request: Any) -> None: ...


class HttpRequest:
    """One request of an HTTP/1.1 connection or of an HTTP/2 stream."""

    __slots__ = (
        "_arrived",
        "_ended",
        "_path",
        "_pieces",
        "_query",
        "_resume",
        "_size",
        "_unwanted",
        "_waiter",
        "headers",
        "http2",
        "method",
        "peer",
        "raw_path",
    )

    def __init__(
        self, method: str, raw_path: str, headers: dict[str, str], peer: Peer, http2: bool
    ) -> None:
        self.method = method
        self.raw_path = raw_path
        self.headers = headers
        self.peer = peer
        self.http2 = http2
        self._pieces: list[bytes] = []  # few at a time; an empty deque takes 600 bytes
        self._size = self._arrived = 0
        self._ended = self._unwanted = False
        self._waiter: asyncio.Future[None] | None = None
        self._resume: Callable[[], None] | None = None
        self._path: str | None = None
        self._query: dict[str, list[str]] | None = None

    @property
    def path(self) -> str:
        if self._path is None:
            path = self.raw_path.partition("?")[0]
            self._path = unquote(path) if "%" in path else path
        return self._path

    @property
    def query(self) -> dict[str, list[str]]:
        if self._query is None:
            text = self.raw_path.partition("?")[2]
            self._query = parse_qs(text, keep_blank_values=True) if text else {}
        return self._query

    def settle(self) -> None:
        """Let go of what was worked out; it is worked out again for who asks."""
        self._path = self._query = None

    def feed(self, data: bytes) -> int:
        """Take a piece of the body; returns how much is held now."""
        if self._unwanted:
            return 0
        self._arrived += len(data)
        self._pieces.append(data)
        self._size += len(data)
        self._wake()
        return self._size

    def feed_end(self) -> None:
        self._ended = True
        self._wake()

    def pass_by(self, most: int) -> bool:
        """Nobody will read it: drop the body, unless more than `most` bytes are still to come."""
        length = self.headers.get("content-length", "")
        if not self._ended and not (length and int(length) - self._arrived <= most):
            return False
        self._unwanted = True
        self._pieces.clear()
        self._size = 0
        if self._resume is not None:
            self._resume()
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def ended(self) -> bool:
        return self._ended and not self._pieces

    async def piece(self) -> bytes:
        while not self._pieces:
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        data = self._pieces.pop(0)
        self._size -= len(data)
        if self._resume is not None and self._size < HIGH_WATER // 2:
            self._resume()
        return data

    async def body(self, limit: int = 3 * 1024 * 1024) -> bytes:
        if self._ended and len(self._pieces) <= 1:
            data = self._pieces.pop(0) if self._pieces else b""
            self._size = 0
            if len(data) > limit:
                raise BodyTooLarge(f"the body is larger than {limit} bytes")
        else:
            parts, size = [], 0
            while part := await self.piece():
                size += len(part)
                if size > limit:
                    raise BodyTooLarge(f"the body is larger than {limit} bytes")
                parts.append(part)
            data = b"".join(parts)
        encoding = self.headers.get("content-encoding", "")
        if encoding in ("gzip", "deflate") and data:
            inflate = zlib.decompressobj(47)
            try:
                data = inflate.decompress(data, limit + 1)
            except zlib.error as error:
                raise BodyBroken(f"the body is not what Content-Encoding says: {error}") from None
            if len(data) > limit:
                raise BodyTooLarge(f"the body is larger than {limit} bytes when unpacked")
        return data


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family == socket.AF_UNIX:
        _, uid, _ = struct.unpack("3i", raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return Peer("unix", uid=uid)
    name = transport.get_extra_info("peername") or ("", 0)
    address = f"{name[0]}:{name[1]}"
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        return Peer(address)
    common, organizations = "", []
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                common = value
            elif key == "organizationName":
                organizations.append(value)
    return Peer(address, common, tuple(organizations))
