"""Live streams into units: what all kinds share, and the streams of a unit's main process.

Data is read only when `receive` asks and written only as far as the other side takes it, so a slow
client slows the process, and nothing is gathered here.

Sources: seqpacket in unix(7); conmon's attach protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from pathlib import Path

from jindou.machine.runtimes import conmon

CHUNK = 65536


class Waiting:
    """Waits for descriptors so that they can be closed at any time: whoever waits is woken first,
    as a descriptor that the loop still watches must not be closed."""

    def __init__(self) -> None:
        self._left = False
        self._waits: set[asyncio.Future[None]] = set()

    async def _wait(self, read: Iterable[int], write: int = -1) -> None:
        """Until one of `read` has something, or `write` takes something."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        reading = list(read)
        for descriptor in reading:
            loop.add_reader(descriptor, _wake, future)
        if write >= 0:
            loop.add_writer(write, _wake, future)
        self._waits.add(future)
        try:
            await future
        finally:
            self._waits.discard(future)
            for descriptor in reading:
                loop.remove_reader(descriptor)
            if write >= 0:
                loop.remove_writer(write)

    async def _leave(self) -> None:
        """Nobody waits any more once this returns."""
        self._left = True
        for future in self._waits:
            _wake(future)
        await asyncio.sleep(0)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Attachment(Waiting):
    """The streams of a unit's main process, through its conmon. Leaving does not end it."""

    def __init__(self, line: socket.socket, bundle: Path, stdin: bool, terminal: bool) -> None:
        super().__init__()
        self._line = line
        self._bundle = bundle
        self._stdin = stdin
        self._terminal = terminal
        self._ended = asyncio.Event()

    async def receive(self) -> tuple[int, bytes] | None:
        """A packet's first byte names its stream: 2 is stdout, 3 stderr."""
        while not self._ended.is_set() and not self._left:
            try:
                packet = self._line.recv(CHUNK)
            except BlockingIOError:
                await self._wait((self._line.fileno(),))
                continue
            except OSError:
                packet = b""
            if not packet:
                self._ended.set()
            elif len(packet) > 1:
                return (2 if packet[0] == 3 else 1), packet[1:]
        return None

    async def send(self, data: bytes) -> None:
        view = memoryview(data if self._stdin else b"")
        while view and not self._ended.is_set() and not self._left:
            try:
                view = view[self._line.send(view[: conmon.PACKET]) :]
            except BlockingIOError:
                await self._wait((), self._line.fileno())
            except OSError:
                return

    async def end_input(self) -> None:
        if self._stdin:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_WR)

    async def resize(self, width: int, height: int) -> None:
        if self._terminal:
            conmon.resize(self._bundle, width, height)

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    async def close(self) -> None:
        self._ended.set()
        await self._leave()
        self._line.close()
