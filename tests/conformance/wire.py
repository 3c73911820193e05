"""HTTP as a client of a cluster speaks it, with the standard library alone, told by a kubeconfig.

    answer = api.ask("POST", f"/api/v1/namespaces/{ns}/configmaps", {...})
    assert answer.code == 201 and answer.json["metadata"]["uid"]
    with api.watch(f"/api/v1/namespaces/{ns}/configmaps", resourceVersion=revision) as watch:
        event = watch.next()               # {"type": ..., "object": ...}, or None at its end
    api.until(path, lambda found: found["status"].get("phase") == "Bound")

Nothing here waits longer than `PATIENCE`, and nothing sleeps: `until` watches.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import yaml

PATIENCE = 30.0  # seconds
JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


class Answer(NamedTuple):
    code: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """Of a Status."""
        return str(self.json.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.json.get("message", ""))

    @property
    def causes(self) -> list[tuple[str, str]]:
        """(reason, field) of each cause of a Status."""
        found = self.json.get("details", {}).get("causes", [])
        return [(cause.get("reason", ""), cause.get("field", "")) for cause in found]


class Watch:
    """One open watch. `next` gives the next event, or None when the server has ended the stream."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.code, self.headers = answer.status, answer.headers

    def next(self) -> Any:
        line = self._answer.readline()
        return json.loads(line) if line.strip() else None

    def take(self, count: int) -> list[Any]:
        return [self.next() for _ in range(count)]

    def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The first event that is wanted."""
        while (event := self.next()) is not None:
            if wanted(event):
                return event
        raise AssertionError("the watch ended first")


class Api:
    """A cluster, as one user. `as_` impersonates; `bare` is nobody at all."""

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.url, self._context, self._headers = urlsplit(url), context, dict(headers or {})
        self.patience = patience  # seconds
        self._connection: http.client.HTTPSConnection | None = None

    @classmethod
    def of_kubeconfig(cls, path: str, patience: float = PATIENCE) -> Api:
        config = yaml.safe_load(Path(path).read_text())
        context = next(c for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = _named(config["clusters"], context["context"]["cluster"])["cluster"]
        user = _named(config["users"], context["context"]["user"])["user"]
        tls = ssl.create_default_context(cadata=_data(cluster, "certificate-authority"))
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        headers = {}
        if token := user.get("token"):
            headers["Authorization"] = f"Bearer {token}"
        if certificate := _data(user, "client-certificate"):
            _load(tls, certificate, _data(user, "client-key") or "")
        return cls(cluster["server"], tls, headers, patience)

    def as_(self, user: str, *groups: str) -> Api:
        """The same cluster as another user, who has no right but those that groups give."""
        headers = {**self._headers, "Impersonate-User": user}
        return _Impersonating(self.url.geturl(), self._context, headers, groups)

    def bare(self, **headers: str) -> Api:
        """The same cluster without any credentials; `headers` with _ for -."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return Api(self.url.geturl(), context, given)

    # ------------------------------------------------------------ asking

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = JSON,
        accept: str = JSON,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """One request; a body that is no text or bytes goes as JSON; `query` values may be lists."""
        if self._connection is None:
            self._connection = self._connect()
        try:
            answer = self._send(
                self._connection, method, _with(path, query), body, kind, accept, headers
            )
            with contextlib.closing(answer):
                return Answer(answer.status, answer.headers, answer.read())
        except BaseException:
            self.close()
            raise

    def get(self, path: str, **query: Any) -> Any:
        return self.good("GET", path, **query)

    def good(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The object of an answer that has to be a good one."""
        answer = self.ask(method, path, body, **more)
        assert answer.code < 300, f"{method} {path}: {answer.code} {answer.body.decode()}"
        return answer.json

    def make(self, path: str, body: Any, **more: Any) -> Any:
        return self.good("POST", path, body, **more)

    def gone(self, path: str) -> bool:
        return self.ask("GET", path).code == 404

    @contextlib.contextmanager
    def watch(self, path: str, *, accept: str = JSON, **query: Any) -> Iterator[Watch]:
        connection = self._connect()
        query = {"watch": "true", "timeoutSeconds": int(PATIENCE), **query}
        with contextlib.closing(connection):
            answer = self._send(connection, "GET", _with(path, query), None, JSON, accept, None)
            with contextlib.closing(answer):
                yield Watch(answer)

    def until(self, path: str, wanted: Callable[[Any], Any]) -> Any:
        """The object at a path, as soon as it is as wanted; it may not be there yet."""
        folder, _, name = path.rpartition("/")
        last = None
        with self.watch(folder, fieldSelector=f"metadata.name={name}") as watch:
            assert watch.code == 200, watch.next()
            while (event := watch.next()) is not None:
                last = event["object"]
                if event["type"] in ("ADDED", "MODIFIED") and wanted(last):
                    return last
        raise AssertionError(f"{path} did not become as wanted: {json.dumps(last)}")

    def until_gone(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        listing = self.get(folder, fieldSelector=f"metadata.name={name}")
        if not listing["items"]:
            return
        revision = listing["metadata"]["resourceVersion"]
        with self.watch(
            folder, fieldSelector=f"metadata.name={name}", resourceVersion=revision
        ) as watch:
            watch.until(lambda event: event["type"] == "DELETED")

    # ------------------------------------------------------------ the wire

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def credentials(self) -> list[tuple[str, str]]:
        """What each request says of who asks; nothing where a certificate does."""
        return [*self._headers.items(), *self._more()]

    def raw(self, protocol: str = "http/1.1") -> ssl.SSLSocket:
        """A TLS connection without HTTP."""
        self._context.set_alpn_protocols([protocol])
        plain = socket.create_connection((self.url.hostname, self.url.port), PATIENCE)
        return self._context.wrap_socket(plain, server_hostname=self.url.hostname)

    def _connect(self) -> http.client.HTTPSConnection:
        host, port = self.url.hostname or "", self.url.port
        return http.client.HTTPSConnection(host, port, timeout=self.patience, context=self._context)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any,
        kind: str, accept: str, headers: Mapping[str, str] | None,
    ) -> http.client.HTTPResponse:  # fmt: skip
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if isinstance(body, str):
            data = body.encode()
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in [*self.credentials, *(headers or {}).items()]:
            connection.putheader(name, value)
        if accept:
            connection.putheader("Accept", accept)
        if data is not None:
            connection.putheader("Content-Type", kind)
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        return connection.getresponse()

    def _more(self) -> list[tuple[str, str]]:
        return []


class _Impersonating(Api):
    def __init__(
        self, url: str, context: ssl.SSLContext, headers: Mapping[str, str], groups: tuple[str, ...]
    ) -> None:
        super().__init__(url, context, headers)
        self._groups = groups

    def _more(self) -> list[tuple[str, str]]:
        return [("Impersonate-Group", group) for group in self._groups]


def _with(path: str, query: Mapping[str, Any]) -> str:
    if not query:
        return path
    told = urlencode({k: v for k, v in query.items() if v is not None}, doseq=True, quote_via=quote)
    return f"{path}{'&' if '?' in path else '?'}{told}"


def _named(entries: list[Any], name: str) -> Any:
    return next(entry for entry in entries if entry["name"] == name)


def _data(entry: Mapping[str, Any], name: str) -> str | None:
    if held := entry.get(f"{name}-data"):
        return base64.b64decode(held).decode()
    return Path(entry[name]).read_text() if entry.get(name) else None


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificate + key)
        file.flush()
        context.load_cert_chain(file.name)
