"""The API over its Unix socket with the standard library's HTTP client: nothing of ours in between."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any


class Refused(Exception):
    """The API said no; `status` is its Status object."""

    def __init__(self, code: int, status: Any) -> None:
        super().__init__(f"{code}: {status}")
        self.code, self.status = code, status


class Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self.path)
        except OSError:
            self.sock.close()
            raise


class Api:
    """Raises OSError while nobody listens, Refused for answers from 400 up."""

    def __init__(self, path: str, timeout: float = 60.0) -> None:
        self.path, self.timeout = path, timeout

    def running(self) -> bool:
        connection = Connection(self.path, self.timeout)
        try:
            connection.connect()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def request(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> Any:
        connection = Connection(self.path, self.timeout)
        try:
            answer = self._ask(connection, method, path, body, kind)
            return decode(answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def lines(self, method: str, path: str, body: Any = None) -> Iterator[Any]:
        """A streamed answer, one JSON object a line, for as long as somebody takes them."""
        connection = Connection(self.path, self.timeout)
        try:
            answer = self._ask(connection, method, path, body, "application/json")
            while line := answer.readline():
                if line.strip():
                    yield json.loads(line)
        finally:
            connection.close()

    def _ask(
        self, connection: Connection, method: str, path: str, body: Any, kind: str
    ) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind, "Accept": "application/json"}
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        if answer.status >= 400:
            raise Refused(answer.status, decode(answer.read()))
        return answer


def decode(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace").strip()}
