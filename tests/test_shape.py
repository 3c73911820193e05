"""The shape of the code, kept by tests: imports flow one way, and the map is always true."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "jindou"


def folders():
    return sorted(path for path in SOURCE.rglob("__init__.py"))


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
    lines = []
    for init in folders():
        depth = len(init.parent.relative_to(SOURCE).parts)
        docstring = ast.get_docstring(ast.parse(init.read_text()))
        lines.append(f"{'  ' * depth}{init.parent.name}/  {docstring.splitlines()[0]}")
    assert "\n".join(lines) in (ROOT / "ARCHITECTURE.md").read_text()


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
