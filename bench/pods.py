"""A Pod from its creation to its first instruction, beside `runc run`; fifty at once; their deletion."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench.rest import cpu
from bench.table import Table, ratio, spread
from tests.cloud import Cloud, settings_for

RUNS = 20
MANY = 50
ROUNDS = 3


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "c",
                    "image": "busybox",
                    "imagePullPolicy": "IfNotPresent",
                    "command": [
                        "sh",
                        "-c",
                        f"trap exit TERM; touch /mark/{name}; sleep 1000 & wait",
                    ],
                    "volumeMounts": [{"name": "mark", "mountPath": "/mark"}],
                }
            ],
            "volumes": [{"name": "mark", "hostPath": {"path": os.environ["BENCH_MARK"]}}],
        },
    }


def started(folder: Path, name: str, seconds: float = 30.0) -> float:
    """When the process of that name wrote its mark (the clock of this machine); waits by inotify."""
    path = folder / name
    deadline = time.time() + seconds
    while not path.exists():
        if time.time() > deadline:
            raise AssertionError(f"{name} did not start")
        time.sleep(0.0005)
    return path.stat().st_mtime


def run(table: Table) -> None:
    with tempfile.TemporaryDirectory(prefix="jb") as folder:
        mark = Path(folder) / "mark"
        mark.mkdir()
        os.environ["BENCH_MARK"] = str(mark)
        cloud = Cloud(settings_for(Path(folder)))
        try:
            cloud.start()
            cloud.wait_until_ready()
            list(cloud.api.lines("POST", "/api/v1/nodes/here/proxy/images/bootstrap?name=busybox"))
            wait_for_account(cloud)
            ours, floor = single(cloud, mark, Path(folder))
            table.add("`runc run`, same profile", spread(floor))
            table.add("create a Pod, until it runs", spread(ours), ratio(ours, floor), "<= 1.2 x")
            burst(cloud, mark, table)
        finally:
            cloud.end()


def wait_for_account(cloud: Cloud) -> None:
    while not cloud.run("get", "serviceaccount", "default").stdout:
        time.sleep(0.05)


def single(cloud: Cloud, mark: Path, folder: Path) -> tuple[list[float], list[float]]:
    ours, floor = [], []
    bundle = make_bundle(cloud, folder, mark)
    for number in range(RUNS + 2):
        name = f"one-{number}"
        began = time.time()
        cloud.api.request(
            "POST",
            "/api/v1/namespaces/default/pods",
            pod(name),
        )
        ours.append(started(mark, name) - began)
        cloud.api.request("DELETE", f"/api/v1/namespaces/default/pods/{name}")
        gone(cloud)
        floor.append(run_raw(bundle, mark, f"raw-{number}"))
    return ours[2:], floor[2:]


def gone(cloud: Cloud, seconds: float = 30.0) -> float:
    """Until no Pod is left; returns when that was."""
    listing = cloud.api.get("/api/v1/namespaces/default/pods")
    left = {item["metadata"]["name"] for item in listing["items"]}
    revision = listing["metadata"]["resourceVersion"]
    if not left:
        return time.time()
    path = f"/api/v1/namespaces/default/pods?watch=true&resourceVersion={revision}&timeoutSeconds={int(seconds)}"
    for event in cloud.api.lines("GET", path):
        if event["type"] == "DELETED":
            left.discard(event["object"]["metadata"]["name"])
        if not left:
            return time.time()
    raise AssertionError(f"{len(left)} Pods stayed")


def make_bundle(cloud: Cloud, folder: Path, mark: Path) -> Path:
    """What the node itself gave the runtime for such a Pod, as a bundle of its own namespaces."""
    cloud.api.request("POST", "/api/v1/namespaces/default/pods", pod("model"))
    cloud.wait("--for=condition=Ready", "pod/model")
    find = f"cat {cloud.settings.run}/units/bundles/*-c-0/config.json"
    done = subprocess.run(
        ["nsenter", f"--mount={cloud.settings.run}/mounts", "sh", "-c", find],
        capture_output=True, check=True,
    )  # fmt: skip
    cloud.api.request("DELETE", "/api/v1/namespaces/default/pods/model")
    gone(cloud)
    config = json.loads(done.stdout)
    bundle = folder / "bundle"
    root = bundle / "rootfs"
    for name in ("bin", "mark", "proc", "dev", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    for name in ("sh", "touch", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    config["root"] = {"path": "rootfs"}
    config["mounts"] = [
        m for m in config["mounts"] if m.get("type") != "bind" or m["destination"] == "/mark"
    ]
    linux = config["linux"]
    linux["namespaces"] = [{"type": held["type"]} for held in linux["namespaces"]]
    linux.pop("cgroupsPath", None)
    config.pop("annotations", None)
    assert "seccomp" in linux, "the Pod ran without a system call filter"
    (bundle / "template.json").write_text(json.dumps(config))
    return bundle


def run_raw(bundle: Path, mark: Path, name: str) -> float:
    config = json.loads((bundle / "template.json").read_text())
    config["process"]["args"] = ["sh", "-c", f"touch /mark/{name}; exec sleep 1000"]
    (bundle / "config.json").write_text(json.dumps(config))
    began = time.time()
    process = subprocess.Popen(
        ["runc", "run", "--bundle", str(bundle), name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    took = started(mark, name) - began
    subprocess.run(["runc", "kill", name, "KILL"], capture_output=True)
    process.wait()
    subprocess.run(["runc", "delete", "-f", name], capture_output=True)
    return took


def burst(cloud: Cloud, mark: Path, table: Table) -> None:
    rates, removals, costs = [], [], []
    pids = [process.pid for process in cloud.processes.values()]
    for turn in range(ROUNDS):
        names = [f"many-{turn}-{n}" for n in range(MANY)]
        used = sum(map(cpu, pids))
        began = time.time()
        threads = [
            threading.Thread(
                target=lambda part=names[k::4]: [
                    cloud.api.request(
                        "POST",
                        "/api/v1/namespaces/default/pods",
                        pod(name),
                    )
                    for name in part
                ]
            )
            for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last = max(started(mark, name) for name in names)
        rates.append(MANY / (last - began))
        settled(cloud)
        costs.append((sum(map(cpu, pids)) - used) / MANY)
        began = time.time()
        cloud.api.request("DELETE", "/api/v1/namespaces/default/pods")
        removals.append(gone(cloud) - began)
    table.add(f"{MANY} at once, per second", spread(rates, "/s", 1), "", ">= 40 /s")
    table.add(f"deletion of {MANY}", spread(removals, "s", 1), "", "<= 1 s")
    table.add("CPU per Pod, server and node", spread(costs), "", "<= 35 ms")


def settled(cloud: Cloud) -> None:
    """Until every Pod says that it runs."""
    while True:
        items = cloud.api.get("/api/v1/namespaces/default/pods")["items"]
        if all(item["status"].get("phase") == "Running" for item in items):
            return
        time.sleep(0.05)
