"""The same damaged requests over HTTP/2, and watches that anybody may ask for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from tests.cloud import Cloud
from tests.conformance.wire import Api
from tests.faults.fuzz import ACCEPTS, QUERIES, Corpus
from tests.faults.test_fuzz import LIKEWISE, SEED, Answer, prepare, tracebacks
from tests.faults.test_raw_bytes import read, together

pytestmark = pytest.mark.slow
OVER_H2 = 4000
WATCHES = 400
AT_ONCE = 20


@pytest.fixture(scope="module")
def api(server: Cloud) -> Iterator[Api]:
    made = Api.of_kubeconfig(server.kubeconfig)
    prepare(made)
    yield made
    made.close()


class Streams:
    """One HTTP/2 connection that carries several requests at once."""

    def __init__(self, api: Api) -> None:
        self._socket = api.raw("h2")
        assert self._socket.selected_alpn_protocol() == "h2"
        told = h2.config.H2Configuration(
            header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._connection = h2.connection.H2Connection(told)
        self._connection.initiate_connection()
        self.codes: dict[int, int] = {}
        self.bodies: dict[int, bytes] = {}
        self._open: set[int] = set()
        self.ended = False

    def send(self, request: bytes) -> int:
        """A request that was made for HTTP/1.1, with what HTTP/2 says differently."""
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        method, path, _ = line.split(b" ", 2)
        headers = [(b":method", method), (b":path", path), (b":scheme", b"https"), (b":authority", b"x")]  # fmt: skip
        for one in lines:
            name, _, value = one.partition(b": ")
            if name.lower() not in (b"host", b"connection", b"upgrade", b"transfer-encoding"):
                headers.append((name.lower(), value))
        stream = self._connection.get_next_available_stream_id()
        self._connection.send_headers(stream, headers, end_stream=not body)
        size = self._connection.max_outbound_frame_size
        room = self._connection.local_flow_control_window(stream)
        body = body[: min(room, 60_000)]
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        for n, piece in enumerate(pieces):
            self._connection.send_data(stream, piece, end_stream=n == len(pieces) - 1)
        self._open.add(stream)
        self._flush()
        return stream

    def _flush(self) -> None:
        self._socket.sendall(self._connection.data_to_send())

    def finish(self) -> None:
        """Until every stream has its answer, or the server has ended the connection."""
        while self._open and not self.ended:
            data = self._socket.recv(1 << 18)
            if not data:
                self.ended = True
            for event in self._connection.receive_data(data):
                self._take(event)
            self._flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.codes[event.stream_id] = int(dict(event.headers)[b":status"])
            case h2.events.DataReceived():
                self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
                self._connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            case h2.events.StreamEnded() | h2.events.StreamReset():
                self._open.discard(event.stream_id)
            case h2.events.ConnectionTerminated():
                self.ended = True

    def close(self) -> None:
        self._socket.close()


def test_damaged_requests_over_http2(server: Cloud, api: Api) -> None:
    corpus = Corpus(api, SEED + 500)
    codes: Counter[int] = Counter()
    streams = Streams(api)
    for _ in range(OVER_H2 // AT_ONCE):
        sent = {streams.send(request): request for request in corpus.requests(AT_ONCE)}
        streams.finish()
        for stream, request in sent.items():
            code, body = streams.codes.get(stream, 0), streams.bodies.get(stream, b"")
            assert code < 500 or LIKEWISE.search(body), (request, Answer(code, body))
            codes[code] += 1
        if streams.ended:
            streams.close()
            streams = Streams(api)
    streams.close()
    assert tracebacks(server) == []
    assert {200, 201, 400, 404, 409, 415, 422} <= set(codes), codes
    assert codes[0] < OVER_H2 // 4, codes  # streams that were reset, or lost with their connection


def test_watches_with_odd_parameters(server: Cloud, api: Api) -> None:
    """Each ends within its second, whatever else was asked of it."""
    chance = random.Random(SEED)
    corpus = Corpus(api, SEED + 501)
    lists = [t.path for t in corpus.targets if not t.path.endswith("}") and "GET" in t.methods]
    requests = []
    for _ in range(WATCHES):
        path = chance.choice(lists).replace("{namespace}", "fuzz").replace("{name}", "a")
        names = chance.sample(list(QUERIES), chance.choice((0, 1, 1, 2, 3)))
        pairs = [(n, chance.choice(QUERIES[n])) for n in names if n != "timeoutSeconds"]
        pairs += [("watch", chance.choice(("true", "1", "x"))), ("timeoutSeconds", "1")]
        pairs += [("allowWatchBookmarks", chance.choice(("true", "x")))]
        query = "&".join(f"{n}={quote(v)}" for n, v in pairs)
        accept = chance.choice(ACCEPTS)
        requests.append(f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n")
    codes: Counter[int] = Counter()
    for at in range(0, WATCHES, 100):
        for found in together(api, [one.encode() for one in requests[at : at + 100]], quiet=3.0):
            told = read(found)
            assert len(told) == 2, found[:300]  # of the watch, and of the request behind it
            assert max(told) < 500 or LIKEWISE.search(found), found[:900]
            codes.update(told)
    assert tracebacks(server) == []
    assert {200, 400} <= set(codes)
