"""WebSocket, the server's side: whole messages both ways over an upgraded connection.

A peer that breaks the protocol gets a close frame that says why. Pings are answered; a message is
held whole, up to a limit. Source: RFC 6455.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Sequence

from jindou.transport import Duplex, Headers, Request

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, PROTOCOL_ERROR, BAD_TEXT, TOO_BIG = 1000, 1002, 1007, 1009
MESSAGE_LIMIT = 16 * 1024 * 1024


class BadHandshake(Exception):
    """Why a request is no WebSocket handshake; `status` is the answer's."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def wanted(request: Request) -> bool:
    return request.headers.get("upgrade", "").lower() == "websocket"


def offered(request: Request) -> list[str]:
    """The subprotocols that the client can speak, dearest first."""
    text = request.headers.get("sec-websocket-protocol", "")
    return [name.strip() for name in text.split(",") if name.strip()]


def choose(request: Request, known: Sequence[str]) -> str | None:
    """The client's first that we know; "" when it names none; None when we know none of them."""
    names = offered(request)
    if not names:
        return ""
    return next((name for name in names if name in known), None)


def handshake(request: Request, protocol: str = "") -> Headers:
    """The headers of the answer. Raises BadHandshake."""
    headers = request.headers
    if request.method != "GET":
        raise BadHandshake("a WebSocket handshake is a GET", 405)
    if "upgrade" not in headers.get("connection", "").lower():
        raise BadHandshake("the Connection header does not ask for an upgrade")
    if headers.get("sec-websocket-version") != "13":
        raise BadHandshake("only version 13 of the WebSocket protocol is spoken here", 426)
    key = headers.get("sec-websocket-key", "")
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise BadHandshake("Sec-WebSocket-Key does not hold 16 bytes")
    except binascii.Error as error:
        raise BadHandshake("Sec-WebSocket-Key is not base64") from error
    accept = base64.b64encode(hashlib.sha1(key.encode() + MAGIC).digest()).decode()
    answer = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
    if protocol:
        answer.append(("Sec-WebSocket-Protocol", protocol))
    return answer


def frame(opcode: int, payload: bytes) -> bytes:
    """One unfragmented, unmasked frame."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x80 | opcode, size)
    elif size < 65536:
        head = struct.pack(">BBH", 0x80 | opcode, 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 127, size)
    return head + payload


def unmask(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


class _Violation(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class WebSocket:
    """Messages over an upgraded connection. One task may receive, any may send."""

    def __init__(self, wire: Duplex) -> None:
        self._wire = wire
        self._buffer = bytearray()
        self._closing = False  # our close frame is sent
        self.closed = False  # nothing more will come
        self.close_code = 1006
        self.text = False  # was the last message text?

    async def receive(self) -> bytes | None:
        """The next message; None when the peer has closed, or broke the protocol."""
        parts: list[bytes] = []
        size, opcode = 0, -1
        try:
            while True:
                found = await self._frame()
                if found is None:
                    break
                final, kind, payload = found
                if kind >= CLOSE:
                    if self._controlled(kind, payload):
                        break
                    continue
                if (kind == CONTINUATION) != (opcode >= 0):
                    raise _Violation(PROTOCOL_ERROR, "fragments out of order")
                opcode = kind if opcode < 0 else opcode
                parts.append(payload)
                size += len(payload)
                if size > MESSAGE_LIMIT:
                    raise _Violation(TOO_BIG, "the message is too large")
                if final:
                    self.text = opcode == TEXT
                    return self._checked(b"".join(parts))
        except _Violation as violation:
            self._say_close(violation.code, str(violation))
        except ConnectionError:
            pass
        self.closed = True
        return None

    def _checked(self, message: bytes) -> bytes:
        if self.text:
            try:
                message.decode()
            except UnicodeDecodeError as error:
                raise _Violation(BAD_TEXT, "the text is not UTF-8") from error
        return message

    async def _frame(self) -> tuple[bool, int, bytes] | None:
        if not await self._have(2):
            return None
        first, second = self._buffer[0], self._buffer[1]
        opcode, size, head = first & 0x0F, second & 0x7F, 2
        if first & 0x70 or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise _Violation(PROTOCOL_ERROR, "reserved bits or an unknown kind of frame")
        if not second & 0x80:
            raise _Violation(PROTOCOL_ERROR, "the frame is not masked")
        if opcode >= CLOSE and (size > 125 or not first & 0x80):
            raise _Violation(PROTOCOL_ERROR, "a control frame is long or fragmented")
        if size >= 126:
            head = 4 if size == 126 else 10
            if not await self._have(head):
                return None
            size = int.from_bytes(self._buffer[2:head], "big")
        if size > MESSAGE_LIMIT:
            raise _Violation(TOO_BIG, "the message is too large")
        if not await self._have(head + 4 + size):
            return None
        mask = bytes(self._buffer[head : head + 4])
        payload = unmask(bytes(self._buffer[head + 4 : head + 4 + size]), mask)
        del self._buffer[: head + 4 + size]
        return bool(first & 0x80), opcode, payload

    async def _have(self, size: int) -> bool:
        while len(self._buffer) < size:
            data = await self._wire.receive()
            if not data:
                return False
            self._buffer += data
        return True

    def _controlled(self, kind: int, payload: bytes) -> bool:
        """Answer a control frame; was it the close?"""
        if kind == PING and not self._closing:
            self._wire.write(frame(PONG, payload))
        if kind != CLOSE:
            return False
        self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
        if len(payload) == 1:
            raise _Violation(PROTOCOL_ERROR, "a close frame of one byte")
        self._say_close(self.close_code if self.close_code != 1005 else NORMAL, "")
        return True

    def _say_close(self, code: int, reason: str) -> None:
        if not self._closing:
            self._closing = True
            self._wire.write(frame(CLOSE, struct.pack(">H", code) + reason.encode()[:123]))

    def write(self, data: bytes, *, text: bool = False) -> None:
        """Send without waiting; see `drain`. Raises ConnectionError."""
        if self._closing or self.closed:
            raise ConnectionError("the WebSocket is closed")
        self._wire.write(frame(TEXT if text else BINARY, data))

    async def drain(self) -> None:
        await self._wire.drain()

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Returns when the connection can take more. Raises ConnectionError."""
        self.write(data, text=text)
        await self._wire.drain()

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say that we are done. Whoever receives sees the peer's answer as the end."""
        self._say_close(code, reason)
        if not self.closed:
            await self._wire.drain()
