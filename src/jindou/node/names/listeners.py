"""DNS over UDP and TCP on given addresses: packets in, packets out.

What a packet means is for `respond`. An answer may be ready at once or come later; over TCP the
answers of one connection may overtake each other, as RFC 7766 wants it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

IDLE_SECONDS = 10.0
MOST_CONNECTIONS = 256
MOST_WAITING = 1000  # datagrams whose answers are being fetched

# (packet, over TCP?) -> the answer, None for silence, or one that is still to come
Answer = bytes | None
Respond = Callable[[bytes, bool], "Answer | Awaitable[Answer]"]


class Listeners:
    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self, addresses: Sequence[str], port: int) -> None:
        """All or none. With port 0 the first address picks one, the same for all."""
        loop = asyncio.get_running_loop()
        try:
            for address in addresses:
                server = await asyncio.start_server(self._accept, address, port)
                self._servers.append(server)
                port = server.sockets[0].getsockname()[1]
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=(address, port)
                )
                self._transports.append(transport)
        except OSError:
            await self.close()
            raise
        self.port = port

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for transport in self._transports:
            transport.close()
        tasks = [*self._connections, *self._waiting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._servers.clear()
        self._transports.clear()

    def datagram(self, transport: asyncio.DatagramTransport, packet: bytes, sender: object) -> None:
        answer = self._respond(packet, False)
        if isinstance(answer, bytes):
            transport.sendto(answer, sender)  # type: ignore[arg-type]
        elif answer is not None and len(self._waiting) < MOST_WAITING:
            self._later(self._send(transport, answer, sender))

    @staticmethod
    async def _send(
        transport: asyncio.DatagramTransport, answer: Awaitable[Answer], sender: object
    ) -> None:
        packet = await answer
        if packet is not None and not transport.is_closing():
            transport.sendto(packet, sender)  # type: ignore[arg-type]

    def _later(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return task

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pending: set[asyncio.Task[None]] = set()
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    packet = await reader.readexactly(size)
                answer = self._respond(packet, True)
                if answer is None:
                    return
                if isinstance(answer, bytes):
                    _write(writer, answer)
                else:
                    task = self._later(self._write_later(writer, answer))
                    pending.add(task)
                    task.add_done_callback(pending.discard)
                async with asyncio.timeout(IDLE_SECONDS):
                    await writer.drain()
        finally:
            if pending:
                await asyncio.wait(pending, timeout=IDLE_SECONDS)

    @staticmethod
    async def _write_later(writer: asyncio.StreamWriter, answer: Awaitable[Answer]) -> None:
        packet = await answer
        if packet is not None and not writer.is_closing():
            _write(writer, packet)


def _write(writer: asyncio.StreamWriter, packet: bytes) -> None:
    writer.write(len(packet).to_bytes(2, "big") + packet)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self._transport:
            self._listeners.datagram(self._transport, data, addr)
