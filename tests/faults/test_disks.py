"""A full disk: what runs goes on, reading goes on, one sentence says what is wrong, and it heals."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import Cloud, settings_for
from tests.faults.conftest import busybox, failures, jindou
from tests.faults.leaks import settle
from tests.faults.loops import Disk, disk, own_mounts
from tests.faults.test_kills import create
from tests.wire import Refused

pytestmark = [pytest.mark.root, pytest.mark.slow]


@contextlib.contextmanager
def small_cloud(megabytes: int, *options: str) -> Iterator[tuple[Cloud, Disk, Path]]:
    with disk(megabytes, *options) as (folder, made):
        cloud = Cloud(settings_for(folder))
        try:
            cloud.start()
            cloud.wait_until_ready()
            busybox(cloud)
            cloud.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=20s")
            cloud.kubectl("create", "configmap", "settings", "--from-literal=a=b")
            yield cloud, made, folder
        finally:
            cloud.end()


def write(cloud: Cloud, name: str, size: int) -> None:
    document = {"metadata": {"name": name}, "data": {"a": "x" * size}}
    cloud.api.request("POST", "/api/v1/namespaces/default/configmaps", document)


def write_until_refused(cloud: Cloud) -> Refused:
    for number in range(200):
        try:
            write(cloud, f"big-{number}", 100_000)
        except Refused as refused:
            return refused
    raise AssertionError("the disk was never full")


def archive(folder: Path) -> Path:
    """Of an image with one layer of four megabytes."""
    layer = tarred({f"file-{number}": os.urandom(200_000) for number in range(20)})
    config = {
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
            "type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
        },
    }  # fmt: skip
    manifest = [{"Config": "c.json", "RepoTags": ["large:1"], "Layers": ["l.tar"]}]
    path = folder / "large.tar"
    files = {"l.tar": layer, "c.json": json.dumps(config), "manifest.json": json.dumps(manifest)}
    path.write_bytes(tarred(files))
    return path


def tarred(files: dict[str, bytes | str]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return whole.getvalue()


@pytest.mark.guarantee(1, 10, 30)
@own_mounts
def test_a_full_disk_stops_nothing_that_runs_and_heals():
    with small_cloud(400) as (cloud, small, folder):
        create(cloud, "bare-0", "volumes-0")
        settle(cloud)
        layers = sorted(os.listdir(folder / "data/images/layers"))
        small.fill()
        refused = write_until_refused(cloud)
        assert refused.code in (500, 507)
        assert "the disk is full" in refused.status["message"]
        assert str(folder / "data") in refused.status["message"]
        goes_on(cloud)
        done = jindou(cloud, "image", "import", str(archive(folder)))
        assert done.returncode != 0
        assert "full" in done.stderr
        assert os.listdir(folder / "data/images/work") == []
        assert sorted(os.listdir(folder / "data/images/layers")) == layers
        (verdict,) = failures(cloud, "storage")
        assert verdict["code"] == "JD-STO-202"
        assert f"only 0.0 GiB and 0.1 million inodes free in {folder}/data" == verdict["says"]
        killed_while_full(cloud, folder)
        small.make_room()
        cloud.start("server")
        cloud.wait_until_ready()
        write(cloud, "after", 1000)
        create(cloud, "inits-0")
        settle(cloud)
        goes_on(cloud)
        (status,) = cloud.get("pod", "bare-0")["status"]["containerStatuses"]
        assert status["restartCount"] == 0


def goes_on(cloud: Cloud) -> None:
    """Reading, and what runs."""
    names = {pod["metadata"]["name"] for pod in cloud.get("pods")["items"]}
    assert names >= {"bare-0", "volumes-0"}
    assert cloud.kubectl("exec", "bare-0", "--", "echo", "alive") == "alive\n"


def killed_while_full(cloud: Cloud, folder: Path) -> None:
    """The server says why it can't start, in its last line; the node waits for it."""
    for name in ("node", "server"):
        cloud.kill(name)
    cloud.start()
    assert cloud.processes.pop("server").wait(20) == 1
    said = Path(cloud.log("server")).read_text().splitlines()[-1]
    assert str(folder / "data") in said
    assert "is full" in said
    assert cloud.processes["node"].poll() is None


@own_mounts
def test_a_disk_without_inodes_left():
    with small_cloud(400, "-N", "2000") as (cloud, _, folder):
        create(cloud, "bare-0", "volumes-0")
        settle(cloud)
        (folder / "data/many").mkdir()
        with contextlib.suppress(OSError):
            for number in range(3000):
                (folder / f"data/many/{number}").touch()
        done = jindou(cloud, "image", "import", str(archive(folder)))
        assert done.returncode != 0
        assert "full" in done.stderr or "No space left" in done.stderr, done
        (verdict,) = failures(cloud, "storage")
        assert "0.0 million inodes" in verdict["says"]
        write(cloud, "goes-on", 1000)
        goes_on(cloud)
        for path in (folder / "data/many").iterdir():
            path.unlink()
        create(cloud, "inits-0")
        settle(cloud)
