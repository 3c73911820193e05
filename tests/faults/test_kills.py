"""kill -9 of either process at any moment: all converges, and nothing is left that no Pod has."""

from __future__ import annotations

import json
import random
import subprocess
import time

import pytest

from tests.faults.leaks import differences, settle

pytestmark = [pytest.mark.root, pytest.mark.slow]
SLEEPS = ["sh", "-c", "trap exit TERM; sleep 1000 & wait"]
IMAGE = {"image": "busybox", "imagePullPolicy": "IfNotPresent"}


def pod(name: str, kind: str) -> dict:
    """Each kind leaves other things on the machine."""
    main = {"name": "main", "command": SLEEPS, **IMAGE}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [main]}
    if kind == "inits":
        spec["initContainers"] = [{"name": f"i{n}", "command": ["true"], **IMAGE} for n in range(2)]
    if kind == "volumes":
        spec["volumes"] = [
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "disk", "emptyDir": {}},
            {"name": "settings", "configMap": {"name": "settings"}},
        ]
        main["volumeMounts"] = [
            {"name": "memory", "mountPath": "/memory"},
            {"name": "disk", "mountPath": "/disk"},
            {"name": "settings", "mountPath": "/settings"},
            {"name": "settings", "mountPath": "/one", "subPath": "a"},
        ]
    if kind == "ends":
        spec["restartPolicy"] = "Never"
        main["command"] = ["true"]
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


KINDS = ("bare", "inits", "volumes", "ends")


def names(word: str) -> list[str]:
    return [f"{kind}-{word}" for kind in KINDS]


def create(cloud, *pods: str) -> None:
    items = [pod(name, name.partition("-")[0]) for name in pods]
    cloud.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def delete(cloud, *pods: str) -> None:
    cloud.kubectl("delete", "pods", *pods, "--wait=false", "--ignore-not-found")


def again(cloud, *processes: str) -> None:
    for name in processes:
        cloud.kill(name)
    cloud.start(*processes)


@pytest.fixture(scope="module")
def settings(cloud):
    cloud.kubectl("create", "configmap", "settings", "--from-literal=a=b")


def test_what_the_tests_look_for_is_found(settings, empty):
    """The control: each kind of leak, made by hand."""
    cloud = empty
    create(cloud, "bare-0")
    settle(cloud)
    (uid,) = [pod["metadata"]["uid"] for pod in cloud.get("pods")["items"]]
    stranger = "0" * 8 + uid[8:]
    units, run = f"{cloud.settings.data}/units", cloud.settings.run
    script = f"""
        mkdir -p {units}/{stranger}-main-0 {run}/pods/{stranger}
        mount -t tmpfs none {run}/pods/{stranger}
        touch {run}/network/{stranger}.network {run}/units/bundles/{stranger}-main-0
        mkdir -p /sys/fs/cgroup/pids/{cloud.settings.name}/pods/{stranger} 2>/dev/null ||
            mkdir -p /sys/fs/cgroup/{cloud.settings.name}/pods/{stranger}
    """
    enter = ["nsenter", f"--mount={run}/mounts", "sh", "-c"]
    subprocess.run([*enter, script], check=True)
    found = "\n".join(differences(cloud))
    for what in ("layer of", "mount ", "network file", "cgroup ", "bundle of", "run/pods"):
        assert what in found, found
    script = f"""
        umount {run}/pods/{stranger}
        rmdir {units}/{stranger}-main-0 {run}/pods/{stranger}
        rm {run}/network/{stranger}.network {run}/units/bundles/{stranger}-main-0
        rmdir /sys/fs/cgroup/pids/{cloud.settings.name}/pods/{stranger} 2>/dev/null ||
            rmdir /sys/fs/cgroup/{cloud.settings.name}/pods/{stranger}
    """
    subprocess.run([*enter, script], check=True)


@pytest.mark.guarantee(27)
@pytest.mark.parametrize(
    ("name", "pause"),
    [
        *(("node", pause) for pause in (0.0, 0.05, 0.15, 0.3)),
        *(("server", pause) for pause in (0.0, 0.2)),
    ],
)
def test_a_process_killed_while_pods_start_and_end(settings, empty, name, pause):
    cloud = empty
    create(cloud, *names("old"))
    settle(cloud)
    delete(cloud, *names("old"))
    create(cloud, *names("new"))
    time.sleep(pause)
    again(cloud, name)
    settle(cloud)
    assert len(cloud.get("pods")["items"]) == len(KINDS)


@pytest.mark.guarantee(27)
@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_moments(settings, empty, seed):
    """Of the node, the server, both, and the node just after it was started."""
    cloud, chance = empty, random.Random(seed)
    wanted: set[str] = set()
    for turn in range(6):
        gone = {name for name in wanted if chance.random() < 0.5}
        made = {f"{chance.choice(KINDS)}-{turn}-{n}" for n in range(3)}
        if gone:
            delete(cloud, *sorted(gone))
        create(cloud, *sorted(made))
        wanted = (wanted - gone) | made
        for _ in range(2):
            time.sleep(chance.random() * 0.3)
            again(cloud, *chance.choice([("node",), ("server",), ("node", "server")]))
        cloud.wait_until_ready()
    settle(cloud)
    assert {pod["metadata"]["name"] for pod in cloud.get("pods")["items"]} == wanted
