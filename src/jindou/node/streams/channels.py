"""Several streams over one WebSocket: the first byte of a message says whose it is.

Channels of a remote command: 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize; with v5, a message of
255 and a channel ends that channel. The base64 protocols carry text: a digit, then base64.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Collection

from jindou.node.streams import Ends, Options
from jindou.transport.inflow import Inflow
from jindou.transport.websocket import WebSocket

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
REMOTE = (
    "v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io",
    "channel.k8s.io", "v4.base64.channel.k8s.io", "base64.channel.k8s.io",
)  # fmt: skip
STRUCTURED = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io")
ABNORMAL = 1006  # RFC 6455, 7.4.1: the connection ended without a close frame
CLOSE_WAIT = 5.0  # seconds that a client has to answer our close


class Channel:
    was_reset = False

    def __init__(self, channels: Channels, number: int) -> None:
        self._channels = channels
        self._number = number
        self.inflow = Inflow(channels.made_room)

    async def receive(self) -> bytes:
        return await self.inflow.receive()

    async def send(self, data: bytes) -> None:
        await self._channels.send(self._number, data)

    async def end(self) -> None:
        """The protocol has no sign for this; the WebSocket's close says it for all."""


class Channels:
    """`run` reads; what comes for a channel that is not among the readable ones is dropped."""

    def __init__(self, socket: WebSocket, protocol: str, numbers: Collection[int]) -> None:
        self._socket = socket
        self._base64 = "base64" in protocol
        self._closes = protocol.startswith("v5.")
        self._room = asyncio.Event()
        self.gone = asyncio.Event()
        self.all = {number: Channel(self, number) for number in numbers}

    def __getitem__(self, number: int) -> Channel:
        return self.all[number]

    def made_room(self, _: int) -> None:
        self._room.set()

    async def send(self, number: int, data: bytes) -> None:
        if self._base64:
            await self._socket.send(b"%d" % number + base64.b64encode(data), text=True)
        else:
            await self._socket.send(bytes((number,)) + data)

    async def run(self) -> None:
        try:
            while (message := await self._socket.receive()) is not None:
                self._take(message)
                while any(channel.inflow.full for channel in self.all.values()):
                    self._room.clear()
                    await self._room.wait()
        finally:
            self.gone.set()
            broken = self._socket.close_code == ABNORMAL
            for channel in self.all.values():
                channel.was_reset = broken
                channel.inflow.end()

    def _take(self, message: bytes) -> None:
        if not message:
            return
        number, data = message[0], message[1:]
        if self._base64:
            number -= ord("0")
            try:
                data = base64.b64decode(data, validate=True)
            except binascii.Error:
                return
        elif self._closes and number == CLOSE:
            if data and (channel := self.all.get(data[0])):
                channel.inflow.end()
            return
        if channel := self.all.get(number):
            channel.inflow.feed(data)

    async def finish(self, reader: asyncio.Task[None]) -> None:
        """Say goodbye, and give the client a little time to answer."""
        for channel in self.all.values():
            channel.inflow.ignore()  # so that the reader gets as far as the client's answer
        try:
            await self._socket.close()
            await asyncio.wait({reader}, timeout=CLOSE_WAIT)
        except ConnectionError:
            pass
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


def ends_of(channels: Channels, options: Options, protocol: str) -> Ends:
    def way(wanted: bool, number: int) -> Channel | None:
        return channels[number] if wanted else None

    return Ends(
        error=channels[ERROR],
        gone=channels.gone,
        stdin=way(options.stdin, STDIN),
        stdout=way(options.stdout, STDOUT),
        stderr=way(options.stderr, STDERR),
        resize=way(options.terminal, RESIZE),
        structured=protocol in STRUCTURED,
    )


def first_writable(options: Options) -> int:
    """The channel on which an empty message tells the client that we are ready."""
    return STDOUT if options.stdout else STDERR if options.stderr else ERROR
