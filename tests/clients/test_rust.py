"""kube-rs, in a program of our own: its typed and dynamic clients, its stores and its Controller."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.toolchains import fetched, folder, left_out, need

pytestmark = pytest.mark.slow
CLIENT = "kube-rs"
SOURCE = Path(__file__).parent / "rust"


@pytest.fixture(scope="session")
def program() -> Path:
    """Built outside the checkout; the crates are compiled once for each lock file."""
    cargo, _ = need(CLIENT, "cargo", "cc")
    target = folder("rust")
    fetched(CLIENT, cargo, "fetch", "--locked", "--quiet", cwd=SOURCE)
    done = subprocess.run(
        [cargo, "build", "--locked", "--offline", "--quiet"], cwd=SOURCE,
        env=os.environ | {"CARGO_TARGET_DIR": str(target)},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    if "requires rustc" in done.stderr:
        raise left_out(CLIENT, "rustc is too old")
    assert done.returncode == 0, done.stderr
    return target / "debug" / "clients"


def run(program: Path, part: str, kubeconfig: str, namespace: str) -> None:
    done = subprocess.run(
        [program, part, namespace], capture_output=True, text=True, timeout=90,
        env={"KUBECONFIG": kubeconfig, "HOME": str(SOURCE)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "all was so\n"), done.stdout + done.stderr


@pytest.mark.parametrize("part", ["objects", "watches", "controller"])
def test_kube_rs(program, pretended, namespace, part):
    run(program, part, pretended.kubeconfig, namespace)


@pytest.mark.root
def test_exec_logs_and_a_forwarded_port(program, real, real_namespace):
    run(program, "streams", real.kubeconfig, real_namespace)
