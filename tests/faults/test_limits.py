"""A server whose limits become narrow while it runs: it refuses, goes on with the rest, and recovers
as soon as there is room again, without having been started anew."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import Cloud, settings_for
from tests.conformance.wire import Api
from tests.faults.limits import FILE_SIZE, FILES, limited, open_files, processor_seconds
from tests.faults.test_histories import come_back
from tests.faults.test_silence import until

pytestmark = pytest.mark.slow
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with tempfile.TemporaryDirectory(prefix="jif") as name:
        made = Cloud(settings_for(Path(name), pretend=True))
        try:
            made.start("server")
            come_back(made)
            yield made
        finally:
            made.stop()


@pytest.fixture
def api(cloud: Cloud) -> Iterator[Api]:
    made = Api.of_kubeconfig(cloud.kubeconfig)
    made.get("/version")
    yield made
    made.close()


def document(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "data": {"a": "x" * 20_000}}


@pytest.mark.guarantee(1, 10)
def test_files_that_may_not_grow(cloud, api):
    """As a quota: what can't be written is refused with a reason, and was not stored."""
    server = cloud.processes["server"].pid
    log = Path(cloud.settings.data) / "store.db-wal"
    api.make(MAPS, document("before"))
    codes = []
    with limited(server, FILE_SIZE, max(log.stat().st_size, 1 << 16)):
        for number in range(60):
            answer = api.ask("POST", MAPS, document(f"n{number}"))
            codes.append(answer.code)
            if answer.code != 201:
                assert "the disk is full" in answer.message
                assert str(log.parent) in answer.message
                assert api.get(f"{MAPS}/before")["data"]
                assert api.gone(f"{MAPS}/n{number}")
    assert set(codes) in ({500}, {201, 500}), codes
    made = api.make(MAPS, document("after"))
    there = {one["metadata"]["name"] for one in api.get(MAPS)["items"]}
    kept = {f"n{number}" for number, code in enumerate(codes) if code == 201}
    assert there - {"before", "after", "kube-root-ca.crt"} == kept
    cloud.kill("server")
    cloud.start("server")
    come_back(cloud)
    api.close()
    assert {one["metadata"]["name"] for one in api.get(MAPS)["items"]} == there
    assert int(api.make(MAPS, document("last"))["metadata"]["resourceVersion"]) > int(
        made["metadata"]["resourceVersion"]
    )


def test_no_file_can_be_opened(cloud, api):
    """Nobody new is let in, and that costs nothing; who is in stays; then all come in."""
    server = cloud.processes["server"].pid
    with contextlib.ExitStack() as held:
        before = open_files(server)
        with limited(server, FILES, before):
            where = (api.url.hostname, api.url.port)
            new = [held.enter_context(socket.create_connection(where)) for _ in range(20)]
            began, used = time.monotonic(), processor_seconds(server)
            while time.monotonic() - began < 1.5:
                api.make(MAPS, {"metadata": {"generateName": "narrow-"}})
                time.sleep(0.1)
            spent = processor_seconds(server) - used
            assert open_files(server) <= before, "nobody was kept out"
            late = Api.of_kubeconfig(cloud.kubeconfig, 0.3)
            with pytest.raises(OSError):
                late.get("/version")
        assert spent < 1.0, "it turns in a circle"
        until(10, "those who waited let in", lambda: open_files(server) >= before + len(new))
        late.patience = 30
        assert late.get("/version")["major"] == "1"
        late.close()
