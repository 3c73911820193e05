"""An error as a person reads it: what and its code, where, why, the state it left, what to do.

Codes are JD-AREA-nnn (NET, STO, SEC, RUN, IMG, CLI, API) and are never given to another problem;
`codes.LONG` explains each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jindou.cli.term import Terminal

DONE, FAILED, USAGE, NOT_RUNNING, NO_ACCESS, NO_OBJECT, IN_THE_WAY, WAITED = range(8)
EFFECT = "   "  # between a command and what it does


class Problem(Exception):
    """`do` has one to three lines that run as pasted, safest first: "command" or "command   effect"."""

    def __init__(
        self,
        what: str,
        code: str,
        *,
        where: str = "",
        why: str = "",
        now: str = "",
        said: str = "",
        do: Sequence[str] = (),
        log: str = "",
        status: int = FAILED,
    ) -> None:
        super().__init__(what)
        self.what, self.code, self.where, self.why, self.now = what, code, where, why, now
        self.said, self.do, self.log, self.status = said, tuple(do), log, status

    def render(self, terminal: Terminal, label: str = "error") -> str:
        import textwrap

        width = terminal.width
        head = textwrap.wrap(f"{label}: {self.what}", width - len(self.code) - 2) or [label]
        head[0] = f"{head[0]}{' ' * (width - len(head[0]) - len(self.code))}{self.code}"
        lines = [head[0], *(f"  {line}" for line in head[1:])]
        for name in ("where", "why", "now"):
            if text := getattr(self, name):
                wrapped = textwrap.wrap(
                    text, width - 8, break_long_words=False, break_on_hyphens=False
                )
                lines += block(name, wrapped)
        if self.said.strip():
            said = self.said.strip().splitlines()[-8:]
            lines += block("said", [f"| {line}" for line in said])
        lines += remedies(self.do)
        if self.log:
            lines.append(f"  log   {self.log}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        names = ("what", "code", "where", "why", "now", "said", "do", "log")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def block(name: str, lines: Sequence[str]) -> list[str]:
    return [f"  {name:<5} {line}" if n == 0 else f"        {line}" for n, line in enumerate(lines)]


def remedies(do: Sequence[str], indent: str = "  ") -> list[str]:
    """Commands below one another, the effect of each beside it."""
    if not do:
        return []
    pairs = [line.partition(EFFECT) for line in do]
    width = max((len(command) for command, _, effect in pairs if effect), default=0)
    lines = [
        f"{command:<{width}}{EFFECT}{effect.strip()}" if effect else command
        for command, _, effect in pairs
    ]
    if len(lines) == 1:
        return [f"{indent}do    {lines[0]}"]
    return [f"{indent}do    one of:", *(f"{indent}          {line}" for line in lines)]


class Blocked(Exception):
    """Several problems to be shown one after the other, usually before anything was changed."""

    def __init__(self, problems: Sequence[Problem], changed: bool = False) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = list(problems)
        self.changed = changed
