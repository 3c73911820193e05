"""Whatever is sent, nothing of ours fails: 100 000 damaged requests, and raw bytes that are no HTTP."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httptools
import pytest

from tests.cloud import Cloud, settings_for
from tests.conformance.wire import Api
from tests.faults.fuzz import Corpus
from tests.faults.test_histories import come_back

pytestmark = pytest.mark.slow
COUNT = int(os.environ.get("FUZZ_REQUESTS", "100000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
AT_ONCE = 16
GROWTH = 60  # MB that the second half of all requests may add: the history that watches can ask for


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with tempfile.TemporaryDirectory(prefix="jif") as name:
        made = Cloud(settings_for(Path(name), pretend=True))
        try:
            made.start("server")
            come_back(made)
            yield made
        finally:
            made.stop()


class Pipe:
    """Sends several requests at once on one connection and reads their answers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._socket: ssl.SSLSocket | None = None

    def ask(self, requests: list[bytes]) -> list[Answer]:
        """What follows a request that ended the connection is sent again."""
        answers: list[Answer] = []
        while len(answers) < len(requests):
            got = self._some(requests[len(answers) :])
            assert got, f"no answer to {requests[len(answers)]!r}"
            answers += got
        return answers

    def _some(self, requests: list[bytes]) -> list[Answer]:
        if self._socket is None:
            self._socket = self._api.raw()
        answers = Answers()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._socket.sendall(b"".join(requests))
            while len(answers.found) < len(requests) and not answers.ended:
                data = self._socket.recv(1 << 18)
                if not data:
                    break
                answers.feed(data)
        if len(answers.found) < len(requests) or answers.ended:
            self.close()
        return answers.found

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Answer(NamedTuple):
    code: int
    body: bytes


class Answers:
    """What httptools makes of the bytes that come back."""

    def __init__(self) -> None:
        self.found: list[Answer] = []
        self.ended = False
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"connection" and value.lower() == b"close":
            self.ended = True

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if (code := self._parser.get_status_code()) >= 200:
            self.found.append(Answer(code, self._body))
        self._body = b""


def memory(cloud: Cloud) -> float:
    """Of the server, in MB."""
    told = Path(f"/proc/{cloud.processes['server'].pid}/smaps_rollup").read_text()
    return int(told.partition("Pss:")[2].split()[0]) / 1024


def failures(cloud: Cloud) -> str:
    """What the server's log says of errors of its own."""
    lines = Path(cloud.log("server")).read_text().splitlines()
    return "\n".join([line for line in lines if "failed" in line or "Traceback" in line][:20])


def test_a_hundred_thousand_damaged_requests(cloud):
    api = Api.of_kubeconfig(cloud.kubeconfig)
    api.make("/api/v1/namespaces", {"metadata": {"name": "fuzz"}})
    corpus, pipe = Corpus(api, SEED), Pipe(api)
    codes: Counter[int] = Counter()
    sizes, failed = [], []
    for done in range(0, COUNT, AT_ONCE):
        requests = [corpus.request() for _ in range(AT_ONCE)]
        for request, answer in zip(requests, pipe.ask(requests)):
            codes[answer.code] += 1
            if answer.code >= 500 and answer.code != 504:
                failed.append((request, answer))
        if done % (COUNT // 8 // AT_ONCE * AT_ONCE) == 0:
            sizes.append(memory(cloud))
    pipe.close()
    api.close()
    assert not failed, (len(failed), failed[:3], failures(cloud))
    assert failures(cloud) == ""
    assert {200, 201, 400, 404, 409, 415, 422} <= set(codes), f"void: {codes}"
    assert sizes[-1] - sizes[len(sizes) // 2] < GROWTH, sizes
    print(codes, sizes)
