"""Requests that nobody sane sends, made from what the server itself says that it serves.

    corpus = Corpus(api, seed)
    for request in corpus.requests(1000): ...      # bytes of one HTTP/1.1 request each

Objects are made to the schemas of the server's own OpenAPI, or are good ones of `seeds`, and then
damaged; so are paths, queries, headers, patches, protobuf and bytes. Some are stories: what happens
to one object, one request after another. The same seed makes the same requests.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.conformance.wire import APPLY, JSON, JSON_PATCH, MERGE, STRATEGIC, Api
from tests.faults import protobuf, seeds
from tests.faults.damage import HUGE, Damage

PROTOBUF = "application/vnd.kubernetes.protobuf"
BODIES = (JSON, JSON, JSON, "application/yaml", PROTOBUF)
PATCHES = (MERGE, STRATEGIC, JSON_PATCH, APPLY, APPLY)
KINDS = (*BODIES, *PATCHES, "application/cbor", "text/plain", "", "application/json;charset=x")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
ACCEPTS = (
    JSON, "*/*", "", "application/yaml", PROTOBUF, "text/html",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=x", "application/json;q=x,,;",
    "application/json;stream=watch", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
)  # fmt: skip
SELECTORS = (
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
    "app=a",
)
QUERIES = {
    "limit": ("1", "2", "0", "-1", "x", "99999999999999999999"),
    "continue": ("x", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4In0", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYS9cdTAwMDAifQ", "\0"),
    "resourceVersion": ("0", "1", "-1", "x", "5", "1.5"),
    "resourceVersionMatch": ("Exact", "NotOlderThan", "x"),
    "labelSelector": SELECTORS,
    "fieldSelector": ("metadata.name=a", "spec.nodeName!=", "x=y", "metadata.name", "=", "a\\=b=c\\", "\\", "status.phase=Pending,metadata.namespace=fuzz"),
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
}  # fmt: skip
HEADERS = (
    ("Impersonate-User", "x"), ("Impersonate-User", "x\r\nImpersonate-Group: y\r\nImpersonate-Extra-%zz: 1"),
    ("Accept-Encoding", "gzip"), ("Accept-Encoding", "br;q=x"), ("Content-Encoding", "gzip"), ("If-None-Match", '"x"'),
    ("Expect", "100-continue"), ("Range", "bytes=0-1"), ("X-Remote-User", "admin"), ("Connection", "keep-alive, x"),
    ("Cookie", "a=b; " * 50), ("X-Odd", "\x80\xff"), ("Upgrade", "h2c"), ("Kubectl-Command", "x"), ("TE", "trailers"),
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
OTHER = (
    "/",
    "/api",
    "/apis",
    "/version",
    "/healthz",
    "/readyz",
    "/livez",
    "/openapi/v2",
    "/metrics",
    "/openapi/v3/x",
)
CONNECTED = (
    "/api/v1/namespaces/fuzz/pods/{name}/log", "/api/v1/namespaces/fuzz/pods/{name}/exec?command=x", "/api/v1/namespaces/fuzz/pods/{name}/attach",
    "/api/v1/namespaces/fuzz/pods/{name}/portforward?ports=1", "/api/v1/namespaces/fuzz/pods/{name}/proxy/x", "/api/v1/nodes/{name}/proxy/x",
    "/api/v1/namespaces/fuzz/services/none:80/proxy/",
)  # fmt: skip
PLACES = (*("fuzz",) * 15, "none", "%00")
OBJECTS = ("a", "b", "c")
FOREIGN = ("default", "%C3%BC", "a" * 260)
DELETE_OPTIONS = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["DeleteOptions", "x"]},
        "apiVersion": {"type": "string", "enum": ["v1", "x"]},
        "gracePeriodSeconds": {"type": "integer"},
        "propagationPolicy": {"type": "string", "enum": ["Orphan", "Foreground", "Background", "x"]},
        "dryRun": {"type": "array", "items": {"type": "string", "enum": ["All", "x"]}},
        "preconditions": {"type": "object", "properties": {"uid": {"type": "string"}}},
    },
}  # fmt: skip


class Target(NamedTuple):
    path: str  # with {name} where the verb is about one object
    methods: tuple[str, ...]
    schema: Any  # and the schemas that it names
    type_name: str
    group_version: str
    kind: str


class Corpus:
    def __init__(self, api: Api, seed: int) -> None:
        self.chance = random.Random(seed)
        self.damage = Damage(self.chance)
        self.targets: list[Target] = []
        for entry in api.get("/openapi/v3")["paths"].values():
            self._learn(api.get(entry["serverRelativeURL"]))
        assert len(self.targets) > 100
        self.stories = [
            t for t in self.targets if t.path.endswith("{name}") and t.methods > ("GET",)
        ]
        self._due: deque[bytes] = deque()

    def _learn(self, document: Any) -> None:
        schemas = document.get("components", {}).get("schemas", {})
        known = {}
        for type_name, schema in schemas.items():
            for told in schema.get("x-kubernetes-group-version-kind", ()):
                known[told["group"], told["version"], told["kind"]] = type_name, schema
        for path, verbs in document["paths"].items():
            if any(word in path for word in ("/watch/", "proxy", "exec", "attach", "portforward")):
                continue
            verb = next((verbs[m] for m in ("put", "post", "get", "delete") if m in verbs), None)
            told = (verb or {}).get("x-kubernetes-group-version-kind")
            if not told:
                continue
            version = f"{told['group']}/{told['version']}" if told["group"] else told["version"]
            place = told["group"], told["version"], told["kind"]
            type_name, schema = known.get(place, ("", {"type": "object"}))
            methods = tuple(m for m in METHODS if m.lower() in verbs)
            self.targets.append(
                Target(path, methods, (schema, schemas), type_name, version, told["kind"])
            )

    # ------------------------------------------------------------ objects

    def object(self, target: Target) -> Any:
        chance = self.chance
        made = seeds.seed(target.group_version, target.kind) if chance.random() < 0.7 else None
        if made is None:
            made = self.damage.sample(*target.schema)
        elif chance.random() < 0.9:
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                self.damage.change(made, *target.schema)
        if isinstance(made, dict) and chance.random() < 0.97:
            self._head(made, target)
        return seeds.harmless(made)

    def _head(self, made: Any, target: Target) -> None:
        chance = self.chance
        made["apiVersion"], made["kind"] = target.group_version, target.kind
        if isinstance(meta := made.setdefault("metadata", {}), dict) and chance.random() < 0.97:
            meta["name"] = chance.choice(seeds.NAMES.get(target.kind, OBJECTS))
            for name in ("namespace", "resourceVersion", "finalizers", "deletionTimestamp"):
                meta.pop(name, None)
            if chance.random() < 0.3:
                meta["labels"] = {"app": "a"}

    # ------------------------------------------------------------ requests

    def requests(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield self.request()

    def request(self) -> bytes:
        chance = self.chance
        if not self._due and chance.random() < 0.1:
            self._due.extend(self._story())
        if self._due:
            return self._due.popleft()
        if chance.random() < 0.01:
            return self._sent("GET", self._named(chance.choice(CONNECTED), ""), "", JSON, b"")
        target = chance.choice(self.targets)
        method, path = chance.choice(target.methods), target.path
        if chance.random() < 0.05:
            method = chance.choice(METHODS)
        if chance.random() < 0.05:
            method, path = chance.choice(METHODS), chance.choice(OTHER)
        path = self._named(path, target.kind)
        if chance.random() < 0.05:
            path = self.damage.path(path)
        kind = self._kind(method)
        body = b"" if method == "GET" else self._body(target, method, kind)
        return self._sent(method, path, self._query(method), kind, body)

    def _story(self) -> Iterator[bytes]:
        """What happens to one object: it is made, and then changed in ways that meet what is there."""
        chance, target = self.chance, self.chance.choice(self.stories)
        name = chance.choice(seeds.NAMES.get(target.kind, OBJECTS))
        path = target.path.replace("{namespace}", "fuzz").replace("{name}", name)
        made = self.object(target)
        if isinstance(made, dict) and isinstance(made.get("metadata"), dict):
            made["metadata"]["name"] = name
        yield self._sent("POST", path.rpartition("/")[0], "", JSON, json.dumps(made).encode())
        for _ in range(chance.randrange(2, 9)):
            method = chance.choice(("PATCH", "PATCH", "PATCH", "PUT", "GET", "DELETE"))
            kind = chance.choice(PATCHES) if method == "PATCH" else JSON
            part = chance.choice(("", "", "", "/status", "/scale"))
            if method == "DELETE" or (part == "/scale" and not target.group_version.startswith(("apps", "fuzz"))):  # fmt: skip
                part = ""
            query = "?fieldManager=" + chance.choice(("m", "n", "o")) if method == "PATCH" else ""
            if kind == APPLY and chance.random() < 0.4:
                query += "&force=true"
            body = b"" if method == "GET" else self._body(target, method, kind)
            yield self._sent(method, path + part, query, kind, body, plain=True)
        yield self._sent("DELETE", path, "?gracePeriodSeconds=0", JSON, b"", plain=True)

    def _named(self, path: str, kind: str) -> str:
        chance = self.chance
        path = path.replace("{namespace}", chance.choice(PLACES))
        names = seeds.NAMES.get(kind, OBJECTS) if chance.random() < 0.85 else FOREIGN
        return path.replace("{name}", chance.choice(names))

    def _sent(
        self, method: str, path: str, query: str, kind: str, body: bytes, plain: bool = False
    ) -> bytes:
        chance = self.chance
        lines = [f"{method} {path}{query} HTTP/1.1", "Host: x", f"Accept: {self._accept()}"]
        if not plain and chance.random() < 0.28:
            lines += [f"{n}: {v}" for n, v in chance.sample(HEADERS, chance.choice((1, 2)))]
        if body and "Content-Encoding: gzip" in lines and chance.random() < 0.8:
            body = gzip.compress(body, 1)
        if method != "GET":
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def _accept(self) -> str:
        lot = self.chance.random()
        return JSON if lot < 0.86 else TABLE if lot < 0.92 else self.chance.choice(ACCEPTS)

    def _kind(self, method: str) -> str:
        if self.chance.random() < 0.06:
            return self.chance.choice(KINDS)
        return self.chance.choice(PATCHES if method == "PATCH" else BODIES)

    def _query(self, method: str) -> str:
        chance = self.chance
        count = chance.choice((0, 0, 1, 1, 2, 3) if method in ("GET", "DELETE") else (0, 0, 0, 1))
        pairs = [
            (name, chance.choice(QUERIES[name])) for name in chance.sample(list(QUERIES), count)
        ]
        if method == "PATCH" and chance.random() < 0.8:
            pairs.append(("fieldManager", "m"))
        if method != "GET" and chance.random() < 0.2:
            pairs.append(("dryRun", "All"))
        return "?" + "&".join(f"{n}={quote(v)}" for n, v in pairs) if pairs else ""

    def _body(self, target: Target, method: str, kind: str) -> bytes:
        chance = self.chance
        if method == "DELETE":
            made = self.damage.sample(DELETE_OPTIONS, {})
            return json.dumps(made).encode() if chance.random() < 0.5 else b""
        made = self.object(target)
        if kind == JSON_PATCH:
            made = [self._operation(made) for _ in range(chance.choice((0, 1, 2, 5)))]
        if kind == PROTOBUF:
            return self._protobuf(made, target)
        data = json.dumps(made).encode()
        return self.damage.bytes(data) if chance.random() < 0.04 else data

    def _protobuf(self, made: Any, target: Target) -> bytes:
        chance = self.chance
        name = target.type_name
        try:
            data = protobuf.encode(made, name)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return b"k8s\0" + chance.randbytes(chance.randrange(400))
        return self.damage.bytes(data) if chance.random() < 0.3 else data

    def _operation(self, made: Any) -> Any:
        chance = self.chance
        paths = [
            "/metadata/labels/a", "/spec", "/data/x", "", "/", "/a~1b~2", "/spec/containers/0", "/spec/ports/-", "/spec/template/spec/containers/0/image",
        ]  # fmt: skip
        at, held = "", made
        while isinstance(held, (dict, list)) and held:
            key = chance.choice(list(held) if isinstance(held, dict) else range(len(held)))
            at, held = f"{at}/{str(key).replace('/', '~1')}", held[key]
            paths.append(at)
        return {
            "op": chance.choice(("add", "remove", "replace", "replace", "test", "move", "copy", "x", None)),
            "path": chance.choice((*paths, *paths, 1)), "from": chance.choice(paths), "value": chance.choice((held, self.damage.odd())),
        }  # fmt: skip
