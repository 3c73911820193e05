"""For all tests: the kubectl that was fetched for them, and what an old one can't take part in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tools.newer_kubectl import version

CACHE = Path(__file__).parent.parent / ".cache" / "bin"
if CACHE.is_dir():
    os.environ["PATH"] = f"{CACHE}:{os.environ['PATH']}"
SPEAKERS = ("tests/end_to_end/", "tests/faults/", "kubectl")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    found = version(shutil.which("kubectl") or "kubectl")
    if found >= (1, 31):
        return
    why = (
        f"needs kubectl 1.31 or newer, here is {found[0]}.{found[1]}"
        if found[1]
        else "needs kubectl"
    )
    for item in items:
        if any(word in item.nodeid for word in SPEAKERS) and "test_store" not in item.nodeid:
            item.add_marker(pytest.mark.skip(reason=why))
