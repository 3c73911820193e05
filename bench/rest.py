"""What an idle cloud takes: memory of both processes (proportional set size) and CPU over a minute."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from bench.table import Table
from tests.cloud import Cloud, settings_for

SECONDS = 60.0


def cpu(pid: int) -> float:
    """Seconds of CPU since the start of a process."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024


def run(table: Table) -> None:
    with tempfile.TemporaryDirectory(prefix="jb") as folder:
        cloud = Cloud(settings_for(Path(folder)))
        try:
            cloud.start()
            cloud.wait_until_ready()
            time.sleep(5)
            pids = {name: process.pid for name, process in cloud.processes.items()}
            before = {name: cpu(pid) for name, pid in pids.items()}
            time.sleep(SECONDS)
            used = {name: cpu(pid) - before[name] for name, pid in pids.items()}
            held = {name: memory(pid) for name, pid in pids.items()}
        finally:
            cloud.end()
    parts = ", ".join(f"{name} {size >> 20}" for name, size in held.items())
    table.add("memory", f"{sum(held.values()) / 2**20:.0f} MB ({parts})", "", "<= 150 MB")
    table.add("CPU of one core", f"{sum(used.values()) / SECONDS:.2%}", "", "<= 0.5 %")
