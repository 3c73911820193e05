"""What a person sees: words in fixed columns, one clock that ticks, and the same story without a terminal.

stdout carries answers, stderr progress and errors. State is a word (ok now next wait warn FAIL
skip), never only a colour. Text is laid out for 80 columns, shrinks to 60 and uses up to 120.
Standard library only, and cheap: `status` starts with it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

STATES = {"warn": "33", "FAIL": "31;1"}


def wants_colour(stream: TextIO, env: Mapping[str, str], choice: str = "auto") -> bool:
    """--color, then NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE, TERM=dumb, CLICOLOR=0, then the stream."""
    if choice in ("always", "never"):
        return choice == "always"
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR", "0") != "0" or env.get("CLICOLOR_FORCE", "0") != "0":
        return True
    if env.get("TERM", "dumb") == "dumb" or env.get("CLICOLOR") == "0":
        return False
    return stream.isatty()


def wants_motion(stream: TextIO, env: Mapping[str, str]) -> bool:
    quiet = any(env.get(name) for name in ("CI", "ACCESSIBLE", "JINDOU_PLAIN"))
    return stream.isatty() and env.get("TERM", "dumb") != "dumb" and not quiet


def cells(text: str) -> int:
    """Columns that a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def pad(text: str, width: int, right: bool = False) -> str:
    space = " " * max(0, width - cells(text))
    return space + text if right else text + space


def cut(text: str, width: int) -> str:
    """At most that many columns, and nothing that moves the cursor."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    if len(text) <= width and text.isascii():
        return text
    kept = ""
    for character in text:
        if cells(kept + character) > width:
            break
        kept += character
    return kept


def count(number: int, what: str) -> str:
    """1 pod, 2 pods."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float) -> str:
    """0.3s, 18.2s, 1m 04s, 3h 12m, 5d."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    if seconds < 3600:
        return f"{int(seconds // 60)}m {int(seconds % 60):02}s"
    if seconds < 2 * 86400:
        return f"{int(seconds // 3600)}h {int(seconds % 3600 // 60):02}m"
    return f"{int(seconds // 86400)}d"


def size(count: float) -> str:
    """Bytes as KiB, MiB, GiB; one decimal from MiB up."""
    for unit, form in (("B", "{:.0f}"), ("KiB", "{:.0f}"), ("MiB", "{:.1f}"), ("GiB", "{:.1f}")):
        if count < 1024 or unit == "GiB":
            return f"{form.format(count)} {unit}"
        count /= 1024
    raise AssertionError


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = (), indent: str = "") -> str:
    """Columns two spaces apart, sized to their content; the first row is the heading."""
    widths = [max(cells(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = []
    for row in rows:
        last = len(row) - 1
        parts = [
            pad(cell, widths[n], n in right) if n < last or n in right else cell
            for n, cell in enumerate(row)
        ]
        lines.append((indent + "  ".join(parts)).rstrip())
    return "\n".join(lines)


class Terminal:
    """The two streams, and how they may be used."""

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        env: Mapping[str, str] | None = None,
        *,
        colour: str = "auto",
        progress: str = "auto",
        quiet: bool = False,
        output: str = "text",
        no_input: bool = False,
        verbose: int = 0,
    ) -> None:
        self.env = os.environ if env is None else env
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.quiet = quiet
        self.output = output
        self.no_input = no_input
        self.verbose = verbose
        self.colour = wants_colour(self.err, self.env, colour)
        self.out_colour = wants_colour(self.out, self.env, colour)
        if progress == "auto":
            progress = "tty" if wants_motion(self.err, self.env) else "plain"
        self.progress = "json" if output == "json" else progress

    @property
    def interactive(self) -> bool:
        asked = self.no_input or self.env.get("CI") or sys.stdin is None
        return not asked and self.err.isatty() and sys.stdin.isatty()

    @property
    def width(self) -> int:
        return max(60, min(120, self.columns))

    @property
    def columns(self) -> int:
        """What the terminal really has: a line that is drawn again must not be longer."""
        if (chosen := self.env.get("COLUMNS", "")).isdigit() and int(chosen):
            return int(chosen)
        for stream in (self.out, self.err):
            try:
                if columns := os.get_terminal_size(stream.fileno()).columns:
                    return columns
            except (OSError, ValueError):
                continue
        return 80

    def answer(self, text: str = "", always: bool = False) -> None:
        """What was asked for. With --quiet only what has no other purpose than to be read on."""
        if always or not self.quiet:
            print(text, file=self.out)

    def note(self, text: str = "") -> None:
        if not self.quiet:
            print(text, file=self.err)

    def heading(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self.out_colour else text

    def state(self, word: str, *, out: bool = False) -> str:
        """A state word, padded to four, in colour where it is trouble."""
        padded, colour = pad(word, 4), STATES.get(word)
        if colour and (self.out_colour if out else self.colour):
            return f"\033[{colour}m{padded}\033[0m"
        return padded

    def ask(self, question: str, default: bool) -> bool:
        """Only called where `interactive` is true. Enter takes the default, the end of input says no."""
        hint = "[Y/n]" if default else "[y/N]"
        print(f"{question} {hint} ", end="", file=self.err, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(file=self.err)
            return False
        answer = line.strip().lower()
        return default if not answer else answer in ("y", "yes")
