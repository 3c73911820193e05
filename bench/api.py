"""The API through TLS, authentication and authorization: get, list, create, update and fan-out, beside floors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

from bench.table import Table, ratio, spread
from tests.cloud import Cloud, free_port, settings_for

PODS = 5_000
ROUNDS = 5
WATCHERS = 100
EVENTS = 200

FLOOR = """
    import asyncio, sys
    from jindou.serve import loop_factory
    from jindou.transport.tls import server_context
    from jindou.transport import Response
    from jindou.transport.server import listening, serve
    from pathlib import Path
    body = Path(sys.argv[2]).read_bytes()
    answer = Response(200, body, (("Content-Type", "application/json"),))
    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await serve(lambda request: answer, [listening("127.0.0.1", int(sys.argv[1]))], server_context(sys.argv[3] + "/server.crt", sys.argv[3] + "/server.key"))
        await asyncio.Event().wait()
    asyncio.Runner(loop_factory=loop_factory()).run(main())
"""
HEADERS = 'wrk.headers["Authorization"] = "Bearer {token}"\nwrk.headers["Content-Type"] = "application/json"\n'
CREATE = """
local thread_count = 0
function setup(thread) thread:set("id", thread_count); thread_count = thread_count + 1 end
local n = 0
function request()
  n = n + 1
  return wrk.format("POST", "/api/v1/namespaces/default/pods", nil, (string.gsub(body, "NAME", "{prefix}-" .. id .. "-" .. n)))
end
function init(args) body = [==[{body}]==] end
"""
UPDATE = """
local n = 0
function request()
  n = n + 1
  return wrk.format("PUT", "/api/v1/namespaces/default/configmaps/c" .. (n % 500), nil,
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c' .. (n % 500) .. '"},"data":{"n":"' .. n .. id .. '"}}')
end
local thread_count = 0
function setup(thread) thread:set("id", thread_count); thread_count = thread_count + 1 end
"""


def pod(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "tier": "web"}},
        "spec": {
            "nodeName": "nowhere",
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example/web:1.2.3",
                    "ports": [{"containerPort": 8080}],
                    "env": [{"name": f"KEY_{n}", "value": "value"} for n in range(5)],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
                }
            ],
        },
    }


class Wrk:
    def __init__(self, folder: Path, token: str) -> None:
        self.folder, self.token = folder, token

    def run(self, url: str, script: str = "", connections: int = 50, seconds: int = 3) -> float:
        """Answers per second; all of them have to be good ones."""
        path = self.folder / "script.lua"
        path.write_text(HEADERS.format(token=self.token) + script)
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(path), url],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "Non-2xx" not in done.stdout, done.stdout
        return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])  # type: ignore[index]


def run(table: Table) -> None:
    if not shutil.which("wrk"):
        table.add("wrk is not installed", "-")
        return
    with tempfile.TemporaryDirectory(prefix="jb") as name:
        folder = Path(name)
        cloud = Cloud(settings_for(folder))
        try:
            cloud.start("server")
            wait_for_server(cloud)
            measure(cloud, folder, table)
        finally:
            cloud.end()


def wait_for_server(cloud: Cloud) -> None:
    while not (cloud.api.running() and cloud.run("get", "sa", "default").returncode == 0):
        time.sleep(0.05)


def measure(cloud: Cloud, folder: Path, table: Table) -> None:
    cloud.kubectl("create", "serviceaccount", "bench", "-n", "default")
    cloud.kubectl(
        "create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin",
        "--serviceaccount=default:bench",
    )  # fmt: skip
    token = cloud.kubectl("create", "token", "bench", "--duration=2h").strip()
    wrk = Wrk(folder, token)
    base = f"https://127.0.0.1:{cloud.settings.api_port}"
    cloud.api.request("POST", "/api/v1/namespaces/default/pods", pod("one"))
    one = json.dumps(cloud.api.get("/api/v1/namespaces/default/pods/one")).encode()
    (folder / "one.json").write_bytes(one)
    port = free_port()
    pki = Path(cloud.settings.data) / "pki"
    floor = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(FLOOR),
            str(port),
            str(folder / "one.json"),
            str(pki),
        ]
    )
    try:
        time.sleep(1)
        floors, gets = [], []
        for _ in range(ROUNDS):
            floors.append(wrk.run(f"https://127.0.0.1:{port}/"))
            gets.append(wrk.run(f"{base}/api/v1/namespaces/default/pods/one"))
        table.add("empty handler (floor)", spread(floors, "/s", 1))
        table.add("get by name", spread(gets, "/s", 1), ratio(gets, floors), ">= 0.45 x")
    finally:
        floor.terminate()
        floor.wait()
    creating(cloud, wrk, base, table)
    listing(cloud, token, table)
    for n in range(500):
        cloud.api.request(
            "POST",
            "/api/v1/namespaces/default/configmaps",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{n}"}},
        )
    updates = [wrk.run(base, UPDATE) for _ in range(ROUNDS)]
    table.add("update", spread(updates, "/s", 1))
    asyncio.run(fan_out(cloud, token, table))


def creating(cloud: Cloud, wrk: Wrk, base: str, table: Table) -> None:
    rates = []
    body = json.dumps(pod("NAME"))
    for number in range(ROUNDS):
        script = CREATE.replace("{prefix}", f"p{number}").replace("{body}", body)
        rates.append(wrk.run(base, script, seconds=2))
    table.add("create a Pod", spread(rates, "/s", 1))
    cloud.api.request("DELETE", "/api/v1/namespaces/default/pods?gracePeriodSeconds=0")


def listing(cloud: Cloud, token: str, table: Table) -> None:
    for n in range(PODS):
        cloud.api.request("POST", "/api/v1/namespaces/default/pods", pod(f"listed-{n}"))
    context = ssl.create_default_context(cafile=str(Path(cloud.settings.data) / "pki" / "ca.crt"))
    port = cloud.settings.api_port
    request = (
        f"GET /api/v1/namespaces/default/pods HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    ).encode()
    samples, size = [], 0
    for _ in range(20):
        with connected(port, context) as tls:
            began = time.perf_counter()
            tls.sendall(request)
            size = 0
            while data := tls.recv(1 << 18):
                size += len(data)
            samples.append(time.perf_counter() - began)
    floor = copies(cloud, size)
    table.add(f"TLS copy of {size / 1e6:.1f} MB (floor)", spread(floor))
    table.add(f"list of {PODS} Pods", spread(samples), ratio(samples, floor), "<= 1.6 x")


@contextlib.contextmanager
def connected(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    raw = socket.create_connection(("127.0.0.1", port))
    with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        yield tls


def copies(cloud: Cloud, size: int) -> list[float]:
    """The same number of bytes by a blocking `sendall` from another process."""
    code = """
        import socket, ssl, sys
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2] + "/server.crt", sys.argv[2] + "/server.key")
        server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
        print("ready", flush=True)
        data = b"x" * int(sys.argv[3])
        while True:
            raw, _ = server.accept()
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(raw, server_side=True) as tls:
                tls.recv(1)
                for at in range(0, len(data), 65536):
                    tls.sendall(data[at:at + 65536])
    """
    port, pki = free_port(), Path(cloud.settings.data) / "pki"
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(port), str(pki), str(size)],
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    server.stdout.readline()
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    samples = []
    try:
        for _ in range(20):
            with connected(port, context) as tls:
                began = time.perf_counter()
                tls.sendall(b"x")
                got = 0
                while got < size and (data := tls.recv(1 << 18)):
                    got += len(data)
                samples.append(time.perf_counter() - began)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    return samples


async def fan_out(cloud: Cloud, token: str, table: Table) -> None:
    """One ConfigMap changed again and again, and a hundred watches that are told each time."""
    context = ssl.create_default_context(cafile=str(Path(cloud.settings.data) / "pki" / "ca.crt"))
    path = "/api/v1/namespaces/default/configmaps?watch=true&fieldSelector=metadata.name=c1"
    told: list[list[float]] = [[] for _ in range(WATCHERS)]
    ready = asyncio.Semaphore(0)

    async def watch(number: int) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", cloud.settings.api_port, ssl=context
        )
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        while not (await reader.readline()).startswith(b'{"type"'):
            pass
        ready.release()
        while len(told[number]) < EVENTS:
            if (await reader.readline()).startswith(b'{"type"'):
                told[number].append(time.perf_counter())
        writer.close()

    watches = [asyncio.create_task(watch(n)) for n in range(WATCHERS)]
    for _ in range(WATCHERS):
        await ready.acquire()
    sent = []

    def change() -> None:
        for number in range(EVENTS):
            sent.append(time.perf_counter())
            cloud.api.request(
                "PATCH", "/api/v1/namespaces/default/configmaps/c1",
                {"data": {"n": f"fan-{number}"}}, "application/merge-patch+json",
            )  # fmt: skip
            time.sleep(0.005)

    await asyncio.to_thread(change)
    await asyncio.gather(*watches)
    last = [max(one[n] for one in told) - sent[n] for n in range(EVENTS)]
    table.add(f"a change until the last of {WATCHERS} watchers has it", spread(last))
