"""A server whose limits become narrow while it runs: it refuses, goes on with the rest, and recovers
as soon as there is room again, without having been started anew."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest

from tests.conformance.wire import Api
from tests.faults.limits import FILE_SIZE, FILES, limited, open_files, processor_seconds
from tests.faults.test_silence import until

pytestmark = pytest.mark.slow
MAPS = "/api/v1/namespaces/default/configmaps"


def document(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "data": {"a": "x" * 20_000}}


@pytest.mark.guarantee(1, 10)
def test_files_that_may_not_grow(server, api):
    """As a quota: what can't be written is refused with a reason, and was not stored."""
    process = server.processes["server"].pid
    log = Path(server.settings.data) / "store.db-wal"
    api.make(MAPS, document("before"))
    codes = []
    with limited(process, FILE_SIZE, max(log.stat().st_size, 1 << 16)):
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
    server.kill("server")
    server.start("server")
    server.wait_until_listening()
    api.close()
    assert {one["metadata"]["name"] for one in api.get(MAPS)["items"]} == there
    assert int(api.make(MAPS, document("last"))["metadata"]["resourceVersion"]) > int(
        made["metadata"]["resourceVersion"]
    )


def test_no_file_can_be_opened(server, api):
    """Nobody new is let in, and that costs nothing; who is in stays; then all come in."""
    process = server.processes["server"].pid
    with contextlib.ExitStack() as held:
        before = open_files(process)
        with limited(process, FILES, before):
            where = (api.url.hostname, api.url.port)
            new = [held.enter_context(socket.create_connection(where)) for _ in range(20)]
            began, used = time.monotonic(), processor_seconds(process)
            while time.monotonic() - began < 1.5:
                api.make(MAPS, {"metadata": {"generateName": "narrow-"}})
                time.sleep(0.1)
            spent = processor_seconds(process) - used
            assert open_files(process) <= before, "nobody was kept out"
            late = Api.of_kubeconfig(server.kubeconfig, 0.3)
            with pytest.raises(OSError):
                late.get("/version")
        assert spent < 1.0, "it turns in a circle"
        until(10, "those who waited let in", lambda: open_files(process) >= before + len(new))
        late.patience = 30
        assert late.get("/version")["major"] == "1"
        late.close()
