"""The client against servers that misbehave: connections that die, heads without end, answers that lead elsewhere."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from jindou.transport import Response
from jindou.transport.client import Pool
from jindou.transport.server import listening, serve


def on_raw_server(answer, scenario):
    """`answer` writes to a connection as soon as something has come; connections stay open."""

    async def main():
        writers = []

        async def connected(reader, writer):
            writers.append(writer)
            with contextlib.suppress(ConnectionError):
                while await reader.read(65536):
                    await answer(writer)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        try:
            await scenario(server.sockets[0].getsockname()[1], writers)
        finally:
            server.close()
            for writer in writers:
                writer.close()

    asyncio.run(main())


async def answer_ok(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_a_head_without_end_is_not_held():
    async def answer(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"X-More: " + b"x" * 8000 + b"\r\n")
                await writer.drain()

    async def scenario(port, _):
        pool = Pool()
        with pytest.raises(ConnectionError, match="head of the answer is too large"):
            await pool.request("POST", f"http://127.0.0.1:{port}/")
        pool.close()

    on_raw_server(answer, scenario)


def test_nobody_is_followed_who_sends_elsewhere():
    asked = []

    async def moved(request):
        asked.append(request.path)
        return Response(307, b"", [("Location", "/there")])

    async def main():
        sock = listening("127.0.0.1", 0)
        server = await serve(moved, [sock])
        pool, port = Pool(), sock.getsockname()[1]
        response = await pool.request("POST", f"http://127.0.0.1:{port}/here", body=b"x")
        assert (response.status, await response.read()) == (307, b"")
        assert asked == ["/here"]
        pool.close()
        await server.close(0.2)

    asyncio.run(main())


def test_a_kept_connection_that_has_died_is_replaced_for_what_may_be_repeated():
    async def scenario(port, writers):
        pool = Pool()
        url = f"http://127.0.0.1:{port}/"
        for repeatable in (True, False):
            assert await (await pool.request("POST", url)).read() == b"ok"
            writers[-1].close()
            if repeatable:
                assert await (await pool.request("POST", url, repeatable=True)).read() == b"ok"
                continue
            with pytest.raises(ConnectionError):
                await pool.request("POST", url)
        pool.close()

    on_raw_server(answer_ok, scenario)


def test_what_is_in_use_when_a_pool_closes_is_not_kept():
    async def scenario(port, writers):
        pool = Pool()
        response = await pool.request("GET", f"http://127.0.0.1:{port}/")
        pool.close()
        assert await response.read() == b"ok"
        async with asyncio.timeout(5):
            await writers[0].wait_closed()
        assert pool.idle == {}

    on_raw_server(answer_ok, scenario)


def test_places_where_nobody_is_any_more_are_forgotten():
    async def first(port, writers):
        pool = Pool()
        await (await pool.request("GET", f"http://127.0.0.1:{port}/")).read()
        assert list(pool.idle) == [("http", "127.0.0.1", port)]
        writers[0].close()
        await writers[0].wait_closed()

        async def connected(reader, writer):
            await reader.read(65536)
            await answer_ok(writer)
            writer.close()

        other = await asyncio.start_server(connected, "127.0.0.1", 0)
        there = other.sockets[0].getsockname()[1]
        await (await pool.request("GET", f"http://127.0.0.1:{there}/")).read()
        assert list(pool.idle) == [("http", "127.0.0.1", there)]
        pool.close()
        other.close()

    on_raw_server(answer_ok, first)
