"""Those who ask: wrk (HTTP/1.1) and h2load (HTTP/2), on a core of their own, and what they ask for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

SERVER, CLIENT = (0, 1) if (os.cpu_count() or 1) > 1 else (0, 0)
SECONDS = 1.5
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}

HEAD = """
wrk.headers["Authorization"] = "Bearer TOKEN"
wrk.headers["Content-Type"] = "KIND"
local thread_count = 0
function setup(thread) thread:set("id", thread_count); thread_count = thread_count + 1 end
local n = 0
"""
GET = ""
EACH = """
function init(args) body = [==[BODY]==]; path = "PATH" end
function request()
  n = n + 1
  local text = string.gsub(body, "NUMBER", "MARK" .. n)
  local place = string.gsub(path, "NUMBER", tostring(n % COUNT))
  place = string.gsub(place, "SERIAL", "MARK" .. n)
  text = string.gsub(text, "PLACE", tostring(n % COUNT))
  return wrk.format("METHOD", place, nil, text)
end
"""


class Measured(NamedTuple):
    rate: float  # good answers per second
    p99: float  # seconds; 0.0 where the client does not tell
    good: int
    bad: int = 0


class Asked(NamedTuple):
    """One kind of request. In `body` NUMBER is new each time and PLACE goes round; in `path`
    NUMBER goes round and SERIAL is new each time."""

    method: str
    path: str
    body: Any = None
    kind: str = "application/json"
    places: int = 1


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started here runs on that core only."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core} & before or before)
        yield
    finally:
        os.sched_setaffinity(0, before)


def missing(*programs: str) -> list[str]:
    return [program for program in programs if not shutil.which(program)]


class Wrk:
    def __init__(self, folder: Path, token: str, base: str) -> None:
        self.folder, self.token, self.base = folder, token, base
        self._runs = 0

    def run(
        self, asked: Asked, connections: int = 50, seconds: float = SECONDS, refused: bool = False
    ) -> Measured:
        """`refused`: answers that are not good are counted apart, otherwise there may be none."""
        self._runs += 1
        script = HEAD.replace("TOKEN", self.token).replace("KIND", asked.kind)
        url = self.base + asked.path
        if asked.method != "GET":
            url = self.base
            body = json.dumps(asked.body, separators=(",", ":")) if asked.body is not None else ""
            script += (
                EACH.replace("BODY", body)
                .replace("METHOD", asked.method)
                .replace("PATH", asked.path)
                .replace("COUNT", str(asked.places))
                .replace("MARK", f"{os.getpid()}-{self._runs}-")
            )
        path = self.folder / "script.lua"
        path.write_text(script)
        with on_core(CLIENT):
            done = subprocess.run(
                ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", str(path), url],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
        return read_wrk(done.stdout, refused)


def read_wrk(text: str, refused: bool = False) -> Measured:
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    count = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    value, unit = re.search(r"99%\s+([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    odd = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    bad = int(odd[1]) if odd else 0
    assert refused or not bad, text
    return Measured(
        rate * (count - bad) / max(count, 1), float(value) * UNITS[unit], count - bad, bad
    )


class H2load:
    def __init__(self, folder: Path, token: str, base: str) -> None:
        self.folder, self.token, self.base = folder, token, base

    def run(
        self, path: str, connections: int, streams: int, body: Any = None, count: int = 0,
        headers: Sequence[str] = (), seconds: float = SECONDS,
    ) -> Measured:  # fmt: skip
        words = ["h2load", "-t1", f"-c{connections}", f"-m{streams}"]
        words += [f"-n{count}"] if count else [f"-D{max(1, round(seconds))}"]
        for header in (f"authorization: Bearer {self.token}", *headers):
            words += ["-H", header]
        if body is not None:
            (self.folder / "body").write_bytes(json.dumps(body, separators=(",", ":")).encode())
            words += ["-d", str(self.folder / "body"), "-H", "content-type: application/json"]
        with on_core(CLIENT):
            done = subprocess.run(
                [*words, self.base + path], capture_output=True, text=True, check=True
            )
        return read_h2load(done.stdout)


def read_h2load(text: str) -> Measured:
    good = int(re.search(r"status codes: (\d+) 2xx", text)[1])  # type: ignore[index]
    value, unit = re.search(r"finished in ([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    others = [int(n) for n in re.findall(r"(\d+) [345]xx", text)]
    assert good, text
    assert not sum(others), text
    return Measured(good / (float(value) * UNITS[unit]), 0.0, good)
