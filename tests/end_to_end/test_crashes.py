"""Kill either process at any moment: containers go on, nothing acknowledged is lost, all converges."""

from __future__ import annotations

import time

import pytest

from tests.end_to_end.test_pods import pod
from tests.end_to_end.test_services import fetch, web

pytestmark = [pytest.mark.root, pytest.mark.slow]


def uptime(cloud, namespace: str, name: str) -> str:
    (status,) = cloud.get("-n", namespace, "pod", name)["status"]["containerStatuses"]
    return f"{status['restartCount']} {status['containerID']}"


def test_a_killed_node_finds_its_containers_again(cloud, namespace):
    document = "\n".join(
        pod(name, script, restartPolicy="Never")
        for name, script in (("stays", "sleep 1000"), ("ends", "sleep 3; echo late; exit 9"))
    )
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=document)
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/stays", "pod/ends")
    before = uptime(cloud, namespace, "stays")
    cloud.kill("node")
    time.sleep(4)  # the other ends while nobody looks
    cloud.start("node")
    cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Failed", "pod/ends")
    (status,) = cloud.get("-n", namespace, "pod", "ends")["status"]["containerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 9
    assert cloud.kubectl("-n", namespace, "logs", "ends") == "late\n"
    assert uptime(cloud, namespace, "stays") == before
    assert cloud.kubectl("-n", namespace, "exec", "stays", "--", "hostname") == "stays\n"


def test_a_killed_server_loses_nothing_and_traffic_goes_on(cloud, namespace):
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=web("web", 2, cloud.node_port(3)))
    cloud.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    cloud.kubectl("-n", namespace, "create", "configmap", "kept", "--from-literal=a=b")
    cloud.kill("server")
    assert fetch(f"http://127.0.0.1:{cloud.node_port(3)}")
    cloud.start("server")
    cloud.wait_until_ready()
    assert cloud.get("-n", namespace, "configmap", "kept")["data"] == {"a": "b"}
    cloud.kubectl("-n", namespace, "scale", "deployment/web", "--replicas=3")
    cloud.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")


def test_kills_at_random_moments_of_a_rollout_converge(cloud, namespace):
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=web("web", 3))
    for number, (name, pause) in enumerate(
        [("node", 0.1), ("server", 0.25), ("node", 0.4), ("node", 0.05), ("server", 0.6)]
    ):
        cloud.kubectl("-n", namespace, "set", "env", "deployment/web", f"TURN={number}")
        time.sleep(pause)
        cloud.kill(name)
        cloud.start(name)
        cloud.wait_until_ready()
    cloud.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=90s")
    pods = [
        p
        for p in cloud.get("-n", namespace, "pods")["items"]
        if "deletionTimestamp" not in p["metadata"]
    ]
    assert len(pods) == 3
    address = cloud.get("-n", namespace, "service", "web")["spec"]["clusterIP"]
    assert fetch(f"http://{address}")
