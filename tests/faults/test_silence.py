"""Peers that fall silent without saying so: a frozen process, and packets that reach nobody.

A node that is frozen needs the best part of a minute to be given up; the other tests of this file
run in that time, on a cloud of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cloud import Cloud, settings_for
from tests.faults.conftest import busybox
from tests.faults.leaks import settle
from tests.faults.test_kills import create, pod

pytestmark = [pytest.mark.root, pytest.mark.slow]


def probed(name: str) -> str:
    """A Pod that is watched by probes of every usual kind."""
    made = pod(name, "bare")
    (main,) = made["spec"]["containers"]
    check = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    main |= {"livenessProbe": check, "readinessProbe": {**check, "timeoutSeconds": 5}}
    return json.dumps(made)


def until(seconds: float, what: str, holds: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not in {seconds} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


def ready(cloud: Cloud, kind: str, name: str) -> str:
    conditions = cloud.get(kind, name)["status"].get("conditions", ())
    return next((one["status"] for one in conditions if one["type"] == "Ready"), "")


def restarts(cloud: Cloud, name: str) -> int:
    told = cloud.get("pod", name)["status"].get("containerStatuses")
    return told[0]["restartCount"] if told else -1


@pytest.fixture(scope="module")
def frozen() -> Iterator[tuple[Cloud, float]]:
    """A cloud whose node has been frozen, and since when."""
    place = Path(tempfile.mkdtemp(prefix="jif"))
    cloud = Cloud(settings_for(place))
    try:
        cloud.start()
        cloud.wait_until_ready()
        busybox(cloud)
        cloud.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=20s")
        cloud.apply(probed("bare-0"))
        settle(cloud)
        cloud.wait("--for=condition=Ready", "pod/bare-0")
        cloud.processes["node"].send_signal(signal.SIGSTOP)
        yield cloud, time.monotonic()
    finally:
        cloud.processes["node"].send_signal(signal.SIGCONT)
        cloud.end()
        shutil.rmtree(place)


def test_while_the_server_is_frozen_the_node_goes_on_alone(frozen, empty):
    cloud = empty
    cloud.apply(probed("bare-0"))
    cloud.apply(probed("bare-1"))
    settle(cloud)
    cloud.wait("--for=condition=Ready", "pod/bare-0", "pod/bare-1")
    uid = cloud.get("pod", "bare-1")["metadata"]["uid"]
    cloud.processes["server"].send_signal(signal.SIGSTOP)
    try:
        (before,) = main_processes(cloud, uid)
        os.kill(before, signal.SIGKILL)
        until(8, "a new container", lambda: {before} != main_processes(cloud, uid) != set())
        time.sleep(4)
    finally:
        cloud.processes["server"].send_signal(signal.SIGCONT)
    until(15, "the restart told", lambda: restarts(cloud, "bare-1") == 1)
    assert restarts(cloud, "bare-0") == 0
    assert ready(cloud, "pod", "bare-0") == ready(cloud, "node", "here") == "True"
    create(cloud, "bare-2")
    settle(cloud)


def main_processes(cloud: Cloud, uid: str) -> set[int]:
    """The shells of the Pod's containers."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups, words = (folder / "cgroup").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if uid in groups and words.startswith(b"sh\0"):
            found.add(int(folder.name))
    return found


@pytest.mark.guarantee(25)
def test_connections_that_lead_nowhere_are_noticed(frozen, empty):
    """Half open: the server was killed, and not one packet of its old connections arrives."""
    cloud = empty
    cloud.apply(probed("bare-0"))
    settle(cloud)
    cloud.wait("--for=condition=Ready", "pod/bare-0")
    port, table = cloud.settings.api_port, f"{cloud.settings.name}-silence"
    found = subprocess.run(["ss", "-Htn", f"dport = :{port}"], capture_output=True, text=True)
    ports = ", ".join(re.findall(r"127\.0\.0\.1:(\d+) +127", found.stdout))
    assert ports
    rules = f"""table inet {table} {{ chain silence {{
        type filter hook input priority -300;
        tcp dport {port} tcp sport {{ {ports} }} counter drop
        tcp sport {port} tcp dport {{ {ports} }} counter drop
    }}
    }}"""
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        cloud.kill("server")
        cloud.start("server")
        until(10, "the server", cloud.api.running)
        create(cloud, "bare-1")
        took = until(50, "the new Pod", lambda: ready(cloud, "pod", "bare-1") == "True")
        settle(cloud)
        counted = subprocess.run(["nft", "list", "table", "inet", table], capture_output=True)
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)
    assert b"packets 0 " not in counted.stdout
    assert took > 1, "nothing was silent"
    assert restarts(cloud, "bare-0") == 0
    assert ready(cloud, "node", "here") == "True"


@pytest.mark.guarantee(25)
def test_a_frozen_node_is_not_ready_and_heals_when_it_thaws(frozen):
    cloud, since = frozen
    until(70, "NotReady", lambda: ready(cloud, "node", "here") == "Unknown")
    until(5, "its Pods unready", lambda: ready(cloud, "pod", "bare-0") == "False")
    assert time.monotonic() - since > 35
    assert [taint["key"] for taint in cloud.get("node", "here")["spec"]["taints"]]
    cloud.processes["node"].send_signal(signal.SIGCONT)
    until(15, "Ready", lambda: ready(cloud, "node", "here") == "True")
    until(15, "its Pods ready", lambda: ready(cloud, "pod", "bare-0") == "True")
    until(5, "no taints", lambda: not cloud.get("node", "here")["spec"].get("taints"))
    assert restarts(cloud, "bare-0") == 0
    create(cloud, "bare-1")
    settle(cloud)
