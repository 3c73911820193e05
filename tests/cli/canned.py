"""A server at a Unix socket with canned answers, and the command line run against it in-process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from jindou.cli.commands import main
from jindou.settings import Settings

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
MISSING = {"kind": "Status", "code": 404, "message": "not found", "reason": "NotFound"}


def stamp(seconds_ago: float) -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - seconds_ago))


class Canned:
    """`answers` maps a path, without or with its query, to an object or to text."""

    def __init__(self, path: Path, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(64)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    head += piece
                if head:
                    self._answer(connection, head.split()[1].decode())

    def _answer(self, connection: socket.socket, path: str) -> None:
        self.asked.append(path)
        found = self.answers.get(path, self.answers.get(path.partition("?")[0], MISSING))
        code = found["code"] if isinstance(found, dict) and found.get("kind") == "Status" else 200
        body = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        head = f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n\r\n"
        with contextlib.suppress(OSError):
            connection.sendall(head.encode() + body)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


class Shell:
    """`jindou WORDS` in this process: its exit code, and what it wrote to either stream."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(
            name="golden", data=str(folder / "data"), run=str(folder / "run"),
            logs=str(folder / "logs"), api_port=7443, node_port=7250,
        )  # fmt: skip
        for name in ("data", "run", "logs", "home"):
            (folder / name).mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "COLUMNS": "80",
            "JINDOU_CONFIG": str(folder / "config.toml"),
            "JINDOU_NAME": "golden",
            "JINDOU_DATA": self.settings.data,
            "JINDOU_RUN": self.settings.run,
            "JINDOU_LOGS": self.settings.logs,
            "JINDOU_API_PORT": "7443",
            "JINDOU_NODE_PORT": "7250",
        }

    def __call__(self, *words: str, **env: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {**self.environment, **env}, clear=True),
            mock.patch("time.time", return_value=NOW),
            mock.patch("sys.stdin", io.StringIO()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main(words)
        return code, out.getvalue(), err.getvalue()

    @contextlib.contextmanager
    def server(self, answers: Mapping[str, Any]) -> Iterator[Canned]:
        path = self.folder / "run" / "api.sock"
        made = Canned(path, answers)
        try:
            yield made
        finally:
            made.close()
            path.unlink()


def pod(name: str, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "creationTimestamp": stamp(600),
            "labels": {"app": name},
        },
        "spec": {"nodeName": "atlas", "containers": [{"name": "c", "image": "web:1.2"}]},
        "status": {"phase": "Running", **status},
    }


def container(**state: Any) -> dict[str, Any]:
    return {"name": "c", "image": "web:1.2", "restartCount": 0, "state": state}


def items(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(objects)}
