"""Clients that cost more than they may: each is refused, or left to wait, at little cost to the rest."""

from __future__ import annotations

import contextlib
import gzip
import io
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from tests.cloud import Cloud
from tests.conformance.wire import PATIENCE, Api
from tests.faults.test_fuzz import memory

pytestmark = pytest.mark.slow
MAPS = "/api/v1/namespaces/default/configmaps"
PLAIN = 10_000


@contextlib.contextmanager
def at_little_cost(server: Cloud, api: Api, megabytes: float) -> Iterator[None]:
    """The server answers others all the while, and holds hardly more afterwards."""
    before = memory(server)
    yield
    began = time.monotonic()
    assert api.get("/version")["major"] == "1"
    assert time.monotonic() - began < 1
    assert memory(server) - before < megabytes


def endless(length: int | None) -> Iterator[bytes]:
    """A PUT whose body is larger than anything: of a known length, or in chunks."""
    head = f"PUT {MAPS}/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    piece = b'{"data":{"a":"' + b"x" * 65536
    if length is None:
        yield f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        piece = b"%x\r\n%b\r\n" % (len(piece), piece)
    else:
        yield f"{head}Content-Length: {length}\r\n\r\n".encode()
    for _ in range(100_000_000 // 65536):
        yield piece


@pytest.mark.parametrize("length", [100_000_000, None], ids=["of a known length", "in chunks"])
def test_a_body_of_100_mb(server, api, length):
    with at_little_cost(server, api, 30), api.raw() as wire:
        with contextlib.suppress(OSError):
            for piece in endless(length):
                wire.sendall(piece)
        assert wire.recv(1000).startswith(b"HTTP/1.1 413")


def packed(megabytes: int) -> bytes:
    held = io.BytesIO()
    with gzip.GzipFile(fileobj=held, mode="wb", compresslevel=9) as file:
        file.write(b'{"data":{"a":"')
        for _ in range(megabytes):
            file.write(b"x" * 1_000_000)
    return held.getvalue()


LAUGHS = "\n".join(["a0: &a0 [x,x,x,x,x,x,x,x,x]"] + [
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
])  # fmt: skip
BOMBS: dict[str, tuple[bytes, dict[str, str]]] = {
    "zip": (packed(500), {"Content-Encoding": "gzip"}),
    "nested lists": (b'{"data":' + b"[" * 1_000_000, {}),
    "nested maps": (b'{"a":' * 500_000 + b"1" + b"}" * 500_000, {}),
    "laughs": (LAUGHS.encode(), {"Content-Type": "application/yaml"}),
    "protobuf of groups": (b"k8s\0" + b"\x0b" * 1_000_000, {"Content-Type": "application/vnd.kubernetes.protobuf"}),
    "protobuf of lengths": (
        b"k8s\0\x12\xff\xff\xff\xff\x0f" + b"\x0a\xff\xff\x7f" * 10_000,
        {"Content-Type": "application/vnd.kubernetes.protobuf"},
    ),
    "a long number": (b'{"metadata":{"name":"a","generation":' + b"9" * 1_000_000 + b"}}", {}),
    "many keys": (b'{"metadata":{"name":"a"},' + b",".join(b'"%d":1' % n for n in range(200_000)) + b"}", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_body_that_costs_more_than_it_weighs(server, api, name):
    body, headers = BOMBS[name]
    kind = headers.get("Content-Type", "application/json")
    more = {k: v for k, v in headers.items() if k != "Content-Type"}
    with at_little_cost(server, api, 60):
        began = time.monotonic()
        answer = api.ask("POST", MAPS, body, kind=kind, headers=more, dryRun="All")
        assert 400 <= answer.code < 500 or name == "many keys", answer
        assert time.monotonic() - began < 5


def test_ten_thousand_connections_that_say_nothing(server, api):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < PLAIN + 1000:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held: list[socket.socket] = []
    try:
        with at_little_cost(server, api, PLAIN * 0.06):
            for _ in range(PLAIN):
                held.append(socket.create_connection((api.url.hostname, api.url.port), PATIENCE))
            assert api.get("/version")["major"] == "1"
            other = Api.of_kubeconfig(server.kubeconfig)
            assert other.get("/version")["major"] == "1"
            other.close()
    finally:
        for one in held:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.guarantee(24)
def test_a_watcher_that_does_not_read_is_let_go(server, api):
    """It is told nothing more, others are not held up, and what it did not take is not kept."""
    path = f"{MAPS}?watch=true&timeoutSeconds=300"
    with at_little_cost(server, api, 60), api.raw() as wire, api.watch(MAPS) as other:
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.recv(1).startswith(b"H")
        for turn in range(2500):
            document = {"metadata": {"name": "busy"}, "data": {"n": str(turn), "x": "x" * 10_000}}
            answer = api.ask("PUT" if turn else "POST", f"{MAPS}/busy" if turn else MAPS, document)
            assert answer.code in (200, 201)
            other.until(lambda event, n=str(turn): event["object"].get("data", {}).get("n") == n)
        taken = 0
        with contextlib.suppress(OSError):
            while data := wire.recv(1 << 20):
                taken += len(data)
        assert taken < 2500 * 10_000, "everything was kept for it"


# ------------------------------------------------------------ HTTP/2


class Http2:
    def __init__(self, api: Api) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection((api.url.hostname, api.url.port), PATIENCE)
        self.wire = context.wrap_socket(plain)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.wire.sendall(self.h2.data_to_send())

    def request(self, stream: int, *more: tuple[str, str]) -> None:
        names = [
            (":method", "GET"),
            (":path", "/version"),
            (":scheme", "https"),
            (":authority", "x"),
        ]
        self.h2.send_headers(stream, [*names, *more], end_stream=True)

    def until(self, wanted: Callable[[Any], bool]) -> bool:
        """False where the server ends the connection first."""
        with contextlib.suppress(OSError):
            while data := self.wire.recv(65536):
                for event in self.h2.receive_data(data):
                    if wanted(event):
                        return True
                    if isinstance(event, h2.events.ConnectionTerminated):
                        return False
                self.flush()
        return False


@pytest.fixture
def http2(api: Api) -> Iterator[Http2]:
    made = Http2(api)
    yield made
    made.wire.close()


def test_streams_that_are_opened_and_reset_at_once(server, api, http2):
    """CVE-2023-44487: either all goes on at no cost, or the connection is ended."""
    with at_little_cost(server, api, 20), contextlib.suppress(OSError):
        for turn in range(10_000):
            http2.request(2 * turn + 1)
            http2.h2.reset_stream(2 * turn + 1)
            if turn % 100 == 0:
                http2.flush()


def test_headers_that_never_end(server, api, http2):
    """CVE-2024-27316: CONTINUATION frames without END_HEADERS."""
    with at_little_cost(server, api, 20):
        with contextlib.suppress(OSError):
            http2.wire.sendall(b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82")
            frame = b"\x00\x40\x00\x09\x00\x00\x00\x00\x01" + b"\x00\x01a\x01b" * 3276 + b"\x00" * 4
            for _ in range(2000):
                http2.wire.sendall(frame)
        assert not http2.until(lambda event: isinstance(event, h2.events.ResponseReceived))


@pytest.mark.parametrize("frame", [
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"x" * 8,
], ids=["settings", "pings"])  # fmt: skip
def test_frames_that_have_to_be_answered_and_nobody_reads_the_answers(server, api, http2, frame):
    with at_little_cost(server, api, 20):
        http2.wire.settimeout(2)
        with contextlib.suppress(OSError):
            for _ in range(300):
                http2.wire.sendall(frame * 1000)


def test_a_window_that_is_never_opened(server, api, http2):
    """Answers that nobody takes are not made over and over: 100 streams, each with a list."""
    for number in range(20):
        api.ask("POST", MAPS, {"metadata": {"name": f"w{number}"}, "data": {"x": "x" * 10_000}})
    with at_little_cost(server, api, 60):
        for turn in range(100):
            names = [
                (":method", "GET"),
                (":path", "/openapi/v2"),
                (":scheme", "https"),
                (":authority", "x"),
            ]
            http2.h2.send_headers(2 * turn + 1, names, end_stream=True)
        http2.flush()
        assert http2.until(lambda event: isinstance(event, h2.events.ResponseReceived))
