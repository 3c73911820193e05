"""What the kernel allows a running process, made less for a while and given back."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

FILE_SIZE, FILES = resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE


@contextlib.contextmanager
def limited(pid: int, what: int, most: int) -> Iterator[None]:
    """The hard limit stays, so that nobody needs a right to undo it."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
