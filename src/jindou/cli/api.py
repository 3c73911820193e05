"""The API through its Unix socket: raw HTTP/1.1, because `status` has to answer in an instant.

The server takes the process at the other end for what the kernel says it is, so no key is read.
Standard library only; nothing heavier than `socket` and `json`.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

from jindou.cli.problems import NO_ACCESS, NOT_RUNNING, Problem
from jindou.settings import Settings


class Refused(Exception):
    """The API said no; `status` is its Status object."""

    def __init__(self, code: int, status: dict[str, Any]) -> None:
        super().__init__(status.get("message", f"HTTP {code}"))
        self.code = code
        self.status = status


class Api:
    def __init__(self, settings: Settings, timeout: float = 10.0) -> None:
        self.path = os.path.join(settings.run, "api.sock")
        self.timeout = timeout

    def running(self) -> bool:
        try:
            self._connect().close()
        except (Problem, OSError):
            return False
        return True

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            raise Problem(
                "jindou is not running", "JD-API-501", do=["jindou up"], status=NOT_RUNNING
            ) from None
        except PermissionError:
            connection.close()
            raise Problem(
                f"{self.path} is not yours to open",
                "JD-SEC-301",
                why="the cloud was started by another user",
                do=["sudo jindou status"],
                status=NO_ACCESS,
            ) from None
        return connection

    def open(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> Answer:
        connection = self._connect()
        data = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: jindou\r\nAccept: application/json\r\nConnection: close\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        try:
            connection.sendall(head.encode() + data)
            return Answer(connection)
        except (ConnectionError, IndexError, ValueError):
            connection.close()
            raise Problem(
                "the server went away in the middle of an answer",
                "JD-API-501",
                do=["jindou status", "jindou logs server"],
                status=NOT_RUNNING,
            ) from None

    def request(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> Any:
        """The decoded answer. Raises Refused with the API's Status for anything from 400 up."""
        answer = self.open(method, path, body, kind)
        data = b"".join(answer.pieces())
        if answer.code >= 400:
            raise Refused(answer.code, decode(data))
        return decode(data)

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def lines(self, method: str, path: str, body: Any = None) -> Iterator[dict[str, Any]]:
        """A streamed answer of one JSON object a line: a watch, or the progress of a long job."""
        answer = self.open(method, path, body)
        answer.connection.settimeout(None)
        if answer.code >= 400:
            raise Refused(answer.code, decode(b"".join(answer.pieces())))
        rest = b""
        for piece in answer.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                if line.strip():
                    yield json.loads(line)


def decode(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace").strip()}


class Answer:
    """An HTTP/1.1 answer, read as it comes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._file = connection.makefile("rb")
        self.code = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.lower()] = value.strip()

    def pieces(self) -> Iterator[bytes]:
        try:
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                while count := int(self._file.readline().split(b";")[0] or b"0", 16):
                    yield self._file.read(count)
                    self._file.readline()
            elif "content-length" in self.headers:
                left = int(self.headers["content-length"])
                while left and (piece := self._file.read1(min(left, 65536))):
                    left -= len(piece)
                    yield piece
            else:
                while piece := self._file.read1(65536):
                    yield piece
        finally:
            self._file.close()
            self.connection.close()
