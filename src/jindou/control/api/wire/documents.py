"""Answers that are about no object: discovery, OpenAPI, version, health, keys, metrics.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

import asyncio
import platform
import zlib
from collections.abc import Awaitable, Iterable, Sequence

from jindou.control.api.access.guard import Access, Asked, User
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.engine import encoding
from jindou.control.api.resources import swagger
from jindou.control.api.resources.discovery import AGGREGATED, Behind, Discovery
from jindou.control.api.resources.openapi import OpenApi
from jindou.control.api.resources.registry import Registry
from jindou.control.api.wire import metering
from jindou.control.api.wire.health import NOT_FOUND, TEXT, Health
from jindou.control.store import Store
from jindou.objects.errors import MethodNotAllowed, NotAcceptable, NotFound
from jindou.telemetry import process
from jindou.transport import Answer, Headers, Request, Response

MINOR = 37
JSON: Headers = (
    ("Content-Type", "application/json"),
    ("Cache-Control", "no-cache, private"),
)
METRICS: Headers = (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),)
YEAR = "public, max-age=31536000, immutable"
WORTH_PACKING = 128 * 1024
STORED = {
    "apiserver_resource_objects": "Objects that are kept, by kind.",
    "apiserver_storage_objects": "The same, under the name that older charts ask for.",
}
PATHS = (
    "/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics",
    "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version",
)  # fmt: skip


class Documents:
    def __init__(
        self,
        store: Store,
        registry: Registry,
        access: Access,
        tokens: Tokens,
        behind: Behind,
        address: str,
    ) -> None:
        self._store = store
        self._registry = registry
        self._access = access
        self._tokens = tokens
        self._discovery = Discovery(registry, behind, address)
        self._openapi = OpenApi(registry, behind)
        self.health = Health()
        self.meter = metering.Meter()
        self.sources: list[metering.Source] = []  # of other parts' lines at /metrics

    def answer(self, request: Request, user: User) -> Answer | Awaitable[Answer]:
        path = request.path.rstrip("/") or "/"
        verb = "get" if request.method in ("GET", "HEAD") else request.method.lower()
        self._access.check(user, Asked(verb, path=path))
        found = self._find(path, request)
        if found is None:
            return self._nothing(path)
        if verb != "get" or (request.method == "HEAD" and not self._headed(path)):
            raise MethodNotAllowed(
                "the server does not allow this method on the requested resource"
            )
        return found

    def _nothing(self, path: str) -> Response:
        """Below a group of ours, or a custom resource, clients read a Status; elsewhere it is plain text."""
        parts = path.split("/")
        if (
            parts[1] == "api"
            or self._built_in(parts)
            or any(self._registry.by_url(parts[2], parts[3], part) for part in parts[4:7:2])
        ):
            raise NotFound("the server could not find the requested resource")
        return Response(404, NOT_FOUND, TEXT)

    def _built_in(self, parts: Sequence[str]) -> bool:
        group = parts[2] if parts[1] == "apis" and len(parts) > 2 else ""
        return bool(group) and any(
            resource.kind.group == group and not resource.custom
            for resource in self._registry.all()
        )

    def _headed(self, path: str) -> bool:
        """Of what the original serves by routes of GET alone, there is no HEAD."""
        parts = path.split("/")
        if parts[1] == "apis":
            return not self._built_in(parts)
        return parts[1] not in ("api", "version", ".well-known", "openid")

    def _find(self, path: str, request: Request) -> Answer | Awaitable[Answer] | None:
        if path == "/api" or path == "/apis" or path.startswith(("/api/", "/apis/")):
            return self._discover(path, request)
        if path.startswith("/openapi/"):
            return self._describe(path, request)
        if (health := self.health.answer(path, request.query)) is not None:
            return health
        if path == "/version":
            return Response(200, encoding.body_of(version()), JSON)
        if path == "/":
            groups = self._registry.groups()
            listed = [f"/apis/{g}" for g in groups if g] + [
                f"/apis/{g}/{v}" for g in groups if g for v in groups[g]
            ]
            return Response(
                200,
                encoding.body_of({"paths": sorted([*PATHS, *self.health.paths(), *listed])}),
                JSON,
            )
        if path == "/openid/v1/jwks":
            return Response(
                200,
                encoding.body_of(self._tokens.jwks()),
                (("Content-Type", "application/jwk-set+json"),),
            )
        if path == "/.well-known/openid-configuration":
            return Response(200, encoding.body_of(self._issuer(request)), JSON)
        if path == "/metrics":
            return Response(200, self._metrics(), METRICS)
        return None

    def _discover(self, path: str, request: Request) -> Answer | Awaitable[Answer] | None:
        if path.count("/") > (2 if path.startswith("/api/") else 3):
            return None
        accept = request.headers.get("accept", "")
        aggregated = wants_aggregated(accept)
        found = self._discovery.get(path, aggregated)
        if found is None:
            return None
        body, tag = found
        whole = aggregated and path in ("/api", "/apis")
        kind = AGGREGATED if whole else "application/json"
        headers = (
            ("Content-Type", kind),
            ("ETag", tag),
            ("Vary", "Accept"),
            ("Cache-Control", "public"),
        )
        return self._tagged(request, body, headers, tag)

    def _describe(self, path: str, request: Request) -> Answer | Awaitable[Answer] | None:
        accept = request.headers.get("accept", "*/*")
        if path == "/openapi/v3":
            return Response(200, self._openapi.index(), JSON)
        if path == "/openapi/v2":
            if any(name in accept for name in swagger.ASKED_AS):
                body, tag = self._openapi.v2_protobuf()
                kind = swagger.MEDIA_TYPE
            elif "json" in accept or "*/*" in accept:
                body, tag = self._openapi.v2()
                kind = "application/json"
            else:
                raise NotAcceptable("only the following media types are accepted: application/json")
            headers = [("Content-Type", kind), ("ETag", tag), ("Vary", "Accept")]
            return self._tagged(request, body, headers, tag)
        if path.startswith("/openapi/v3/"):
            found = self._openapi.v3(path.removeprefix("/openapi/v3/"))
            if found is None:
                return None
            body, tag = found
            headers = [*JSON, ("ETag", tag), ("Vary", "Accept")]
            if "hash=" in request.raw_path:
                headers += [("Cache-Control", YEAR), ("Expires", "Fri, 31 Dec 2100 00:00:00 GMT")]
            return self._tagged(request, body, headers, tag)
        return None

    def _tagged(
        self, request: Request, body: bytes, headers: Headers, tag: str
    ) -> Answer | Awaitable[Answer]:
        if request.headers.get("if-none-match") == tag:
            return Response(304, b"", headers)
        return self.packed(request, body, headers)

    def packed(
        self, request: Request, body: bytes | Sequence[bytes], headers: Headers
    ) -> Answer | Awaitable[Answer]:
        """Compressed where it is asked for, large, and has a real wire to cross."""
        pieces = [body] if isinstance(body, bytes) else body
        if (
            not asks_for_gzip(request.headers.get("accept-encoding", ""))
            or request.peer.uid is not None
            or request.peer.address.startswith(("127.", "unix", "::1"))
            or sum(map(len, pieces)) < WORTH_PACKING
        ):
            return Response(200, body, headers)
        return _compressed(pieces, headers)

    def _issuer(self, request: Request) -> dict[str, object]:
        host = request.headers.get("host", "")
        return {
            "issuer": self._tokens.issuer,
            "jwks_uri": f"https://{host}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def _metrics(self) -> bytes:
        lines = [*self.meter.lines(), *self._stored(), *process.lines()]
        for source in self.sources:
            lines += source()
        return "\n".join([*lines, ""]).encode()

    def _stored(self) -> Iterable[str]:
        kinds = {resource.prefix: resource for resource in self._registry.all() if resource.stored}
        counts = {
            resource.storage or resource.kind: len(self._store.scan(prefix).items)
            for prefix, resource in sorted(kinds.items())
        }
        for name, says in STORED.items():
            yield from metering.head(name, "gauge", says)
            for kind, count in counts.items():
                yield f'{name}{{group="{kind.group}",resource="{kind.plural}"}} {count}'
        yield "# TYPE jindou_store_revision counter"
        yield f"jindou_store_revision {self._store.revision}"


def asks_for_gzip(header: str) -> bool:
    """By its bare name, as the original reads it: one with a weight is no wish."""
    return "gzip" in [name.strip() for name in header.split(",")]


async def _compressed(pieces: Sequence[bytes], headers: Headers) -> Response:
    def squeeze() -> bytes:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])

    body = await asyncio.to_thread(squeeze)
    return Response(
        200, body, [*headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    )


def wants_aggregated(accept: str) -> bool:
    """Only where v2 is offered, and not behind plain JSON."""
    for entry in accept.split(","):
        words = {word.strip() for word in entry.split(";")}
        if "as=APIGroupDiscoveryList" in words and "v=v2" in words:
            return True
        if words & {"application/json", "*/*"} and len(words) == 1:
            return False
    return False


def version() -> dict[str, str]:
    from jindou import __version__

    return {
        "major": "1",
        "minor": str(MINOR),
        "emulationMajor": "1",
        "emulationMinor": str(MINOR),
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": str(MINOR - 1),
        "gitVersion": f"v1.{MINOR}.0+jindou{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"linux/{ARCHITECTURES.get(platform.machine(), platform.machine())}",
    }


ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
