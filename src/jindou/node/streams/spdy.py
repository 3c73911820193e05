"""The streams of a remote command or of forwarded ports, as the client opens them over SPDY."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from jindou.node.streams import Ends, Options
from jindou.transport import Duplex
from jindou.transport.spdy import Connection, Stream

REMOTE = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
RESIZES = ("v4.channel.k8s.io", "v3.channel.k8s.io")
FORWARD = "portforward.k8s.io"
OPEN_WAIT = 30.0  # seconds in which the client has to open its streams
CLOSE_WAIT = 5.0  # seconds that it has to leave after the end

Serve = Callable[[Ends], Awaitable[None]]
Pair = Callable[[int, Stream, Stream], Awaitable[None]]  # port, data, error


def expected(options: Options, protocol: str) -> set[str]:
    names = {"error"}
    names |= {name for name in ("stdin", "stdout", "stderr") if getattr(options, name)}
    if options.terminal and protocol in RESIZES:
        names.add("resize")
    return names


async def remote(wire: Duplex, options: Options, protocol: str, serve: Serve) -> None:
    """Wait for the streams that the client has announced, then serve it."""
    wanted = expected(options, protocol)
    found: dict[str, Stream] = {}
    complete, gone = asyncio.Event(), asyncio.Event()

    def opened(stream: Stream) -> bool:
        kind = stream.headers.get("streamtype", "")
        if kind not in wanted or kind in found:
            return False
        found[kind] = stream
        if found.keys() == wanted:
            complete.set()
        return True

    async def read() -> None:
        try:
            await Connection(wire, opened).run()
        finally:
            gone.set()
            complete.set()

    reader = asyncio.create_task(read())
    try:
        async with asyncio.timeout(OPEN_WAIT):
            await complete.wait()
        if gone.is_set():
            return
        await serve(
            Ends(
                error=found["error"],
                gone=gone,
                stdin=found.get("stdin"),
                stdout=found.get("stdout"),
                stderr=found.get("stderr"),
                resize=found.get("resize"),
                structured=protocol == "v4.channel.k8s.io",
            )
        )
        for stream in found.values():
            stream.inflow.ignore()  # so that the reader gets as far as the client's leaving
        await asyncio.wait({reader}, timeout=CLOSE_WAIT)
    except TimeoutError:
        pass  # the client never opened what it announced
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


class Pairs:
    """Two streams of the same request make one forwarded connection: data, and its errors."""

    def __init__(self, serve: Pair) -> None:
        self._serve = serve
        self._waiting: dict[str, dict[str, Stream]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def opened(self, stream: Stream) -> bool:
        kind, port = stream.headers.get("streamtype", ""), stream.headers.get("port", "")
        if kind not in ("data", "error") or not port.isdecimal() or not 0 < int(port) < 65536:
            return False
        request = stream.headers.get("requestid") or str(
            stream.id if kind == "error" else stream.id - 2
        )
        pair = self._waiting.setdefault(request, {})
        if kind in pair:
            return False
        pair[kind] = stream
        if len(pair) == 2:
            del self._waiting[request]
            self._start(self._run(int(port), pair["data"], pair["error"]))
        else:
            self._start(self._expire(request, stream))
        return True

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, port: int, data: Stream, error: Stream) -> None:
        try:
            await self._serve(port, data, error)
        except ConnectionError:
            pass
        finally:
            for stream in (data, error):
                if not (stream.send_ended and stream.inflow.ended):
                    stream.reset()

    async def _expire(self, request: str, stream: Stream) -> None:
        await asyncio.sleep(OPEN_WAIT)
        pair = self._waiting.get(request)
        if pair is not None and stream in pair.values():
            del self._waiting[request]
            stream.reset()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def forward(wire: Duplex, serve: Pair) -> None:
    """Until the client leaves."""
    pairs = Pairs(serve)
    try:
        await Connection(wire, pairs.opened).run()
    finally:
        await pairs.close()
