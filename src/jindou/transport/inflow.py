"""Bytes that arrived for one reader, and the signal to stop reading when there are too many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

HIGH_WATER = 1024 * 1024


class Inflow:
    """`feed` and `end` on one side, `receive` on the other. At most one reader waits.

    `on_taken` hears how many bytes were taken; `full` says that the sender should be held back.
    """

    def __init__(self, on_taken: Callable[[int], None] | None = None) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = self._ignored = False
        self._waiter: asyncio.Future[None] | None = None
        self._on_taken = on_taken

    @property
    def full(self) -> bool:
        return self._size > HIGH_WATER

    @property
    def ended(self) -> bool:
        return self._ended

    def feed(self, data: bytes) -> None:
        if data and not self._ended and not self._ignored:
            self._pieces.append(data)
            self._size += len(data)
            self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def discard(self) -> None:
        """End, and drop what nobody has read."""
        self._pieces.clear()
        self._took(self._size)
        self.end()

    def ignore(self) -> None:
        """Nobody will read any more: what is here and what still comes is dropped."""
        self._ignored = True
        self._pieces.clear()
        self._took(self._size)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _took(self, size: int) -> None:
        self._size -= size
        if size and self._on_taken is not None:
            self._on_taken(size)

    async def receive(self) -> bytes:
        """All that is here, or the next to come; b"" at the end."""
        while not self._pieces:
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._took(len(data))
        return data
