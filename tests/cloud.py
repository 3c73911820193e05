"""A whole cloud of its own for tests and benchmarks: real processes, own folders, bridge and ports.

It never touches a cloud that runs on this machine, nor anybody's kubeconfig.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jindou.settings import Settings
from tests.wire import Api, Refused

KUBECTL = shutil.which("kubectl") or "kubectl"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_numbers: list[socket.socket] = []  # held until this process ends


def own_number() -> int:
    """One that no other test run on this machine has now: it names bridge, networks and table."""
    for number in range(10, 50):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0jindou-test-{number}")
        except OSError:
            claim.close()
            continue
        _numbers.append(claim)
        return number
    raise AssertionError("forty clouds are being tested on this machine already")


def settings_for(folder: Path, number: int | None = None, **more: Any) -> Settings:
    """A cloud that meets no other: own folders, ports, bridge and networks."""
    number = own_number() if number is None else number
    return Settings(
        name=f"jintest{number}",
        data=str(folder / "data"),
        run=str(folder / "run"),
        logs=str(folder / "logs"),
        node_name="here",
        api_port=free_port(),
        node_port=free_port(),
        bridge=f"jintest{number}",
        pod_cidr=f"10.{100 + 2 * number}.0.0/16",
        pod_cidr6=f"fd00:10:{100 + 2 * number}::/64",
        service_cidr=f"10.{101 + 2 * number}.0.0/16",
        service_cidr6=f"fd00:10:{101 + 2 * number}::/112",
        **more,
    )


def environment_of(settings: Settings) -> dict[str, str]:
    return {f"JINDOU_{name.upper()}": str(value) for name, value in settings._asdict().items()}


def ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class Cloud:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api = Api(os.path.join(settings.run, "api.sock"))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    # ------------------------------------------------------------ processes

    def start(self, *names: str) -> None:
        for folder in (self.settings.data, self.settings.run, self.settings.logs):
            os.makedirs(folder, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JINDOU_")}
        environment |= environment_of(self.settings)
        for name in names or ("server", "node"):
            with open(self.log(name), "ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "jindou", name],
                    env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                )  # fmt: skip

    def log(self, name: str) -> str:
        return os.path.join(self.settings.logs, f"{name}.log")

    def last_words(self) -> str:
        return "".join(
            f"\n--- {name}\n" + "".join(Path(self.log(name)).read_text().splitlines(True)[-30:])
            for name in self.processes
        )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def stop(self, *names: str) -> None:
        for name in names or ("node", "server"):
            process = self.processes.pop(name, None)
            if process is None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait_until_ready(self, seconds: float = 60.0) -> float:
        """Until the node says Ready; returns how long that took."""
        began = time.monotonic()
        while True:
            try:
                for event in self.api.lines("GET", "/api/v1/nodes?watch=true&timeoutSeconds=60"):
                    node = event.get("object", {})
                    if ready(node):
                        if self.answers():
                            return time.monotonic() - began
                        break
            except (Refused, OSError):
                pass
            dead = [n for n, process in self.processes.items() if process.poll() is not None]
            if dead or time.monotonic() - began > seconds:
                raise AssertionError(f"not ready, {dead or 'nobody'} ended{self.last_words()}")
            time.sleep(0.01)

    def wait_until_listening(self, seconds: float = 30.0) -> None:
        """Until somebody can connect to the server."""
        until = time.monotonic() + seconds
        while not self.api.running():
            assert time.monotonic() < until, self.last_words()
            time.sleep(0.01)

    def answers(self) -> bool:
        """A Ready that is stored may be old: does the node itself answer?"""
        try:
            self.api.get("/api/v1/nodes/here/proxy/healthz")
        except Refused:
            return False
        return True

    def end(self) -> None:
        """Take everything away that this cloud left on the machine."""
        from jindou.serve import clean

        with contextlib.suppress(Exception):
            self.api.request("POST", "/api/v1/nodes/here/proxy/stop")
        self.stop()
        clean(self.settings)

    def node_port(self, which: int) -> int:
        """One of twenty that clouds at the same time don't share."""
        return 30000 + 20 * int(self.settings.name.removeprefix("jintest")) + which

    # ------------------------------------------------------------ clients

    @property
    def kubeconfig(self) -> str:
        return os.path.join(self.settings.data, "pki", "admin.kubeconfig")

    def run(
        self, *words: str, stdin: str = "", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [KUBECTL, "--kubeconfig", self.kubeconfig, *words],
            input=stdin, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    def kubectl(self, *words: str, stdin: str = "", timeout: float = 120) -> str:
        done = self.run(*words, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def wait(self, *words: str, seconds: int = 60) -> None:
        self.kubectl("wait", *words, f"--timeout={seconds}s", timeout=seconds + 10)

    def apply(self, document: str) -> str:
        return self.kubectl("apply", "-f", "-", stdin=document)
