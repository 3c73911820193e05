"""Whatever is sent, nothing of ours fails: 100 000 damaged requests, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import httptools
import pytest

from tests.cloud import Cloud
from tests.conformance.wire import Api
from tests.faults import seeds
from tests.faults.fuzz import Corpus

pytestmark = pytest.mark.slow
COUNT = int(os.environ.get("FUZZ_REQUESTS", "100000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CLIENTS = 2  # processes
PIPES = 12  # connections of each: writes of one connection wait for the disk one after another
ROUNDS = 5
AT_ONCE = 16
ENTRY = re.compile(r"\n(?=\d{4}-)")
GROWTH = 60  # MB that the second half of all requests may add: the history that watches can ask for
KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

# Failures that the original answers to the same requests with.
LIKEWISE = re.compile(
    b"failed to create typed patch object|resourceVersion should not be set on objects to be created"
    b"|does not contain declared merge key|the spec replicas field|no endpoints available for service"
    b"|error dialing backend|no preferred addresses found|Too large resource version"
    b"|resourceVersion: Invalid value"
)


class Pipe:
    """Sends several requests at once on one connection and reads their answers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._socket: ssl.SSLSocket | None = None
        self._due: list[bytes] = []

    def send(self, requests: list[bytes]) -> None:
        self._due = requests
        if self._socket is None:
            self._socket = self._api.raw()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._socket.sendall(b"".join(requests))

    def read(self) -> list[tuple[bytes, Answer]]:
        """Each request and its answer. What follows one that ended the connection is sent again."""
        found: list[tuple[bytes, Answer]] = []
        while True:
            got = self._some()
            found += zip(self._due, got)
            if len(got) == len(self._due):
                return found
            assert got, f"no answer to {self._due[0]!r}"
            self.send(self._due[len(got) :])

    def _some(self) -> list[Answer]:
        assert self._socket is not None
        answers = Answers()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while len(answers.found) < len(self._due) and not answers.ended:
                data = self._socket.recv(1 << 18)
                if not data:
                    break
                answers.feed(data)
        if len(answers.found) < len(self._due) or answers.ended:
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


def memory(server: Cloud) -> float:
    """Of the server, in MB."""
    told = Path(f"/proc/{server.processes['server'].pid}/smaps_rollup").read_text()
    return int(told.partition("Pss:")[2].split()[0]) / 1024


def tracebacks(server: Cloud) -> list[str]:
    """What the server's log says of errors of its own: each first, last and middle line."""
    found = []
    for entry in ENTRY.split(Path(server.log("server")).read_text()):
        if "Traceback" in entry:
            lines = entry.splitlines()
            found.append("\n".join([lines[0], *lines[-4:]]))
    return found


class Outcome(NamedTuple):
    codes: Counter[int]
    failed: list[tuple[bytes, Answer]]


def sent(kubeconfig: str, seed: int, count: int) -> Outcome:
    """What became of so many requests, in a process of its own."""
    api = Api.of_kubeconfig(kubeconfig)
    corpus, pipes = Corpus(api, seed), [Pipe(api) for _ in range(PIPES)]
    outcome = Outcome(Counter(), [])
    for _ in range(count // AT_ONCE // PIPES):
        for pipe in pipes:
            pipe.send([corpus.request() for _ in range(AT_ONCE)])
        for pipe in pipes:
            for request, answer in pipe.read():
                outcome.codes[answer.code] += 1
                if answer.code >= 500 and not LIKEWISE.search(b" ".join(answer.body.split())):
                    outcome.failed.append((request, answer))
    for pipe in pipes:
        pipe.close()
    api.close()
    return outcome


def prepare(api: Api) -> None:
    """A namespace to damage, and a kind of somebody's own."""
    api.make("/api/v1/namespaces", {"metadata": {"name": "fuzz"}})
    api.make(KINDS, seeds.definition("widgets", "Widget"))
    api.until(
        f"{KINDS}/widgets.fuzz.example.com",
        lambda kind: any(c["type"] == "Established" for c in kind["status"].get("conditions", ())),
    )


def test_a_hundred_thousand_damaged_requests(server):
    api = Api.of_kubeconfig(server.kubeconfig)
    prepare(api)
    codes: Counter[int] = Counter()
    sizes = []
    share = COUNT // CLIENTS // ROUNDS
    with ProcessPoolExecutor(CLIENTS, get_context("spawn")) as clients:
        for turn in range(ROUNDS):
            seeds_now = [SEED * 1000 + turn * CLIENTS + n for n in range(CLIENTS)]
            due = [clients.submit(sent, server.kubeconfig, seed, share) for seed in seeds_now]
            for outcome in [one.result() for one in due]:
                codes += outcome.codes
                failed = outcome.failed
                assert not failed, (len(failed), failed[:3], tracebacks(server)[:3])
            sizes.append(memory(server))
    api.close()
    assert tracebacks(server) == []
    assert {200, 201, 400, 404, 409, 415, 422} <= set(codes), f"void: {codes}"
    assert sizes[-1] - sizes[len(sizes) // 2] < GROWTH, sizes
    print(codes, sizes)
