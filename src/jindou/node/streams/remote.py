"""A process and its client: input, output, terminal size, and how it ended.

Source: https://kubernetes.io/docs/reference/using-api/ (remote command), RFC-less; the last word is
a Status on the error stream (protocol v4 and later), plain text before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from jindou.machine.runtimes import Session, StartFailed
from jindou.node.streams import Ends
from jindou.objects.errors import CloudError

log = logging.getLogger("jindou.streams")

SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}
Start = Callable[[], Awaitable[Session]]
PARTED = 30.0  # seconds that a process has for its last input when its client has closed


async def serve(ends: Ends, start: Start) -> None:
    """Begin the session, carry it to its end, and say how it ended."""
    try:
        session = await start()
    except (StartFailed, CloudError, OSError) as error:
        await report(ends, failure(str(error)))
        return
    try:
        code = await converse(session, ends)
    except ConnectionError:
        return  # nobody is left to be told
    except OSError as error:
        await report(ends, failure(str(error)))
        return
    finally:
        await session.close()
    await report(ends, SUCCESS if code == 0 else exit_status(code))


async def converse(session: Session, ends: Ends) -> int:
    """Until the output has ended; the exit code. Raises ConnectionError when the client left."""
    output = asyncio.create_task(_output(session, ends))
    gone = asyncio.create_task(ends.gone.wait())
    inward = [asyncio.create_task(_input(session, ends)), asyncio.create_task(_sizes(session, ends))]  # fmt: skip
    try:
        await asyncio.wait({output, gone}, return_when=asyncio.FIRST_COMPLETED)
        if ends.gone.is_set() and (not output.done() or output.exception()):
            output.cancel()
            await asyncio.gather(output, return_exceptions=True)
            await _part(session, ends, inward[0])
            raise ConnectionError("the client has left")
        await output
        ended = asyncio.create_task(session.wait())
        try:
            await asyncio.wait({ended, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                raise ConnectionError("the client has left")
            return ended.result()
        finally:
            ended.cancel()
    finally:
        tasks = [output, gone, *inward]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _output(session: Session, ends: Ends) -> None:
    ways = {1: ends.stdout, 2: ends.stderr}
    while (item := await session.receive()) is not None:
        way = ways.get(item[0])
        if way is not None:
            await way.send(item[1])


async def _input(session: Session, ends: Ends) -> None:
    """A process that no longer reads is no failure: its output and exit code still count."""
    if ends.stdin is None:
        return
    with contextlib.suppress(OSError):
        while data := await ends.stdin.receive():
            await session.send(data)
    if not ends.gone.is_set():
        with contextlib.suppress(OSError):
            await session.end_input()


async def _part(session: Session, ends: Ends, given: asyncio.Task[None]) -> None:
    """Whoever gives all its input and closes need not wait: the process still reads it whole."""
    if ends.stdin is None or ends.stdin.was_reset or ends.resize is not None:
        return

    async def give() -> None:
        await given
        await session.end_input()

    async def drop() -> None:
        while await session.receive() is not None:
            pass

    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(PARTED):
            await asyncio.gather(give(), drop())


async def _sizes(session: Session, ends: Ends) -> None:
    if ends.resize is None:
        return
    rest = b""
    while data := await ends.resize.receive():
        sizes, rest = parse_sizes(rest + data)
        if sizes:
            with contextlib.suppress(OSError):
                await session.resize(*sizes[-1])


def parse_sizes(data: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """Every whole {"Width": w, "Height": h} in a run of them, and what is left over."""
    found = []
    while (edge := data.find(b"}") + 1) > 0:
        try:
            size = orjson.loads(data[:edge])
            width, height = int(size["Width"]), int(size["Height"])
            if 0 < width < 65536 and 0 < height < 65536:
                found.append((width, height))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            pass
        data = data[edge:]
    return found, data[-1024:]


async def report(ends: Ends, status: dict[str, Any]) -> None:
    with contextlib.suppress(ConnectionError):
        if ends.structured:
            await ends.error.send(orjson.dumps(status))
        elif status is not SUCCESS:
            await ends.error.send(status["message"].encode())
        for way in (ends.stdout, ends.stderr, ends.error):
            if way is not None:
                await way.end()


def exit_status(code: int) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure(message: str) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }
