"""`jindou doctor`: every probe of the machine, in a fixed order, with a remedy for each problem.

Nothing is changed, and nothing asks for root: without it, the probes that need it are passed over.
"""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

from jindou.cli.problems import DONE, EFFECT, FAILED, NO_OBJECT, Problem
from jindou.cli.term import Terminal, count, duration
from jindou.settings import Settings

GROUPS = ("containers", "network", "storage", "security", "clients", "jindou")
STATES = ("ok", "warn", "FAIL", "skip")


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    for group in options.groups:
        if group not in GROUPS:
            raise Problem(
                f"there is no group of probes called {group!r}",
                "JD-CLI-610",
                why=f"groups are {', '.join(GROUPS)}",
                do=["jindou doctor"],
                status=NO_OBJECT,
            )
    from jindou.serve import probe

    began = time.monotonic()
    probed = [verdict._asdict() for verdict in probe(settings)]
    verdicts = [*probed, *broken_configuration(options)]
    verdicts = [v for v in verdicts if not options.groups or v["group"] in options.groups]
    verdicts.sort(key=lambda v: GROUPS.index(v["group"]))
    counts = {state: sum(v["state"] == state for v in verdicts) for state in STATES}
    if options.output == "json":
        import json

        answer = {"v": 1, "ms": int((time.monotonic() - began) * 1000), "counts": counts}
        terminal.answer(json.dumps({**answer, "probes": verdicts}), always=True)
    else:
        shown = [v for v in verdicts if wanted(v, terminal)]
        text = "\n".join(render(shown, terminal))
        if text:
            terminal.answer(text, always=True)
        spread = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        gap = "\n" if text else ""
        took = duration(time.monotonic() - began)
        terminal.answer(
            f"{gap}{count(len(verdicts), 'probe')} in {took}: {spread or 'nothing to say'}"
        )
    return FAILED if counts["FAIL"] or (options.strict and counts["warn"]) else DONE


def wanted(verdict: dict[str, Any], terminal: Terminal) -> bool:
    if terminal.quiet:
        return bool(verdict["state"] == "FAIL")
    return terminal.output != "short" or verdict["state"] in ("warn", "FAIL")


def broken_configuration(options: Namespace) -> list[dict[str, Any]]:
    """A file of settings that nobody can read stops every other command; here it is one verdict."""
    broken: Problem | None = getattr(options, "broken", None)
    if broken is None:
        return []
    return [
        {
            "group": "jindou",
            "state": "FAIL",
            "says": broken.what,
            "code": broken.code,
            "why": broken.why,
            "do": broken.do,
        }
    ]


def render(verdicts: list[dict[str, Any]], terminal: Terminal) -> list[str]:
    import textwrap

    lines: list[str] = []
    group = ""
    for verdict in verdicts:
        if verdict["group"] != group:
            group = verdict["group"]
            lines.append(terminal.heading(group))
        trouble = verdict["state"] in ("warn", "FAIL")
        code = verdict["code"] if trouble else ""
        first, *more = textwrap.wrap(
            verdict["says"], terminal.width - 8 - (len(code) + 2 if code else 0),
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        gap = " " * max(2, terminal.width - 8 - len(first) - len(code)) if code else ""
        lines.append(f"  {terminal.state(verdict['state'], out=True)}  {first}{gap}{code}")
        lines += [f"        {line}" for line in more]
        if trouble:
            why = textwrap.wrap(verdict["why"], terminal.width - 8, break_long_words=False)
            lines += [f"        {line}" for line in why]
            lines += [f"        {line}" for line in remedies(verdict["do"])]
    return lines


def remedies(do: tuple[str, ...]) -> list[str]:
    pairs = [line.partition(EFFECT) for line in do]
    width = max((len(command) for command, _, effect in pairs if effect), default=0)
    return [
        f"do: {command:<{width}}{EFFECT}{effect.strip()}" if effect else f"do: {command}"
        for command, _, effect in pairs
    ]
