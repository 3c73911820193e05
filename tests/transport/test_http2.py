"""HTTP/2 by both framing libraries, against a client we did not write (hyper-h2) and curl."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import shutil
import ssl
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from jindou.control.api.access import certificates
from jindou.transport import Response, Streamed, frames
from jindou.transport import server as server_module
from jindou.transport.server import listening, serve
from jindou.transport.tls import server_context


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    certificates.ensure(
        folder,
        certificates.leaves("here", ("127.0.0.1",), "cluster.local"),
        datetime.datetime.now(datetime.UTC),
    )
    return folder


@pytest.fixture(params=[frames.NativeFrames, frames.PythonFrames])
def library(request, monkeypatch):
    monkeypatch.setattr(server_module, "server_frames", request.param)
    return request.param


class Client:
    """Reads as fast as its windows allow; `window` is what it grants each stream."""

    def __init__(self, window: int = 65535) -> None:
        self.http = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        )
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.events: list[h2.events.Event] = []
        self.ended: set[int] = set()
        self.credit = True

    async def connect(self, port: int, pki: Path) -> None:
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.set_alpn_protocols(["h2"])
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        self.http.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.http.data_to_send())

    def request(self, method: str, path: str, body: bytes | None = None) -> int:
        number = self.http.get_next_available_stream_id()
        fields = [
            (":method", method),
            (":path", path),
            (":authority", "here"),
            (":scheme", "https"),
        ]
        self.http.send_headers(number, fields, end_stream=body is None)
        if body is not None:
            self.http.send_data(number, body, end_stream=True)
        self.flush()
        return number

    async def step(self) -> None:
        data = await self.reader.read(65536)
        assert data, "the server closed the connection"
        for event in self.http.receive_data(data):
            self.events.append(event)
            if isinstance(event, h2.events.ResponseReceived):
                self.headers[event.stream_id] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                held = self.bodies.get(event.stream_id, b"")
                self.bodies[event.stream_id] = held + event.data
                if self.credit:
                    self.http.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
        self.flush()

    async def finish(self, *numbers: int) -> None:
        while not set(numbers) <= self.ended:
            await self.step()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ssl.SSLError):  # where the server had more to say
            await self.writer.wait_closed()


def on_server(pki, handler, scenario):
    async def main():
        sock = listening("127.0.0.1", 0)
        context = server_context(str(pki / "server.crt"), str(pki / "server.key"))
        server = await serve(handler, [sock], context)
        client = Client()
        await client.connect(sock.getsockname()[1], pki)
        try:
            await asyncio.wait_for(scenario(client, server), 10)
        finally:
            await client.close()
            await server.close(0.2)

    asyncio.run(main())


async def echo(request):
    return Response(200, await request.body(300_000), (("X-Path", request.path),))


def test_requests_of_one_connection_are_answered_at_once(pki, library):
    async def scenario(client, server):
        numbers = [client.request("POST", f"/{n}", b"x" * n) for n in range(20)]
        await client.finish(*numbers)
        for n, number in enumerate(numbers):
            assert client.headers[number][":status"] == "200"
            assert client.headers[number]["x-path"] == f"/{n}"
            assert client.bodies.get(number, b"") == b"x" * n

    on_server(pki, echo, scenario)


def test_a_long_answer_waits_for_the_window_and_holds_little_meanwhile(pki, library):
    pieces = [bytes([n % 251]) * 10_000 for n in range(300)]

    async def scenario(client, server):
        client.credit = False
        number = client.request("GET", "/")
        while len(client.bodies.get(number, b"")) < 65535:
            await client.step()
        (connection,) = server.connections
        assert connection.queued(number) <= 2 * 256 * 1024
        client.credit = True
        client.http.acknowledge_received_data(65535, number)
        client.flush()
        await client.finish(number)
        assert client.bodies[number] == b"".join(pieces)

    on_server(pki, lambda request: Response(200, pieces), scenario)


def test_a_stream_goes_on_until_it_is_reset(pki, library):
    sinks = []
    closed = []

    def handler(request):
        def start(sink):
            sinks.append(sink)
            sink.on_close(lambda: closed.append(True))
            sink.write(b"one\n")

        return Streamed(200, start)

    async def scenario(client, server):
        number = client.request("GET", "/watch")
        while client.bodies.get(number) != b"one\n":
            await client.step()
        sinks[0].write(b"two\n")
        while client.bodies.get(number) != b"one\ntwo\n":
            await client.step()
        client.http.reset_stream(number)
        other = client.request("GET", "/other")
        while client.bodies.get(other) != b"one\n":
            await client.step()
        assert closed == [True]
        sinks[0].write(b"nobody listens\n")
        sinks[1].close()
        await client.finish(other)

    on_server(pki, handler, scenario)


def test_a_body_over_the_limit_is_refused_and_the_connection_lives(pki, library):
    async def small(request):
        return Response(200, await request.body(1000))

    async def scenario(client, server):
        big, little = client.request("POST", "/", b"x" * 16_000), client.request("POST", "/", b"y")
        await client.finish(big, little)
        assert client.headers[big][":status"] == "413"
        assert client.bodies[little] == b"y"

    on_server(pki, small, scenario)


def test_broken_frames_end_the_connection_only(pki, library):
    async def scenario(client, server):
        client.writer.write(b"\0\0\1\x09\0\0\0\0\1x")  # a CONTINUATION out of place
        await client.writer.drain()
        while await client.reader.read(65536):
            pass  # until the server has closed it

    on_server(pki, echo, scenario)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_chooses_http2(pki, library):
    async def scenario(client, server):
        port = server.addresses[0][1]
        process = await asyncio.create_subprocess_exec(
            "curl", "-s", "--cacert", str(pki / "ca.crt"), "--noproxy", "*", "-d", "hello",
            "-w", " %{http_version}", f"https://127.0.0.1:{port}/a", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert output == b"hello 2"

    on_server(pki, echo, scenario)
