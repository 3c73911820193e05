"""Small shared parts of the answers of the node's endpoint."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from jindou.transport import Sink, Streamed

log = logging.getLogger("jindou.endpoint")

PLAIN = (("Content-Type", "text/plain; charset=utf-8"),)
JSON = (("Content-Type", "application/json"),)


def flag(query: dict[str, list[str]], *names: str) -> bool:
    return any(
        value.lower() in ("1", "t", "true") for name in names for value in query.get(name, ())
    )


def streamed(pieces: AsyncGenerator[bytes, None], kind: str) -> Streamed:
    """An answer of pieces as they come; nobody makes them any more once the client has left."""

    async def send(sink: Sink) -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    sink.write(piece)
                    await sink.drain()
            sink.close()
        except ConnectionError:
            pass
        except Exception:
            log.exception("an answer broke off")
            sink.abort()

    def start(sink: Sink) -> None:
        task = asyncio.create_task(send(sink))

        def closed() -> None:
            if task is not asyncio.current_task():
                task.cancel()

        sink.on_close(closed)

    return Streamed(200, start, (("Content-Type", kind),))
