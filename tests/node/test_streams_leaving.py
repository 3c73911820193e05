"""A client that closes in good order has its input read whole; one that breaks off is not waited for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator

import pytest

from tests.node.test_streams import Client, exec_path, on_endpoint


@contextlib.asynccontextmanager
async def reading(path) -> AsyncIterator[asyncio.StreamReader]:
    """A named pipe, open for both so that nobody waits for the other to open it."""
    os.mkfifo(path)
    pipe = os.fdopen(os.open(path, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    yield reader
    transport.close()


@pytest.mark.slow
def test_what_was_sent_before_an_orderly_close_is_read_whole(tmp_path):
    """Clients copy files so: they send all, close, and look at the file's size afterwards."""
    held, done = tmp_path / "held", tmp_path / "done"

    async def scenario(port, runtime, containers):
        words = f"sleep 0.1; cat > {held}; echo a lot to read; wc -c < {held} > {done}"
        path = exec_path("sh", "-c", words.replace(" ", "%20"), input="1", output="1")
        async with reading(done) as told:
            client, _ = await Client.open(port, path, "v4.channel.k8s.io")
            for _ in range(100):
                client.send(b"\x00" + bytes(5000))
            client.send(struct.pack(">H", 1000), 8)
            assert (await client.all())[-1][0] == 8
            await client.close()
            assert await told.readline() == b"500000\n"

    on_endpoint(tmp_path, scenario)


def test_a_client_that_breaks_off_ends_its_process(tmp_path):
    async def scenario(port, runtime, containers):
        words = "echo up; exec sleep 600".replace(" ", "%20")
        path = exec_path("sh", "-c", words, input="1", output="1")
        client, _ = await Client.open(port, path, "v4.channel.k8s.io")
        client.send(b"\x00abc")
        assert [await client.receive(), await client.receive()] == [(2, b"\x01"), (2, b"\x01up\n")]
        await client.close()
        assert await runtime.sessions[0].wait() != 0

    on_endpoint(tmp_path, scenario)
