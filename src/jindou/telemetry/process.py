"""This process as Prometheus knows processes: time, memory, descriptors, and when it began.

Source: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def lines(proc: Path = Path("/proc")) -> Iterable[str]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    pages = (proc / "self/statm").read_text().split()
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = (
        ("cpu_seconds_total", "counter", f"{own.ru_utime + own.ru_stime:.2f}"),
        ("max_fds", "gauge", str(most)),
        ("open_fds", "gauge", str(len(os.listdir(proc / "self/fd")))),
        ("resident_memory_bytes", "gauge", str(int(pages[1]) * PAGE)),
        ("start_time_seconds", "gauge", f"{started(proc):.2f}"),
        ("virtual_memory_bytes", "gauge", str(int(pages[0]) * PAGE)),
    )
    for name, kind, value in told:
        yield f"# TYPE process_{name} {kind}"
        yield f"process_{name} {value}"


def started(proc: Path) -> float:
    """Seconds since 1970."""
    after = (proc / "self/stat").read_text().rpartition(")")[2].split()
    booted = next(
        line.split()[1]
        for line in (proc / "stat").read_text().splitlines()
        if line.startswith("btime ")
    )
    return int(booted) + int(after[19]) / TICKS
