"""A real etcd on one core, and what it can put: by gRPC from fifty writers, each with keys of its own.

The client speaks just enough HTTP/2 to cost next to nothing beside the server.
Sources: RFC 9113; https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.api.clients import CLIENT, SERVER, on_core
from tests.cloud import free_port

CONNECTIONS, STREAMS = 10, 5
SECONDS = 1.5


@contextlib.contextmanager
def running(folder: Path) -> Iterator[int]:
    """The port of an etcd with its data in `folder`."""
    port, peer = free_port(), free_port()
    ours, theirs = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    with tempfile.TemporaryDirectory(prefix="etcd", dir=folder) as data, on_core(SERVER):
        words = [
            "etcd", "--data-dir", data, "--listen-client-urls", ours, "--advertise-client-urls", ours,
            "--listen-peer-urls", theirs, "--initial-advertise-peer-urls", theirs,
            "--initial-cluster", f"default={theirs}", "--log-level", "error",
        ]  # fmt: skip
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None, "etcd ended"
        time.sleep(0.05)
    raise AssertionError("etcd does not listen")


def puts(port: int, value: Path) -> float:
    """Puts per second."""
    code = f"from bench.api.etcd import main; main({port}, {str(value)!r})"
    words = [sys.executable, "-c", code]
    with on_core(CLIENT):
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout)


# ---------------------------------------------------------------- the client, a process of its own


def number(value: int) -> bytes:
    """A varint of protobuf."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def literal(name: bytes, value: bytes) -> bytes:
    """A header that is not indexed (RFC 7541, 6.2.2)."""
    assert max(len(name), len(value)) < 127
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


HEADERS = b"".join(
    literal(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/etcdserverpb.KV/Put"),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)
WINDOW = 2**31 - 1


class Writer:
    """One connection; each of its streams asks again as soon as it is answered."""

    def __init__(self, port: int, which: int, value: bytes) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._which, self._value = which, value
        self._next, self._rest = 1, b""
        self.done = 0
        settings = frame(4, 0, 0, b"\0\4" + WINDOW.to_bytes(4, "big"))
        window = frame(8, 0, 0, (WINDOW - 65535).to_bytes(4, "big"))
        first = b"".join(self._put() for _ in range(STREAMS))
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + window + first)

    def _put(self) -> bytes:
        stream, self._next = self._next, self._next + 2
        key = f"/registry/pods/default/one-{self._which}-{stream}".encode()
        put = b"\x0a" + number(len(key)) + key + b"\x12" + number(len(self._value)) + self._value
        message = b"\0" + len(put).to_bytes(4, "big") + put
        return frame(1, 4, stream, HEADERS) + frame(0, 1, stream, message)

    def read(self) -> None:
        data, at, out = self._rest + self.sock.recv(1 << 17), 0, []
        while len(data) - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == 0 and size > 5:
                self.done += 1  # the answer of a put that was refused has no message
            elif kind == 1 and flags & 1:
                out.append(self._put())
            elif kind == 4 and not flags & 1:
                out.append(frame(4, 1, 0, b""))
            elif kind == 6 and not flags & 1:
                out.append(frame(6, 1, 0, data[at + 9 : at + 9 + size]))
            elif kind == 7:
                raise SystemExit("etcd has ended the connection")
            at += 9 + size
        self._rest = data[at:]
        if out:
            self.sock.sendall(b"".join(out))


def main(port: int, file: str) -> None:
    value = Path(file).read_bytes()
    writers = [Writer(port, n, value) for n in range(CONNECTIONS)]
    poll, by_number = select.epoll(), {one.sock.fileno(): one for one in writers}
    for one in writers:
        poll.register(one.sock, select.EPOLLIN)
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for found, _ in poll.poll(1.0):
            by_number[found].read()
    print(sum(one.done for one in writers) / (time.perf_counter() - began))
