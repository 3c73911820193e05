"""What a person sees: words in fixed columns, one clock that ticks, and the same story without a terminal.

stdout carries answers, stderr progress and errors. State is a word (ok now next wait warn FAIL
skip), never only a colour. Only the lines of the running step are redrawn, at most ten times a
second; without a terminal the same events become dated lines, and `-o json` makes them objects.
Standard library only, and cheap: `status` starts with it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

TYPE_WIDTH = 22  # of a step's title
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
    ) -> None:
        self.env = os.environ if env is None else env
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.quiet = quiet
        self.output = output
        self.colour = wants_colour(self.err, self.env, colour)
        self.out_colour = wants_colour(self.out, self.env, colour)
        if progress == "auto":
            progress = "tty" if wants_motion(self.err, self.env) else "plain"
        self.progress = "json" if output == "json" else progress

    @property
    def interactive(self) -> bool:
        return self.err.isatty() and sys.stdin.isatty() and not self.env.get("CI")

    @property
    def width(self) -> int:
        return max(60, min(120, shutil.get_terminal_size((80, 24)).columns))

    def answer(self, text: str = "") -> None:
        print(text, file=self.out)

    def note(self, text: str = "") -> None:
        if not self.quiet:
            print(text, file=self.err)

    def heading(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self.out_colour else text

    def state(self, word: str, *, out: bool = False) -> str:
        """A state word, padded to four, in colour where it is trouble."""
        padded = pad(word, 4)
        colour = STATES.get(word)
        return (
            f"\033[{colour}m{padded}\033[0m"
            if colour and (self.out_colour if out else self.colour)
            else padded
        )

    def ask(self, question: str, default: bool) -> bool:
        """Only called where `interactive` is true. Enter takes the default."""
        hint = "[Y/n]" if default else "[y/N]"
        print(f"{question} {hint} ", end="", file=self.err, flush=True)
        answer = sys.stdin.readline().strip().lower()
        return default if not answer else answer in ("y", "yes")


class Item:
    """One line below a step: an image being built, a Deployment coming up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = "next"
        self.detail = ""
        self.done = 0
        self.total = 0
        self.began = 0.0
        self.took = 0.0

    def start(self) -> None:
        self.state, self.began = "now", time.monotonic()

    def end(self, detail: str = "", state: str = "ok") -> None:
        self.state, self.detail, self.total = state, detail, 0
        self.took = time.monotonic() - self.began if self.began else 0.0

    def text(self, terminal: Terminal) -> str:
        clock = self.took if self.state != "now" else time.monotonic() - self.began
        shown = f"{clock:.0f}s" if self.state == "now" else duration(clock) if self.took else ""
        detail = self.detail
        if self.state == "now" and self.total:
            done = min(self.done, self.total)
            filled = done * 24 // self.total
            detail = f"[{'#' * filled}{'.' * (24 - filled)}] {done * 100 // self.total:3}%  {self.detail}"
        room = terminal.width - 13 - 6 - 14 - len(shown) - 2
        return f"             {terminal.state(self.state)}  {pad(self.name, 12)}  {pad(detail[:room], room)}{shown}"


class Steps:
    """A planned list of steps, run one after the other with `with steps.step(...)`."""

    def __init__(self, terminal: Terminal, titles: Sequence[str]) -> None:
        self.terminal = terminal
        self.titles = list(titles)
        self.at = 0
        self.began = time.monotonic()

    def step(self, title: str) -> Step:
        self.at += 1
        assert self.titles[self.at - 1] == title, f"step {title!r} is not what was planned"
        return Step(self.terminal, title, self.at, self.titles)


class Step:
    """The running step. Leaving its block normally is `ok`; with an exception, FAIL."""

    def __init__(self, terminal: Terminal, title: str, number: int, titles: Sequence[str]) -> None:
        self.terminal, self.title, self.number, self.titles = terminal, title, number, titles
        self.detail = ""
        self.state = "ok"
        self.items: list[Item] = []
        self._drawn = 0
        self._last = ""
        self._heard = 0.0

    def __enter__(self) -> Step:
        import threading

        self._began = time.monotonic()
        self._heard = self._began
        self._over = threading.Event()
        self._drawing = threading.Lock()
        if self.terminal.progress == "plain":
            self._line("start", self.title)
        self._event("start")
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._ticker.join()
        took = time.monotonic() - self._began
        state = "FAIL" if kind else self.state
        terminal = self.terminal
        self._event(state, took)
        if terminal.quiet or terminal.progress == "json":
            return
        if terminal.progress == "plain":
            self._line(
                state, f"{self.title}{': ' + self.detail if self.detail else ''} ({duration(took)})"
            )
            return
        self._erase()
        print(self._text(state, self.detail, duration(took)), file=terminal.err, flush=True)

    def say(self, detail: str) -> None:
        self.detail = detail

    def item(self, name: str) -> Item:
        item = Item(name)
        self.items.append(item)
        return item

    def _text(self, state: str, detail: str, clock: str) -> str:
        terminal = self.terminal
        head = f"  {terminal.state(state)}  {self.number}/{len(self.titles)}  {pad(self.title, TYPE_WIDTH)} "
        room = terminal.width - 12 - TYPE_WIDTH - len(clock) - 2
        return f"{head}{pad(detail[:room], room)} {clock}"

    def _tick(self) -> None:
        terminal = self.terminal
        while not self._over.wait(0.1 if terminal.progress == "tty" else 1.0):
            if terminal.quiet:
                continue
            if terminal.progress == "tty":
                self._draw()
            elif terminal.progress == "plain" and time.monotonic() - self._heard >= 30:
                self._heard = time.monotonic()
                running = next((item for item in self.items if item.state == "now"), None)
                share = (
                    f" {running.done * 100 // running.total}%" if running and running.total else ""
                )
                what = f"{running.name}{share}" if running else self.detail
                past = duration(self._heard - self._began)
                self._line("still", f"{self.title}{': ' + what if what else ''} ({past})")

    def _draw(self) -> None:
        terminal = self.terminal
        clock = f"{time.monotonic() - self._began:.0f}s"
        lines = [self._text("now", self.detail, clock)]
        most = min(8, max(1, shutil.get_terminal_size((80, 24)).lines - 4))
        shown = [i for i in self.items if i.state == "now"] + [
            i for i in self.items if i.state != "now"
        ][::-1]
        kept = {id(item) for item in shown[: most - 1]}
        lines += [item.text(terminal) for item in self.items if id(item) in kept]
        text = "\n".join(lines)
        if text == self._last:
            return
        with self._drawing:
            self._erase()
            print(text, file=terminal.err, flush=True)
            self._drawn, self._last = len(lines), text

    def _erase(self) -> None:
        if self._drawn:
            print(f"\033[{self._drawn}A\033[J", end="", file=self.terminal.err)
            self._drawn = 0

    def _line(self, state: str, text: str) -> None:
        if not self.terminal.quiet:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            place = f"{self.number}/{len(self.titles)}"
            print(f"{stamp} {pad(state, 5)} {place} {text}", file=self.terminal.err, flush=True)

    def _event(self, state: str, took: float | None = None) -> None:
        if self.terminal.output != "json":
            return
        import json

        event = {
            "v": 1,
            "t": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "step": self.number,
            "of": len(self.titles),
            "id": self.title,
            "state": state,
        }
        if self.detail:
            event["detail"] = self.detail
        if took is not None:
            event["ms"] = int(took * 1000)
        print(json.dumps(event), file=self.terminal.out, flush=True)
