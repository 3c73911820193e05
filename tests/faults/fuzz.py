"""Requests that nobody sane sends, made from what the server itself says that it serves.

    corpus = Corpus(api, seed)
    for request in corpus.requests(1000): ...      # bytes of one HTTP/1.1 request each

Objects are made to the schemas of the server's own OpenAPI and then damaged; so are paths, queries,
headers, patches, protobuf and the bytes of the request line. The same seed makes the same requests.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.conformance.wire import Api

HUGE = "x" * 5000
ODD: list[Any] = [
    None, True, 0, -1, 1, 1.5, 1e308, 2**63, -(2**70), "", "x", "\0", "ü" * 300, "../..", HUGE, "1e99", "0.5.5",
    "99999999999Gi", "-1m", "50%", "2020-01-01T00:00:00Z", "0000-13-99", [], {}, [[]], [None], [{}], {"": ""},
    {"name": "x"}, {"a": {"b": [1]}}, {"$patch": "delete"}, {"f:a": {}}, "kubectl.kubernetes.io/x", "*",
]  # fmt: skip
BODIES = ("application/json", "application/json", "application/json", "application/yaml",
          "application/vnd.kubernetes.protobuf")  # fmt: skip
PATCHES = (
    "application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip
KINDS = (*BODIES, *PATCHES, "application/cbor", "text/plain", "", "application/json;charset=x")
ACCEPTS = (
    "application/json", "*/*", "", "application/yaml", "application/vnd.kubernetes.protobuf", "text/html",
    "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;as=Table;v=v9;g=x", "application/json;q=x,,;", "application/json;stream=watch",
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
)  # fmt: skip
QUERIES = {
    "limit": ("1", "0", "-1", "x", "99999999999999999999"),
    "continue": ("x", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4In0", "\0"),
    "resourceVersion": ("0", "1", "-1", "x", "5", "1.5"),
    "resourceVersionMatch": ("Exact", "NotOlderThan", "x"),
    "labelSelector": (
        "a=b",
        "a in (b,c)",
        "!a",
        "a in (",
        "=",
        "a=b=c",
        ",",
        "ü",
        "a notin ()",
        "(" * 500,
    ),
    "fieldSelector": (
        "metadata.name=x",
        "spec.nodeName!=",
        "x=y",
        "metadata.name",
        "=",
        "a\\=b=c\\",
        "\\",
    ),
    "fieldManager": ("m", HUGE[:200], "\x01", ""),
    "force": ("true", "x", ""),
    "dryRun": ("All", "x"),
    "fieldValidation": ("Strict", "Warn", "Ignore", "x"),
    "pretty": ("true", "x"),
    "gracePeriodSeconds": ("0", "-1", "x", "99999999999999999999"),
    "propagationPolicy": ("Orphan", "Foreground", "Background", "x"),
    "includeObject": ("Object", "x"),
    "timeoutSeconds": ("1", "x", "-1"),
    "sendInitialEvents": ("true", "x"),
    "tailLines": ("1", "x"),
}
HEADERS = (
    ("Impersonate-User", "x"), ("Impersonate-User", "x\r\nImpersonate-Group: y\r\nImpersonate-Extra-%zz: 1"),
    ("Accept-Encoding", "gzip"), ("Accept-Encoding", "br;q=x"), ("Content-Encoding", "gzip"), ("If-None-Match", '"x"'),
    ("Expect", "100-continue"), ("Range", "bytes=0-1"), ("X-Remote-User", "admin"), ("Connection", "keep-alive, x"),
    ("Cookie", "a=b; " * 50), ("X-Odd", "\x80\xff"), ("Upgrade", "h2c"), ("Kubectl-Command", "x"), ("TE", "trailers"),
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


class Target(NamedTuple):
    path: str  # with {name} where the verb is about one object
    methods: tuple[str, ...]
    schema: Any
    group_version: str
    kind: str


class Corpus:
    def __init__(self, api: Api, seed: int) -> None:
        self.chance = random.Random(seed)
        self.targets: list[Target] = []
        for entry in api.get("/openapi/v3")["paths"].values():
            self._learn(api.get(entry["serverRelativeURL"]))
        self.other = [
            "/",
            "/api",
            "/apis",
            "/version",
            "/healthz",
            "/readyz",
            "/livez",
            "/openapi/v2",
            "/metrics",
        ]
        assert len(self.targets) > 100

    def _learn(self, document: Any) -> None:
        schemas = document.get("components", {}).get("schemas", {})
        for path, verbs in document["paths"].items():
            if any(word in path for word in ("/watch/", "proxy", "exec", "attach", "portforward")):
                continue
            verb = next((verbs[m] for m in ("put", "post", "get", "delete") if m in verbs), None)
            told = (verb or {}).get("x-kubernetes-group-version-kind")
            if not told:
                continue
            version = f"{told['group']}/{told['version']}" if told["group"] else told["version"]
            wanted = {key: told[key] for key in ("group", "version", "kind")}
            schema = next(
                (
                    s
                    for s in schemas.values()
                    if wanted in s.get("x-kubernetes-group-version-kind", [])
                ),
                {"type": "object"},
            )
            methods = tuple(
                m.upper() for m in ("get", "post", "put", "patch", "delete") if m in verbs
            )
            self.targets.append(Target(path, methods, (schema, schemas), version, told["kind"]))

    # ------------------------------------------------------------ objects

    def sample(self, schema: Any, schemas: Any, depth: int = 0) -> Any:
        """A value to a schema, mostly; deep parts are left out."""
        chance = self.chance
        if chance.random() < 0.03:
            return chance.choice(ODD)
        for name in ("allOf", "oneOf", "anyOf"):
            if name in schema:
                schema = {**schema, **chance.choice(schema[name])}
        if "$ref" in schema:
            schema = schemas.get(schema["$ref"].rpartition("/")[2], {})
        match schema.get("type"):
            case "object":
                return self._object(schema, schemas, depth)
            case "array":
                count = 0 if depth > 7 else chance.choice((0, 1, 1, 2))
                return [
                    self.sample(schema.get("items", {}), schemas, depth + 1) for _ in range(count)
                ]
            case "integer" | "number":
                return chance.choice((0, 1, 2, 80, 300, -1, 2**31, 2**40))
            case "boolean":
                return chance.random() < 0.5
            case "string":
                words = schema.get("enum") or (
                    "a", "a-b", "x.example.com/y", "10.0.0.1", "1Gi", "100m", "", "A_B", "Always", "TCP", "In",
                    "2026-01-01T00:00:00Z", "sha256:" + "0" * 64, "IntOrString", "busybox",
                )  # fmt: skip
                return chance.choice(words)
        return chance.choice(ODD)

    def _object(self, schema: Any, schemas: Any, depth: int) -> Any:
        chance, made = self.chance, {}
        required = set(schema.get("required", ()))
        for name, part in schema.get("properties", {}).items():
            wanted = name in required or chance.random() < (0.5, 0.4, 0.25, 0.15)[min(depth, 3)]
            if wanted and depth < 9:
                made[name] = self.sample(part, schemas, depth + 1)
        if isinstance(more := schema.get("additionalProperties"), dict) and chance.random() < 0.5:
            made[chance.choice(("a", "a/b", "", "x" * 70))] = self.sample(more, schemas, depth + 1)
        if chance.random() < 0.02:
            made[chance.choice(("bogus", "metadata", "$setElementOrder/x", "kind"))] = (
                chance.choice(ODD)
            )
        return made

    def object(self, target: Target) -> Any:
        schema, schemas = target.schema
        made = self.sample(schema, schemas)
        if isinstance(made, dict) and self.chance.random() < 0.95:
            made["apiVersion"], made["kind"] = target.group_version, target.kind
            if (
                isinstance(meta := made.setdefault("metadata", {}), dict)
                and self.chance.random() < 0.9
            ):
                meta["name"] = self.chance.choice(("a", "b", "c"))
                for name in ("namespace", "resourceVersion", "finalizers", "deletionTimestamp"):
                    meta.pop(name, None)
        return made

    # ------------------------------------------------------------ requests

    def request(self) -> bytes:
        chance = self.chance
        target = chance.choice(self.targets)
        method, path = chance.choice(target.methods), target.path
        if chance.random() < 0.05:
            method = chance.choice(METHODS)
        if chance.random() < 0.05:
            method, path = chance.choice(METHODS), chance.choice(self.other)
        path = path.replace("{namespace}", chance.choice(("fuzz", "fuzz", "fuzz", "none", "%00")))
        path = path.replace(
            "{name}", chance.choice(("a", "b", "c", "default", "%C3%BC", "a" * 260))
        )
        if chance.random() < 0.05:
            path = self._damaged_path(path)
        query = self._query(method)
        kind = self._kind(method)
        body = b"" if method == "GET" else self._body(target, method, kind)
        lines = [f"{method} {path}{query} HTTP/1.1", "Host: x", f"Accept: {self._mostly(ACCEPTS)}"]
        lines += [
            f"{n}: {v}" for n, v in chance.sample(HEADERS, chance.choice((0, 0, 0, 0, 0, 1, 2)))
        ]
        if body and "Content-Encoding: gzip" in lines and chance.random() < 0.8:
            body = gzip.compress(body, 1)
        if method != "GET":
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def requests(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield self.request()

    def _mostly(self, choices: tuple[str, ...]) -> str:
        return choices[0] if self.chance.random() < 0.8 else self.chance.choice(choices)

    def _kind(self, method: str) -> str:
        if self.chance.random() < 0.1:
            return self.chance.choice(KINDS)
        return self.chance.choice(PATCHES if method == "PATCH" else BODIES)

    def _query(self, method: str) -> str:
        chance = self.chance
        names = chance.sample(list(QUERIES), chance.choice((0, 0, 1, 1, 2, 3)))
        pairs = [(name, chance.choice(QUERIES[name])) for name in names]
        if method == "PATCH" and chance.random() < 0.7:
            pairs.append(("fieldManager", "m"))
        if method != "GET" and chance.random() < 0.5:
            pairs.append(("dryRun", "All"))
        return "?" + "&".join(f"{n}={quote(v)}" for n, v in pairs) if pairs else ""

    def _damaged_path(self, path: str) -> str:
        chance = self.chance
        place = chance.randrange(len(path))
        what = chance.choice(
            ("/", "//", "%2F", "%", "%zz", "..", "?", "#", "%00", "\x7f", ";", "x" * 3000)
        )
        return "/" + (path[:place] + what + path[place:]).lstrip("/").replace(" ", "")

    def _body(self, target: Target, method: str, kind: str) -> bytes:
        chance = self.chance
        if method == "DELETE":
            return (
                json.dumps(self.sample(DELETE_OPTIONS, {})).encode()
                if chance.random() < 0.5
                else b""
            )
        made = self.object(target)
        if "json-patch" in kind:
            made = [self._operation() for _ in range(chance.choice((0, 1, 2, 5)))]
        if "protobuf" in kind:
            return b"k8s\0" + self._bytes(chance.randrange(400))
        data = json.dumps(made).encode()
        if chance.random() < 0.08:
            data = self._damaged(data)
        return data

    def _operation(self) -> Any:
        chance = self.chance
        paths = (
            "/metadata/labels/a",
            "/spec",
            "/data/x",
            "",
            "/",
            "/a~1b~2",
            "/spec/containers/0",
            "/spec/ports/-",
        )
        return {
            "op": chance.choice(("add", "remove", "replace", "test", "move", "copy", "x", None)),
            "path": chance.choice((*paths, 1)),
            "from": chance.choice(paths),
            "value": chance.choice(ODD),
        }

    def _damaged(self, data: bytes) -> bytes:
        chance, made = self.chance, bytearray(data)
        for _ in range(chance.choice((1, 1, 3))):
            place = chance.randrange(len(made) + 1)
            match chance.randrange(5):
                case 0:
                    made[place:place] = self._bytes(3)
                case 1:
                    del made[place : place + chance.randrange(1, 20)]
                case 2:
                    made[place:place] = b"[" * 3000
                case 3:
                    made[place:place] = made[: chance.randrange(50)]
                case _:
                    made[place:place] = chance.choice(
                        (b'{"a":' * 500, b"NaN", b"\xff\xfe", b"1e999", b"&a *a", b"!!x")
                    )
        return bytes(made)

    def _bytes(self, count: int) -> bytes:
        return self.chance.randbytes(count)


DELETE_OPTIONS = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["DeleteOptions", "x"]},
        "apiVersion": {"type": "string", "enum": ["v1", "x"]},
        "gracePeriodSeconds": {"type": "integer"},
        "propagationPolicy": {
            "type": "string",
            "enum": ["Orphan", "Foreground", "Background", "x"],
        },
        "dryRun": {"type": "array", "items": {"type": "string", "enum": ["All", "x"]}},
        "preconditions": {"type": "object", "properties": {"uid": {"type": "string"}}},
    },
}

# What a server must not guess about: each is refused, and the connection ends.
SMUGGLED = (
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\na",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA\0b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"G\xffT / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\rHost: x\r\r",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET " + b"/x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
)
