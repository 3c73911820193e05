"""Connections into a Pod: dialled by a socket that was made inside its network namespace.

The socket belongs to that namespace for ever, so only its making happens in a thread that has
gone there; everything after is ordinary, with the kernel's back-pressure in both directions.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from jindou.machine.linux import namespaces
from jindou.node.streams import Way

PIECE = 64 * 1024
LOOPBACKS = ((socket.AF_INET, "127.0.0.1", "IPv4"), (socket.AF_INET6, "::1", "IPv6"))
DIAL_TIME = 30.0

Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[int], Awaitable[Connected]]


class DialFailed(Exception):
    pass


def dialler(namespace: Path | None) -> Dial:
    """Dials a port on the loopback of a network namespace (None: the machine's own)."""

    async def dial(port: int) -> Connected:
        problems = []
        for family, address, name in LOOPBACKS:
            try:
                sock = await _socket(namespace, family)
            except OSError as error:
                problems.append(f"{name}: {error.strerror or error}")
                continue
            try:
                async with asyncio.timeout(DIAL_TIME):
                    await asyncio.get_running_loop().sock_connect(sock, (address, port))
                return await asyncio.open_connection(sock=sock, limit=PIECE)
            except (OSError, TimeoutError) as error:
                sock.close()
                why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no answer"  # fmt: skip
                problems.append(f"{name}: dial tcp {_shown(address, port)}: connect: {why.lower()}")
            except BaseException:
                sock.close()
                raise
        raise DialFailed(
            f"failed to connect to localhost:{port} inside the Pod: {', '.join(problems)}"
        )

    return dial


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


async def _socket(namespace: Path | None, family: socket.AddressFamily) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        return made

    if namespace is None:
        return make()
    return await asyncio.to_thread(namespaces.enter, namespace, make)


async def forward(
    port: int, data: Way, error: Way, dial: Dial, pod: str, linger: float | None = None
) -> None:
    """Carry one connection until both directions have ended; a failure is told on `error`.

    `linger`: how long the client is waited for when the Pod has ended (None: until it ends too).
    """
    try:
        reader, writer = await dial(port)
    except DialFailed as failed:
        await error.send(f"error forwarding port {port} to pod {pod}, uid : {failed}".encode())
        await error.end()
        await data.end()
        return
    inward = asyncio.create_task(_inward(data, writer))
    try:
        await _outward(reader, data)
        await data.end()
        await error.end()
        await asyncio.wait({inward}, timeout=linger)
    except OSError as failed:
        if not inward.done():
            with contextlib.suppress(ConnectionError):
                await error.send(f"error forwarding port {port} to pod {pod}, uid : {failed}".encode())  # fmt: skip
                await error.end()
    finally:
        inward.cancel()
        await asyncio.gather(inward, return_exceptions=True)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _outward(reader: asyncio.StreamReader, data: Way) -> None:
    while piece := await reader.read(PIECE):
        await data.send(piece)


async def _inward(data: Way, writer: asyncio.StreamWriter) -> None:
    while piece := await data.receive():
        writer.write(piece)
        await writer.drain()
    if data.was_reset:
        writer.transport.abort()
    elif writer.can_write_eof():
        writer.write_eof()
