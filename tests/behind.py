"""An API server to stand behind another: TLS, one kind of things, and a note of who asked for what.

with Behind(tmp_path, "g.example.com") as behind:
    ...                            # an APIService with behind.port and behind.bundle
    behind.seen                    # (method, path, headers) of every request
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.hooks import Hooks

WHOLE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
VERBS = ["create", "get", "list", "watch"]


class Behind(Hooks):
    """`aggregated` False: it knows only the older form of discovery."""

    def __init__(
        self,
        folder: Path,
        group: str,
        *names: str,
        aggregated: bool = True,
        trusts: Path | None = None,
    ) -> None:
        super().__init__(folder, "localhost", *names, trusts=trusts)
        self.presented: set[str] = set()  # common names of the certificates of those who asked
        self.group = group
        self.aggregated = aggregated
        self.asked: list[tuple[str, str, dict[str, list[str]]]] = []
        self.healthy = True

    def about(self, path: str) -> dict[str, list[str]]:
        """The headers of the last request for a path that somebody else than the aggregator made."""
        return next(
            headers
            for _, held, headers in reversed(self.asked)
            if held == path and headers.get("x-remote-user") != ["system:kube-aggregator"]
        )

    def document(self, path: str) -> Any:
        kind = {"group": self.group, "version": "v1", "kind": "Thing"}
        base = f"/apis/{self.group}/v1"
        thing = {"apiVersion": f"{self.group}/v1", "kind": "Thing", "metadata": {"name": "one"}}
        resource = {
            "resource": "things", "responseKind": kind, "scope": "Namespaced", "singularResource": "thing",
            "verbs": VERBS, "shortNames": ["tg"],
        }  # fmt: skip
        legacy = {
            "name": "things", "singularName": "thing", "namespaced": True, "kind": "Thing", "verbs": VERBS,
            "shortNames": ["tg"],
        }  # fmt: skip
        served = {
            "/apis": {
                "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
                "items": [{"metadata": {"name": self.group}, "versions": [{"version": "v1", "resources": [resource], "freshness": "Current"}]}],
            },
            base: {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{self.group}/v1", "resources": [legacy]},
            f"{base}/namespaces/default/things": {"kind": "ThingList", "apiVersion": f"{self.group}/v1", "metadata": {}, "items": [thing]},
            f"{base}/namespaces/default/things/one": thing,
            "/openapi/v3": {"paths": {base[1:]: {"serverRelativeURL": f"/openapi/v3{base}?hash=ABC"}}},
            f"/openapi/v3{base}": {"openapi": "3.0.0", "info": {"title": "things", "version": "1"}, "paths": {}},
        }  # fmt: skip
        return served.get(path)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        behind = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                behind._open.append(self.request)
                super().setup()

            def _note(self) -> str:
                headers: dict[str, list[str]] = {}
                for name, value in self.headers.items():
                    headers.setdefault(name.lower(), []).append(value)
                path = self.path.partition("?")[0]
                behind.asked.append((self.command, path, headers))
                certificate = self.connection.getpeercert() or {}  # type: ignore[attr-defined]
                for part in certificate.get("subject", ()):
                    behind.presented |= {value for key, value in part if key == "commonName"}
                return path

            def _answer(self, code: int, value: Any, kind: str = "application/json") -> None:
                body = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                path = self._note()
                if not behind.healthy:
                    self._answer(500, {})
                elif self.headers.get("Upgrade"):
                    self._echo()
                elif "watch=true" in self.path:
                    self._stream()
                elif path == "/apis" and not behind.aggregated:
                    self._answer(404, {})
                elif (found := behind.document(path)) is None:
                    self._answer(404, {"kind": "Status", "code": 404, "message": "not here"})
                else:
                    self._answer(200, found, WHOLE if path == "/apis" else "application/json")

            def do_POST(self) -> None:
                self._note()
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(201, given)

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for line in lines():
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

            def _echo(self) -> None:
                self.send_response(101)
                self.send_header("Connection", "Upgrade")
                self.send_header("Upgrade", "echo")
                self.end_headers()
                self.wfile.write(self.rfile.readline())
                self.wfile.flush()
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def lines() -> Iterator[bytes]:
    for name in "ab":
        event = {"type": "ADDED", "object": {"kind": "Thing", "metadata": {"name": name}}}
        yield json.dumps(event).encode() + b"\n"
