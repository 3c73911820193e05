"""System calls that fail, are late or kill, by strace: the N-th of a kind, of a new process or of one
that runs. A thread counts for itself."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(not STRACE, reason="strace is not installed")


class Fault(NamedTuple):
    """`what` as strace says it: signal=SIGKILL, error=EIO, delay_enter=100000; `when`: 3, 3+, 1..5."""

    calls: str
    what: str
    when: str = "1+"
    path: str = ""  # of this file alone

    def words(self, log: Path) -> list[str]:
        where = ["-P", self.path] if self.path else []
        inject = f"inject={self.calls}:{self.what}:when={self.when}"
        return [STRACE or "strace", "-f", "-qq", "-o", str(log), *where,
                "-e", f"trace={self.calls}", "-e", inject, "-e", "signal=none"]  # fmt: skip


def run(fault: Fault, log: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A new process, to its end."""
    return subprocess.run([*fault.words(log), *words], capture_output=True, text=True, timeout=60)


def fired(log: Path) -> int:
    """How often a call was tampered with."""
    return log.read_text().count("(INJECTED)") + log.read_text().count("(DELAYED)")


@contextlib.contextmanager
def injected(pid: int, fault: Fault, log: Path) -> Iterator[None]:
    """A process that runs: as long as this lasts."""
    tracer = subprocess.Popen(
        [*fault.words(log), "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_traced(pid, tracer)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)


def _wait_until_traced(pid: int, tracer: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while not all(_traced(task) for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < until, "strace did not attach"
        if tracer.poll() is not None:
            pytest.skip("this process may not be traced here")
        time.sleep(0.01)


def _traced(task: Path) -> bool:
    with contextlib.suppress(OSError):  # a thread that has ended meanwhile
        return "TracerPid:\t0\n" not in (task / "status").read_text()
    return True
