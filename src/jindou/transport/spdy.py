"""SPDY/3.1 framing, the server's side: many streams over one connection that was upgraded.

What kubectl and older Kubernetes clients speak for exec, attach and port-forward. Their library
ignores flow-control windows, so ours are announced (for clients that obey them) but the peer's are
not waited for: the connection's own back-pressure holds senders, and a stream that nobody reads
holds the whole connection once it is full. A broken frame ends the connection.

Source: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable, Mapping

from jindou.transport import Duplex
from jindou.transport.inflow import Inflow

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = (
    1, 2, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
FIN = 0x01
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL, STREAM_IN_USE, ALREADY_CLOSED = (
    1, 2, 3, 5, 8, 9,
)  # fmt: skip
CONTROL_LIMIT = 64 * 1024  # bytes of one control frame
HEADER_LIMIT = 256 * 1024  # bytes of one header block, inflated
MOST_STREAMS = 2000
PIECE = 64 * 1024  # of data, in one frame
ANNOUNCE = 32 * 1024  # bytes taken before the window is opened again

_LISTED = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|"
    "accept-ranges|age|allow|authorization|cache-control|connection|content-base|content-encoding|"
    "content-language|content-length|content-location|content-md5|content-range|content-type|date|"
    "etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|"
    "if-unmodified-since|last-modified|location|max-forwards|pragma|proxy-authenticate|"
    "proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|"
    "user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|"
    "public|set-cookie|keep-alive|origin"
)
_JOINED = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, "
    "Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,"
    "sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.encode() for word in _LISTED.split("|"))
    + _JOINED.encode()
)  # agreed by the protocol; its Adler-32 is 0xe3c6a7c2


class Broken(ConnectionError):
    """The peer did not keep to the protocol."""


class HeaderBlocks:
    """Names and values, compressed with one history for each direction of a connection."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)  # fmt: skip
        self._inflate = zlib.decompressobj(15, DICTIONARY)

    def pack(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode("latin-1"), value.encode("latin-1")):
                parts += struct.pack(">I", len(text)), text
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def unpack(self, data: bytes) -> dict[str, str]:
        """Repeated values of one name are joined by NUL, as the protocol writes them."""
        try:
            block = self._inflate.decompress(data, HEADER_LIMIT)
        except zlib.error as error:
            raise Broken(f"a header block can't be inflated: {error}") from error
        if self._inflate.unconsumed_tail:
            raise Broken("a header block is too large")
        texts: list[str] = []
        try:
            (count,) = struct.unpack_from(">I", block)
            at = 4
            for _ in range(2 * min(count, HEADER_LIMIT)):
                (length,) = struct.unpack_from(">I", block, at)
                if at + 4 + length > len(block):
                    raise Broken("a header block is cut short")
                texts.append(block[at + 4 : at + 4 + length].decode("latin-1"))
                at += 4 + length
        except struct.error as error:
            raise Broken("a header block is cut short") from error
        return dict(zip(texts[::2], texts[1::2], strict=True))


def control(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(payload)) + payload


def data_frame(stream: int, data: bytes, end: bool = False) -> bytes:
    return struct.pack(">II", stream, (FIN if end else 0) << 24 | len(data)) + data


class Stream:
    """One stream that the peer opened: bytes both ways, each way ended for itself."""

    def __init__(self, connection: Connection, id: int, headers: dict[str, str]) -> None:
        self.id = id
        self.headers = headers
        self.was_reset = False
        self.inflow = Inflow(self._taken)
        self.send_ended = False
        self._connection = connection
        self._unannounced = 0

    def _taken(self, size: int) -> None:
        self._unannounced += size
        if self._unannounced >= ANNOUNCE and not self.inflow.ended:
            self._connection.announce(self.id, self._unannounced)
            self._unannounced = 0
        self._connection.made_room()

    async def receive(self) -> bytes:
        return await self.inflow.receive()

    async def send(self, data: bytes) -> None:
        """Returns when the connection can take more. Raises ConnectionError."""
        for at in range(0, len(data), PIECE):
            if self.send_ended:
                raise ConnectionError("the stream is closed")
            await self._connection.send(data_frame(self.id, data[at : at + PIECE]))

    async def end(self) -> None:
        """No more from us; the peer may go on."""
        if not self.send_ended:
            self.send_ended = True
            self._connection.forget_if_done(self)
            await self._connection.send(data_frame(self.id, b"", end=True))

    def reset(self, status: int = CANCEL) -> None:
        if not (self.send_ended and self.inflow.ended):
            self._connection.reset(self.id, status)
        self.drop()

    def drop(self) -> None:
        """Ended in both directions, by a reset or with the connection."""
        self.send_ended = self.was_reset = True
        self.inflow.discard()
        self._connection.forget_if_done(self)


class Connection:
    """Reads frames until the peer is gone. `on_stream` says whether a new stream is wanted."""

    def __init__(self, wire: Duplex, on_stream: Callable[[Stream], bool]) -> None:
        self._wire = wire
        self._on_stream = on_stream
        self._blocks = HeaderBlocks()
        self._streams: dict[int, Stream] = {}
        self._buffer = bytearray()
        self._data: tuple[int, int, int] | None = None  # stream, flags, bytes still to come
        self._last = 0
        self._taken = 0
        self._room = asyncio.Event()
        self._lost = False

    async def run(self) -> None:
        """Until the peer has gone or broke the protocol; then every stream is ended."""
        try:
            while data := await self._wire.receive():
                self._taken += len(data)
                self._buffer += data
                self._parse()
                if self._taken >= ANNOUNCE:
                    self.announce(0, self._taken)
                    self._taken = 0
                while any(stream.inflow.full for stream in self._streams.values()):
                    self._room.clear()
                    await self._room.wait()
                await self._wire.drain()
        except Broken:
            self._wire.write(control(GOAWAY, 0, struct.pack(">II", self._last, 1)))
        finally:
            self._lost = True
            for stream in list(self._streams.values()):
                stream.drop()

    # ------------------------------------------------------------ sending

    async def send(self, frame: bytes) -> None:
        if self._lost:
            raise ConnectionError("the peer is gone")
        self._wire.write(frame)
        await self._wire.drain()

    def announce(self, stream: int, size: int) -> None:
        if not self._lost:
            self._wire.write(control(WINDOW_UPDATE, 0, struct.pack(">II", stream, size)))

    def reset(self, stream: int, status: int) -> None:
        if not self._lost:
            self._wire.write(control(RST_STREAM, 0, struct.pack(">II", stream, status)))

    def made_room(self) -> None:
        self._room.set()

    def forget_if_done(self, stream: Stream) -> None:
        if stream.send_ended and stream.inflow.ended:
            self._streams.pop(stream.id, None)
            self._room.set()

    # ------------------------------------------------------------ receiving

    def _parse(self) -> None:
        buffer = self._buffer
        while True:
            if self._data is not None:
                if not self._take_data():
                    return
                continue
            if len(buffer) < 8:
                return
            first, second = struct.unpack_from(">II", buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if not first & 0x80000000:
                del buffer[:8]
                self._data = (first, flags, length)
                continue
            if first >> 16 != 0x8003:
                raise Broken(f"SPDY version {(first >> 16) & 0x7FFF} is not spoken here")
            if length > CONTROL_LIMIT:
                raise Broken("a control frame is too large")
            if len(buffer) < 8 + length:
                return
            payload = bytes(buffer[8 : 8 + length])
            del buffer[: 8 + length]
            try:
                self._control(first & 0xFFFF, flags, payload)
            except struct.error as error:
                raise Broken("a control frame is cut short") from error

    def _take_data(self) -> bool:
        """Hand on what has come of a data frame; is it whole?"""
        assert self._data is not None
        id, flags, left = self._data
        piece = bytes(self._buffer[:left])
        del self._buffer[:left]
        stream = self._streams.get(id)
        if stream is not None and stream.inflow.ended:
            self.reset(id, ALREADY_CLOSED)
            stream = None
        elif stream is None and not 0 < id <= self._last:
            self.reset(id, INVALID_STREAM)
        if stream is not None:
            stream.inflow.feed(piece)
        left -= len(piece)
        if left:
            self._data = (id, flags, left)
            return False
        self._data = None
        if stream is not None and flags & FIN:
            stream.inflow.end()
            self.forget_if_done(stream)
        return True

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == SYN_STREAM:
            self._opened(flags, payload)
        elif kind == RST_STREAM:
            id, _ = struct.unpack(">II", payload[:8])
            if stream := self._streams.get(id & 0x7FFFFFFF):
                stream.drop()
        elif kind == PING:
            (id,) = struct.unpack(">I", payload[:4])
            if id % 2:  # the peer's, not an answer to one of ours
                self._wire.write(control(PING, 0, payload[:4]))
        elif kind in (HEADERS, SYN_REPLY):
            self._blocks.unpack(payload[4:])  # keeps the history right

    def _opened(self, flags: int, payload: bytes) -> None:
        (id,) = struct.unpack_from(">I", payload)
        id &= 0x7FFFFFFF
        headers = self._blocks.unpack(payload[10:])
        if id % 2 == 0 or id <= self._last:
            raise Broken(f"stream {id} is out of turn")
        self._last = id
        stream = Stream(self, id, headers)
        if flags & FIN:
            stream.inflow.end()
        if len(self._streams) >= MOST_STREAMS or not self._on_stream(stream):
            self.reset(id, REFUSED_STREAM)
            stream.drop()
            return
        self._streams[id] = stream
        reply = struct.pack(">I", id) + self._blocks.pack({})
        self._wire.write(control(SYN_REPLY, 0, reply))
