"""Writes the map of ARCHITECTURE.md anew from the docstrings of the folders: `python tools/map.py`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "jindou"


def lines() -> list[str]:
    found = []
    for init in sorted(SOURCE.rglob("__init__.py")):
        depth = len(init.parent.relative_to(SOURCE).parts)
        says = ast.get_docstring(ast.parse(init.read_text())) or ""
        found.append(f"{'  ' * depth}{init.parent.name}/  {says.splitlines()[0]}")
    return found


def main() -> None:
    page = ROOT / "ARCHITECTURE.md"
    text = page.read_text()
    start = text.index("```\njindou/")
    end = text.index("```", start + 4)
    page.write_text(text[:start] + "```\n" + "\n".join(lines()) + "\n" + text[end:])


if __name__ == "__main__":
    main()
