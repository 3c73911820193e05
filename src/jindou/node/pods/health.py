"""One question to a gRPC health service: a request by hand over HTTP/2, without a gRPC library.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md and PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

PATH = "/grpc.health.v1.Health/Check"
SERVING = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
LIMIT = 64 * 1024


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def question(service: str) -> bytes:
    """A HealthCheckRequest with the five bytes that go before every gRPC message."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return struct.pack(">BI", 0, len(message)) + message


def answer(data: bytes) -> int:
    """The status in a HealthCheckResponse; 0, UNKNOWN, where it says nothing."""
    if len(data) < 5 or data[0]:
        return 0
    message = data[5 : 5 + struct.unpack_from(">I", data, 1)[0]]
    return message[1] if len(message) >= 2 and message[0] == 8 else 0


async def check(
    host: str, port: int, service: str, tls: ssl.SSLContext | None = None
) -> tuple[bool, str]:
    """Whether it serves, and what to say if it does not."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    except OSError:
        return False, f'timeout: failed to connect service "{authority}" within its time'
    try:
        headers, data = await _exchange(reader, writer, tls, authority, question(service))
    except (OSError, EOFError, h2.exceptions.ProtocolError) as error:
        return False, f"error: health rpc failed: {error or 'the connection was closed'}"
    finally:
        writer.transport.abort()
    code = headers.get("grpc-status", "0")
    if code == "12":
        return False, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"  # fmt: skip
    if code != "0":
        said = unquote(headers.get("grpc-message", f"status {code}"))
        return False, f"error: health rpc failed: {said}"
    if headers.get(":status", "200") != "200":
        return False, f"error: health rpc failed: HTTP status {headers[':status']}"
    status = answer(data)
    if status == 1:
        return True, "service healthy"
    return False, f'service unhealthy (responded with "{SERVING.get(status, str(status))}")'


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    tls: ssl.SSLContext | None,
    authority: str,
    body: bytes,
) -> tuple[dict[str, str], bytes]:
    link = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    link.initiate_connection()
    fields = [
        (":method", "POST"), (":scheme", "https" if tls else "http"), (":path", PATH), (":authority", authority),
        ("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "kube-probe"),
    ]  # fmt: skip
    link.send_headers(1, fields)
    link.send_data(1, body, end_stream=True)
    writer.write(link.data_to_send())
    headers: dict[str, str] = {}
    data = bytearray()
    while len(data) < LIMIT:
        received = await reader.read(65536)
        if not received:
            raise EOFError("the connection was closed")
        over = False
        for event in link.receive_data(received):
            if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                headers.update({_text(name): _text(value) for name, value in event.headers or ()})
            elif isinstance(event, h2.events.DataReceived):
                data += event.data or b""
                link.acknowledge_received_data(event.flow_controlled_length or 0, 1)
            elif isinstance(event, h2.events.StreamReset):
                raise EOFError(f"the stream was reset, code {event.error_code}")
            elif isinstance(event, (h2.events.StreamEnded, h2.events.ConnectionTerminated)):
                over = True
        writer.write(link.data_to_send())
        if over:
            break
    return headers, bytes(data)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
