"""After a reboot: no process, no mount, no run folder, no network; only what is on the disk."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from jindou.machine.linux import mounts
from tests.cloud import Cloud
from tests.faults.leaks import settle
from tests.faults.test_kills import IMAGE, pod

pytestmark = [pytest.mark.root, pytest.mark.slow]


def power_off(cloud: Cloud) -> None:
    """All that a reboot ends, by force; what the kernel would forget is taken away."""
    for name in list(cloud.processes):
        cloud.kill(name)
    run, name = cloud.settings.run, cloud.settings.name
    while pids := ours(cloud):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    subprocess.run(["nsenter", f"--mount={run}/mounts", "sh", "-c", f"""
        for one in $(awk '{{print $5}}' /proc/self/mountinfo | grep '^{run}/' | tac); do
            umount -l $one
        done
        find /sys/fs/cgroup -mindepth 2 -depth -type d -path '*/{name}*' -exec rmdir {{}} +
    """], check=False, capture_output=True)  # fmt: skip
    for place in mounts.mount_points(Path(run)):
        mounts.unmount(place)
    shutil.rmtree(run)
    for command in (f"ip link delete {cloud.settings.bridge}", f"nft delete table inet {name}"):
        subprocess.run(command.split(), check=True)


def ours(cloud: Cloud) -> list[int]:
    """Processes of its containers, and their conmons."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups = (folder / "cgroup").read_text()
            words = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rpartition(") ")[2][0]
        except OSError:
            continue
        mine = f":/{cloud.settings.name}/" in groups or f"{cloud.settings.run}/".encode() in words
        if mine and state != "Z":
            found.append(int(folder.name))
    return found


def web(name: str, replicas: int) -> str:
    script = f"mkdir /w; echo {name} >/w/index.html; exec httpd -f -p 8080 -h /w"
    container = {"name": "web", "command": ["sh", "-c", script], **IMAGE}
    container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    labels = {"app": name}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    wanted = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    port = {"port": 80, "targetPort": 8080}
    items = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": wanted},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
         "spec": {"selector": labels, "ports": [port]}},
    ]  # fmt: skip
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def fetch(address: str, seconds: float = 10.0) -> str:
    began, direct = time.monotonic(), urllib.request.ProxyHandler({})
    while True:
        try:
            with urllib.request.build_opener(direct).open(f"http://{address}", timeout=2) as answer:
                return answer.read().decode().strip()
        except OSError:
            if time.monotonic() - began > seconds:
                raise
            time.sleep(0.05)


def restarts(cloud: Cloud) -> dict[str, int]:
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in cloud.get("pods")["items"]
    }


@pytest.mark.guarantee(30)
def test_a_reboot_brings_everything_back(cloud):
    cloud.kubectl("create", "configmap", "settings", "--from-literal=a=b")
    items = [pod("bare", "bare"), pod("inits", "inits"), pod("volumes", "volumes")]
    items[2]["spec"]["containers"][0]["command"] = [
        "sh", "-c", "cat /settings/a; echo x >>/disk/x; trap exit TERM; sleep 1000 & wait",
    ]  # fmt: skip
    for policy in ("Never", "OnFailure"):
        one = pod(policy.lower(), "bare")
        one["spec"]["restartPolicy"] = policy
        items.append(one)
    done = pod("done", "ends")
    cloud.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*items, done]}))
    cloud.apply(web("web", 2))
    settle(cloud)
    address = cloud.get("service", "web")["spec"]["clusterIP"]
    assert fetch(address) == "web"
    before = restarts(cloud)
    assert set(before.values()) == {0}
    names = set(before)
    power_off(cloud)
    cloud.start()
    cloud.wait_until_ready()
    settle(cloud)
    cloud.wait("--for=condition=Ready", "pod/bare", "pod/inits", "pod/volumes", "pod/onfailure")
    cloud.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    after = restarts(cloud)
    assert set(after) == names
    ended = {"never", "done"}
    assert {name: after[name] for name in names - ended} == dict.fromkeys(names - ended, 1)
    assert (after["never"], after["done"]) == (0, 0)
    phases = {p["metadata"]["name"]: p["status"]["phase"] for p in cloud.get("pods")["items"]}
    assert (phases["never"], phases["done"]) == ("Failed", "Succeeded")
    assert fetch(address) == "web"
    assert cloud.kubectl("exec", "volumes", "--", "cat", "/disk/x") == "x\nx\n"
    assert cloud.kubectl("exec", "volumes", "--", "cat", "/settings/a", "/one") == "bb"
    table = ["nft", "list", "table", "inet", cloud.settings.name]
    text = subprocess.run(table, capture_output=True, text=True, check=True).stdout
    held = {one["ip"] for p in cloud.get("pods")["items"] for one in p["status"].get("podIPs", ())}
    assert len(set(re.findall(r"\d+\.\d+\.\d+\.\d+", text)) & held) == 2
