"""Which toolchains this machine has, and where what they fetch is kept: outside the checkout.

A client of another language asks here for its programs with `need`, which skips the test with a
plain reason where one is missing (the summary of the run repeats it), and builds in `folder(NAME)`.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import newer_kubectl

ROOT = Path(__file__).parent.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jindou-tests"
LEFT_OUT = "left out: "


def left_out(client: str, why: str) -> pytest.skip.Exception:
    return pytest.skip.Exception(f"{LEFT_OUT}{client} ({why})")


def need(client: str, *programs: str) -> list[str]:
    """Where the programs are; skips the test when one is not there."""
    found = [shutil.which(program) for program in programs]
    for program, path in zip(programs, found):
        if path is None:
            raise left_out(client, f"no {program}")
    return [str(path) for path in found]


def folder(name: str) -> Path:
    """A client's own place for packages and builds; kept from run to run."""
    place = CACHE / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def fetched(client: str, *words: str, cwd: Path) -> None:
    """Run a package manager; where its registry can't be reached, the client is left out."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise left_out(client, f"{words[0].rpartition('/')[2]}: {' '.join(last)}")


# ------------------------------------------------------------ kubectl


def kubectl(which: str) -> str:
    """`installed` is the machine's own, `fetched` one of today, `old` one from before WebSockets."""
    return {"installed": _installed, "fetched": _fetched, "old": _old}[which]()


def _installed() -> str:
    """Where a dispatcher stands before several versions, the one of its own minor."""
    (program,) = need("kubectl", "kubectl")
    minor = newer_kubectl.version(program)[1]
    beside = Path(program).resolve().with_name(f"kubectl.1.{minor}")
    return str(beside) if beside.exists() else program


def _fetched() -> str:
    client, program = "a second kubectl", folder("kubectl-1.35") / "kubectl"
    if program.exists():
        return str(program)
    if platform.machine() != "x86_64":
        raise left_out(client, f"none for {platform.machine()}")
    uv = shutil.which("uv") or str(ROOT / ".cache/uv/bin/uv")
    if not Path(uv).exists():
        raise left_out(client, "no uv to fetch it with")
    try:
        newer_kubectl.fetch(uv, program.parent)
    except (subprocess.CalledProcessError, OSError) as error:
        raise left_out(client, str(error)) from error
    return str(program)


def _old() -> str:
    (program,) = need("kubectl", "kubectl")
    for minor in range(27, 30):
        beside = Path(program).resolve().with_name(f"kubectl.1.{minor}")
        if beside.exists():
            return str(beside)
    raise left_out("a kubectl before 1.30", "none on this machine")
