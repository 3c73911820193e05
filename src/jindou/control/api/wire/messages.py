"""A watch over a WebSocket: each event is a message of text, and the client has nothing to say.

Browsers can't read a stream in another way, and give their token as a subprotocol.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from jindou.control.api.access.bearer import PROTOCOL
from jindou.transport import Duplex, Request, Sink, Upgraded, websocket
from jindou.transport.closing import Closing


class MessageSink(Closing):
    """What a watch writes, line by line, to a WebSocket."""

    def __init__(self, wire: Duplex) -> None:
        self._socket = websocket.WebSocket(wire)
        self._wire = wire
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._come = asyncio.Event()
        super().__init__()

    @property
    def pending(self) -> int:
        return self._size

    def write(self, data: bytes) -> None:
        if self._open:
            self._lines.extend(data.splitlines(keepends=True))
            self._size += len(data)
            self._come.set()

    def close(self) -> None:
        self._open = False
        self._come.set()

    def abort(self) -> None:
        self._open = False
        self._lines.clear()
        self._come.set()
        self._wire.close()

    async def drain(self) -> None:
        await self._socket.drain()

    async def run(self) -> None:
        """Send until it is closed or the client goes."""
        listening = asyncio.create_task(self._listen())
        try:
            while self._open or self._lines:
                while self._lines:
                    line = self._lines.popleft()
                    self._size -= len(line)
                    await self._socket.send(line, text=True)
                self._come.clear()
                if self._open:
                    await self._come.wait()
            await self._socket.close()
        finally:
            listening.cancel()
            self.lost()

    async def _listen(self) -> None:
        while await self._socket.receive() is not None:
            pass
        self._lines.clear()
        self.close()


def upgraded(request: Request, begin: Callable[[Sink], None]) -> Upgraded:
    """The answer to a watch that asks for a WebSocket. Raises BadHandshake."""
    names = [name for name in websocket.offered(request) if not name.startswith(PROTOCOL)]

    async def start(wire: Duplex) -> None:
        sink = MessageSink(wire)
        begin(sink)
        await sink.run()

    return Upgraded(websocket.handshake(request, names[0] if names else ""), start)
