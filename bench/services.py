"""A changed endpoint, from the write at the API until the other one answers at the Service."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.table import Table, spread
from tests.cloud import Cloud, settings_for

MANY = 5_000
CHANGES = 20


def run(table: Table) -> None:
    with tempfile.TemporaryDirectory(prefix="jb") as folder:
        cloud = Cloud(settings_for(Path(folder)))
        try:
            cloud.start()
            cloud.wait_until_ready()
            samples = changes(cloud)
        finally:
            cloud.end()
    table.add(
        f"a changed endpoint until it answers, {MANY} Services", spread(samples), "", "<= 50 ms"
    )


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
