"""kubectl exec, cp, attach, port-forward and logs all the way: API server, mutual TLS, node, process."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jindou.node.endpoint.server import NodeServer
from jindou.objects.kinds import NODE, POD, SERVICE_ACCOUNT
from jindou.settings import Settings
from jindou.transport.server import listening, serve
from jindou.transport.tls import server_context
from tests.control.apis import Api, Kubectl, on_kubectl
from tests.node.endpoint import NoImages, OnePod, ProcessRuntime

pytestmark = pytest.mark.slow
WIRES = {"websocket": "true", "spdy": "false"}
wires = pytest.mark.parametrize("wire", list(WIRES))


class Bench(NamedTuple):
    kubectl: Kubectl
    runtime: ProcessRuntime
    containers: OnePod


def on_both(tmp_path: Path, wire: str, scenario: Any) -> None:
    async def main(kubectl: Kubectl, api: Api) -> None:
        kubectl._env |= {
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": WIRES[wire],
            "KUBECTL_PORT_FORWARD_WEBSOCKETS": WIRES[wire],
        }
        async with running_node(tmp_path) as (runtime, containers, port):
            await populate(api, port)
            await scenario(Bench(kubectl, runtime, containers))

    on_kubectl(tmp_path, main)


@contextlib.asynccontextmanager
async def running_node(folder: Path) -> AsyncIterator[tuple[ProcessRuntime, OnePod, int]]:
    """A node's endpoint whose containers are processes of this machine."""
    runtime, containers = ProcessRuntime(), OnePod(folder / "0.log")
    settings = Settings(node_name="here", data=str(folder), run=str(folder))
    endpoint: Any = NodeServer(settings, containers, runtime, NoImages())  # type: ignore[arg-type]
    pki, sock = folder / "pki", listening("127.0.0.1", 0)
    files = [str(pki / name) for name in ("node.crt", "node.key", "ca.crt")]
    failures: list[Exception] = []
    server = await serve(
        endpoint.handler,
        [sock],
        server_context(*files),
        report=lambda error, request: failures.append(error),
    )
    try:
        yield runtime, containers, sock.getsockname()[1]
    finally:
        for session in runtime.sessions:
            await session.close()
        await server.close(0.2)
        assert failures == []


async def populate(api: Api, port: int) -> None:
    client = api.client
    place = {"namespace": "default"}
    await client.create(SERVICE_ACCOUNT, {"metadata": {"name": "default", **place}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await client.create(NODE, {"metadata": {"name": "here"}, "status": status})
    spec = {"nodeName": "here", "containers": [{"name": "main", "image": "x", "stdin": True}]}
    pod = await client.create(POD, {"metadata": {"name": "web", **place}, "spec": spec})
    running = {"name": "main", "ready": True, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}  # fmt: skip
    pod["status"] = {"phase": "Running", "containerStatuses": [running]}
    await client.update(POD, pod, "status")


@wires
def test_exec_with_input_outputs_and_exit_code(tmp_path: Path, wire: str) -> None:
    async def scenario(bench: Bench) -> None:
        run = bench.kubectl.run
        code, out, err = await run("exec", "web", "--", "sh", "-c", "echo a; echo b >&2; exit 3")
        assert (code, out) == (3, "a\n")
        assert err.startswith("b\n")
        data = os.urandom(1_500_000).hex()
        code, out, err = await run("exec", "-i", "web", "--", "sha256sum", stdin=data)
        assert (code, err) == (0, "")
        assert out.split()[0] == hashlib.sha256(data.encode()).hexdigest()
        code, out, _ = await run("exec", "web", "--", "head", "-c", "20000000", "/dev/zero")
        assert (code, len(out)) == (0, 20_000_000)
        code, _, err = await run("exec", "web", "--", "no-such-program")
        assert code == 1
        assert "executable file not found" in err
        code, out, _ = await run("attach", "-i", "web", stdin="hello\n")
        assert (code, out) == (0, "hello\n")

    on_both(tmp_path, wire, scenario)


@wires
def test_a_client_that_leaves_ends_its_process(tmp_path: Path, wire: str) -> None:
    async def scenario(bench: Bench) -> None:
        script = "echo up; exec sleep 600"
        process = await bench.kubectl.start("exec", "web", "--", "sh", "-c", script)
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"up\n"
        process.kill()
        await process.communicate()
        await asyncio.wait_for(bench.runtime.sessions[0].wait(), 10)

    on_both(tmp_path, wire, scenario)


@wires
def test_files_are_copied(tmp_path: Path, wire: str) -> None:
    async def scenario(bench: Bench) -> None:
        here, there, back = (tmp_path / name for name in ("here", "there", "back"))
        here.write_bytes(os.urandom(700_000))
        await bench.kubectl("cp", str(here), f"web:{there}")
        await bench.kubectl("cp", f"web:{there}", str(back))
        assert back.read_bytes() == here.read_bytes()

    on_both(tmp_path, wire, scenario)


@wires
def test_ports_are_forwarded(tmp_path: Path, wire: str) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def one(port: int, n: int) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = bytes([n]) * 500_000
        sending = asyncio.ensure_future(send(writer, data))
        got = await reader.readexactly(len(data))
        await sending
        writer.close()
        await writer.wait_closed()
        return got == data

    async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    async def scenario(bench: Bench) -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        process = await bench.kubectl.start("port-forward", "web", f":{port}")
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            match = re.search(rb"127\.0\.0\.1:(\d+) ->", line)
            assert match is not None, line
            ours = (one(int(match[1]), n) for n in range(5))
            assert await asyncio.wait_for(asyncio.gather(*ours), 30) == [True] * 5
        finally:
            process.kill()
            await process.communicate()
            server.close()
            await server.wait_closed()

    on_both(tmp_path, wire, scenario)


def test_logs_are_followed_until_the_container_ends(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        with bench.containers.path.open("ab", buffering=0) as log:
            log.write(b"2026-01-01T00:00:00.1Z stdout F one\n")
            process = await bench.kubectl.start("logs", "-f", "web")
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 20) == b"one\n"
            log.write(b"2026-01-01T00:00:01.1Z stderr F two\n")
            assert await asyncio.wait_for(process.stdout.readline(), 20) == b"two\n"
            bench.containers.runs = False
        await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0

    on_both(tmp_path, "websocket", scenario)
