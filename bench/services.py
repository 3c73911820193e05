"""A packet's way through five Services and through five thousand; a changed endpoint until it is reached."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from bench.table import Table, ratio, spread
from jindou.machine.linux import namespaces
from jindou.machine.network import Attachment, Balance, Endpoint, Plug, Rules
from jindou.machine.network.bridge import BridgeNetwork
from jindou.settings import Settings
from tests.cloud import Cloud, settings_for
from tests.machine.isolation import isolated

FEW, MANY = 5, 5_000
FLOWS = 400  # exchanges a sample, each a flow of its own, so that each passes the maps
SAMPLES = 20
CHANGES = 20


def run(table: Table) -> None:
    results: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="jb") as folder:

        @isolated
        def measure() -> None:
            results.update(asyncio.run(flows(Path(folder))))

        measure()
    few, many = results[FEW], results[MANY]
    table.add(f"a new flow with {FEW} Services", spread(few, "us", 1e6))
    table.add(
        f"a new flow with {MANY} Services", spread(many, "us", 1e6), ratio(many, few), "<= 1.05 x"
    )
    with tempfile.TemporaryDirectory(prefix="jb") as folder:
        cloud = Cloud(settings_for(Path(folder), 3))
        try:
            cloud.start()
            cloud.wait_until_ready()
            samples = changes(cloud)
        finally:
            cloud.end()
    table.add(
        f"a changed endpoint until it answers, {MANY} Services", spread(samples), "", "<= 50 ms"
    )


# ---------------------------------------------------------------- packets


def within(unit: Attachment) -> socket.socket:
    """A datagram socket of a unit's own network."""
    with ThreadPoolExecutor(1) as pool:
        path = unit.namespaces["network"]
        make = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # noqa: E731
        return pool.submit(namespaces.enter, path, make).result()


async def flows(folder: Path) -> dict[int, list[float]]:
    network = BridgeNetwork(Settings(run=str(folder)))
    await network.open()
    try:
        client = await network.attach(Plug("client", "client"))
        server = await network.attach(Plug("server", "server"))
        echo = within(server)
        echo.bind(("0.0.0.0", 9))
        threading.Thread(target=answer, args=(echo,), daemon=True).start()
        found: dict[int, list[float]] = {FEW: [], MANY: []}
        for _ in range(SAMPLES):
            for count in (FEW, MANY):
                await network.program(Rules(tuple(balances(count, server.addresses[0]))))
                found[count].append(await asyncio.to_thread(exchange, client))
        return found
    finally:
        await network.close()


def answer(echo: socket.socket) -> None:
    while True:
        data, peer = echo.recvfrom(100)
        echo.sendto(data, peer)


def balances(count: int, endpoint: str) -> list[Balance]:
    return [
        Balance(f"10.211.{n >> 8}.{n & 255}", "udp", 9, (Endpoint(endpoint, 9),))
        for n in range(1, count + 1)
    ]


def exchange(client: Attachment) -> float:
    """Seconds of one question and answer through the first Service, by the median of many."""
    with ThreadPoolExecutor(1) as pool:

        def many() -> float:
            times = []
            for _ in range(FLOWS):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.settimeout(2)
                    began = time.perf_counter()
                    one.sendto(b"?", ("10.211.0.1", 9))
                    one.recv(100)
                    times.append(time.perf_counter() - began)
            return median(times)

        return pool.submit(namespaces.enter, client.namespaces["network"], many).result()


# ---------------------------------------------------------------- from the API to the packet


def changes(cloud: Cloud) -> list[float]:
    list(cloud.api.lines("POST", "/api/v1/nodes/here/proxy/images/bootstrap?name=busybox"))
    cloud.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=20s")
    for name in ("a", "b"):
        script = f"mkdir /w; echo {name} > /w/index.html; exec httpd -f -p 80 -h /w"
        cloud.kubectl(
            "run", name, "--image=busybox", "--image-pull-policy=IfNotPresent",
            "--command", "--", "sh", "-c", script,
        )  # fmt: skip
    cloud.wait("--for=condition=Ready", "pod/a", "pod/b")
    places = {n: cloud.get("pod", n)["status"]["podIP"] for n in ("a", "b")}
    base, groups = "/api/v1/namespaces/default", "/apis/discovery.k8s.io/v1/namespaces/default"
    for n in range(MANY):
        cloud.api.request("POST", f"{base}/services", service(f"s{n}"))
        cloud.api.request("POST", f"{groups}/endpointslices", slice_of(f"s{n}", places["a"]))
    address = cloud.get("service", "s7")["spec"]["clusterIP"]
    while fetch(address) != "a":
        time.sleep(0.1)
    samples = []
    for turn in range(CHANGES):
        wanted = "ba"[turn % 2]
        began = time.perf_counter()
        cloud.api.request("PUT", f"{groups}/endpointslices/s7-x", slice_of("s7", places[wanted]))
        while fetch(address) != wanted:
            pass
        samples.append(time.perf_counter() - began)
    return samples


def service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}]},
    }


def slice_of(name: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-x", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"port": 80, "protocol": "TCP", "name": ""}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }


def fetch(address: str) -> str:
    try:
        with socket.create_connection((address, 80), timeout=2) as one:
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            parts = []
            while data := one.recv(4096):
                parts.append(data)
            return b"".join(parts).rpartition(b"\n\r\n")[2].decode().strip() or json.dumps(None)
    except OSError:
        return ""
