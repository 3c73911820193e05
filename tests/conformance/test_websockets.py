"""Watches over WebSockets, and of kinds that go."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

import pytest

from tests.conformance.wire import Api

pytestmark = pytest.mark.slow

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def secrets(ns: str) -> str:
    return f"/api/v1/namespaces/{ns}/secrets"


def make(api: Api, ns: str, name: str) -> Any:
    return api.make(secrets(ns), {"metadata": {"name": name}})


def told(event: Any) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def until_allowed(api: Api, ns: str, user: str) -> None:
    """A right that was just given may take a moment to be known."""
    attributes = {"namespace": ns, "verb": "watch", "resource": "secrets"}
    review = {"spec": {"user": user, "resourceAttributes": attributes}}
    deadline = time.monotonic() + 10
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    while not api.make(path, review)["status"]["allowed"]:
        assert time.monotonic() < deadline


def frames(sock: Any, data: bytes, count: int) -> list[bytes]:
    """The payloads of the next frames; a close frame ends them."""
    found: list[bytes] = []
    while len(found) < count:
        while len(data) < 2 or len(data) < (need := length(data)):
            more = sock.recv(65536)
            assert more, "the connection ended"
            data += more
        if data[0] & 0x0F == 8:
            break
        assert data[0] == 0x81, "one whole frame of text"
        found.append(data[need - payload(data) : need])
        data = data[need:]
    return found


def payload(data: bytes) -> int:
    size = data[1] & 0x7F
    return int.from_bytes(data[2:4]) if size == 126 else size


def length(data: bytes) -> int:
    return payload(data) + (4 if data[1] & 0x7F == 126 else 2)


def upgrade(api: Api, sock: Any, path: str, *headers: str) -> tuple[bytes, bytes]:
    """The head of the answer to a WebSocket's handshake, and what came with it."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = [
        f"GET {path}?watch=1 HTTP/1.1", f"Host: {api.url.netloc}", "Upgrade: websocket",
        "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
        f"Origin: https://{api.url.netloc}", *headers, "", "",
    ]  # fmt: skip
    sock.sendall("\r\n".join(head).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(65536)
    top, _, data = answer.partition(b"\r\n\r\n")
    return top, data


def test_16_a_web_socket_has_a_message_for_each_event(api: Api, ns: str) -> None:
    make(api, ns, "a")
    make(api, ns, "b")
    with api.raw() as sock:
        credentials = [f"{name}: {value}" for name, value in api.credentials]
        top, data = upgrade(api, sock, secrets(ns), *credentials)
        assert top.startswith(b"HTTP/1.1 101")
        events = [json.loads(frame) for frame in frames(sock, data, 2)]
    assert sorted(told(e) for e in events) == [("ADDED", "a"), ("ADDED", "b")]


@pytest.mark.parametrize("good", [True, False])
def test_16_a_browser_gives_its_token_as_a_subprotocol(api: Api, ns: str, good: bool) -> None:
    make(api, ns, "a")
    accounts = f"/api/v1/namespaces/{ns}/serviceaccounts"
    api.make(accounts, {"metadata": {"name": "browser"}})
    ask = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = api.make(f"{accounts}/browser/token", ask)["status"]["token"] if good else "nonsense"
    subject = {"kind": "ServiceAccount", "name": "browser", "namespace": ns}
    group = "rbac.authorization.k8s.io"
    path = f"/apis/{group}/v1/namespaces/{ns}"
    meta = {"name": "browser"}
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}
    api.make(f"{path}/roles", {"metadata": meta, "rules": [rule]})
    role = {"apiGroup": group, "kind": "Role", "name": "browser"}
    api.make(f"{path}/rolebindings", {"metadata": meta, "roleRef": role, "subjects": [subject]})
    until_allowed(api, ns, f"system:serviceaccount:{ns}:browser")
    told_as = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    stranger = api.bare()
    with stranger.raw() as sock:
        names = f"base64url.bearer.authorization.k8s.io.{told_as}, v4.example.org"
        top, data = upgrade(api, sock, secrets(ns), f"Sec-WebSocket-Protocol: {names}")
        if not good:
            assert top.startswith(b"HTTP/1.1 401")
            return
        assert top.startswith(b"HTTP/1.1 101")
        assert b"sec-websocket-protocol: v4.example.org" in top.lower()
        (frame,) = frames(sock, data, 1)
    assert told(json.loads(frame)) == ("ADDED", "a")


@pytest.mark.slow
def test_72_watches_of_a_kind_end_with_it(api: Api, ns: str) -> None:
    versions = [
        {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object"}},
        }
    ]
    names = {"plural": "ends", "kind": "End"}
    spec = {"group": "w.example.org", "scope": "Namespaced", "names": names, "versions": versions}
    api.make(DEFINITIONS, {"metadata": {"name": "ends.w.example.org"}, "spec": spec})
    path = f"/apis/w.example.org/v1/namespaces/{ns}/ends"
    body = {"apiVersion": "w.example.org/v1", "kind": "End", "metadata": {"name": "a"}}
    deadline = time.monotonic() + 20
    while (answer := api.ask("POST", path, body)).code == 404:
        assert time.monotonic() < deadline, "the kind was never served"
    assert answer.code == 201
    with api.watch(path, resourceVersion=answer.json["metadata"]["resourceVersion"]) as watch:
        api.good("DELETE", f"{DEFINITIONS}/ends.w.example.org")
        assert told(watch.next()) == ("DELETED", "a")
        assert watch.next() is None
