"""The power of the whole machine goes while Pods, images and objects are written: what was
acknowledged is there afterwards, and images are usable or cleanly absent."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tests.cloud import Cloud, settings_for
from tests.faults.conftest import busybox
from tests.faults.leaks import settle
from tests.faults.loops import disk, own_mounts
from tests.faults.test_disks import archive, jindou
from tests.faults.test_kills import create
from tests.faults.test_reboot import power_off
from tests.wire import Refused

pytestmark = [pytest.mark.root, pytest.mark.slow]


class Writer:
    """Makes objects as fast as it can; `kept` are those that the server said were stored."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.kept, self.stopped = cloud, {}, False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self.stopped:
            number += 1
            document = {"metadata": {"generateName": "kept-"}, "data": {"n": str(number)}}
            try:
                path = "/api/v1/namespaces/default/configmaps"
                made = self.cloud.api.request("POST", path, document)
            except (Refused, OSError):
                return
            self.kept[made["metadata"]["name"]] = (str(number), made["metadata"]["resourceVersion"])

    def end(self) -> None:
        self.stopped = True
        self._thread.join()


def cut(cloud: Cloud, place) -> None:
    """Everybody is stopped first, or a sync that is under way could return after the cut."""
    for process in cloud.processes.values():
        process.send_signal(signal.SIGSTOP)
    place.cut()
    power_off(cloud)


@pytest.mark.guarantee(1, 4, 28, 30)
@own_mounts
def test_the_power_goes_while_everything_is_written():
    with disk(500) as (folder, place):
        cloud = Cloud(settings_for(folder))
        try:
            cloud.start()
            cloud.wait_until_ready()
            busybox(cloud)
            cloud.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=20s")
            cloud.kubectl("create", "configmap", "settings", "--from-literal=a=b")
            create(cloud, "bare-0", "volumes-0")
            settle(cloud)
            large = str(archive(folder))
            for turn, pause in enumerate((0.2, 0.6)):
                lose_power(cloud, place, large, turn, pause)
        finally:
            cloud.end()


def lose_power(cloud: Cloud, place, large: str, turn: int, pause: float) -> None:
    """While an image is imported, Pods are made and objects stored; then all is started anew."""
    begun = [f"bare-{turn}-x", f"inits-{turn}-x"]
    writer = Writer(cloud)
    path = f"/api/v1/nodes/here/proxy/images/import?path={large}"
    importing = threading.Thread(target=swallow, args=(cloud, path))
    importing.start()
    create(cloud, *begun)
    time.sleep(pause)
    cut(cloud, place)
    writer.end()
    importing.join()
    place.remount()
    cloud.start()
    cloud.wait_until_ready()
    assert len(writer.kept) > 5, "the test was void"
    there = {
        one["metadata"]["name"]: (one["data"].get("n"), one["metadata"]["resourceVersion"])
        for one in cloud.get("configmaps")["items"]
        if "data" in one
    }
    assert {name: there.get(name) for name in writer.kept} == writer.kept
    highest = max(int(revision) for _, revision in writer.kept.values())
    document = {"metadata": {"generateName": "after-"}}
    made = cloud.api.request("POST", "/api/v1/namespaces/default/configmaps", document)
    assert int(made["metadata"]["resourceVersion"]) > highest
    settle(cloud)
    names = {pod["metadata"]["name"] for pod in cloud.get("pods")["items"]}
    assert names >= {"bare-0", "volumes-0", *begun}
    images = {name for one in cloud.api.get("/api/v1/nodes/here/proxy/images")["images"]
              for name in one["names"]}  # fmt: skip
    assert "docker.io/library/busybox:latest" in images
    done = jindou(cloud, "image", "import", large)
    assert done.returncode == 0, done


def swallow(cloud: Cloud, path: str) -> None:
    try:
        list(cloud.api.lines("POST", path))
    except (Refused, OSError, ValueError):
        pass
