"""Writes docs/coverage/guarantees.md from the marks of the tests: `python tools/guarantees.py`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "coverage" / "guarantees.md"
HEAD = """# What store, watch and node promise

Written by `tools/guarantees.py` from the tests that are marked `guarantee(number)`: at every crash, on
every disk that is full or fails, whatever becomes of the connections.

| promise | | proved by |
|---|---|---|
"""


def tests() -> dict[int, list[str]]:
    """By promise: the file and name of each test that is marked with it."""
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                name = node.name.removeprefix("test_").replace("_", " ")
                for number in _numbers(node):
                    found.setdefault(number, []).append(f"{path.relative_to(TESTS)}: {name}")
    return found


def _numbers(node: ast.FunctionDef) -> list[int]:
    return [
        argument.value
        for mark in node.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.guarantee"
        for argument in mark.args
        if isinstance(argument, ast.Constant)
    ]


def page(promises: dict[int, str]) -> str:
    found = tests()
    rows = []
    for number, says in promises.items():
        proofs = found.get(number, [])
        told = "<br>".join(proofs) if proofs else "**nothing yet**"
        rows.append(f"| {number} | {says} | {told} |")
    proved = sum(1 for number in promises if number in found)
    total = len({test for number in promises for test in found.get(number, [])})
    return (
        f"{HEAD}{chr(10).join(rows)}\n\n{proved} of {len(promises)} are proved, by {total} tests.\n"
    )


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.faults.promises import PROMISES

    PAGE.write_text(page(PROMISES))


if __name__ == "__main__":
    main()
