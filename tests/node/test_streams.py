"""The wire of exec, attach and port-forward byte by byte: what clients other than kubectl rely on."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct

import pytest

from jindou.machine.linux import namespaces
from jindou.node.streams.forward import DialFailed, dialler
from jindou.node.streams.remote import parse_sizes
from jindou.transport.spdy import HeaderBlocks, control, data_frame
from jindou.transport.websocket import unmask
from tests.machine.isolation import shell
from tests.node.endpoint import serving

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Client:
    """A WebSocket client that shows every message as it came."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, path: str, protocol: str = ""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [
            f"GET {path} HTTP/1.1", "Host: h", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}",
        ]  # fmt: skip
        if protocol:
            lines.append(f"Sec-WebSocket-Protocol: {protocol}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return cls(reader, writer), head

    def send(self, data: bytes, opcode: int = 2) -> None:
        size = len(data)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        self.writer.write(bytes([0x80 | opcode]) + length + b"abcd" + unmask(data, b"abcd"))

    async def receive(self) -> tuple[int, bytes]:
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack(">H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(size)

    async def all(self) -> list[tuple[int, bytes]]:
        """Every message up to the close, which is answered."""
        found = []
        while True:
            opcode, data = await self.receive()
            if opcode == 8:
                self.send(data, 8)
                return [*found, (8, data)]
            found.append((opcode, data))

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def exec_path(*argv: str, **flags: str) -> str:
    words = "&".join(f"command={word}" for word in argv)
    rest = "".join(f"&{name}={value}" for name, value in flags.items())
    return f"/exec/default/web/main?{words}{rest}"


def on_endpoint(tmp_path, scenario):
    async def main():
        async with serving(tmp_path) as (port, runtime, containers):
            await asyncio.wait_for(scenario(port, runtime, containers), 20)

    asyncio.run(main())


def test_v5_begins_with_an_empty_message_and_ends_with_a_status(tmp_path):
    async def scenario(port, runtime, containers):
        path = exec_path("sh", "-c", "echo%20hi;exit%203", output="1", error="1")
        client, head = await Client.open(port, path, "v5.channel.k8s.io,v4.channel.k8s.io")
        assert head.startswith("HTTP/1.1 101")
        assert "sec-websocket-protocol: v5.channel.k8s.io" in head.lower()
        first, output, status, closing = await client.all()
        assert (first, output) == ((2, b"\x01"), (2, b"\x01hi\n"))
        assert json.loads(status[1][1:]) == {
            "metadata": {},
            "status": "Failure",
            "message": "command terminated with non-zero exit code: exit status 3",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
        }
        assert status[1][:1] == b"\x03"
        assert closing == (8, struct.pack(">H", 1000))
        await client.close()

    on_endpoint(tmp_path, scenario)


def test_v5_ends_the_input_by_its_close_message(tmp_path):
    async def scenario(port, runtime, containers):
        client, _ = await Client.open(
            port, exec_path("cat", input="1", output="1"), "v5.channel.k8s.io"
        )
        client.send(b"\x00abc")
        client.send(b"\x00")
        client.send(b"\xff\x00")
        messages = await client.all()
        assert [data for _, data in messages[:-1]] == [
            b"\x01", b"\x01abc", b'\x03{"metadata":{},"status":"Success"}',
        ]  # fmt: skip
        await client.close()

    on_endpoint(tmp_path, scenario)


@pytest.mark.parametrize(
    ("protocol", "binary", "last"),
    [
        ("v4.channel.k8s.io", True, b'{"metadata":{},"status":"Success"}'),
        ("v4.base64.channel.k8s.io", False, b'{"metadata":{},"status":"Success"}'),
        ("channel.k8s.io", True, None),
        ("base64.channel.k8s.io", False, None),
        ("", True, None),
    ],
)
def test_older_protocols_are_spoken_too(tmp_path, protocol, binary, last):
    def told(channel: int, data: bytes) -> tuple[int, bytes]:
        if binary:
            return 2, bytes([channel]) + data
        return 1, b"%d" % channel + base64.b64encode(data)

    async def scenario(port, runtime, containers):
        client, _ = await Client.open(
            port, exec_path("head", "-c3", stdin="true", stdout="true"), protocol
        )
        opcode, message = told(0, b"abc")
        client.send(message, opcode)
        expected = [told(1, b""), told(1, b"abc"), *([told(3, last)] if last else [])]
        assert (await client.all())[:-1] == expected
        await client.close()

    on_endpoint(tmp_path, scenario)


def test_before_v4_a_failure_is_plain_text(tmp_path):
    async def scenario(port, runtime, containers):
        client, _ = await Client.open(port, exec_path("false", stdout="1"), "channel.k8s.io")
        messages = await client.all()
        assert messages[1] == (
            2, b"\x03command terminated with non-zero exit code: exit status 1",
        )  # fmt: skip
        await client.close()

    on_endpoint(tmp_path, scenario)


@pytest.mark.parametrize(
    ("path", "protocol", "answer"),
    [
        ("/exec/default/none/main?command=x&output=1", "v5.channel.k8s.io", "404 Not Found"),
        ("/exec/default/web/none?command=x&output=1", "v5.channel.k8s.io", "404 Not Found"),
        ("/exec/default/web/main?command=x", "v5.channel.k8s.io", "400 Bad Request"),
        ("/exec/default/web/main?output=1", "v5.channel.k8s.io", "400 Bad Request"),
        ("/exec/default/web/main?command=x&output=1", "v9.channel.k8s.io", "403 Forbidden"),
        ("/portForward/default/web", "v4.channel.k8s.io", "400 Bad Request"),
        ("/portForward/default/web?port=0", "v4.channel.k8s.io", "400 Bad Request"),
        ("/portForward/default/none?port=1", "v4.channel.k8s.io", "404 Not Found"),
    ],
)
def test_what_cannot_be_is_refused_before_the_upgrade(tmp_path, path, protocol, answer):
    async def scenario(port, runtime, containers):
        client, head = await Client.open(port, path, protocol)
        assert head.splitlines()[0] == f"HTTP/1.1 {answer}"
        await client.close()

    on_endpoint(tmp_path, scenario)


def test_a_request_that_is_no_upgrade_is_refused(tmp_path):
    async def scenario(port, runtime, containers):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /exec/default/web/main?command=x&output=1 HTTP/1.1\r\nHost: h\r\n"
            b"Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.endswith(b"Upgrade request required\n")
        writer.close()
        await writer.wait_closed()

    on_endpoint(tmp_path, scenario)


@pytest.mark.slow
def test_output_that_the_client_does_not_read_is_not_piled_up(tmp_path):
    async def scenario(port, runtime, containers):
        path = exec_path("head", "-c", "200000000", "/dev/zero", output="1")
        client, _ = await Client.open(port, path, "v5.channel.k8s.io")
        await runtime.started.wait()
        session = runtime.sessions[0]
        await session.blocked.wait()
        await asyncio.sleep(0.2)  # time to pump all of it, if nothing held it back
        assert session.pumped < 30_000_000
        client.writer.transport.abort()

    on_endpoint(tmp_path, scenario)


def spdy_request(path: str, version: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: h\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n"
        f"X-Stream-Protocol-Version: {version}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


async def spdy_frames(reader):
    """(stream, kind, flags, payload); kind 0 is data."""
    while True:
        try:
            first, second = struct.unpack(">II", await reader.readexactly(8))
        except asyncio.IncompleteReadError:
            return
        payload = await reader.readexactly(second & 0xFFFFFF)
        if first & 0x80000000:
            (stream,) = struct.unpack(">I", payload[:4])
            yield stream, first & 0xFFFF, second >> 24, payload
        else:
            yield first, 0, second >> 24, payload


def opening(blocks: HeaderBlocks, id: int, headers: dict[str, str], fin: bool = False) -> bytes:
    payload = struct.pack(">IIH", id, 0, 0) + blocks.pack(headers)
    return control(1, 1 if fin else 0, payload)


def test_a_raw_spdy_client_gets_its_streams_and_status(tmp_path):
    async def scenario(port, runtime, containers):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = exec_path("cat", input="1", output="1", error="1")
        writer.write(spdy_request(path, "v4.channel.k8s.io, v3.channel.k8s.io"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101")
        assert "X-Stream-Protocol-Version: v4.channel.k8s.io" in head
        blocks = HeaderBlocks()
        for id, kind in ((1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")):
            writer.write(opening(blocks, id, {"streamtype": kind}, fin=kind == "error"))
        writer.write(data_frame(3, b"through", end=True))
        got: dict[int, bytes] = {}
        ended = set()
        async for stream, kind, flags, payload in spdy_frames(reader):
            if kind == 0:
                got[stream] = got.get(stream, b"") + payload
                if flags & 1:
                    ended.add(stream)
            if ended == {1, 5, 7}:
                break
        assert got == {5: b"through", 7: b"", 1: b'{"metadata":{},"status":"Success"}'}
        writer.close()
        await writer.wait_closed()

    on_endpoint(tmp_path, scenario)


def test_spdy_versions_that_nobody_speaks_are_refused_with_those_that_we_do(tmp_path):
    async def scenario(port, runtime, containers):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(spdy_request(exec_path("x", output="1"), "v9"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 403")
        assert "X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io, " in head
        writer.close()
        await writer.wait_closed()

    on_endpoint(tmp_path, scenario)


async def shouting():
    """A server that answers in capitals once the client has said all."""

    async def answer(reader, writer):
        writer.write((await reader.read()).upper())
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


def test_the_end_of_one_direction_leaves_the_other_open(tmp_path):
    async def scenario(port, runtime, containers):
        server = await shouting()
        target = str(server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(spdy_request("/portForward/default/web", "portforward.k8s.io"))
        await reader.readuntil(b"\r\n\r\n")
        blocks = HeaderBlocks()
        held = {"port": target, "requestid": "0"}
        writer.write(opening(blocks, 1, {"streamtype": "error", **held}, fin=True))
        writer.write(opening(blocks, 3, {"streamtype": "data", **held}))
        writer.write(data_frame(3, b"quiet", end=True))
        got, ended = b"", set()
        async for stream, kind, flags, payload in spdy_frames(reader):
            if kind == 0:
                got += payload
                if flags & 1:
                    ended.add(stream)
            if ended == {1, 3}:
                break
        assert got == b"QUIET"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    on_endpoint(tmp_path, scenario)


def test_ports_over_channels_begin_with_their_number(tmp_path):
    async def answer(reader, writer):
        writer.write((await reader.readexactly(5)).upper())
        writer.close()

    async def scenario(port, runtime, containers):
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        target = server.sockets[0].getsockname()[1]
        client, head = await Client.open(
            port, f"/portForward/default/web?ports={target}", "v5.channel.k8s.io,v4.channel.k8s.io"
        )
        assert "sec-websocket-protocol: v4.channel.k8s.io" in head.lower()
        number = struct.pack("<H", target)
        assert await client.receive() == (2, b"\x00" + number)
        assert await client.receive() == (2, b"\x01" + number)
        client.send(b"\x00quiet")
        assert await client.receive() == (2, b"\x00QUIET")
        client.send(struct.pack(">H", 1000), 8)
        await client.all()
        await client.close()
        server.close()
        await server.wait_closed()

    on_endpoint(tmp_path, scenario)


def test_a_port_where_nobody_listens_is_told_on_the_error_channel(tmp_path):
    async def scenario(port, runtime, containers):
        client, _ = await Client.open(port, "/portForward/default/web?ports=1", "v4.channel.k8s.io")
        await client.receive()
        await client.receive()
        _, told = await client.receive()
        assert told.startswith(b"\x01error forwarding port 1 to pod web_default, uid : failed to")
        assert b"connection refused" in told
        await client.all()
        await client.close()

    on_endpoint(tmp_path, scenario)


def test_sizes_come_one_or_many_whole_or_in_parts():
    one = b'{"Width":80,"Height":24}'
    assert parse_sizes(one) == ([(80, 24)], b"")
    assert parse_sizes(one + b"\n" + one[:5]) == ([(80, 24)], b"\n" + one[:5])
    assert parse_sizes(b'{"Width":0,"Height":24}{"x":1}{]}') == ([], b"")
    assert parse_sizes(os.urandom(3000).replace(b"}", b""))[0] == []


@pytest.mark.root
def test_ports_are_dialled_inside_the_pods_network_and_only_there(tmp_path):
    async def answer(reader, writer):
        writer.write(b"inside")
        writer.close()

    def inside():
        shell("ip link set lo up")
        made = []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            sock = socket.socket(family)
            sock.bind((address, 0))
            sock.listen()
            made.append(sock)
        return made

    async def main():
        namespace = tmp_path / "pod.net"
        sockets = await asyncio.to_thread(namespaces.make, {"network": namespace}, "pod", inside)
        try:
            for sock in sockets:  # over IPv6 where nobody listens on IPv4
                port = sock.getsockname()[1]
                server = await asyncio.start_server(answer, sock=sock)
                reader, writer = await dialler(namespace)(port)
                assert await reader.read() == b"inside"
                writer.close()
                await writer.wait_closed()
                with pytest.raises(DialFailed, match=f"failed to connect to localhost:{port}"):
                    await dialler(None)(port)
                server.close()
                await server.wait_closed()
        finally:
            namespaces.free([namespace])

    asyncio.run(main())
