"""The command line from `up` to `uninstall --purge`, on a cloud of its own, and what it leaves: nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jindou.cli.configuration import as_environment
from tests.cloud import KUBECTL, settings_for

pytestmark = [pytest.mark.root, pytest.mark.slow]


class Shell:
    """`jindou` as somebody at a terminal runs it, with a home folder of its own."""

    def __init__(self, folder: Path, prefix: tuple[str, ...] = (), **more: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self.settings = settings_for(folder)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "JINDOU_CONFIG": str(folder / "config.toml"),
            **as_environment(self.settings),
            **more,
        }
        (folder / "home").mkdir()

    def run(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", "jindou", *words],
            env=self.environment, capture_output=True, text=True, timeout=timeout, cwd="/",
        )  # fmt: skip

    def jindou(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"jindou {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def kubectl(self, *words: str) -> str:
        done = subprocess.run(
            [*self.prefix, KUBECTL, *words], env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout


@pytest.fixture
def shell() -> Iterator[Shell]:
    folder = Path(tempfile.mkdtemp(prefix="jin"))
    made = Shell(folder)
    try:
        yield made
    finally:
        made.run("uninstall", "--purge", "--yes", "--confirm", os.uname().nodename)
        shutil.rmtree(folder, ignore_errors=True)


def traces(shell: Shell) -> list[str]:
    """What of a cloud can still be seen on this machine."""
    settings, found = shell.settings, []
    links = subprocess.run(["ip", "link", "show", settings.bridge], capture_output=True)
    if links.returncode == 0:
        found.append("bridge")
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    if settings.name in tables:
        found.append("packet rules")
    mounts = Path("/proc/mounts").read_text()
    if str(shell.folder) in mounts:
        found.append("mounts")
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/{settings.name}")]
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(settings.name)]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(shell.folder).encode() in process.read_bytes():
                found.append(f"process {process.parent.name}")
        except OSError:
            continue
    found += [
        str(p) for p in (Path(settings.data), Path(settings.run), Path(settings.logs)) if p.exists()
    ]
    return found


def states_of(shell: Shell) -> list[dict[str, Any]]:
    pods = json.loads(shell.kubectl("get", "pods", "-o", "json"))["items"]
    return [state for pod in pods for state in pod["status"]["containerStatuses"]]


def test_from_up_to_uninstall(shell):
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    shell.jindou("up", "--no-images")
    assert "working" in shell.jindou("status")
    again = shell.run("up", "--no-images")
    assert "already up" in again.stdout
    nodes = json.loads(
        shell.kubectl("--context", shell.settings.name, "get", "nodes", "-o", "json")
    )
    assert [n["metadata"]["name"] for n in nodes["items"]] == ["here"]
    assert "certificate-authority-data" in shell.jindou("kubeconfig")
    assert "KUBECONFIG" in shell.jindou("env", "kubectl")

    shell.jindou("image", "bootstrap", "busybox")
    assert "busybox" in shell.jindou("image", "list")
    archive = str(shell.folder / "busybox.tar")
    shell.jindou("image", "export", "busybox", archive)
    shell.jindou("image", "delete", "busybox")
    assert "busybox" not in shell.jindou("image", "list")
    shell.jindou("image", "import", archive)
    assert "busybox" in shell.jindou("image", "list")

    shell.kubectl(
        "create",
        "deployment",
        "web",
        "--image=busybox",
        "--",
        "sh",
        "-c",
        "trap exit TERM; while :; do sleep 1; done",
    )
    shell.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    backup = str(shell.folder / "backup.tar.gz")
    assert backup in shell.jindou("backup", backup)
    shell.kubectl("create", "configmap", "later")
    shell.kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=60s")
    shell.jindou("restore", backup, "--yes")
    assert "later" not in shell.kubectl("get", "configmaps", "-o", "name")
    shell.kubectl("rollout", "status", "deployment/web", "--timeout=60s")

    former = {state["containerID"] for state in states_of(shell)}
    shell.jindou("down")
    assert shell.run("status").returncode == 3
    shell.jindou("up", "--no-images")
    shell.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    deadline = time.monotonic() + 30
    while True:  # the containers of before are gone, so it is ready only when started anew
        states = states_of(shell)
        if all(s["ready"] and s["restartCount"] and s["containerID"] not in former for s in states):
            break
        assert time.monotonic() < deadline, states

    assert "bridge" in shell.jindou("uninstall", "--plan")
    refused = shell.run("uninstall", "--purge", "--yes", "--confirm", "not-this-machine")
    assert refused.returncode == 2
    shell.jindou("uninstall", "--purge", "--yes", "--confirm", os.uname().nodename)
    assert traces(shell) == []
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before
    assert not Path(shell.environment["HOME"], ".kube/config").exists()


def test_a_taken_port_is_said_before_anything_is_changed(shell):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", shell.settings.api_port))
        taken.listen()
        done = shell.run("up", "--no-images")
        assert done.returncode == 6
        assert str(shell.settings.api_port) in done.stderr
        assert "JD-NET" in done.stderr
    assert [t for t in traces(shell) if "/logs" not in t] == []
