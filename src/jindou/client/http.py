"""The client over HTTP: what a stranger would use, and what the node uses.

Every refusal of the server becomes an error of `jindou.objects.errors`; a server that can't be
reached, or goes away, is `Unavailable`. A watch holds one connection and is resumed here when the
server ends it in order; `connect` gives whole WebSocket messages for exec, attach and
port-forward (their first byte is the channel), and plain bytes for logs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from time import monotonic
from typing import Any, Literal
from urllib.parse import quote, urlencode

import orjson

from jindou.client import Event, Listing, Stream
from jindou.client.refusals import error_of
from jindou.client.streams import Pieces, WebSocket, handshake
from jindou.objects.errors import CloudError, Unavailable
from jindou.objects.kinds import Kind, Object, Ref
from jindou.transport.client import Pool
from jindou.transport.exchange import ClientResponse
from jindou.transport.tls import client_context

JSON = "application/json"
PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
UPGRADED = frozenset({"exec", "attach", "portforward"})
PAGE = 500
SHORTEST_WATCH = 1.0  # seconds; a server that ends them faster is in trouble


class HttpClient:
    """Implements `Client`. `token` may be a function, for tokens that are renewed."""

    def __init__(
        self,
        url: str,
        pool: Pool | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        token: str | Callable[[], str] = "",
        agent: str = "jindou",
        timeout: float = 30.0,
        page: int = PAGE,
    ) -> None:
        self.url = url.rstrip("/")
        self.pool = pool or Pool(tls)
        self._token = token
        self._agent = agent
        self._timeout = timeout
        self._page = page

    @classmethod
    def from_files(
        cls, url: str, ca: str, certificate: str = "", key: str = "", *, token: str = ""
    ) -> HttpClient:
        return cls(url, tls=client_context(ca, certificate, key), token=token)

    def close(self) -> None:
        self.pool.close()

    # ------------------------------------------------------------ Client

    async def get(self, ref: Ref, part: str = "") -> Object:
        return await self._exchange("GET", _path(ref.kind, ref.namespace, ref.name, part))

    async def find(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        items: list[Object] = []
        query = {"limit": str(self._page), **_selectors(labels, fields)}
        while True:
            page = await self._exchange("GET", _path(kind, namespace), query)
            items += page.get("items") or ()
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                break
            query["continue"] = meta["continue"]
        for item in items:
            item.setdefault("apiVersion", kind.api_version)
            item.setdefault("kind", kind.name)
        return Listing(items, meta.get("resourceVersion", ""))

    async def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        after: str = "",
    ) -> AsyncIterator[Event]:
        query = {"watch": "true", "allowWatchBookmarks": "true", **_selectors(labels, fields)}
        while True:
            if after:
                query["resourceVersion"] = after
            started = monotonic()
            response = await self._send("GET", _path(kind, namespace), query)
            async with aclosing(_events(response)) as events:
                async for event in events:
                    after = event.object["metadata"].get("resourceVersion") or after
                    yield event
            if monotonic() - started < SHORTEST_WATCH:
                raise Unavailable(f"the server ended the watch of {kind.plural} at once")

    async def create(self, kind: Kind, obj: Object, part: str = "") -> Object:
        meta = obj.get("metadata") or {}
        namespace = meta.get("namespace", "") if kind.namespaced else ""
        name = meta["name"] if part else ""
        return await self._exchange("POST", _path(kind, namespace, name, part), body=obj)

    async def update(self, kind: Kind, obj: Object, part: str = "") -> Object:
        meta = obj["metadata"]
        namespace = meta.get("namespace", "") if kind.namespaced else ""
        return await self._exchange("PUT", _path(kind, namespace, meta["name"], part), body=obj)

    async def patch(
        self,
        ref: Ref,
        changes: Any,
        part: str = "",
        *,
        how: Literal["merge", "json", "strategic"] = "merge",
    ) -> Object:
        path = _path(ref.kind, ref.namespace, ref.name, part)
        return await self._exchange("PATCH", path, body=changes, content=PATCHES[how])

    async def delete(
        self, ref: Ref, *, grace: int | None = None, uid: str = "", propagation: str = ""
    ) -> None:
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid:
            options["preconditions"] = {"uid": uid}
        if propagation:
            options["propagationPolicy"] = propagation
        await self._exchange("DELETE", _path(ref.kind, ref.namespace, ref.name), body=options)

    async def connect(self, ref: Ref, action: str, **options: str) -> Stream:
        """An option that repeats (command) holds its values joined by NUL."""
        query = [(name, value) for name, values in options.items() for value in values.split("\0")]
        path = f"{_path(ref.kind, ref.namespace, ref.name, action)}?{urlencode(query)}"
        if action not in UPGRADED:
            return Pieces(await self._send("GET", path, timeout=None))
        extra, accept = handshake(action)
        try:
            response, wire = await self.pool.dial(
                "GET", self.url + path, [*self._headers(""), *extra], self._timeout
            )
        except (TimeoutError, OSError) as error:
            raise _unavailable(self.url, error) from error
        if wire is None:
            raise error_of(response.status, await _body(response))
        if response.headers.get("sec-websocket-accept") != accept:
            wire.close()
            raise Unavailable("the server's WebSocket handshake is wrong")
        return WebSocket(wire)

    # ------------------------------------------------------------ the wire

    def _headers(self, content: str) -> list[tuple[str, str]]:
        token = self._token if isinstance(self._token, str) else self._token()
        headers = [("Accept", JSON), ("User-Agent", self._agent)]
        if content:
            headers.append(("Content-Type", content))
        if token:
            headers.append(("Authorization", f"Bearer {token}"))
        return headers

    async def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: bytes = b"",
        content: str = "",
        timeout: float | None = -1.0,
    ) -> ClientResponse:
        """The answer, when it is not a refusal; its body is still to be read."""
        url = f"{self.url}{path}?{urlencode(query)}" if query else self.url + path
        wait = self._timeout if timeout == -1.0 else timeout
        try:
            response = await self.pool.request(method, url, self._headers(content), body, wait)
            if response.status < 400:
                return response
            data = await _body(response)
        except (TimeoutError, OSError) as error:
            raise _unavailable(self.url, error) from error
        raise error_of(response.status, data)

    async def _exchange(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        *,
        body: Any = None,
        content: str = JSON,
    ) -> Object:
        data = b"" if body is None else orjson.dumps(body)
        response = await self._send(method, path, query, data, content if data else "")
        try:
            answer: Object = orjson.loads(await _body(response))
        except orjson.JSONDecodeError as error:
            raise CloudError(f"the answer to {method} {path} is not JSON") from error
        except (TimeoutError, OSError) as error:
            raise _unavailable(self.url, error) from error
        return answer


def _path(kind: Kind, namespace: str = "", name: str = "", part: str = "") -> str:
    where = f"/namespaces/{quote(namespace)}" if namespace and kind.namespaced else ""
    tail = f"/{quote(name, safe='')}" if name else ""
    return f"{kind.path}{where}/{kind.plural}{tail}{f'/{part}' if part else ''}"


def _selectors(labels: str, fields: str) -> dict[str, str]:
    found = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in found.items() if value}


def _unavailable(url: str, error: BaseException) -> Unavailable:
    why = str(error) or ("it does not answer" if isinstance(error, TimeoutError) else repr(error))
    return Unavailable(f"the server at {url} is not available: {why}")


async def _body(response: ClientResponse) -> bytes:
    async with asyncio.timeout(60):
        return await response.read()


async def _events(response: ClientResponse) -> AsyncGenerator[Event, None]:
    """One JSON object a line. Raises what an ERROR event says, and Unavailable on a broken line."""
    rest = b""
    try:
        async with aclosing(response.pieces()) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _event(line)
    except (OSError, orjson.JSONDecodeError) as error:
        raise Unavailable(f"the watch was lost: {error}") from error


def _event(line: bytes) -> Event:
    event = orjson.loads(line)
    if event["type"] == "ERROR":
        raise error_of(event["object"].get("code", 500), line, event["object"])
    return Event(event["type"], event["object"])
