"""A folder with a short path, for the names of Unix sockets end at 108 bytes, and a shell in it."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.canned import Shell


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="jin"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def shell(folder: Path) -> Iterator[Shell]:
    before = signal.getsignal(signal.SIGTERM)
    yield Shell(folder)
    signal.signal(signal.SIGTERM, before)
