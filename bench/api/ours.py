"""A server of ours on one core, with what the rows need in it; and the floors beside it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.api.asked import FAN, MAPS, PLACES, PODS, WATCHED, config_map, pod
from bench.api.clients import SERVER, H2load, Wrk, on_core
from tests.cloud import Cloud, free_port, settings_for
from tests.wire import Connection


class Ours:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.cloud = Cloud(settings_for(folder))
        with on_core(SERVER):
            self.cloud.start("server")
        self.pid = self.cloud.processes["server"].pid
        self.port = self.cloud.settings.api_port
        self.pki = Path(self.cloud.settings.data) / "pki"
        api = "/api/v1/namespaces"
        self._wait_for(f"{api}/default/serviceaccounts/default")
        self.ask("POST", f"{api}/default/serviceaccounts", {"metadata": {"name": "bench"}})
        who = {"kind": "ServiceAccount", "name": "bench", "namespace": "default"}
        role = {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "cluster-admin",
        }
        binding = {"metadata": {"name": "bench"}, "roleRef": role, "subjects": [who]}
        self.ask("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        asked = {"spec": {"expirationSeconds": 7200}}
        made = self.ask("POST", f"{api}/default/serviceaccounts/bench/token", asked)
        self.token: str = made["status"]["token"]
        base = f"https://127.0.0.1:{self.port}"
        self.wrk = Wrk(folder, self.token, base)
        self.h2load = H2load(folder, self.token, base)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        return self.cloud.api.request(method, path, body)

    def _wait_for(self, path: str) -> None:
        for _ in range(600):
            if self.cloud.processes["server"].poll() is not None:
                break
            with contextlib.suppress(Exception):
                self.ask("GET", path)
                return
            time.sleep(0.05)
        raise AssertionError(f"the server does not answer{self.cloud.last_words()}")

    def fill(self) -> bytes:
        """What is read, changed and watched; returns a Pod as it is kept."""
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "fan"}})
        for n in range(WATCHED):
            self.ask("POST", FAN, config_map(f"f-{n}", "0"))
        for n in range(PLACES):
            self.ask("POST", MAPS, config_map(f"c-{n}", "0"))
        kept = self.ask("POST", PODS, pod("one"))
        return json.dumps(kept, separators=(",", ":")).encode() + b"\n"

    def clear(self) -> None:
        """Every Pod but one; what went is not even read."""
        wanted = "gracePeriodSeconds=0&labelSelector=app%3Dbench&fieldSelector=metadata.name!%3Done"
        connection = Connection(self.cloud.api.path, 120.0)
        try:
            connection.request("DELETE", f"{PODS}?{wanted}")
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            while answer.read(1 << 20):
                pass
        finally:
            connection.close()

    def end(self) -> None:
        self.cloud.stop()


@contextlib.contextmanager
def floor(kind: str, pki: Path, body: Path) -> Iterator[int]:
    """The port of one of the floors that serve."""
    port = free_port()
    with on_core(SERVER):
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.api.floors", kind, str(port), str(pki), str(body)],
            stdout=subprocess.PIPE,
        )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def puts(body: Path) -> float:
    """Durable puts per second, the least that a create costs."""
    words = [sys.executable, "-m", "bench.api.floors", "put", str(body), str(body.parent)]
    with on_core(SERVER):
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout)
