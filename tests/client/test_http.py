"""The client over HTTP against the real server with TLS: verbs, errors, watches, streams."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from jindou.client.http import HttpClient
from jindou.client.informers import Informer
from jindou.client.refusals import error_of
from jindou.client.streams import MAGIC
from jindou.control.api.access import certificates
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.server import ApiServer
from jindou.control.store.memory import MemoryStore
from jindou.objects import errors
from jindou.objects.kinds import CONFIG_MAP, DEPLOYMENT, POD, Ref
from jindou.settings import Settings
from jindou.transport import Response, Streamed, Upgraded
from jindou.transport.server import listening, serve
from jindou.transport.tls import server_context


def on_server(tmp_path, scenario):
    pki = tmp_path / "pki"
    certificates.ensure(pki, certificates.leaves("here", ("127.0.0.1",), "cluster.local"))

    async def main():
        api = ApiServer(
            MemoryStore(), Settings(), Tokens(pki / "service-accounts.key", "cluster.local")
        )
        await api.start()
        sock = listening("127.0.0.1", 0)
        port = sock.getsockname()[1]
        tls = server_context(str(pki / "server.crt"), str(pki / "server.key"), str(pki / "ca.crt"))
        running = [await serve(api.handler, [sock], tls)]
        client = HttpClient.from_files(
            f"https://127.0.0.1:{port}",
            str(pki / "ca.crt"),
            str(pki / "admin.crt"),
            str(pki / "admin.key"),
        )

        async def restart():
            await running.pop().close(0.1)
            running.append(await serve(api.handler, [listening("127.0.0.1", port)], tls))

        client.restart = restart
        try:
            await asyncio.wait_for(scenario(client), 20)
        finally:
            client.close()
            await running.pop().close(0.2)
            api.close()

    asyncio.run(main())


def config_map(name, **data):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }


def ref(name):
    return Ref(CONFIG_MAP, "default", name)


def test_every_verb_and_the_errors_of_the_api(tmp_path):
    async def scenario(client):
        made = await client.create(CONFIG_MAP, config_map("a", x="1"))
        with pytest.raises(errors.AlreadyExists):
            await client.create(CONFIG_MAP, config_map("a"))
        assert (await client.get(ref("a")))["data"] == {"x": "1"}
        changed = await client.update(CONFIG_MAP, {**made, "data": {"x": "2"}})
        with pytest.raises(errors.Conflict):
            await client.update(CONFIG_MAP, {**made, "data": {"x": "3"}})
        assert (await client.patch(ref("a"), {"data": {"y": "1"}}))["data"] == {"x": "2", "y": "1"}
        operations = [{"op": "remove", "path": "/data/y"}]
        assert (await client.patch(ref("a"), operations, how="json"))["data"] == {"x": "2"}
        listing = await client.find(CONFIG_MAP, "default", fields="metadata.name=a")
        assert [one["kind"] for one in listing.items] == ["ConfigMap"]
        assert int(listing.revision) > int(changed["metadata"]["resourceVersion"])
        with pytest.raises(errors.Conflict):
            await client.delete(ref("a"), uid="another")
        await client.delete(ref("a"), uid=made["metadata"]["uid"])
        with pytest.raises(errors.NotFound) as missing:
            await client.get(ref("a"))
        assert missing.value.details["name"] == "a"
        with pytest.raises(errors.Invalid) as broken:
            await client.create(
                DEPLOYMENT, {"metadata": {"name": "a", "namespace": "default"}, "spec": {}}
            )
        assert broken.value.faults

    on_server(tmp_path, scenario)


def test_lists_longer_than_a_page_are_whole(tmp_path):
    async def scenario(client):
        short = HttpClient(client.url, client.pool, page=2)
        for n in range(5):
            await client.create(CONFIG_MAP, config_map(f"m{n}"))
        listing = await short.find(CONFIG_MAP, "default")
        assert len([one for one in listing.items if one["metadata"]["name"].startswith("m")]) == 5

    on_server(tmp_path, scenario)


@pytest.mark.slow
def test_an_informer_goes_on_when_the_server_is_started_again(tmp_path):
    async def scenario(client):
        informer = Informer(client, CONFIG_MAP, "default")
        seen = asyncio.Queue()
        informer.on_change(lambda old, new: seen.put_nowait((new or old)["metadata"]["name"]))
        running = asyncio.create_task(informer.run())
        await informer.synced.wait()
        await client.create(CONFIG_MAP, config_map("a"))
        while await seen.get() != "a":
            pass
        await client.restart()
        while True:
            try:
                await client.create(CONFIG_MAP, config_map("b"))
                break
            except (errors.Unavailable, errors.AlreadyExists):
                continue
        while await seen.get() != "b":
            pass
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    on_server(tmp_path, scenario)


def plain(handler, scenario):
    async def main():
        sock = listening("127.0.0.1", 0)
        running = await serve(handler, [sock])
        client = HttpClient(f"http://127.0.0.1:{sock.getsockname()[1]}", token=lambda: "secret")
        try:
            await asyncio.wait_for(scenario(client), 10)
        finally:
            client.close()
            await running.close(0.1)

    asyncio.run(main())


def test_nobody_there_is_unavailable():
    sock = listening("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    sock.close()

    async def main():
        client = HttpClient(url)
        with pytest.raises(errors.Unavailable):
            await client.get(ref("a"))
        with pytest.raises(errors.Unavailable):
            async for _ in client.watch(CONFIG_MAP):
                pass

    asyncio.run(main())


def test_logs_are_read_as_they_come_with_the_token():
    def handler(request):
        assert request.headers["authorization"] == "Bearer secret"
        assert request.path == "/api/v1/namespaces/default/pods/p/log"
        assert request.query["container"] == ["c"]

        def start(sink):
            sink.write(b"one\n")
            sink.write(b"two\n")
            sink.close()

        return Streamed(200, start)

    async def scenario(client):
        stream = await client.connect(Ref(POD, "default", "p"), "log", container="c")
        data = b""
        while piece := await stream.receive():
            data += piece
        assert data == b"one\ntwo\n"
        assert await stream.receive() == b""
        await stream.close()

    plain(handler, scenario)


@pytest.mark.slow
def test_watches_are_resumed_when_the_server_ends_them_and_end_when_it_says_so():
    asked = []
    added = b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"5"}}}\n'
    marked = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}\n'
    old = b'{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}\n'

    def handler(request):
        asked.append(request.query.get("resourceVersion", [""])[0])

        def start(sink):
            first = len(asked) == 1
            sink.write(added[:20] if first else old)
            if first:
                sink.write(added[20:] + marked)
            asyncio.get_running_loop().call_later(1.05 if first else 0, sink.close)

        return Streamed(200, start)

    async def scenario(client):
        seen = []

        async def read():
            async for event in client.watch(CONFIG_MAP):
                seen.append(event.type)

        with pytest.raises(errors.Expired, match="too old"):
            await read()
        assert seen == ["ADDED", "BOOKMARK"]
        assert asked == ["", "9"]

    plain(handler, scenario)


def frame(data, code=0x82):
    head = (
        bytes((code, len(data)))
        if len(data) < 126
        else bytes((code, 126)) + len(data).to_bytes(2, "big")
    )
    return head + data


def test_exec_speaks_websocket_with_whole_messages():
    received = asyncio.Event()

    def handler(request):
        assert request.query["command"] == ["sh", "-c", "true"]
        assert request.headers["sec-websocket-protocol"] == "v5.channel.k8s.io"
        key = request.headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode()

        async def start(duplex):
            duplex.write(frame(b"\x01") + frame(b"?", 0x89) + frame(b"\x01" + b"x" * 300))
            got = b""
            while b"\x00" not in bytes(b ^ 0 for b in got) and len(got) < 20:
                got += await duplex.receive()
            received.set()
            duplex.write(frame((1000).to_bytes(2, "big"), 0x88))
            await duplex.drain()

        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept),
            ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
        ]
        return Upgraded(headers, start)

    async def scenario(client):
        command = "\0".join(["sh", "-c", "true"])
        stream = await client.connect(Ref(POD, "default", "p"), "exec", command=command)
        assert await stream.receive() == b"\x01"
        assert await stream.receive() == b"\x01" + b"x" * 300
        await stream.send(b"\x00hello, this is a whole line")
        await received.wait()
        assert await stream.receive() == b""
        with pytest.raises(errors.Unavailable):
            await stream.send(b"late")
        await stream.close()

    plain(handler, scenario)


def test_a_refused_upgrade_is_the_error_it_says():
    def handler(request):
        return Response(403, b'{"kind":"Status","message":"no","reason":"Forbidden","code":403}')

    async def scenario(client):
        with pytest.raises(errors.Forbidden, match="no"):
            await client.connect(Ref(POD, "default", "p"), "exec", command="true")

    plain(handler, scenario)


@pytest.mark.parametrize(
    ("code", "body", "kind", "message"),
    [
        (404, b'{"reason":"NotFound","message":"gone"}', errors.NotFound, "gone"),
        (409, b'{"reason":"AlreadyExists","message":"x"}', errors.AlreadyExists, "x"),
        (409, b"", errors.Conflict, "the server answered 409"),
        (410, b'{"reason":"Gone"}', errors.Expired, '{"reason":"Gone"}'),
        (502, b"<html>", errors.Unavailable, "<html>"),
        (503, b"", errors.Unavailable, "the server answered 503"),
        (418, b"[]", errors.CloudError, "[]"),
    ],
)
def test_refusals_become_errors(code, body, kind, message):
    found = error_of(code, body)
    assert type(found) is kind
    assert found.message == message
