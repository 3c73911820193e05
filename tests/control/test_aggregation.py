"""Servers behind this one: the certificate that they believe, what they are asked, and how all is shown as one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from jindou.control.api.access import certificates
from jindou.control.api.access.guard import Asked, User
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.aggregation import documents, objects
from jindou.control.api.aggregation.questions import asked_of
from jindou.control.api.aggregation.registration import Registration
from jindou.control.api.aggregation.ways import Ways, headers_of
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.api.server import ApiServer
from jindou.control.api.webhooks.clients import SERVICE_NAME, SLICES
from jindou.control.store.memory import MemoryStore
from jindou.objects.errors import InternalError
from jindou.objects.kinds import Kind, Object
from jindou.settings import Settings
from jindou.transport import Peer
from jindou.transport.server import listening, serve
from jindou.transport.tls import server_context
from tests.behind import Behind
from tests.control.apis import Api, Kubectl, on_api

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
GROUP = "g.example.com"
THINGS = f"/apis/{GROUP}/v1/namespaces/default/things"


def registered(behind: Behind, **more: Any) -> Object:
    return {
        "metadata": {"name": f"v1.{GROUP}"},
        "spec": {
            "group": GROUP, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "service": {"name": "s", "namespace": "default"}, "caBundle": behind.bundle, **more,
        },
    }  # fmt: skip


async def lead(api: Api, port: int) -> None:
    """The Service `s` to a port of this machine, past the API that refuses such an address."""
    spec = {"ports": [{"name": "web", "port": 443}]}
    await api.ask(
        "POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "s"}, "spec": spec}
    )
    made = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "s-1", "namespace": "default", "labels": {SERVICE_NAME: "s"}},
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "web", "port": port}],
    }  # fmt: skip
    await api.store.commit(f"{SLICES}default/s-1", lambda _: orjson.dumps(made))


async def until(api: Api, reason: str) -> None:
    """The Available condition says so."""
    come = asyncio.Event()

    def look(*_: Any) -> None:
        stored = api.store.get(f"{objects.PREFIX}/v1.{GROUP}")
        held = objects.available(orjson.loads(stored.value)) if stored else None
        if held is not None and held["reason"] == reason:
            come.set()

    stop = api.store.watch(objects.PREFIX, api.store.revision, look)
    look()
    try:
        async with asyncio.timeout(10):
            await come.wait()
    finally:
        stop()


def on_tls(tmp_path: Path, scenario: Callable[[Kubectl, Api, int], Awaitable[None]]) -> None:
    """A server with certificates for itself and for a front proxy."""
    pki = tmp_path / "pki"
    certificates.ensure(pki, certificates.leaves("here", ("127.0.0.1",), "cluster.local"))
    certificates.ensure_front_proxy(pki)

    async def main() -> None:
        store = MemoryStore()
        server = ApiServer(store, Settings(), Tokens(pki / "sa.key", "cluster.local"), pki=pki)
        await server.start()
        sock = listening("127.0.0.1", 0)
        port = sock.getsockname()[1]
        tls = server_context(str(pki / "server.crt"), str(pki / "server.key"), str(pki / "ca.crt"))
        running = await serve(server.handler, [sock], tls)
        config = tmp_path / "kubeconfig"
        made = certificates.kubeconfig(pki, "t", f"https://127.0.0.1:{port}")
        config.write_bytes(orjson.dumps(made))
        try:
            await scenario(Kubectl(config, tmp_path), Api(server, store), port)
        finally:
            await running.close(0.2)
            server.close()

    asyncio.run(main())


# ---------------------------------------------------------------- the way


def test_a_server_behind_sees_the_certificate_of_the_front_proxy(tmp_path: Path) -> None:
    async def scenario(kubectl: Kubectl, api: Api, port: int) -> None:
        authority = tmp_path / "pki" / "front-proxy" / "ca.crt"
        with Behind(tmp_path / "b", GROUP, "s.default.svc", trusts=authority) as behind:
            await lead(api, behind.port)
            await api.ask("POST", SERVICES, registered(behind))
            await until(api, "Passed")
            assert "thing.g.example.com/one" in await kubectl("get", "things", "-o", "name")
            assert behind.presented == {"front-proxy-client"}
            assert "tg" in await kubectl("api-resources", "--api-group", GROUP)

    on_tls(tmp_path, scenario)


def test_our_other_certificates_are_not_good_for_it(tmp_path: Path) -> None:
    """Or anybody with a client certificate could say who he is."""
    pki = tmp_path / "pki"
    certificates.ensure(pki, [certificates.Leaf("user", "front-proxy-client")])
    certificates.ensure_front_proxy(pki)
    with Behind(tmp_path / "b", GROUP, trusts=pki / "front-proxy" / "ca.crt") as behind:
        context = ssl.create_default_context(cafile=str(tmp_path / "b" / "ca.crt"))
        context.load_cert_chain(pki / "user.crt", pki / "user.key")

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", behind.port, ssl=context)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                return await reader.read()
            finally:
                writer.close()

        with contextlib.suppress(ssl.SSLError, ConnectionError):  # whichever comes first
            assert asyncio.run(ask()) == b""
        assert behind.asked == []


def test_bytes_both_ways_after_an_upgrade(tmp_path: Path) -> None:
    async def scenario(kubectl: Kubectl, api: Api, port: int) -> None:
        pki = tmp_path / "pki"
        with Behind(tmp_path / "b", GROUP, "s.default.svc") as behind:
            await lead(api, behind.port)
            await api.ask("POST", SERVICES, registered(behind))
            await until(api, "Passed")
            context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
            context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            head = f"GET {THINGS}/one/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
            writer.write(head.encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 101")
            while (await reader.readline()).strip():
                pass
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            writer.close()
            assert behind.about(f"{THINGS}/one/exec")["x-remote-user"] == ["kubernetes-admin"]

    on_tls(tmp_path, scenario)


def test_who_asks_travels_in_headers() -> None:
    user = User("ann", ("a", "b"), "7", {"example.com/Scope": ["x", "y"]})
    assert list(headers_of(user)) == [
        ("X-Remote-User", "ann"), ("X-Remote-Uid", "7"), ("X-Remote-Group", "a"), ("X-Remote-Group", "b"),
        ("X-Remote-Extra-example.com%2FScope", "x"), ("X-Remote-Extra-example.com%2FScope", "y"),
    ]  # fmt: skip


def test_names_of_any_writing_are_bytes_in_headers() -> None:
    (told,) = headers_of(User("王小明", ()))
    assert told[1].encode("latin-1").decode() == "王小明"


def test_who_can_not_be_told_in_a_header_is_answered(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with Behind(tmp_path, GROUP, "s.default.svc") as behind:
            await lead(api, behind.port)
            await api.ask("POST", SERVICES, registered(behind))
            await until(api, "Passed")
            odd = Peer("127.0.0.1:1", "a\r\nX-Remote-Group: system:masters", ("system:masters",))
            answer = await api.ask("GET", THINGS, peer=odd)
            assert (answer.status, b"system:masters" in answer.body) == (503, False)
            assert behind.asked[-1][2].get("x-remote-user") == ["system:kube-aggregator"]

    on_api(scenario)


def test_connections_under_an_old_certificate_are_not_kept(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        front = tmp_path / certificates.FRONT_PROXY
        certificates.ensure(front, [certificates.Leaf("client", "front", (), ())])
        with Behind(tmp_path / "behind", GROUP, "s.default.svc") as behind:
            await lead(api, behind.port)
            remote = objects.remote_of(registered(behind))
            assert remote is not None
            ways = Ways(api.store, tmp_path)
            before = ways.pool(remote)
            await (await before.request("GET", ways.url(remote) + "/apis")).read()
            assert list(before.idle.values()) == [1]
            os.utime(front / "client.crt", (1, 1))
            assert ways.pool(remote) is not before
            assert before.idle == {}
            ways.close()

    on_api(scenario)


# ---------------------------------------------------------------- whether it is there


def test_a_server_that_comes_goes_and_comes_back(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with Behind(tmp_path, GROUP, "s.default.svc", aggregated=False) as behind:
            await api.ask("POST", SERVICES, registered(behind))
            await until(api, "ServiceNotFound")
            assert (await api.ask("GET", THINGS)).status == 503
            await lead(api, behind.port)
            await until(api, "Passed")
            assert (await api.ask("GET", THINGS)).json["kind"] == "ThingList"
            accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            found = (await api.ask("GET", "/apis", accept=accept)).json["items"][-1]
            (version,) = found["versions"]
            assert version["freshness"] == "Current"
            assert version["resources"][0]["shortNames"] == ["tg"]
            assert version["resources"][0]["responseKind"]["kind"] == "Thing"
            behind.healthy = False
            await lead(api, behind.port)
            await until(api, "FailedDiscoveryCheck")
            found = (await api.ask("GET", "/apis", accept=accept)).json["items"][-1]
            assert found["versions"][0]["freshness"] == "Stale"
            assert found["versions"][0]["resources"] == version["resources"]
            await api.ask("DELETE", f"{SERVICES}/v1.{GROUP}")
            assert (await api.ask("GET", THINGS)).status == 404
            assert (await api.ask("GET", f"/apis/{GROUP}")).status == 404

    on_api(scenario)


def test_a_request_that_does_not_get_through_has_the_server_looked_at(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with Behind(tmp_path, GROUP, "s.default.svc") as behind:
            await lead(api, behind.port)
            await api.ask("POST", SERVICES, registered(behind))
            await until(api, "Passed")
        answer = await api.ask("GET", THINGS)
        assert answer.status == 503
        assert answer.body.startswith(b"error trying to reach service: ")
        await until(api, "FailedDiscoveryCheck")
        assert (await api.ask("GET", THINGS)).body == b"service unavailable\n"

    on_api(scenario)


def test_a_kind_that_users_define_has_an_api_service_while_it_lasts() -> None:
    async def scenario(api: Api) -> None:
        schema = {"openAPIV3Schema": {"type": "object"}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        names = {"plural": "things", "kind": "Thing"}
        spec = {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]}
        crd = {"metadata": {"name": f"things.{GROUP}"}, "spec": spec}
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        assert (await api.ask("POST", path, crd)).status == 201
        await until(api, "Local")
        found = (await api.ask("GET", f"{SERVICES}/v1.{GROUP}")).json
        assert found["metadata"]["labels"] == {objects.MANAGED: "true"}
        await api.ask("DELETE", f"{SERVICES}/v1.{GROUP}")
        await until(api, "Local")
        await api.ask("DELETE", f"{path}/things.{GROUP}")
        gone = asyncio.Event()

        def look(*_: Any) -> None:
            if api.store.get(f"{objects.PREFIX}/v1.{GROUP}") is None:
                gone.set()

        stop = api.store.watch(objects.PREFIX, api.store.revision, look)
        look()
        async with asyncio.timeout(10):
            await gone.wait()
        stop()

    on_api(scenario)


class Unwilling:
    """A client that refuses to create one object the first time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tried = 0
        self.done = asyncio.Event()

    async def create(self, kind: Any, obj: Object) -> Object:
        if obj["metadata"]["name"] == self.name:
            self.tried += 1
            if self.tried == 1:
                raise InternalError("no")
            self.done.set()
        return obj


def test_an_api_service_that_could_not_be_made_is_tried_again() -> None:
    async def main() -> None:
        registry, client = Registry(), Unwilling("v1.new.example.com")
        made: Any = client
        registration = Registration(MemoryStore(), registry, made, again=0)
        await registration.start()
        kind = Kind("new.example.com", "v1", "Thing", "things")
        registry.set_custom(kind.group, [Resource(kind, "thing", ("get",), custom=True)])
        async with asyncio.timeout(10):
            await client.done.wait()
        assert client.tried == 2
        registration.close()

    asyncio.run(main())


def test_an_api_service_may_take_over_what_is_served_here(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        name, group = "v1beta1.metrics.k8s.io", "metrics.k8s.io"
        with Behind(tmp_path, GROUP, "s.default.svc") as behind:
            await lead(api, behind.port)
            made = registered(behind)
            made["metadata"]["name"] = name
            made["spec"] |= {"group": group, "version": "v1beta1"}
            before = (await api.ask("GET", f"{SERVICES}/{name}")).json
            made["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            after = (await api.ask("PUT", f"{SERVICES}/{name}", made)).json
            assert not (after.get("status") or {}).get("conditions")
            answer = await api.ask("GET", f"/apis/{group}/v1beta1/nodes")
            assert (answer.status, answer.body) == (503, b"service unavailable\n")

    on_api(scenario)


REMOTE = objects.Remote("v1.g", "g", "v1", "ns", "s", 443, "", True, 100, 10)
PORTS = {"spec": {"ports": [{"name": "web", "port": 443}]}}


def slice_of(ready: bool = True, port: str = "web") -> Object:
    return {
        "endpoints": [{"addresses": ["a"], "conditions": {"ready": ready}}],
        "ports": [{"name": port, "port": 1}],
    }


@pytest.mark.parametrize(
    ("service", "slices", "reason"),
    [
        (None, [], "ServiceNotFound"),
        ({"spec": {"ports": [{"port": 80}]}}, [], "ServicePortError"),
        (PORTS, [], "EndpointsNotFound"),
        (PORTS, [slice_of(ready=False)], "MissingEndpoints"),
        (PORTS, [slice_of(port="other")], "MissingEndpoints"),
        (PORTS, [slice_of()], ""),
        ({"spec": {"type": "ExternalName"}}, [], ""),
    ],
)
def test_what_a_service_says_against_a_server(service: Any, slices: Any, reason: str) -> None:
    told = objects.examined(REMOTE, service, slices)
    assert (told[1] if told else "") == reason


# ---------------------------------------------------------------- as one


@pytest.mark.parametrize(
    "junk",
    [
        None, [], "x", 5, {}, {"resources": 5}, {"resources": [5, {}, {"name": 7}, {"name": 7}]},
        {"kind": "APIGroupDiscoveryList", "items": [5, {"metadata": 5}, {"metadata": {"name": "g"}, "versions": [5, {}]}]},
        {"paths": 5}, {"paths": {"apis/g/v1": 5}},
    ],
)  # fmt: skip
def test_documents_of_others_that_are_none(junk: Any) -> None:
    assert documents.of_whole(junk, REMOTE) is None
    assert documents.of_index(junk, "apis/g/v1") is None
    assert documents.of_legacy(junk, REMOTE)["version"] == "v1"


def test_groups_come_in_the_order_of_their_priority() -> None:
    local = [{"name": name, "versions": []} for name in ("apps", "policy", "custom.example")]
    first = REMOTE._replace(group="first", group_priority=17850)
    last = REMOTE._replace(group="last", group_priority=100)
    middle = REMOTE._replace(group="middle", group_priority=2000)
    names = [group["name"] for group in documents.groups(local, [last, first, middle])]
    assert names == ["first", "apps", "policy", "middle", "custom.example", "last"]


def test_versions_of_one_group_from_here_and_elsewhere() -> None:
    local = {"name": "g", "versions": [{"groupVersion": "g/v1", "version": "v1"}, {"groupVersion": "g/v3", "version": "v3"}]}  # fmt: skip
    high = REMOTE._replace(version="v2", version_priority=200)
    found = documents.group_of("g", [high, REMOTE], local)
    assert [v["version"] for v in found["versions"]] == ["v2", "v3", "v1"]
    assert found["preferredVersion"]["version"] == "v2"


@pytest.mark.parametrize(
    ("method", "path", "watching", "asked"),
    [
        ("GET", "/apis/g/v1", False, Asked("get", path="/apis/g/v1")),
        ("GET", "/apis/g/v1/things", False, Asked("list", "g", "things")),
        ("GET", "/apis/g/v1/things", True, Asked("watch", "g", "things")),
        ("GET", "/apis/g/v1/watch/things", False, Asked("watch", "g", "things")),
        ("GET", "/apis/g/v1/namespaces/n/things/x", False, Asked("get", "g", "things", "n", "x")),
        ("PUT", "/apis/g/v1/namespaces/n/things/x/status", False, Asked("update", "g", "things/status", "n", "x")),
        ("POST", "/apis/g/v1/namespaces/n/things", False, Asked("create", "g", "things", "n")),
        ("PATCH", "/apis/g/v1/things/x", False, Asked("patch", "g", "things", "", "x")),
        ("DELETE", "/apis/g/v1/namespaces/n/things", False, Asked("deletecollection", "g", "things", "n")),
        ("DELETE", "/apis/g/v1/things/x", False, Asked("delete", "g", "things", "", "x")),
    ],
)  # fmt: skip
def test_what_a_path_is_about(method: str, path: str, watching: bool, asked: Asked) -> None:
    assert asked_of(method, path, watching) == asked
