"""Logs, streams and proxies: judged here, then carried to a node over mutual TLS, to its last byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jindou.control.api.access import certificates
from jindou.control.api.wire.connect import (
    backends_of,
    container_of,
    log_parameters,
    relocated,
    rest_of,
    service_port,
    split_name,
)
from jindou.objects.errors import BadRequest, Invalid
from jindou.objects.kinds import ENDPOINTS, NODE, POD, SERVICE, SERVICE_ACCOUNT, Ref
from jindou.transport import Answer, Duplex, Request, Response, Sink, Streamed, Upgraded
from jindou.transport.client import Pool
from jindou.transport.server import listening, serve
from jindou.transport.tls import client_context, server_context
from tests.control.apis import Api, Kubectl, on_kubectl

BASE = "/api/v1/namespaces/default/pods"


def pod(*names: str, first: tuple[str, ...] = ()) -> Any:
    spec: Any = {"containers": [{"name": name} for name in names]}
    if first:
        spec["initContainers"] = [{"name": name} for name in first]
    return {"metadata": {"name": "p"}, "spec": spec}


@pytest.mark.parametrize(
    ("held", "asked", "found"),
    [(pod("a"), "", "a"), (pod("a", "b"), "b", "b"), (pod("a", first=("i",)), "i", "i")],
)
def test_which_container_is_meant(held: Any, asked: str, found: str) -> None:
    assert container_of(held, asked) == found


@pytest.mark.parametrize(
    ("held", "asked", "says"),
    [
        (pod("a"), "x", "container x is not valid for pod p"),
        (pod("a", "b"), "", "a container name must be specified for pod p, choose one of: [a b]"),
        (pod("a", "b", first=("i",)), "", "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"),
    ],
)  # fmt: skip
def test_no_container_is_meant(held: Any, asked: str, says: str) -> None:
    with pytest.raises(BadRequest) as told:
        container_of(held, asked)
    assert told.value.message == says


def test_log_options_are_judged() -> None:
    query = {"follow": ["true"], "previous": ["false"], "tailLines": ["5"], "sinceTime": ["t"]}
    assert log_parameters(query, "p") == [("follow", "true"), ("tailLines", "5"), ("sinceTime", "t")]  # fmt: skip
    with pytest.raises(Invalid) as told:
        log_parameters({"tailLines": ["-1"], "limitBytes": ["0"]}, "p")
    assert told.value.message == (
        'PodLogOptions "p" is invalid: [tailLines: Invalid value: -1: must be greater than or equal to 0, '
        "limitBytes: Invalid value: 0: must be greater than 0]"
    )
    with pytest.raises(BadRequest, match="invalid syntax"):
        log_parameters({"tailLines": ["many"]}, "p")


@pytest.mark.parametrize(
    ("text", "parts"),
    [("x", ("", "x", "")), ("x:80", ("", "x", "80")), ("https:x:web", ("https", "x", "web"))],
)
def test_names_of_what_is_proxied(text: str, parts: Any) -> None:
    assert split_name(text) == parts


@pytest.mark.parametrize(
    ("raw", "rest"),
    [
        ("/api/v1/nodes/n/proxy/pods?a=b", ("/pods", "?a=b")),
        (f"{BASE}/proxy/proxy", ("", "")),
        ("/api/v1/namespaces/proxy-x/pods/p/proxy/a%2Fb/", ("/a%2Fb/", "")),
    ],
)
def test_what_follows_the_proxy(raw: str, rest: Any) -> None:
    assert rest_of(raw) == rest


def test_ports_and_backends_of_a_service() -> None:
    ports = [{"name": "web", "port": 80}, {"name": "dns", "port": 53}]
    service = {"spec": {"ports": ports}}
    assert service_port(service, "") is None
    assert service_port(service, "53") == service_port(service, "dns") == ports[1]
    subset = {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"name": "web", "port": 8080}]}  # fmt: skip
    endpoints = {"subsets": [subset, {"notReadyAddresses": [{"ip": "10.0.0.3"}], "ports": [{"name": "web", "port": 1}]}]}  # fmt: skip
    assert backends_of(endpoints, ports[0]) == ["10.0.0.1:8080", "10.0.0.2:8080"]


def test_redirects_lead_back_through_the_proxy() -> None:
    assert relocated("/x", "/api/p", "http://a:1") == "/api/p/x"
    assert relocated("http://a:1/x", "/api/p", "http://a:1") == "/api/p/x"
    assert relocated("http://b/x", "/api/p", "http://a:1") == "http://b/x"


# ---------------------------------------------------------------- with a node


class Seen(NamedTuple):
    method: str
    path: str
    client: str
    headers: dict[str, str]


class PretendNode:
    """Answers as a node's streaming endpoint, and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.gone = asyncio.Event()

    def handler(self, request: Request) -> Any:
        peer = request.peer
        self.seen.append(Seen(request.method, request.raw_path, peer.common_name, request.headers))
        path = request.path
        if path.startswith("/containerLogs/"):
            return self._log(request)
        if path.startswith(("/exec/", "/attach/", "/portForward/")):
            if "refuse" in request.raw_path:
                return Response(404, b'container not found ("c")\n')
            protocol = request.headers.get("sec-websocket-protocol", "")
            answered = [("Connection", "Upgrade"), ("Upgrade", request.headers["upgrade"])]
            if protocol:
                answered.append(("Sec-WebSocket-Protocol", protocol))
            return Upgraded(answered, self._echo)
        if path == "/redirect":
            return Response(302, b"", [("Location", "/elsewhere")])
        return self._plain(request)

    def _log(self, request: Request) -> Answer:
        if "previous" in request.query:
            return Response(400, b'previous terminated container "c" in pod "p" not found')
        if "follow" not in request.query:
            return Response(200, b"one\ntwo\n", [("Content-Type", "text/plain")])

        def start(sink: Sink) -> None:
            sink.write(b"first\n")
            sink.on_close(self.gone.set)

        return Streamed(200, start)

    async def _echo(self, duplex: Duplex) -> None:
        duplex.write(b"hello ")
        while data := await duplex.receive():
            duplex.write(data)
            await duplex.drain()
            if data.endswith(b"bye"):
                return
        self.gone.set()

    async def _plain(self, request: Request) -> Answer:
        body = await request.body()
        text = f"{request.method} {request.raw_path} ".encode() + body
        return Response(200, text, [("X-Node", "here"), ("Content-Type", "text/x")])


class Bench(NamedTuple):
    kubectl: Kubectl
    api: Api
    node: PretendNode
    pool: Pool  # as kubernetes-admin
    url: str


def on_node(tmp_path: Path, scenario: Any) -> None:
    """Run `scenario(bench)` with an API server, a node that it can reach and a pod bound there."""

    async def main(kubectl: Kubectl, api: Api) -> None:
        async with running_node(tmp_path / "pki") as (node, port):
            await populate(api, port)
            pki = tmp_path / "pki"
            tls = client_context(*(str(pki / f) for f in ("ca.crt", "admin.crt", "admin.key")))
            url = await kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
            pool = Pool(tls)
            try:
                await scenario(Bench(kubectl, api, node, pool, url))
            finally:
                pool.close()

    on_kubectl(tmp_path, main)


@contextlib.asynccontextmanager
async def running_node(pki: Path) -> AsyncIterator[tuple[PretendNode, int]]:
    node, sock = PretendNode(), listening("127.0.0.1", 0)
    tls = server_context(
        str(pki / "node.crt"), str(pki / "node.key"), str(pki / "ca.crt"), required=True
    )
    server = await serve(node.handler, [sock], tls)
    try:
        yield node, sock.getsockname()[1]
    finally:
        await server.close(0.2)


async def populate(api: Api, port: int) -> None:
    client = api.client
    await client.create(SERVICE_ACCOUNT, {"metadata": {"name": "default", "namespace": "default"}})
    await client.create(
        NODE,
        {
            "metadata": {"name": "here"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            },
        },
    )
    for name, where in (("p", {"nodeName": "here"}), ("waiting", {})):
        spec = {"containers": [{"name": "c", "image": "x"}], **where}
        await client.create(POD, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


@pytest.mark.slow
def test_logs_by_kubectl(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        kubectl, node = bench.kubectl, bench.node
        assert await kubectl("logs", "p", "--tail=2", "--timestamps") == "one\ntwo\n"
        assert node.seen[-1].path == "/containerLogs/default/p/c?timestamps=true&tailLines=2"
        assert node.seen[-1].client == "kube-apiserver-kubelet-client"
        assert await kubectl("logs", "waiting") == ""
        code, _, says = await kubectl.run("logs", "p", "--previous")
        assert says == (
            'Error from server (BadRequest): previous terminated container "c" in pod "p" not found\n'
        )
        code, _, says = await kubectl.run("logs", "p", "-c", "x")
        assert (code, says) == (1, "error: container x is not valid for pod p\n")
        code, _, says = await kubectl.run("exec", "waiting", "--", "true")
        assert "pod waiting does not have a host assigned" in says

    on_node(tmp_path, scenario)


@pytest.mark.slow
def test_a_followed_log_streams_and_ends_with_its_reader(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        response = await bench.pool.request("GET", f"{bench.url}{BASE}/p/log?follow=true")
        assert response.status == 200
        assert await anext(response.pieces()) == b"first\n"
        response.close()
        await asyncio.wait_for(bench.node.gone.wait(), 5)

    on_node(tmp_path, scenario)


@pytest.mark.slow
def test_upgraded_bytes_go_both_ways(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        query = "command=sh&command=-c&stdin=true&stdout=true&tty=false&container=c"
        headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"), ("Authorization", "Bearer x")]  # fmt: skip
        response, wire = await bench.pool.dial("GET", f"{bench.url}{BASE}/p/exec?{query}", headers)
        assert wire is not None
        assert response.headers["sec-websocket-protocol"] == "v5.channel.k8s.io"
        seen = bench.node.seen[-1]
        assert seen.path == "/exec/default/p/c?input=1&output=1&command=sh&command=-c"
        assert "authorization" not in seen.headers
        payload = b"x" * 3_000_000 + b"bye"
        wire.write(payload)
        got = b""
        while piece := await asyncio.wait_for(wire.receive(), 10):
            got += piece
        assert got == b"hello " + payload
        _, wire = await bench.pool.dial("POST", f"{bench.url}{BASE}/p/portforward?ports=80", [("Connection", "upgrade"), ("Upgrade", "SPDY/3.1")])  # fmt: skip
        assert wire is not None
        assert await wire.receive() == b"hello "
        assert bench.node.seen[-1][:2] == ("POST", "/portForward/default/p?port=80")
        wire.close()
        await asyncio.wait_for(bench.node.gone.wait(), 5)

    on_node(tmp_path, scenario)


@pytest.mark.slow
def test_what_a_node_refuses_reaches_the_asker(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        upgrade = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]
        target = f"{bench.url}{BASE}/p/exec?command=refuse"
        response, wire = await bench.pool.dial("POST", target, upgrade)
        assert (response.status, wire) == (404, None)
        assert await response.read() == b'container not found ("c")\n'
        plain = await bench.pool.request("POST", f"{bench.url}{BASE}/p/exec?command=x")
        assert plain.status == 400
        assert b"Upgrade request required" in await plain.read()

    on_node(tmp_path, scenario)


@pytest.mark.slow
def test_proxies(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        ask = bench.pool.request
        node = f"{bench.url}/api/v1/nodes/here/proxy"
        response = await ask("POST", f"{node}/images/a%2Fb?x=1", body=b"data")
        assert (response.status, response.headers["x-node"]) == (200, "here")
        assert await response.read() == b"POST /images/a%2Fb?x=1 data"
        large = b"y" * 2_500_000
        response = await ask("PUT", f"{node}/images/import", body=large)
        assert (await response.read()).endswith(b" " + large)
        redirect = await ask("GET", f"{node}/redirect")
        assert redirect.headers["location"] == "/api/v1/nodes/here/proxy/elsewhere"
        moved = await ask("GET", node)
        assert (moved.status, moved.headers["location"]) == (301, "/api/v1/nodes/here/proxy/")
        assert (await ask("GET", f"{bench.url}/api/v1/nodes/x/proxy/")).status == 404
        plain, sock = PretendNode(), listening("127.0.0.1", 0)
        server = await serve(plain.handler, [sock])
        port = sock.getsockname()[1]
        try:
            await with_service(bench, port)
            service = f"{bench.url}/api/v1/namespaces/default/services"
            answer = await ask("GET", f"{service}/s:web/proxy/a?b=c")
            assert await answer.read() == b"GET /a?b=c "
            assert plain.seen[-1].headers["x-forwarded-uri"].endswith("/services/s:web/proxy/a")
            missing = await ask("GET", f"{service}/s:nope/proxy/")
            assert missing.status == 503
            assert b'no service port \\"nope\\" found for service \\"s\\"' in await missing.read()
            answer = await ask("GET", f"{bench.url}{BASE}/p:{port}/proxy/x")
            assert await answer.read() == b"GET /x "
        finally:
            await server.close(0.2)

    on_node(tmp_path, scenario)


async def with_service(bench: Bench, port: int) -> None:
    """A Service `s` and the pod `p`, both leading to a port of this machine."""
    client = bench.api.client
    place = {"name": "s", "namespace": "default"}
    await client.create(SERVICE, {"metadata": place, "spec": {"ports": [{"name": "web", "port": 80}]}})  # fmt: skip
    backend = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "web", "port": port}]}
    await client.create(ENDPOINTS, {"metadata": place, "subsets": [backend]})
    held = await client.get(Ref(POD, "default", "p"))
    held["status"] = {"phase": "Running", "podIP": "127.0.0.1"}
    await client.update(POD, held, "status")


@pytest.mark.slow
def test_a_node_that_is_away_or_false(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        client = bench.api.client
        node = await client.get(Ref(NODE, "", "here"))
        node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] = 1
        await client.update(NODE, node, "status")
        code, _, says = await bench.kubectl.run("logs", "p")
        assert code == 1
        assert says.endswith("error dialing backend: connect: connection refused\n")
        other = tmp_path / "other"
        certificates.ensure(other, certificates.leaves("here", ("127.0.0.1",), "cluster.local"))
        async with running_node(other) as (_, port):
            node = await client.get(Ref(NODE, "", "here"))
            node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] = port
            await client.update(NODE, node, "status")
            code, _, says = await bench.kubectl.run("logs", "p")
            assert code == 1
            assert "self-signed certificate in certificate chain" in says

    on_node(tmp_path, scenario)
