"""Speaking with a webhook: one POST of a review over TLS, to a URL or to a Service.

A Service is reached at one of its ready endpoints, under the name that its certificate has to bear
(NAME.NAMESPACE.svc). Connections are kept for the next call, apart for each authority and name.
What goes wrong is told in the words of the real server's client, for people search for them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import random
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from jindou.control.store import Store
from jindou.objects.errors import CloudError, NotFound, Unavailable
from jindou.objects.kinds import SERVICE, Object
from jindou.transport.client import Pool
from jindou.transport.exchange import ClientResponse

LARGEST = 64 * 1024 * 1024
SLICES = "discovery.k8s.io/endpointslices/"
SERVICE_NAME = "kubernetes.io/service-name"
HEADERS = (
    ("Accept", "application/json, */*"),
    ("Content-Type", "application/json"),
    ("User-Agent", "kube-apiserver-admission"),
)
MOST_POOLS = 256


class Target(NamedTuple):
    """A `clientConfig`: where a webhook is. `url` as it is told in errors, without a query."""

    url: str
    authority: str = ""  # base64 of PEM
    namespace: str = ""
    service: str = ""
    port: int = 443

    @property
    def server_name(self) -> str:
        return f"{self.service}.{self.namespace}.svc" if self.service else ""


class CallFailed(Exception):
    """The webhook could not be asked, or gave no answer that makes sense."""


def target_of(config: Mapping[str, Any]) -> Target:
    authority = config.get("caBundle") or ""
    service = config.get("service")
    if service is None:
        return Target(config.get("url") or "", authority)
    name, namespace, port = service["name"], service["namespace"], service.get("port") or 443
    path = service.get("path") or ""
    url = f"https://{name}.{namespace}.svc:{port}/{path.lstrip('/')}"
    return Target(url, authority, namespace, name, port)


class Clients:
    def __init__(self, store: Store, most: int = MOST_POOLS) -> None:
        self._store = store
        self._most = most
        self._pools: dict[tuple[str, str], Pool] = {}  # what was used last is last

    async def post(self, target: Target, body: bytes, timeout: float) -> Any:
        """The JSON that answers. Raises CallFailed."""
        told = f"{target.url}?timeout={round(timeout)}s"
        try:
            async with asyncio.timeout(timeout):
                response = await self._send(target, told, body)
                data = await response.read(LARGEST)
        except CloudError as error:
            raise CallFailed(f'Post "{told}": {error.message}') from None
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            raise CallFailed(f'Post "{told}": {why(error, target)}') from None
        if not 200 <= response.status < 300:
            raise CallFailed(said_no(response.status, data, response.headers))
        if not data:
            kind = response.headers.get("content-type", "")
            raise CallFailed(
                f"0-length response with status code: {response.status} and content type: {kind}"
            )
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise CallFailed(f"couldn't get version/kind; json parse error: {error}") from None

    async def _send(self, target: Target, told: str, body: bytes) -> ClientResponse:
        url = told
        if target.service:
            place = endpoint(self._store, target.namespace, target.service, target.port)
            url = f"https://{place}/{told.split('/', 3)[3]}"
        pool = self.pool(target.authority, target.server_name)
        return await pool.request("POST", url, HEADERS, body, timeout=None, repeatable=True)

    def pool(self, authority: str, server_name: str) -> Pool:
        key = hashlib.sha256(authority.encode()).hexdigest(), server_name
        pool = self._pools.pop(key, None)
        if pool is None:
            pool = Pool(trusting(authority), server_name=server_name, host=server_name)
        self._pools[key] = pool
        if len(self._pools) > self._most:
            self._pools.pop(next(iter(self._pools))).close()
        return pool

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()


def trusting(authority: str) -> ssl.SSLContext:
    """TLS as Go's client judges it: any certificate of the bundle is an anchor, only names count."""
    try:
        pem = base64.b64decode(authority).decode("latin-1").strip() if authority else ""
        context = ssl.create_default_context(cadata=pem or None)
    except (binascii.Error, ssl.SSLError, ValueError):
        raise CallFailed(
            "unable to load root certificates: unable to parse bytes as PEM block"
        ) from None
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0)
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    return context


# ---------------------------------------------------------------- Services


def endpoint(store: Store, namespace: str, name: str, port: int) -> str:
    """address:port of a ready endpoint behind a port of a Service. Raises NotFound or Unavailable."""
    stored = store.get(f"core/{SERVICE.plural}/{namespace}/{name}")
    if stored is None:
        raise NotFound(f'service "{name}" not found')
    spec = orjson.loads(stored.value).get("spec") or {}
    if spec.get("type") == "ExternalName":
        return f"{spec.get('externalName', '')}:{port}"
    wanted = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
    if wanted is None:
        raise Unavailable(f'no service port {port} found for service "{name}"')
    found = places_of(slices_of(store, namespace, name), wanted.get("name") or "")
    if not found:
        raise Unavailable(f'no endpoints available for service "{name}"')
    return random.choice(found)


def slices_of(store: Store, namespace: str, name: str) -> list[Object]:
    found = []
    for stored in store.scan(f"{SLICES}{namespace}/").items:
        if name.encode() in stored.value:
            held: Object = orjson.loads(stored.value)
            if (held["metadata"].get("labels") or {}).get(SERVICE_NAME) == name:
                found.append(held)
    return found


def places_of(slices: list[Object], port: str) -> list[str]:
    """address:port of all that is ready behind a port, by the port's name."""
    found = []
    for held in slices:
        numbers = [p.get("port") for p in held.get("ports") or () if (p.get("name") or "") == port]
        for each in held.get("endpoints") or ():
            if (each.get("conditions") or {}).get("ready", True) is False or not numbers:
                continue
            for address in each.get("addresses") or ():
                host = f"[{address}]" if ":" in address else address
                found += [f"{host}:{number}" for number in numbers if number]
    return found


# ---------------------------------------------------------------- words


def why_not(error: Exception, url: str) -> str:
    return str(error) if isinstance(error, CallFailed) else why(error, Target(url))


def why(error: Exception, target: Target) -> str:
    """In the words of Go's HTTP client."""
    parts = urlsplit(target.url)
    host, port = parts.hostname or "", parts.port or 443
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {_mistrust(error, target.server_name or host)}"
    if isinstance(error, ssl.SSLError):
        return f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError):
        return "context deadline exceeded"
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    if isinstance(error, ConnectionResetError):
        return "read: connection reset by peer"
    if isinstance(error, OSError) and error.errno:
        return f"dial tcp {host}:{port}: connect: {os.strerror(error.errno).lower()}"
    return "EOF" if isinstance(error, ConnectionError) else str(error)


def _mistrust(error: ssl.SSLCertVerificationError, name: str) -> str:
    says = error.verify_message
    if "expired" in says or "not yet valid" in says:
        return "certificate has expired or is not yet valid"
    if "ostname mismatch" in says or "IP address mismatch" in says or "not valid for" in says:
        return f"certificate is not valid for any names, but wanted to match {name}"
    return "certificate signed by unknown authority"


REASONS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    410: "the server has received a request for an expired resource",
    413: "Request entity too large: limit is 3145728",
    415: "the server was unable to respond with a content type that the client supports",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def said_no(status: int, data: bytes, headers: Mapping[str, str]) -> str:
    """What an answer without success says: its own Status, or words for its code."""
    try:
        told = orjson.loads(data)
        if isinstance(told, dict) and told.get("kind") == "Status" and told.get("message"):
            return str(told["message"])
    except orjson.JSONDecodeError:
        pass
    is_text = headers.get("content-type", "").startswith("text/")
    text = data[:2048].decode("utf-8", "replace").strip() if is_text else ""
    if status == 403:
        return text or "unknown"
    if status in REASONS:
        return REASONS[status]
    if status >= 500:
        quoted = text or "unknown"
        return f'an error on the server ("{quoted}") has prevented the request from succeeding'
    return f"the server responded with the status code {status} but did not return more information"
