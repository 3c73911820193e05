"""Bytes that are no HTTP, each on a connection of its own: refused once, and the connection ends."""

from __future__ import annotations

import random
import selectors
import ssl
from collections import Counter
from collections.abc import Iterable, Iterator

import httptools
import pytest

from tests.cloud import Cloud
from tests.conformance.wire import Api
from tests.faults.smuggling import AFTER, SMUGGLED, mutated
from tests.faults.test_fuzz import Answers, tracebacks

pytestmark = pytest.mark.slow
MUTATED = 3000
AT_ONCE = 200
QUIET = 0.5  # seconds in which nothing came
LAST = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def api(server: Cloud) -> Iterator[Api]:
    made = Api.of_kubeconfig(server.kubeconfig)
    made.make("/api/v1/namespaces", {"metadata": {"name": "fuzz"}})
    yield made
    made.close()


def answered(api: Api, data: bytes) -> bytes:
    """Everything that comes back, until the server ends the connection."""
    with api.raw() as connection:
        found = b""
        try:
            connection.sendall(data)
            while got := connection.recv(1 << 16):
                found += got
        except (ConnectionError, ssl.SSLError):
            pass  # it ended while we were still sending
        return found


@pytest.mark.parametrize("number", range(len(SMUGGLED)))
def test_what_may_be_understood_in_two_ways_is_refused_once(server, api, number):
    found = answered(api, SMUGGLED[number] + AFTER)
    answers = Answers()
    answers.feed(found)
    assert [answer.code // 100 for answer in answers.found] == [4], found[:200]
    assert tracebacks(server) == []


def test_three_thousand_requests_with_broken_bytes(server, api):
    """Each is answered as often as it can be read, in time, and nothing of ours fails."""
    chance = random.Random(1)
    codes: Counter[int] = Counter()
    for _ in range(MUTATED // AT_ONCE):
        for found in together(api, [mutated(chance) for _ in range(AT_ONCE)]):
            codes.update(read(found))
    assert tracebacks(server) == []
    assert not [code for code in codes if code >= 500 and code not in (501, 505)], codes
    assert {200, 400} <= set(codes)


def read(found: bytes) -> list[int]:
    """The codes of the answers in what came back: whole ones, and nothing between them."""
    answers = Answers()
    try:
        answers.feed(found)
    except httptools.HttpParserUpgrade:
        pass
    return [answer.code for answer in answers.found]


def together(api: Api, requests: Iterable[bytes], quiet: float = QUIET) -> list[bytes]:
    """What comes back to each, on its own connection, which we end when nobody has more to say."""
    found: dict[ssl.SSLSocket, bytes] = {}
    with selectors.DefaultSelector() as waiting:
        for request in requests:
            connection = api.raw()
            connection.sendall(request + LAST)
            connection.setblocking(False)
            found[connection] = b""
            waiting.register(connection, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(quiet)
            for key, _ in ready:
                connection = key.fileobj
                assert isinstance(connection, ssl.SSLSocket)
                if received(connection, found):
                    waiting.unregister(connection)
            if not ready:  # what is left waits for the rest of its request
                break
    for connection in found:
        connection.close()
    return list(found.values())


def received(connection: ssl.SSLSocket, found: dict[ssl.SSLSocket, bytes]) -> bool:
    """Takes what there is; whether that was the end."""
    try:
        got = connection.recv(1 << 16)
    except ssl.SSLWantReadError:
        return False
    except (ConnectionError, ssl.SSLError):
        return True
    found[connection] += got
    return not got
