"""A log that grows without end is put aside, by the process that writes it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, sys
from jindou import telemetry
telemetry.LOOK_EVERY = 10
handler = telemetry.Bounded(sys.stdout, 5000)
log = logging.getLogger("jindou.test")
log.handlers = [handler]
log.setLevel(logging.INFO)
for number in range(2000):
    log.info("line %d", number)
print("an error that is not logged", file=sys.stderr)
"""


def test_two_files_of_bounded_size_hold_the_newest_lines(tmp_path):
    log = tmp_path / "server.log"
    with open(log, "ab") as file:
        subprocess.run([sys.executable, "-c", PROGRAM], stdout=file, stderr=file, check=True)
    kept = (tmp_path / "server.log.1").read_text() + log.read_text()
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 6000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["server.log", "server.log.1"]
    assert "line 1999\n" in kept
    assert kept.endswith("an error that is not logged\n")
    numbers = [int(line.split()[-1]) for line in kept.splitlines()[:-1]]
    assert numbers == list(range(numbers[0], 2000)), "no line is lost between the two"


def test_a_pipe_is_left_alone():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 2000
