"""What the machine lacks or others hold: one sentence in the log and in `jindou doctor`, an exit
code, and nothing that runs is disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import Cloud, environment_of, settings_for
from tests.faults.conftest import failures
from tests.faults.leaks import settle
from tests.faults.test_kills import create
from tests.faults.test_silence import until

pytestmark = [pytest.mark.root, pytest.mark.slow]


@contextlib.contextmanager
def held(address: str, port: int) -> Iterator[None]:
    """Another program listens there."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        for one in (tcp, udp):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND
            one.bind((address, port))
        tcp.listen()
        yield


def says(cloud: Cloud, name: str, since: int) -> str:
    """The one line that it wrote."""
    (line,) = Path(cloud.log(name)).read_text()[since:].splitlines()
    return line


@pytest.mark.parametrize("name", ["server", "node"])
def test_a_port_that_is_taken(empty, name):
    cloud = empty
    create(cloud, "bare-0")
    settle(cloud)
    port = {"server": cloud.settings.api_port, "node": cloud.settings.node_port}[name]
    cloud.stop(name)
    since = Path(cloud.log(name)).stat().st_size
    with held("127.0.0.1", port):
        cloud.start(name)
        assert cloud.processes.pop(name).wait(20) == 1
        line = says(cloud, name, since)
        assert f"port {port}" in line
        assert "address already in use (jindou doctor network" in line
        (verdict,) = failures(cloud, "network")
        assert verdict["code"] == "JD-NET-101"
        assert str(port) in verdict["says"]
        assert str(os.getpid()) in verdict["why"]
        assert verdict["do"]
    cloud.start(name)
    cloud.wait_until_ready()
    settle(cloud)
    (status,) = cloud.get("pod", "bare-0")["status"]["containerStatuses"]
    assert status["restartCount"] == 0


def test_names_are_found_though_another_program_has_the_port(folder):
    cloud = Cloud(settings_for(folder))
    with held(cloud.settings.gateways[0], 53):
        try:
            cloud.start()
            cloud.wait_until_ready()
            cloud.api.request("POST", "/api/v1/nodes/here/proxy/images/bootstrap?name=busybox")
            cloud.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=20s")
            create(cloud, "bare-0")
            settle(cloud)
            found = ["exec", "bare-0", "--", "nslookup", "kubernetes.default.svc.cluster.local"]
            until(10, "a name", lambda: cloud.run(*found).returncode == 0)
            assert cloud.get("service", "kubernetes")["spec"]["clusterIP"] in cloud.kubectl(*found)
        finally:
            cloud.end()


def place(program: str) -> str:
    found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found
    return os.path.realpath(found)


@contextlib.contextmanager
def missing(cloud: Cloud, *programs: str) -> Iterator[None]:
    """For the node, and for whoever is run by `inside`: something that can't be run is there."""
    places = [place(program) for program in programs if shutil.which(program)]
    inside(cloud, "; ".join(f"mount --bind /dev/null {one}" for one in places))
    try:
        yield
    finally:
        inside(cloud, "; ".join(f"umount {one}" for one in places))


def inside(cloud: Cloud, command: str) -> str:
    """In the node's mount namespace."""
    words = ["nsenter", f"--mount={cloud.settings.run}/mounts", "sh", "-c", command]
    environment = {**os.environ, **environment_of(cloud.settings)}
    return subprocess.run(words, env=environment, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("programs", "sentence", "code"),
    [
        (("conmon",), "conmon, which keeps containers' logs, can't be run", "JD-RUN-302"),
        (("crun", "runc"), "no container runtime works", "JD-RUN-301"),
    ],
)
def test_a_program_that_is_missing(empty, programs, sentence, code):
    cloud = empty
    create(cloud, "bare-0")
    settle(cloud)
    cloud.stop("node")
    Path(cloud.settings.run, "runtimes.json").unlink()
    with missing(cloud, *programs):
        cloud.start("node")
        cloud.wait_until_ready()
        create(cloud, "bare-1")

        def told() -> bool:
            return sentence in cloud.kubectl("describe", "pod", "bare-1")

        until(15, sentence, told)
        found = json.loads(inside(cloud, f"{sys.executable} -m jindou doctor containers -o json"))
        assert code in [one["code"] for one in found["probes"] if one["state"] == "FAIL"]
        assert cloud.get("pod", "bare-0")["status"]["phase"] == "Running"
    settle(cloud)
    (status,) = cloud.get("pod", "bare-0")["status"]["containerStatuses"]
    assert status["restartCount"] == 0


def test_a_node_without_its_rights(empty):
    """It may not change the network: neither interfaces nor packet rules."""
    cloud = empty
    create(cloud, "bare-0")
    settle(cloud)
    cloud.stop("node")
    lesser = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    environment = {**os.environ, **environment_of(cloud.settings)}
    done = subprocess.run(
        [*lesser, sys.executable, "-m", "jindou", "node"],
        env=environment, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "the network of this machine" in line
    assert "as root with all its rights (jindou doctor)" in line
    done = subprocess.run(
        [*lesser, sys.executable, "-m", "jindou", "doctor", "network", "-o", "json"],
        env=environment, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    found = [one for one in json.loads(done.stdout)["probes"] if one["state"] == "FAIL"]
    assert [one["code"] for one in found] == ["JD-NET-103"]
    cloud.start("node")
    cloud.wait_until_ready()
    settle(cloud)
