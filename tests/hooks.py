"""A webhook server over TLS, with the standard library alone, that answers as a test says.

with Hooks(tmp_path, "hook.default.svc") as hooks:
    hooks["/deny"] = lambda review: deny(review, "not today")
    config = {"url": hooks.url + "/deny", "caBundle": hooks.bundle}
    ...
    hooks.seen["/deny"]            # what it was asked, in order
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from jindou.control.api.access import certificates

Answering = Callable[[Any], Any]


class Raw(NamedTuple):
    """An answer that is no JSON, or has another code."""

    code: int
    body: bytes = b""
    kind: str = "application/json"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us, or waits no longer, is what tests are about."""


class Hooks:
    """One server; `hooks[path] = function` from the JSON that is asked to the JSON that answers."""

    def __init__(self, folder: Path, *names: str, trusts: Path | None = None) -> None:
        certificates.ensure(folder, [certificates.Leaf("hook", "hook", (), ("127.0.0.1", *names))])
        self.bundle = base64.b64encode((folder / "ca.crt").read_bytes()).decode()
        self.seen: dict[str, list[Any]] = defaultdict(list)
        self.paths: list[str] = []  # of all that was asked, with their queries
        self.headers: list[dict[str, str]] = []
        self._answers: dict[str, Answering] = {}
        self._server = _Server(("127.0.0.1", 0), self._handler())
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "hook.crt", folder / "hook.key")
        if trusts is not None:  # a client has to have a certificate of this authority
            tls.load_verify_locations(trusts)
            tls.verify_mode = ssl.CERT_REQUIRED
        self._server.socket = tls.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port: int = self._server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.connections = 0
        self.mine: Answering = lambda review: True  # all others are allowed, and not noted
        self._open: list[socket.socket] = []
        self.hasty = False  # closes a connection after its answer, without saying so
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __setitem__(self, path: str, answer: Answering) -> None:
        self._answers[path] = answer

    def __enter__(self) -> Hooks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for held in self._open:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def config(self, path: str) -> dict[str, Any]:
        """A clientConfig."""
        return {"url": self.url + path, "caBundle": self.bundle}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                hooks.connections += 1
                hooks._open.append(self.request)
                super().setup()

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                path = self.path.partition("?")[0]
                if not hooks.mine(asked):
                    return self._send(Raw(200, json.dumps(allow(asked)).encode()))
                hooks.paths.append(self.path)
                hooks.headers.append(dict(self.headers))
                self.close_connection = hooks.hasty
                hooks.seen[path].append(asked)
                answer = hooks._answers[path](asked)
                self._send(
                    answer if isinstance(answer, Raw) else Raw(200, json.dumps(answer).encode())
                )

            def _send(self, answer: Raw) -> None:
                code, body, kind = answer
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def allow(review: Any, patch: list[Any] | None = None, **more: Any) -> Any:
    """The AdmissionReview that says yes, with a JSON patch where one is given."""
    response = {"uid": review["request"]["uid"], "allowed": True, **more}
    if patch is not None:
        data = base64.b64encode(json.dumps(patch).encode()).decode()
        response |= {"patch": data, "patchType": "JSONPatch"}
    return {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}


def deny(review: Any, message: str = "", **result: Any) -> Any:
    status = {**({"message": message} if message else {}), **result}
    answer = allow(review)
    answer["response"] |= {"allowed": False, **({"status": status} if status else {})}
    return answer
