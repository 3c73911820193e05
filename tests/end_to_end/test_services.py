"""Deployments, Services and names, on the real machine and its packet rules."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time

import pytest

pytestmark = [pytest.mark.root, pytest.mark.slow]


def web(name: str, replicas: int, port: int = 0) -> str:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"port": 80, "targetPort": "http", "name": "http"}],
        },
    }
    if port:
        service["spec"] |= {"type": "NodePort"}
        service["spec"]["ports"][0]["nodePort"] = port
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {
                            "name": "web",
                            "image": "busybox",
                            "command": [
                                "sh",
                                "-c",
                                "mkdir /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www",
                            ],
                            "ports": [{"name": "http", "containerPort": 8080}],
                            "readinessProbe": {
                                "httpGet": {"path": "/", "port": "http"},
                                "periodSeconds": 1,
                            },
                        }
                    ],
                },
            },
        },
    }
    return "\n".join(map(json.dumps, (service, deployment)))


def fetch(url: str) -> str:
    done = subprocess.run(
        ["curl", "-s", "-m", "5", "--noproxy", "*", url], capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_service_spreads_over_all_endpoints_and_has_a_name(cloud, namespace):
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=web("web", 3, cloud.node_port(1)))
    cloud.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    pods = {p["metadata"]["name"] for p in cloud.get("-n", namespace, "pods")["items"]}
    address = cloud.get("-n", namespace, "service", "web")["spec"]["clusterIP"]
    for url in (f"http://{address}", f"http://127.0.0.1:{cloud.node_port(1)}"):
        seen = set()
        deadline = time.monotonic() + 20
        while seen != pods:
            seen.add(fetch(url))
            seen.discard("")
            assert seen <= pods
            assert time.monotonic() < deadline
    words = [
        "run",
        "client",
        "--image=busybox",
        "--restart=Never",
        "--rm",
        "-i",
        "--quiet",
        "--command",
        "--",
    ]
    for host in ("web", f"web.{namespace}", f"web.{namespace}.svc.cluster.local"):
        out = cloud.kubectl("-n", namespace, *words, "wget", "-q", "-O", "-", f"http://{host}/")
        assert out.strip() in pods


def test_a_rollout_loses_no_request(cloud, namespace):
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=web("web", 2, cloud.node_port(2)))
    cloud.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    served: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            served.append(page(cloud.node_port(2)))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for words in (
            ("set", "env", "deployment/web", "VERSION=2"),
            ("rollout", "undo", "deployment/web"),
        ):
            cloud.kubectl("-n", namespace, *words)
            cloud.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    finally:
        over.set()
        asking.join()
    assert len(set(served)) >= 4, "the rollouts were over before anybody asked"
    assert [answer for answer in served if not answer.startswith("web-")] == []
    assert (
        "revision" in cloud.kubectl("-n", namespace, "rollout", "history", "deployment/web").lower()
    )


def page(port: int) -> str:
    """The name of the Pod that answers, or what went wrong."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            parts = []
            while data := one.recv(4096):
                parts.append(data)
        return b"".join(parts).rpartition(b"\n\r\n")[2].decode().strip() or "nothing"
    except OSError as error:
        return repr(error)


def test_scaling_to_none_refuses_and_back_serves(cloud, namespace):
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=web("web", 1))
    cloud.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    address = cloud.get("-n", namespace, "service", "web")["spec"]["clusterIP"]
    assert fetch(f"http://{address}")
    cloud.kubectl("-n", namespace, "scale", "deployment/web", "--replicas=0")
    deadline = time.monotonic() + 20
    while True:
        done = subprocess.run(
            ["curl", "-s", "-m", "5", "--noproxy", "*", f"http://{address}"], capture_output=True
        )
        if done.returncode == 7:  # refused at once, not left to a timeout
            break
        assert time.monotonic() < deadline
    cloud.kubectl("-n", namespace, "scale", "deployment/web", "--replicas=2")
    cloud.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    assert fetch(f"http://{address}")
