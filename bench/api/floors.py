"""The least that the work of each row can cost, each a process of its own that the bench pins to a core.

`python -m bench.api.floors get|copy|fan PORT PKI FILE` serves over TLS; `put FILE` prints puts per
second. None of it is ours: uvloop and httptools, blocking sockets, apsw.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PIECE = 65536
WRITERS = 50
SECONDS = 1.5


def context_of(pki: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{pki}/server.crt", f"{pki}/server.key")
    return context


def get(port: int, pki: str, body: bytes) -> None:
    """Every request is answered with the same bytes."""
    import httptools
    import uvloop

    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    answer = f"{head}\r\n".encode() + body

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.parser = httptools.HttpRequestParser(self)

        def data_received(self, data: bytes) -> None:
            self.parser.feed_data(data)

        def on_message_complete(self) -> None:
            self.transport.write(answer)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        await loop.create_server(Answering, "127.0.0.1", port, ssl=context_of(pki), backlog=1024)
        print("ready", flush=True)
        await asyncio.Event().wait()

    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())


def accepting(port: int) -> socket.socket:
    server = socket.create_server(("127.0.0.1", port), backlog=1024)
    print("ready", flush=True)
    return server


def copy(port: int, pki: str, body: bytes) -> None:
    """Each connection is sent the same bytes once, by a blocking sendall."""
    context, server = context_of(pki), accepting(port)
    while True:
        raw, _ = server.accept()
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(raw, server_side=True) as tls:
            tls.recv(4096)
            for at in range(0, len(body), PIECE):
                tls.sendall(body[at : at + PIECE])


def fan(port: int, pki: str, body: bytes) -> None:
    """`accept N` on stdin takes N connections, `send N` sends each of them N events in turn."""
    context, server = context_of(pki), accepting(port)
    held: list[ssl.SSLSocket] = []
    for line in sys.stdin:
        word, _, count = line.strip().partition(" ")
        if word == "accept":
            for _ in range(int(count)):
                raw, _ = server.accept()
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                held.append(context.wrap_socket(raw, server_side=True))
                held[-1].recv(4096)
                held[-1].sendall(body.replace(b"MODIFIED", b"ADDED"))  # as a watch begins
        else:
            for _ in range(int(count)):
                for tls in held:
                    tls.sendall(body)
        print("done", flush=True)


def put(body: bytes) -> None:
    """Fifty writers, each waiting for its own object to be durable; what waits shares an fsync."""
    import apsw
    import uvloop

    async def main(folder: str) -> float:
        db = apsw.Connection(f"{folder}/floor.db")
        for pragma in ("page_size=16384", "journal_mode=WAL", "synchronous=FULL"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        db.execute("CREATE TABLE change (revision INTEGER PRIMARY KEY, key TEXT, value BLOB)")
        loop = asyncio.get_running_loop()
        waiting: list[tuple[str, asyncio.Future[None]]] = []
        last, over = 0, time.perf_counter() + SECONDS

        def flush() -> None:
            nonlocal last
            batch, start = waiting.copy(), last + 1
            waiting.clear()
            rows = [(n, key, body) for n, (key, _) in enumerate(batch, start)]
            last += len(batch)
            with db:
                db.executemany("INSERT INTO change VALUES (?, ?, ?)", rows)
            for _, done in batch:
                done.set_result(None)

        async def write(number: int) -> None:
            while time.perf_counter() < over:
                done = loop.create_future()
                if not waiting:
                    loop.call_soon(flush)
                waiting.append((f"core/pods/default/floor-{number}-{last}", done))
                await done

        began = time.perf_counter()
        await asyncio.gather(*(write(n) for n in range(WRITERS)))
        return last / (time.perf_counter() - began)

    with tempfile.TemporaryDirectory(prefix="jb", dir=sys.argv[3]) as folder:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        print(runner.run(main(folder)), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "put":
        put(Path(sys.argv[2]).read_bytes())
    else:
        serve = {"get": get, "copy": copy, "fan": fan}[sys.argv[1]]
        serve(int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]).read_bytes())
