"""Exec, attach and port-forward over whatever the client speaks: WebSocket channels or SPDY streams.

`remote` and `forward` know what is said; `channels` and `spdy` how each of the two wires says it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol


class Way(Protocol):
    """One of a conversation's streams; a way that only leads out never receives."""

    @property
    def was_reset(self) -> bool:
        """Did the peer break it off, rather than end it?"""
        ...

    async def receive(self) -> bytes:
        """The next bytes; b"" at the end."""
        ...

    async def send(self, data: bytes) -> None:
        """Returns when more can be taken. Raises ConnectionError when the peer is gone."""
        ...

    async def end(self) -> None:
        """No more from us."""
        ...


@dataclass(frozen=True)
class Options:
    """What of a process the client wants to see."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    terminal: bool = False

    @property
    def any(self) -> bool:
        return self.stdin or self.stdout or self.stderr


@dataclass(frozen=True)
class Ends:
    """The client's ends of one exec or attach. `gone` is set when the client has left."""

    error: Way
    gone: asyncio.Event
    stdin: Way | None = None
    stdout: Way | None = None
    stderr: Way | None = None
    resize: Way | None = None
    structured: bool = True  # the last word on the error stream is a Status, not text
