"""What every streamed answer has: it is open, until it is closed by us or lost by the peer, once."""

from __future__ import annotations

from collections.abc import Callable


class Closing:
    def __init__(self) -> None:
        self._open = True
        self._callbacks: list[Callable[[], None]] = []

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call once when the peer goes away or the answer was ended; at once if it is over already."""
        if self._open:
            self._callbacks.append(callback)
        else:
            callback()

    def lost(self) -> None:
        self._open = False
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
