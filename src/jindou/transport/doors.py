"""Where connections come in: one listening socket, and what happens when this process may open no more.

The event loops that we run on ask for the same connection again and again then, a thousand times a
second, and log each time. Here whoever knocks is left to wait in the kernel, and is let in once a
descriptor is free: looked after once a second, told once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable

log = logging.getLogger("jindou.transport")

AT_ONCE = 128  # connections of one round of the loop
PAUSE = 1.0  # seconds until a door that was shut is opened again
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Door:
    """Open from the moment it is made, until `close`."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
    ) -> None:
        self.sock = sock
        self._protocol = protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._entering: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._told = False
        self._open()

    def _open(self) -> None:
        self._timer = None
        self._loop.add_reader(self.sock, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._pause(error)
                    return
                continue  # this one has gone again
            self._told = False
            connection.setblocking(False)
            task = self._loop.create_task(self._enter(connection))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    def _pause(self, error: OSError) -> None:
        if not self._told:
            log.error("no more connections are taken for now: %s", error.strerror)
            self._told = True
        self._loop.remove_reader(self.sock)
        self._timer = self._loop.call_later(PAUSE, self._open)

    async def _enter(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._tls)
        except OSError:  # those of TLS are such, too
            connection.close()
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(ValueError):  # closed by somebody else
            self._loop.remove_reader(self.sock)
        self.sock.close()
        for task in self._entering:
            task.cancel()
