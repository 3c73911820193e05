"""The JavaScript client from npm, in two programs of our own."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.toolchains import fetched, folder, need

pytestmark = pytest.mark.slow
CLIENT = "the JavaScript client"
SOURCE = Path(__file__).parent / "javascript"


@pytest.fixture(scope="session")
def place() -> Path:
    """A folder with the packages of the lock file, made once for each lock file."""
    _, npm = need(CLIENT, "node", "npm")
    lock = (SOURCE / "package-lock.json").read_bytes()
    made = folder(f"javascript-{hashlib.sha256(lock).hexdigest()[:12]}")
    done = made / "installed"
    if not done.exists():
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(SOURCE / name, made)
        fetched(CLIENT, npm, "ci", cwd=made)
        done.touch()
    for program in SOURCE.glob("*.mjs"):
        shutil.copy(program, made)
    return made


def run(place: Path, program: str, kubeconfig: str, namespace: str) -> None:
    done = subprocess.run(
        [*need(CLIENT, "node"), program, namespace], cwd=place, capture_output=True, text=True,
        env={"KUBECONFIG": kubeconfig, "HOME": str(place)}, timeout=90,
    )  # fmt: skip
    assert done.stdout == "all was so\n", done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_objects_watches_and_an_informer(place, pretended, namespace):
    run(place, "objects.mjs", pretended.kubeconfig, namespace)


@pytest.mark.root
def test_exec_logs_and_a_forwarded_port(place, real, real_namespace):
    run(place, "streams.mjs", real.kubeconfig, real_namespace)
