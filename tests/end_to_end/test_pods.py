"""Pods as a user of kubectl meets them, on the real machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cloud import KUBECTL, free_port

pytestmark = [pytest.mark.root, pytest.mark.slow]


def pod(name: str, script: str, **spec) -> str:
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", script]}
    container |= spec.pop("container", {})
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
        }
    )


def test_a_pod_runs_to_its_end_and_its_log_and_code_are_kept(cloud, namespace):
    cloud.kubectl(
        "-n",
        namespace,
        "apply",
        "-f",
        "-",
        stdin=pod("once", "echo hello; exit 3", restartPolicy="Never"),
    )
    cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Failed", "pod/once")
    assert cloud.kubectl("-n", namespace, "logs", "once") == "hello\n"
    (status,) = cloud.get("-n", namespace, "pod", "once")["status"]["containerStatuses"]
    ended = status["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")


def test_run_it_and_take_it_away(cloud, namespace):
    words = [
        "run",
        "x",
        "--image=busybox",
        "--restart=Never",
        "--rm",
        "-i",
        "--quiet",
        "--command",
        "--",
        "cat",
    ]
    assert cloud.kubectl("-n", namespace, *words, stdin="through\n").strip() == "through"
    assert cloud.get("-n", namespace, "pods")["items"] == []


def test_exec_cp_and_attach(cloud, namespace, tmp_path):
    cloud.kubectl(
        "-n",
        namespace,
        "apply",
        "-f",
        "-",
        stdin=pod(
            "box", "while read line; do echo got $line; done; sleep 1000", container={"stdin": True}
        ),
    )
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/box")
    assert cloud.kubectl("-n", namespace, "exec", "box", "--", "hostname") == "box\n"
    done = cloud.run("-n", namespace, "exec", "box", "--", "sh", "-c", "exit 7")
    assert done.returncode == 7
    out = cloud.kubectl("-n", namespace, "exec", "-i", "box", "--", "wc", "-c", stdin="x" * 300_000)
    assert out.strip() == "300000"
    source = tmp_path / "file"
    source.write_bytes(os.urandom(200_000))
    # cp needs tar in the image, which busybox has
    cloud.kubectl("-n", namespace, "cp", str(source), "box:/tmp/file")
    cloud.kubectl("-n", namespace, "cp", "box:/tmp/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("websockets", ["true", "false"])
def test_both_ways_of_exec_and_port_forward(cloud, namespace, websockets):
    cloud.kubectl(
        "-n",
        namespace,
        "apply",
        "-f",
        "-",
        stdin=pod("web", "mkdir /www; echo page > /www/index.html; httpd -f -p 8080 -h /www"),
    )
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/web")
    environment = os.environ | {
        "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets,
        "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets,
    }
    base = [KUBECTL, "--kubeconfig", cloud.kubeconfig, "-n", namespace]
    done = subprocess.run(
        [*base, "exec", "-i", "web", "--", "cat"], input=b"there and back",
        capture_output=True, env=environment, timeout=30,
    )  # fmt: skip
    assert done.stdout == b"there and back", done.stderr
    port = free_port()
    forward = subprocess.Popen(
        [*base, "port-forward", "pod/web", f"{port}:8080"], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert forward.stdout is not None
        assert b"Forwarding from" in forward.stdout.readline()
        for _ in range(3):
            page = subprocess.run(
                ["curl", "-s", "--noproxy", "*", f"http://127.0.0.1:{port}/"],
                capture_output=True, timeout=20,
            )  # fmt: skip
            assert page.stdout == b"page\n"
    finally:
        forward.send_signal(signal.SIGINT)
        forward.wait()
        forward.stdout.close()


def test_a_missing_image_says_so_and_disturbs_nobody(cloud, namespace):
    spec = pod("lost", "true", container={"image": "127.0.0.1:1/no/such:1"})
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=spec)
    cloud.wait(
        "-n",
        namespace,
        "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull",
        "pod/lost",
    )
    described = cloud.kubectl("-n", namespace, "describe", "pod", "lost")
    assert "Failed to pull image" in described


def test_restarts_back_off_and_previous_logs_are_there(cloud, namespace):
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=pod("crash", "echo try; exit 1"))
    cloud.wait(
        "-n", namespace, "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/crash"
    )
    assert cloud.kubectl("-n", namespace, "logs", "crash", "--previous") == "try\n"
    cloud.wait(
        "-n",
        namespace,
        "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff",
        "pod/crash",
    )


def test_memory_over_the_limit_is_killed_and_told(cloud, namespace):
    spec = pod(
        "greedy", "tail /dev/zero", restartPolicy="Never",
        container={"resources": {"limits": {"memory": "20Mi"}}},
    )  # fmt: skip
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=spec)
    cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Failed", "pod/greedy")
    (status,) = cloud.get("-n", namespace, "pod", "greedy")["status"]["containerStatuses"]
    ended = status["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_a_mounted_config_map_follows_its_changes(cloud, namespace):
    cloud.kubectl("-n", namespace, "create", "configmap", "settings", "--from-literal=colour=red")
    spec = pod(
        "reader", "sleep 1000", volumes=[{"name": "v", "configMap": {"name": "settings"}}],
        container={"volumeMounts": [{"name": "v", "mountPath": "/etc/settings"}]},
    )  # fmt: skip
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=spec)
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/reader")
    read = ("-n", namespace, "exec", "reader", "--", "cat", "/etc/settings/colour")
    assert cloud.kubectl(*read) == "red"
    cloud.kubectl(
        "-n", namespace, "patch", "configmap", "settings", "-p", '{"data":{"colour":"blue"}}'
    )
    deadline = time.monotonic() + 20
    while cloud.kubectl(*read) != "blue":
        assert time.monotonic() < deadline


def test_init_and_sidecar_containers_keep_their_order(cloud, namespace):
    shared = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    steps = [
        {"name": "first", "image": "busybox", "command": ["sh", "-c", "echo 1 >> /v/order"], **shared},
        {"name": "side", "image": "busybox", "restartPolicy": "Always",
         "command": ["sh", "-c", "echo side >> /v/order; sleep 1000"],
         "startupProbe": {"exec": {"command": ["grep", "-q", "side", "/v/order"]}, "periodSeconds": 1}, **shared},
    ]  # fmt: skip
    spec = pod(
        "ordered", "echo main >> /v/order; cat /v/order", initContainers=steps,
        restartPolicy="Never", volumes=[{"name": "v", "emptyDir": {}}], container=shared,
    )  # fmt: skip
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=spec)
    cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "pod/ordered")
    assert cloud.kubectl("-n", namespace, "logs", "ordered", "-c", "c") == "1\nside\nmain\n"


def test_a_liveness_probe_restarts_and_a_readiness_probe_takes_out_of_service(cloud, namespace):
    spec = pod(
        "probed", "touch /tmp/alive; sleep 2; rm /tmp/alive; sleep 1000",
        container={
            "livenessProbe": {"exec": {"command": ["cat", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1},
            "readinessProbe": {"exec": {"command": ["cat", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1},
        },
    )  # fmt: skip
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=spec)
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/probed")
    cloud.wait(
        "-n",
        namespace,
        "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
        "pod/probed",
    )
    events = cloud.kubectl("-n", namespace, "get", "events")
    assert "Liveness probe failed" in events


def test_the_security_context_is_what_the_process_sees(cloud, namespace):
    spec = pod(
        "safe", "id -u; id -G; grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; touch /x || echo read-only",
        restartPolicy="Never", securityContext={"runAsUser": 1234, "runAsGroup": 99, "supplementalGroups": [7]},
        container={"securityContext": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False}},
    )  # fmt: skip
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=spec)
    cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "pod/safe")
    log = cloud.kubectl("-n", namespace, "logs", "safe")
    words = log.split()
    assert words[:3] == ["1234", "99", "7"]
    assert "0000000000000000" in log
    assert words[words.index("NoNewPrivs:") + 1] == "1"
    assert words[words.index("Seccomp:") + 1] == "2"
    assert "read-only" in log


def test_a_service_account_token_opens_the_api_through_its_service(cloud, namespace):
    cloud.kubectl(
        "create", "clusterrolebinding", namespace, "--clusterrole=view",
        f"--serviceaccount={namespace}:default",
    )  # fmt: skip
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=pod("inside", "sleep 1000"))
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/inside")
    inside = ("-n", namespace, "exec", "inside", "--", "sh", "-c")
    cloud.kubectl(*inside, "nc -w 3 kubernetes.default.svc 443 < /dev/null")
    # The TLS of busybox speaks with no ECDSA key, so what the pod holds is used by curl out here.
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    token = cloud.kubectl(*inside, f"cat {folder}/token")
    Path(cloud.settings.run, "from-pod.crt").write_text(
        cloud.kubectl(*inside, f"cat {folder}/ca.crt")
    )
    address = cloud.get("service", "kubernetes")["spec"]["clusterIP"]
    for place, status in ((namespace, "200"), ("kube-system/secrets", "403")):
        done = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*", "-m", "10",
             "--cacert", f"{cloud.settings.run}/from-pod.crt", "-H", f"Authorization: Bearer {token}",
             f"https://{address}/api/v1/namespaces/{place}"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout == status
    cloud.kubectl("delete", "clusterrolebinding", namespace)


def test_an_ephemeral_container_joins_a_running_pod(cloud, namespace):
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=pod("target", "sleep 1000"))
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/target")
    out = cloud.kubectl(
        "-n",
        namespace,
        "debug",
        "target",
        "--image=busybox",
        "--profile=general",
        "-i",
        "--quiet",
        "--",
        "hostname",
    )
    assert "target" in out
