"""Bits that changed on the disk: told where they are met, never half used, never made worse."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cloud import Cloud, environment_of, settings_for
from tests.faults.conftest import busybox
from tests.faults.leaks import differences, settle
from tests.faults.test_kills import create

pytestmark = [pytest.mark.root, pytest.mark.slow]


def flip(path: Path, where: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 1
    path.write_bytes(data)


def waiting(cloud: Cloud, name: str, seconds: float = 15) -> dict[str, str]:
    """Why the Pod's container waits, once it says."""
    began = time.monotonic()
    while True:
        for status in cloud.get("pod", name)["status"].get("containerStatuses", ()):
            why = status["state"].get("waiting", {})
            if why.get("reason", "ContainerCreating") != "ContainerCreating":
                return why
        assert time.monotonic() - began < seconds, cloud.last_words()
        time.sleep(0.05)


def parts(cloud: Cloud) -> dict[str, Path]:
    images = Path(cloud.settings.data) / "images"
    (image,) = json.loads((images / "index.json").read_bytes())["index"]["images"].values()
    return {
        "configuration": images / "blobs/sha256" / image["config"].partition(":")[2],
        "layer": images / "layers" / image["layers"][0] / "layer.json",
        "index": images / "index.json",
    }


@pytest.mark.parametrize(
    ("part", "says"), [("configuration", "is damaged on disk"), ("layer", "has lost a part")]
)
def test_a_damaged_image_is_told_and_got_again(empty, part, says):
    cloud = empty
    cloud.stop("node")
    flip(parts(cloud)[part], 0.0)
    cloud.start("node")
    cloud.wait_until_ready()
    create(cloud, "bare-0")
    why = waiting(cloud, "bare-0")
    assert why["reason"] in ("ErrImagePull", "ImagePullBackOff")
    assert "busybox" in why["message"]
    assert says in why["message"]
    assert says in Path(cloud.log("node")).read_text()
    assert os.listdir(f"{cloud.settings.data}/units") == []
    assert not [one for one in differences(cloud) if "pending" not in one]
    busybox(cloud)
    cloud.kubectl("delete", "pod", "bare-0", "--grace-period=1")
    create(cloud, "bare-1")
    settle(cloud)


def test_a_damaged_index_of_images_gives_way_to_the_one_before(empty):
    cloud = empty
    cloud.stop("node")
    index = parts(cloud)["index"]
    flip(index)
    cloud.start("node")
    cloud.wait_until_ready()
    assert index.with_name("index.json.damaged").exists()
    assert "index.json is damaged" in Path(cloud.log("node")).read_text()
    busybox(cloud)
    create(cloud, "bare-0")
    settle(cloud)


@pytest.mark.guarantee(11)
@pytest.mark.parametrize("where", [0.0, 0.3, 0.9])
def test_a_damaged_store_is_refused_and_not_touched(folder, where):
    cloud = Cloud(settings_for(folder))
    made = make_store(cloud)
    flip(made, where)
    before = content(made)
    cloud.start("server")
    assert cloud.processes.pop("server").wait(20) == 1
    said = Path(cloud.log("server")).read_text().splitlines()[-1]
    assert str(made) in said
    assert "damaged" in said or "not an SQLite file" in said
    assert "jindou restore" in said
    assert "Traceback" not in said
    assert content(made) == before


def make_store(cloud: Cloud) -> Path:
    """With a few hundred rows, and nobody that has it open."""
    cloud.start("server")
    began = time.monotonic()
    while not cloud.api.running():
        assert time.monotonic() - began < 20, cloud.last_words()
        time.sleep(0.02)
    for number in range(150):
        document = {"metadata": {"name": f"n{number}"}, "data": {"a": "x" * 2000}}
        cloud.api.request("POST", "/api/v1/namespaces/default/configmaps", document)
    cloud.stop("server")
    return Path(cloud.settings.data) / "store.db"


def content(made: Path) -> tuple[str, int]:
    """SQLite makes an empty log even to read."""
    log = made.with_name("store.db-wal")
    size = log.stat().st_size if log.exists() else 0
    return hashlib.sha256(made.read_bytes()).hexdigest(), size


def test_the_supervisor_does_not_spin_over_a_server_that_refuses(folder):
    cloud = Cloud(settings_for(folder))
    flip(make_store(cloud))
    command = json.dumps(
        ["server", cloud.log("server"), [sys.executable, "-m", "jindou", "server"]]
    )
    pidfile = f"{cloud.settings.run}/supervisor.pid"
    Path(cloud.log("server")).write_text("")
    words = [sys.executable, "-m", "jindou.cli.supervisor", pidfile, command]
    supervisor = subprocess.Popen(words, env={**os.environ, **environment_of(cloud.settings)})
    try:
        time.sleep(8)
    finally:
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(20) == 0
    lines = Path(cloud.log("server")).read_text().splitlines()
    assert 2 <= len(lines) <= 5
    assert all("damaged" in line for line in lines)
