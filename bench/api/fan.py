"""From changes of one object to all who watch it: deliveries per second, whole and intact."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.api.asked import CHANGE, WATCH, WATCHED
from bench.api.clients import CLIENT, SERVER, Wrk, on_core
from tests.cloud import free_port


class Shape(NamedTuple):
    connections: int
    streams: int = 0  # of each; 0: HTTP/1.1

    @property
    def watches(self) -> int:
        return self.connections * max(self.streams, 1)


class Watchers:
    """The process that reads; `during` runs what causes the events."""

    def __init__(self, port: int, path: str, token: str, shape: Shape) -> None:
        words = [port, path, token, shape.connections, shape.streams]
        self.shape = shape
        with on_core(CLIENT):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.api.watchers", *map(str, words)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            )  # fmt: skip

    def ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the watches did not begin"

    def during(self, cause: Callable[[], object]) -> float:
        """Deliveries per second; every watch must have been told the same."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        began = time.perf_counter()
        cause()
        self._process.stdin.write("stop\n")
        last, least, most = self._process.stdout.readline().split()
        assert least == most != "0", f"watches were told {least} to {most} events"
        return int(least) * self.shape.watches / (float(last) - began)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Floor:
    """`SSLSocket.sendall` of the same event to each connection, one after the other."""

    def __init__(self, pki: Path, event: Path, shape: Shape) -> None:
        self.port, self.shape = free_port(), shape
        with on_core(SERVER):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.api.floors", "fan", str(self.port), str(pki), str(event)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            )  # fmt: skip
        self._answer()
        self.watchers = Watchers(self.port, "/", "", shape)
        self._tell(f"accept {shape.connections}")
        self.watchers.ready()

    def _tell(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline()

    def measure(self, seconds: float) -> float:
        events = max(5, int(60_000 * seconds / self.shape.connections))
        return self.watchers.during(lambda: self._tell(f"send {events}"))

    def end(self) -> None:
        self.watchers.end()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def measure(watchers: Watchers, wrk: Wrk, seconds: float) -> float:
    return watchers.during(lambda: wrk.run(CHANGE, connections=WATCHED, seconds=seconds))


def watching(port: int, token: str, shape: Shape) -> Watchers:
    watchers = Watchers(port, WATCH, token, shape)
    watchers.ready()
    return watchers


def event_of(obj: object) -> bytes:
    """What one watch is sent for one change."""
    return json.dumps({"type": "MODIFIED", "object": obj}, separators=(",", ":")).encode() + b"\n"
