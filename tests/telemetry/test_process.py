"""A process as Prometheus knows it, read of a /proc of our own."""

from __future__ import annotations

from pathlib import Path

from jindou.telemetry import process


def test_what_is_told_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "self" / "fd").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "self" / "fd" / str(number)).touch()
    (tmp_path / "self" / "statm").write_text("100 10 5 1 0 50 0\n")
    fields = ["S", *["0"] * 18, str(5 * process.TICKS), "0"]
    (tmp_path / "self" / "stat").write_text(f"7 (a ) b) {' '.join(fields)}\n")
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1000\n")
    told = dict(line.split() for line in process.lines(tmp_path) if not line.startswith("#"))
    assert told["process_open_fds"] == "3"
    assert told["process_resident_memory_bytes"] == str(10 * process.PAGE)
    assert told["process_virtual_memory_bytes"] == str(100 * process.PAGE)
    assert told["process_start_time_seconds"] == "1005.00"
    assert float(told["process_cpu_seconds_total"]) > 0
