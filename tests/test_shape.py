"""The shape of the code, kept by tests: imports flow one way, and the map is always true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "jindou"
PLACES = {
    "tests", "bench", "tools", "docs", "scripts", "examples", "src", "control", "node", "machine",
    "client", "objects", "transport", "cli", "controllers", "telemetry",
}  # fmt: skip


def test_imports_flow_one_way():
    lint = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True
    )
    assert lint.returncode == 0, lint.stdout


def test_every_file_says_what_it_is_for():
    silent = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_the_map_in_architecture_is_true():
    from tools.map import lines

    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert "\n".join(lines()) in text, "python tools/map.py writes it anew"


def test_what_the_documents_name_is_there():
    """Files and folders in backquotes, and tests named as proof."""
    everything = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    missing = []
    for page in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]:
        for name in re.findall(r"`([\w/.-]+)`", page.read_text()):
            if name.startswith("test_"):
                found = f"def {name}(" in everything or (ROOT / "tests" / name).exists()
            elif "/" in name and name.split("/")[0] in PLACES:
                found = any((base / name).exists() for base in (ROOT, SOURCE, SOURCE / "control"))
            else:
                continue
            if not found:
                missing.append(f"{page.name}: {name}")
    assert missing == []


def test_every_dependency_has_its_reason():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    names = [
        requirement.split("=")[0].split(">")[0].split("<")[0].strip()
        for requirement in project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    ]
    assert [name for name in names if f"`{name}`" not in reasons] == []


def test_the_changelog_knows_this_version():
    from jindou import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_coverage_page_is_current() -> None:
    from tests.conformance.criteria import CRITERIA
    from tools import coverage

    assert coverage.PAGE.read_text() == coverage.page(CRITERIA), "run tools/coverage.py"


def test_every_promise_is_proved_and_the_page_says_by_what() -> None:
    from tests.faults.promises import PROMISES
    from tools import guarantees

    assert set(guarantees.tests()) == set(PROMISES)
    assert guarantees.PAGE.read_text() == guarantees.page(PROMISES), "run tools/guarantees.py"
