"""A planned list of steps, told while they run: on a terminal, in plain lines, or as JSON events.

On a terminal only the lines of the running step are drawn again, at most ten times a second; what
has ended scrolls away for good. Elsewhere each start and end is a dated line, and a step that takes
long says every half minute that it still lives. `-o json` puts the same events on stdout,
`--progress json` on stderr.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

from jindou.cli.term import Terminal, cells, cut, duration, pad

TITLE, NAME, BAR = 21, 10, 24  # columns of a step's title, of an item's name, of a bar
LONGEST_NAME = 32
HEARTBEAT = 30.0
MOST_LINES = 8


class Item:
    """One line below a step: an image being made, a Deployment coming up."""

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

    def text(self, terminal: Terminal, width: int = NAME) -> str:
        clock = self.took if self.state != "now" else time.monotonic() - self.began
        shown = seconds(clock) if self.state == "now" else duration(clock) if self.took else ""
        detail = self.detail
        if self.state == "now" and self.total:
            done = min(self.done, self.total)
            filled = done * BAR // self.total
            bar = f"[{'#' * filled}{'.' * (BAR - filled)}]"
            detail = f"{bar} {done * 100 // self.total:3}%  {self.detail}"
        name = pad(cut(self.name, width), width)
        head = f"             {terminal.state(self.state)}  {name}  "
        return line(terminal, head, 21 + width, detail, shown)


class Steps:
    """Run one after the other with `with steps.step(...)`, as they were planned."""

    def __init__(self, terminal: Terminal, titles: Sequence[str]) -> None:
        self.terminal = terminal
        self.titles = list(titles)
        self.at = 0

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

        self._began = self._heard = time.monotonic()
        self._over = threading.Event()
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
        state = self.state
        if kind:
            state = "stop" if issubclass(kind, KeyboardInterrupt) else "FAIL"
        terminal = self.terminal
        self._event(state, took)
        if terminal.quiet or terminal.progress == "json":
            return
        if terminal.progress == "plain":
            detail = f": {self.detail}" if self.detail else ""
            self._line(state, f"{self.title}{detail} ({duration(took)})")
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
        place = f"{self.number}/{len(self.titles)}"
        title = pad(self.title, TITLE)
        head = f"  {terminal.state(state)}  {place}  {title}  "
        return line(terminal, head, 12 + len(place) + len(title), detail, clock)

    def _tick(self) -> None:
        terminal = self.terminal
        while not self._over.wait(0.1 if terminal.progress == "tty" else 1.0):
            if terminal.quiet:
                continue
            if terminal.progress == "tty":
                self._draw()
            elif time.monotonic() - self._heard >= HEARTBEAT:
                self._still()

    def _still(self) -> None:
        self._heard = time.monotonic()
        running = next((item for item in self.items if item.state == "now"), None)
        what = self.detail
        if running:
            over = sum(item.state == "ok" for item in self.items)
            share = f" {running.done * 100 // running.total}%" if running.total else ""
            detail = f" {running.detail}".rstrip()
            what = f"{over} of {len(self.items)}, {running.name}{share}{detail}"
        past = duration(self._heard - self._began)
        if self.terminal.progress == "plain":
            self._line("still", f"{self.title}{': ' + what if what else ''} ({past})")
        self._event("still", self._heard - self._began, what)

    def _draw(self) -> None:
        terminal = self.terminal
        lines = [self._text("now", self.detail, seconds(time.monotonic() - self._began))]
        rows = shutil.get_terminal_size((80, 24)).lines
        kept = shown(self.items, max(0, min(MOST_LINES, rows - 4) - 1))
        width = min(LONGEST_NAME, max([NAME, *(cells(item.name) for item in kept)]))
        lines += [item.text(terminal, width) for item in kept]
        text = "\n".join(lines)
        if text == self._last:
            return
        self._erase()
        print(text, file=terminal.err, flush=True)
        self._drawn, self._last = len(lines), text

    def _erase(self) -> None:
        """Back to the left margin first: a ^C that the terminal echoed has moved the cursor."""
        up = f"\033[{self._drawn}A" if self._drawn else ""
        print(f"\r{up}\033[J", end="", file=self.terminal.err)
        self._drawn = 0

    def _line(self, state: str, text: str) -> None:
        if not self.terminal.quiet:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            if self.terminal.env.get("ACCESSIBLE"):
                stamp = time.strftime("%H:%M:%S")
            place = f"{self.number}/{len(self.titles)}"
            print(f"{stamp} {pad(state, 5)} {place} {text}", file=self.terminal.err, flush=True)

    def _event(self, state: str, took: float | None = None, detail: str = "") -> None:
        if self.terminal.progress != "json":
            return
        event = {"step": self.number, "of": len(self.titles), "id": self.title, "state": state}
        if detail or self.detail:
            event["detail"] = detail or self.detail
        if took is not None:
            event["ms"] = int(took * 1000)
        tell(self.terminal, event)


def tell(terminal: Terminal, event: dict[str, object]) -> None:
    """One JSON event a line: on stdout with `-o json`, for it is the answer, else on stderr."""
    import json

    if terminal.output != "json" and terminal.quiet:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    stream = terminal.out if terminal.output == "json" else terminal.err
    print(json.dumps({"v": 1, "t": stamp, **event}), file=stream, flush=True)


def seconds(past: float) -> str:
    """A clock that ticks: whole seconds, then minutes."""
    return f"{past:.0f}s" if past < 60 else duration(past)


def line(terminal: Terminal, head: str, taken: int, detail: str, clock: str) -> str:
    """`detail` fills what `head`, of `taken` columns, and the clock at the right margin leave."""
    width = min(terminal.width, terminal.columns - 1)
    room = width - taken - len(clock) - 1
    if room >= 0:
        return f"{head}{pad(cut(detail, room), room)} {clock}".rstrip()
    end = "\033[0m" if terminal.colour else ""
    return f"{cut(f'{head.rstrip()} {clock}', width)}{end}"


def shown(items: Sequence[Item], most: int) -> list[Item]:
    """What is at work first, then what comes next, then the latest that ended; in their order."""
    rank = {"now": 0, "next": 1}
    ended = [item for item in items if item.state not in rank][::-1]
    wanted = [i for i in items if i.state == "now"] + [i for i in items if i.state == "next"][:2]
    kept = {id(item) for item in (wanted + ended + list(items))[:most]}
    return [item for item in items if id(item) in kept]
