"""The server and the client against each other, and the server against raw bytes."""

from __future__ import annotations

import asyncio
import socket

import pytest

from jindou.transport import Response, Streamed, Upgraded
from jindou.transport.client import Pool
from jindou.transport.server import listening, serve


def on_server(handler, scenario):
    async def main():
        sock = listening("127.0.0.1", 0)
        server = await serve(handler, [sock])
        port = sock.getsockname()[1]
        try:
            await asyncio.wait_for(scenario(port, server), 10)
        finally:
            await server.close(0.2)

    asyncio.run(main())


async def echo(request):
    body = await request.body(100_000)
    return Response(200, b"%s %s %s" % (request.method.encode(), request.path.encode(), body))


async def raw(port, data, *, until_close=True):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_requests_reuse_one_connection_and_bodies_arrive_whole():
    async def scenario(port, server):
        pool = Pool()
        for n in range(3):
            response = await pool.request(
                "POST", f"http://127.0.0.1:{port}/a%20b?x={n}", body=b"x" * n
            )
            assert response.status == 200
            assert await response.read() == b"POST /a b " + b"x" * n
        assert len(server.connections) == 1
        pool.close()

    on_server(echo, scenario)


def test_a_body_of_pieces_is_chunked_and_one_over_the_limit_is_refused():
    async def scenario(port, server):
        async def pieces():
            for _ in range(3):
                yield b"y" * 10

        pool = Pool()
        response = await pool.request("PUT", f"http://127.0.0.1:{port}/", body=pieces())
        assert await response.read() == b"PUT / " + b"y" * 30
        response = await pool.request("POST", f"http://127.0.0.1:{port}/", body=b"z" * 200_000)
        assert response.status == 413
        await response.read()
        pool.close()

    on_server(echo, scenario)


def test_pipelined_requests_are_answered_in_order():
    async def slow_first(request):
        if request.path == "/1":
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return Response(200, request.path.encode())

    async def scenario(port, server):
        answer = await raw(
            port, b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in (1, 2, 3))
        )
        assert [answer.index(b"\r\n\r\n/%d" % n) for n in (1, 2, 3)] == sorted(
            answer.index(b"\r\n\r\n/%d" % n) for n in (1, 2, 3)
        )

    on_server(slow_first, scenario)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400", id="both-lengths"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", b"400", id="two-lengths"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400", id="two-hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", b"400", id="folded-header"),
        pytest.param(b"GARBAGE\r\n\r\n", b"400", id="garbage"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400", id="bad-chunk"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"400", id="coding"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n", b"431", id="many-headers"),
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"431", id="long-line"),
    ],
)  # fmt: skip
def test_doubtful_requests_are_refused_and_the_connection_ends(data, status):
    async def scenario(port, server):
        answer = await raw(port, data)
        assert b"200 OK" not in answer
        assert answer == b"" or answer.startswith(b"HTTP/1.1 " + status)

    on_server(echo, scenario)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /1 HTTP/1.0\r\n\r\n", id="closing"),
        pytest.param(b"POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="unread"),
        pytest.param(b"POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="unread-and-broken"),
    ],
)  # fmt: skip
def test_nothing_is_asked_or_answered_after_the_last_answer(data):
    asked = []

    def at_once(request):
        asked.append(request.path)
        return Response(404, b"")

    async def scenario(port, server):
        answer = await raw(port, data + b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer.count(b"HTTP/1.1 ") == 1, answer
        assert asked == ["/1"]

    on_server(at_once, scenario)


@pytest.mark.slow
def test_a_refusal_waits_for_the_answers_before_it():
    async def later(request):
        await asyncio.sleep(0)
        return Response(200, request.path.encode())

    async def scenario(port, server):
        good = b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in (1, 2))
        answer = await raw(port, good + b"GET / HTTP/1.1\r\nA b: c\r\n\r\n" + good)
        assert [line for line in answer.split(b"\r\n") if line[:1] in (b"/", b"H")] == [
            b"HTTP/1.1 200 OK", b"/1HTTP/1.1 200 OK", b"/2HTTP/1.1 400 Bad Request",
        ]  # fmt: skip

    on_server(later, scenario)


def test_requests_may_arrive_byte_by_byte():
    async def scenario(port, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        for byte in b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi":
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()

    on_server(echo, scenario)


def test_a_stream_goes_on_until_closed_and_tells_when_the_peer_leaves():
    closed = []
    left = asyncio.Event()

    def gone(path):
        closed.append(path)
        if path == "/leave":
            left.set()

    def stream(request):
        def start(sink):
            sink.on_close(lambda: gone(request.path))
            sink.write(b"one")
            sink.write(b"two")
            if request.path == "/end":
                sink.close()

        return Streamed(200, start)

    async def scenario(port, server):
        pool = Pool()
        response = await pool.request("GET", f"http://127.0.0.1:{port}/end")
        assert await response.read() == b"onetwo"
        response = await pool.request("GET", f"http://127.0.0.1:{port}/leave")
        async for piece in response.pieces():
            assert piece
            break
        response.close()
        await left.wait()
        assert closed == ["/end", "/leave"]
        pool.close()

    on_server(stream, scenario)


def test_an_upgrade_hands_over_the_raw_connection():
    def upgrade(request):
        async def start(duplex):
            while data := await duplex.receive():
                duplex.write(data.upper())
                await duplex.drain()

        return Upgraded((("Connection", "Upgrade"), ("Upgrade", "shout")), start)

    async def scenario(port, server):
        pool = Pool()
        headers = (("Connection", "Upgrade"), ("Upgrade", "shout"))
        response, wire = await pool.dial("POST", f"http://127.0.0.1:{port}/", headers)
        assert response.status == 101
        wire.write(b"hello")
        assert await wire.receive() == b"HELLO"
        wire.close()

    on_server(upgrade, scenario)


def test_a_failing_handler_is_an_error_500_and_nothing_more():
    def fail(request):
        raise KeyError("x")

    async def scenario(port, server):
        seen = []
        server._report = lambda error, request: seen.append(type(error))
        answer = await raw(port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 500")
        assert seen == [KeyError]

    on_server(fail, scenario)


@pytest.mark.parametrize(("size", "answers"), [(1000, 2), (1_000_000, 1)])
def test_an_answer_that_comes_before_the_body_is_read_arrives(size, answers):
    """A small body passes by and the connection goes on; a large one ends it, but not too soon."""

    async def scenario(port, server):
        request = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        told = await raw(port, (request + b"x" * size) * 2)
        assert told.count(b"HTTP/1.1 405") == answers
        assert told.endswith(b"no")

    on_server(lambda request: Response(405, b"no"), scenario)


def test_small_writes_are_not_held_back():
    async def scenario(port, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"yes")
        (connection,) = server.connections
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()

    on_server(lambda request: Response(200, b"yes"), scenario)
