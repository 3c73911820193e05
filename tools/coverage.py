"""Writes docs/coverage/kubernetes.md from the names of the conformance tests: `python tools/coverage.py`."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests" / "conformance"
PAGE = ROOT / "docs" / "coverage" / "kubernetes.md"
HEAD = """# The Kubernetes API, criterion by criterion

Written by `tools/coverage.py` from the names of the tests in `tests/conformance/`; each of them asks a
real server over TLS. `CONFORMANCE_KUBECONFIG=... .venv/bin/pytest tests/conformance` asks another cluster
the same.

| criterion | | proved by |
|---|---|---|
"""


def tests() -> dict[int, list[str]]:
    """By criterion: the file and name of each test."""
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (
                match := re.match(r"test_(\d\d?)_(.+)", node.name)
            ):
                found.setdefault(int(match[1]), []).append(f"{path.stem}: {_words(match[2])}")
    return found


def _words(name: str) -> str:
    return name.replace("_", " ")


def page(criteria: dict[int, str]) -> str:
    found = tests()
    rows = []
    for number, says in criteria.items():
        proofs = found.get(number, [])
        told = "<br>".join(proofs) if proofs else "**nothing yet**"
        rows.append(f"| {number} | {says} | {told} |")
    proved = sum(1 for number in criteria if number in found)
    total = sum(map(len, found.values()))
    tail = f"\n{proved} of {len(criteria)} criteria are proved, by {total} tests.\n"
    return HEAD + "\n".join(rows) + "\n" + tail


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.conformance.criteria import CRITERIA

    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(CRITERIA))


if __name__ == "__main__":
    main()
