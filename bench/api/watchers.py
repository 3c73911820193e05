"""Many watches at once, read as cheaply as can be: what arrives is only kept, and decrypted afterwards.

`python -m bench.api.watchers PORT PATH TOKEN CONNECTIONS STREAMS` (0 streams: HTTP/1.1) says
`ready` when each watch has its first event. Each line `stop` on stdin is answered, when nothing
has come for a while, with the time of the last byte and the least and most events that one watch got.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import sys
import time
from functools import cache

FIRST, LATER = b'"type":"ADDED"', b'"type":"MODIFIED"'
QUIET = 0.25  # seconds without a byte after which all has come
WINDOW = 2**31 - 1
TOGETHER = 20


@cache
def trusting(http2: bool) -> ssl.SSLContext:
    """Made once: to read the authorities of the machine each time takes longer than a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"] if http2 else ["http/1.1"])
    return context


class Connection:
    """TLS by hand, so that reading and decrypting are two things."""

    def __init__(self, port: int, streams: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trusting(bool(streams)).wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost"
        )
        self.pieces: list[bytes] = []
        self._rest = b""
        self._streams = streams
        self.events = dict.fromkeys(range(max(streams, 1)), 0)
        self._shake()

    def _shake(self) -> None:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                self._send()
                return
            self._send()
            self._incoming.write(self.sock.recv(65536))

    def _send(self) -> None:
        self.sock.sendall(self._outgoing.read())

    def write(self, data: bytes) -> None:
        self._tls.write(data)
        self._send()

    def ask(self, path: str, token: str) -> None:
        if not self._streams:
            self.write(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            return
        import h2.config
        import h2.connection
        import h2.settings

        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        window = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW}
        conn.local_settings = h2.settings.Settings(client=True, initial_values=window)
        conn.initiate_connection()
        conn.increment_flow_control_window(WINDOW - 65535)
        fields = [
            (":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "localhost"),
            ("authorization", f"Bearer {token}"),
        ]  # fmt: skip
        for n in range(self._streams):
            conn.send_headers(2 * n + 1, fields, end_stream=True)
        self.write(conn.data_to_send())

    def decrypted(self) -> bytes:
        self._incoming.write(b"".join(self.pieces))
        self.pieces.clear()
        found = []
        with contextlib.suppress(ssl.SSLWantReadError):
            while data := self._tls.read(1 << 20):
                found.append(data)
        return b"".join(found)

    def count(self, mark: bytes) -> None:
        """Add what has come to `events`."""
        data = self._rest + self.decrypted()
        if not self._streams:
            end = data.rfind(b"\n") + 1
            self.events[0] += data.count(mark, 0, end)
            self._rest = data[end:]
            return
        at, parts = 0, {n: [b""] for n in self.events}
        while len(data) - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + size:
                break
            kind, number = data[at + 3], int.from_bytes(data[at + 5 : at + 9], "big")
            if kind == 0:
                parts[number // 2].append(data[at + 9 : at + 9 + size])
            at += 9 + size
        self._rest = data[at:]
        for number, pieces in parts.items():
            self.events[number] += b"".join(pieces).count(mark)


def collect(connections: list[Connection], poll: select.epoll, until: float) -> float:
    """Take what comes until nothing has for a while and stdin has said so; the time of the last byte."""
    by_number = {one.sock.fileno(): one for one in connections}
    last, stopping = time.perf_counter(), False
    while True:
        found = poll.poll(max(0.0, min(QUIET / 4, until - time.perf_counter())))
        for number, _ in found:
            if number == 0:
                stopping = True
                sys.stdin.readline()
                continue
            data = by_number[number].sock.recv(1 << 18)
            if not data:
                raise SystemExit("a watch was ended by the server")
            by_number[number].pieces.append(data)
            last = time.perf_counter()
        now = time.perf_counter()
        if (stopping and now - last > QUIET) or now > until:
            return last


def wait_for_first(connections: list[Connection], poll: select.epoll) -> None:
    """Until each watch has begun: a server may refuse too many that begin at once."""
    while not all(n for one in connections for n in one.events.values()):
        collect(connections, poll, time.perf_counter() + 0.02)
        for one in connections:
            if one.pieces:
                one.count(FIRST)


def main(port: int, path: str, token: str, count: int, streams: int) -> None:
    connections: list[Connection] = []
    poll = select.epoll()
    for number in range(count):
        connections.append(one := Connection(port, streams))
        one.ask(path, token)
        poll.register(one.sock, select.EPOLLIN)
        if number % TOGETHER == TOGETHER - 1 or number == count - 1:
            wait_for_first(connections, poll)
    for one in connections:
        one.events = dict.fromkeys(one.events, 0)
    print("ready", flush=True)
    poll.register(0, select.EPOLLIN)
    while True:
        last = collect(connections, poll, float("inf"))
        for one in connections:
            one.count(LATER)
        counts = [n for one in connections for n in one.events.values()]
        for one in connections:
            one.events = dict.fromkeys(one.events, 0)
        print(last, min(counts), max(counts), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
