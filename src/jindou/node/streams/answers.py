"""Which protocol to speak with a client that asks for exec, attach or port-forward."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import struct

from jindou.node.streams import Options, Way, channels, remote, spdy
from jindou.node.streams.forward import Dial, forward
from jindou.transport import Answer, Duplex, Request, Response, Upgraded
from jindou.transport.spdy import Stream
from jindou.transport.websocket import BadHandshake, WebSocket, choose, handshake, wanted

TUNNEL = "SPDY/3.1+portforward.k8s.io"
PORT_CHANNELS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
VERSION_HEADER = "x-stream-protocol-version"
MOST_PORTS = 64
LINGER = 1.0  # seconds; over channels a client cannot say that it has ended


def refused(status: int, why: str, *extra: tuple[str, str]) -> Response:
    return Response(status, f"{why}\n".encode(), (("Content-Type", "text/plain"), *extra))


def _wants_spdy(request: Request) -> bool:
    return "spdy/3.1" in request.headers.get("upgrade", "").lower()


def _spdy_headers(protocol: str) -> list[tuple[str, str]]:
    headers = [("Upgrade", "SPDY/3.1"), ("Connection", "Upgrade")]
    if protocol:
        headers.append(("X-Stream-Protocol-Version", protocol))
    return headers


def _choose_spdy(request: Request, known: tuple[str, ...]) -> str | None:
    """The first of ours that the client speaks; the oldest where it names none."""
    text = request.headers.get(VERSION_HEADER, "")
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        return known[-1]
    return next((name for name in known if name in names), None)


def _no_protocol(request: Request, known: tuple[str, ...]) -> Response:
    asked = request.headers.get(VERSION_HEADER, "")
    why = f"unable to negotiate protocol: client supports [{asked}], server accepts {list(known)}"
    return refused(403, why, ("X-Accepted-Stream-Protocol-Versions", ", ".join(known)))


# ------------------------------------------------------------ exec and attach


def remote_answer(request: Request, options: Options, start: remote.Start) -> Answer:
    """Upgrade, then start and serve the session."""
    if not options.any:
        return refused(400, "you must specify at least 1 of stdin, stdout, stderr")
    try:
        if wanted(request):
            return _remote_websocket(request, options, start)
    except BadHandshake as error:
        return refused(error.status, str(error))
    if not _wants_spdy(request):
        return refused(400, "Upgrade request required")
    protocol = _choose_spdy(request, spdy.REMOTE)
    if protocol is None:
        return _no_protocol(request, spdy.REMOTE)

    async def talk(wire: Duplex) -> None:
        await spdy.remote(wire, options, protocol, lambda ends: remote.serve(ends, start))

    return Upgraded(_spdy_headers(protocol), talk)


def _remote_websocket(request: Request, options: Options, start: remote.Start) -> Answer:
    protocol = choose(request, channels.REMOTE)
    if protocol is None:
        return refused(403, "none of the offered WebSocket subprotocols is spoken here")
    headers = handshake(request, protocol)

    async def talk(wire: Duplex) -> None:
        numbers = (channels.STDIN, channels.STDOUT, channels.STDERR, channels.ERROR, channels.RESIZE)  # fmt: skip
        held = channels.Channels(WebSocket(wire), protocol, numbers)
        if not options.stdin:
            held[channels.STDIN].inflow.end()
        if not options.terminal:
            held[channels.RESIZE].inflow.end()
        reader = asyncio.create_task(held.run())
        try:
            await held.send(channels.first_writable(options), b"")
            await remote.serve(channels.ends_of(held, options, protocol), start)
        finally:
            await held.finish(reader)

    return Upgraded(headers, talk)


# ------------------------------------------------------------ ports


def forward_answer(request: Request, dial: Dial, pod: str) -> Answer:
    async def pair(port: int, data: Stream, error: Stream) -> None:
        await forward(port, data, error, dial, pod)

    try:
        if wanted(request):
            return _forward_websocket(request, dial, pod, pair)
    except BadHandshake as error:
        return refused(error.status, str(error))
    if not _wants_spdy(request):
        return refused(400, "Upgrade request required")
    protocol = _choose_spdy(request, (spdy.FORWARD,))
    if protocol is None:
        return _no_protocol(request, (spdy.FORWARD,))
    return Upgraded(_spdy_headers(protocol), functools.partial(spdy.forward, serve=pair))


def _forward_websocket(request: Request, dial: Dial, pod: str, pair: spdy.Pair) -> Answer:
    protocol = choose(request, (TUNNEL, *PORT_CHANNELS))
    if protocol is None:
        return refused(403, "none of the offered WebSocket subprotocols is spoken here")
    headers = handshake(request, protocol)
    if protocol == TUNNEL:

        async def tunnel(wire: Duplex) -> None:
            await spdy.forward(Tunnel(WebSocket(wire)), pair)

        return Upgraded(headers, tunnel)
    ports = asked_ports(request)
    if isinstance(ports, str):
        return refused(400, ports)

    async def talk(wire: Duplex) -> None:
        held = channels.Channels(WebSocket(wire), protocol, range(2 * len(ports)))
        ports_done = asyncio.create_task(_all_ports(ports, held, dial, pod))
        reader = asyncio.create_task(held.run())
        try:
            await asyncio.wait({reader, ports_done}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ports_done.cancel()
            await asyncio.gather(ports_done, return_exceptions=True)
            await held.finish(reader)

    return Upgraded(headers, talk)


async def _all_ports(ports: list[int], held: channels.Channels, dial: Dial, pod: str) -> None:
    pairs = ((port, held[2 * n], held[2 * n + 1]) for n, port in enumerate(ports))
    await asyncio.gather(
        *(_port(port, data, error, dial, pod) for port, data, error in pairs),
        return_exceptions=True,
    )


async def _port(port: int, data: Way, error: Way, dial: Dial, pod: str) -> None:
    for way in (data, error):
        await way.send(struct.pack("<H", port))
    await forward(port, data, error, dial, pod, LINGER)


def asked_ports(request: Request) -> list[int] | str:
    """The ports of the query, or what is wrong with them."""
    texts = [
        text
        for name in ("ports", "port")
        for value in request.query.get(name, ())
        for text in value.split(",")
    ]
    if not texts:
        return 'query parameter "port" is required'
    ports = [int(text) if text.isdecimal() else 0 for text in texts]
    if not all(0 < port < 65536 for port in ports) or len(ports) > MOST_PORTS:
        return f"the ports {','.join(texts)} are not all between 1 and 65535"
    return ports


class Tunnel:
    """A connection whose bytes travel as the messages of a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def receive(self) -> bytes:
        while (message := await self._socket.receive()) is not None:
            if message:
                return message
        return b""

    def write(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # whoever waits in `drain` hears of it
            self._socket.write(data)

    async def drain(self) -> None:
        await self._socket.drain()

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        pass
