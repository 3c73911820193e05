"""The wall clock jumps, forward and back, under both processes; only what people read follows it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import Cloud, settings_for
from tests.faults.conftest import busybox
from tests.faults.leaks import settle
from tests.faults.test_kills import create, pod
from tests.faults.test_silence import probed, ready, restarts, until

LIBRARIES = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed"),
]
HOUR, DAY = 3600, 86400


class Clock:
    """What time the processes of a cloud believe it is: off by so many seconds."""

    def __init__(self, folder: Path) -> None:
        self._file, self._modules = folder / "clock", folder / "modules"
        self._modules.mkdir()
        text = "import os\nos.environ.pop('LD_PRELOAD', None)  # not for what we start\n"
        (self._modules / "sitecustomize.py").write_text(text)
        self.jump(0)

    def jump(self, seconds: int) -> None:
        part = self._file.with_suffix(".new")
        part.write_text(f"{seconds:+d}\n")
        part.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        known = os.environ.get("PYTHONPATH", "")
        return {
            "PYTHONPATH": f"{self._modules}:{known}".rstrip(":"),
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


@pytest.fixture
def clocked(folder, monkeypatch) -> Iterator[tuple[Cloud, Clock]]:
    clock = Clock(folder)
    cloud = Cloud(settings_for(folder))
    start = cloud.start

    def started(*names: str) -> None:
        with monkeypatch.context() as patch:
            for name, value in clock.environment.items():
                patch.setenv(name, value)
            start(*names)

    cloud.start = started
    try:
        start()  # the runtimes are probed without libfaketime, which disturbs time.sleep()
        cloud.wait_until_ready()
        busybox(cloud)
        create(cloud, "bare-first")
        settle(cloud)
        cloud.stop()
        cloud.start()
        cloud.wait_until_ready()
        cloud.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=20s")
        yield cloud, clock
    finally:
        cloud.end()


def revision(cloud: Cloud) -> int:
    """Of a new write."""
    document = {"metadata": {"generateName": "written-"}}
    made = cloud.api.request("POST", "/api/v1/namespaces/default/configmaps", document)
    return int(made["metadata"]["resourceVersion"])


def renewed(cloud: Cloud) -> str:
    return cloud.get("-n", "kube-node-lease", "lease", "here")["spec"]["renewTime"]


def works(cloud: Cloud, name: str, last: int) -> int:
    """A new Pod runs, the old one is left alone, a new token is taken."""
    assert ready(cloud, "node", "here") == ready(cloud, "pod", "bare-0") == "True"
    assert restarts(cloud, "bare-0") == 0
    create(cloud, name)
    settle(cloud)
    token = cloud.kubectl("create", "token", "default").strip()
    assert cloud.kubectl("auth", "whoami", "-o", "json", "--token", token)
    now = revision(cloud)
    assert now > last
    return now


@pytest.mark.guarantee(4, 30)
def test_jumps_forward_and_back(clocked):
    cloud, clock = clocked
    cloud.apply(probed("bare-0"))
    crashing = pod("crashing", "bare")
    crashing["spec"]["containers"][0]["command"] = ["false"]
    cloud.apply(json.dumps(crashing))
    cloud.wait("--for=condition=Ready", "pod/bare-0")
    until(20, "back-off", lambda: restarts(cloud, "crashing") >= 1)
    last = revision(cloud)
    for number, seconds in enumerate((300 * DAY, -2 * HOUR)):
        clock.jump(seconds)
        before = renewed(cloud)
        last = works(cloud, f"bare-{number + 1}", last)
    until(15, "a heartbeat", lambda: renewed(cloud) != before)
    assert ready(cloud, "node", "here") == ready(cloud, "pod", "bare-0") == "True"
    assert 1 <= restarts(cloud, "crashing") <= 4
    clock.jump(-20 * HOUR)
    cloud.kill("server")
    cloud.start("server")
    cloud.wait_until_ready()
    assert works(cloud, "bare-9", last) > last
