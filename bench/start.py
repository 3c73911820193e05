"""From the start of both processes to a node that says Ready, on a machine where images are there."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.table import Table, spread
from tests.cloud import Cloud, settings_for

RUNS = 20


def run(table: Table) -> None:
    with tempfile.TemporaryDirectory(prefix="jb") as folder:
        cloud = Cloud(settings_for(Path(folder)))
        try:
            cloud.start()
            cloud.wait_until_ready()
            samples = []
            for _ in range(RUNS):
                cloud.stop()
                began = time.monotonic()
                cloud.start()
                cloud.wait_until_ready()
                samples.append(time.monotonic() - began)
        finally:
            cloud.end()
    table.add("warm start to Ready", spread(samples, "s", 1), "", "<= 2 s")
