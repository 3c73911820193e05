"""One real cloud for the faults that one cloud survives, and a way to make others on chosen disks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import Cloud, environment_of, settings_for
from tests.conformance.wire import Api
from tests.faults.leaks import settle


def busybox(cloud: Cloud) -> None:
    path = "/api/v1/nodes/here/proxy/images/bootstrap?name=busybox"
    last = list(cloud.api.lines("POST", path))[-1]
    assert "image" in last, last


def jindou(cloud: Cloud, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Our command line, for this cloud."""
    environment = {**os.environ, **environment_of(cloud.settings), **more}
    words = (sys.executable, "-m", "jindou", *words)
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)


def failures(cloud: Cloud, group: str, **more: str) -> list[dict[str, str]]:
    """What `jindou doctor` finds wrong."""
    done = jindou(cloud, "doctor", group, "-o", "json", **more)
    found = [one for one in json.loads(done.stdout)["probes"] if one["state"] == "FAIL"]
    assert bool(found) == (done.returncode != 0), done
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path, for those of Unix sockets end at 108 bytes."""
    made = Path(tempfile.mkdtemp(prefix="jif"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def server() -> Iterator[Cloud]:
    """A server alone, which touches nothing of this machine."""
    with tempfile.TemporaryDirectory(prefix="jif") as name:
        made = Cloud(settings_for(Path(name), pretend=True))
        try:
            made.start("server")
            made.wait_until_listening()
            yield made
        finally:
            made.stop()


@pytest.fixture
def api(server: Cloud) -> Iterator[Api]:
    made = Api.of_kubeconfig(server.kubeconfig)
    made.get("/version")
    yield made
    made.close()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    place = Path(tempfile.mkdtemp(prefix="jif"))
    made = Cloud(settings_for(place))
    try:
        made.start()
        made.wait_until_ready()
        busybox(made)
        made.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=20s")
        yield made
    finally:
        made.end()
        shutil.rmtree(place)


@pytest.fixture
def empty(cloud: Cloud) -> Iterator[Cloud]:
    """The cloud without Pods, before and after; nothing may be left of them."""
    settle(cloud)
    yield cloud
    names = cloud.kubectl("get", "deployments,services", "-o", "name").split()
    if names := [name for name in names if name != "service/kubernetes"]:
        cloud.kubectl("delete", *names, "--wait=false")
    cloud.kubectl("delete", "pods", "--all", "--grace-period=1", "--timeout=60s")
    settle(cloud)
