"""A small registry for tests, with the standard library: tokens, ranges, and faults on request."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """What it holds, what it asks for, and what goes wrong."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}  # tag or digest -> type, bytes
        self.user: tuple[str, str] | None = None  # nobody else is let in
        self.scheme = "bearer"
        self.lifetime = 1 << 30  # requests for which a token is good
        self.tokens = self.left = 0
        self.break_after = 0  # bytes of a blob, then the connection ends
        self.ranges = True
        self.busy = 0  # so many answers are 503
        self.redirect = ""  # blobs are at that host
        self.corrupt: set[str] = set()
        self.gate: threading.Event | None = None  # blobs wait for it
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            if self.gate:
                self.gate.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def add_image(self, tag: str, *layers: bytes, config=None, media_type=MANIFEST, packed=None):
        """Plain tars in; returns the manifest's digest."""
        inner = {
            "architecture": "amd64",
            "os": "linux",
            "config": config or {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
        data = json.dumps(inner).encode()
        self.blobs[digest(data)] = data
        listed = []
        for number, plain in enumerate(layers):
            blob = packed[number] if packed else gzip.compress(plain, 1, mtime=0)
            self.blobs[digest(blob)] = blob
            listed.append({"mediaType": LAYER, "digest": digest(blob), "size": len(blob)})
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {"mediaType": CONFIG, "digest": digest(data), "size": len(data)},
            "layers": listed,
        }
        return self.add_manifest(tag, media_type, manifest)

    def add_manifest(self, tag, media_type, document):
        data = json.dumps(document).encode()
        self.manifests[tag] = self.manifests[digest(data)] = (media_type, data)
        return digest(data)

    def paths(self, part):
        return [path for _, path, _ in self.asked if part in path]

    def _handler(registry):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                registry.asked.append(("GET", self.path, headers))
                if registry.busy:
                    registry.busy -= 1
                    return self.send(503, b"", {"Retry-After": "0"})
                if parts.path == "/token":
                    return self.token(parse_qs(parts.query), headers)
                if not parts.path.startswith("/blobs/") and not self.let_in(headers):
                    return None
                kind, _, name = parts.path.rpartition("/")
                if kind.endswith("/manifests"):
                    return self.manifest(name)
                return self.blob(name, headers)

            def let_in(self, headers):
                if registry.user is None:
                    return True
                said = headers.get("authorization", "")
                if registry.scheme == "bearer":
                    asked = f'Bearer realm="http://{registry.host}/token",service="test",scope="repository:team/app:pull"'
                    fine = registry.good(said)
                else:
                    asked, fine = 'Basic realm="test"', said == registry.basic()
                if not fine:
                    self.error(401, "UNAUTHORIZED", "who are you", {"WWW-Authenticate": asked})
                return fine

            def token(self, query, headers):
                if headers.get("authorization") != registry.basic():
                    return self.error(401, "UNAUTHORIZED", "wrong password")
                assert query["scope"] == ["repository:team/app:pull"]
                registry.tokens += 1
                registry.left = registry.lifetime
                text = json.dumps({"token": f"token-{registry.tokens}"})
                return self.send(200, text.encode())

            def manifest(self, name):
                if name not in registry.manifests:
                    return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
                media_type, data = registry.manifests[name]
                if name in registry.corrupt:
                    data += b" "
                return self.send(200, data, {"Content-Type": media_type})

            def blob(self, name, headers):
                if registry.redirect and not self.path.startswith("/blobs/"):
                    target = f"http://{registry.redirect}/blobs/{name}"
                    return self.send(307, b"", {"Location": target})
                if registry.gate:
                    registry.gate.wait(30)
                if name not in registry.blobs:
                    return self.error(404, "BLOB_UNKNOWN", "blob unknown")
                data = registry.blobs[name]
                if name in registry.corrupt:
                    data = bytes([data[0] ^ 1]) + data[1:]
                status, extra, start = 200, {}, 0
                match = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
                if match and registry.ranges:
                    start = int(match[1])
                    extra = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
                    status = 206
                return self.send(status, data[start:], extra, cut=registry.break_after)

            def error(self, status, code, message, headers=()):
                body = {"errors": [{"code": code, "message": message}]}
                return self.send(status, json.dumps(body).encode(), headers)

            def send(self, status, data, headers=(), cut=0):
                self.send_response(status)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data[:cut] if cut else data)
                if cut and cut < len(data):
                    self.close_connection = True

            def log_message(self, *args):
                pass

        return Handler

    def good(self, said):
        if said != f"Bearer token-{self.tokens}" or self.left == 0:
            return False
        self.left -= 1
        return True

    def basic(self):
        return "Basic " + base64.b64encode(":".join(self.user).encode()).decode()
