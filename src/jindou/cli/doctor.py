"""`jindou doctor`: every probe of the machine, in a fixed order, worst child first in nothing but the verdict."""

from __future__ import annotations

import time
from argparse import Namespace

from jindou.cli.problems import DONE, FAILED, NO_OBJECT, Problem
from jindou.cli.root import become_root
from jindou.cli.term import Terminal, duration
from jindou.settings import Settings

GROUPS = ("containers", "network", "storage", "security", "clients", "jindou")


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    for group in options.groups:
        if group not in GROUPS:
            raise Problem(
                f"there is no group of probes called {group!r}",
                "JD-CLI-610",
                why=f"groups are {', '.join(GROUPS)}",
                status=NO_OBJECT,
            )
    if not settings.pretend:
        become_root(
            terminal,
            ["try        a tiny container, an overlay, a namespace and a packet rule"],
            yes=options.yes,
            plan="jindou doctor --help",
        )
    from jindou.serve import probe

    began = time.monotonic()
    verdicts = [v for v in probe(settings) if not options.groups or v.group in options.groups]
    counts = {
        state: sum(v.state == state for v in verdicts) for state in ("ok", "warn", "FAIL", "skip")
    }
    if options.output == "json":
        import json

        terminal.answer(
            json.dumps({"v": 1, "counts": counts, "probes": [v._asdict() for v in verdicts]})
        )
        return FAILED if counts["FAIL"] or (options.strict and counts["warn"]) else DONE
    group = ""
    for verdict in verdicts:
        if options.output == "short" and verdict.state in ("ok", "skip"):
            continue
        if verdict.group != group:
            group = verdict.group
            terminal.answer(terminal.heading(group))
        code = verdict.code if verdict.state in ("warn", "FAIL") else ""
        gap = " " * max(2, terminal.width - 8 - len(verdict.says) - len(code)) if code else ""
        terminal.answer(f"  {terminal.state(verdict.state, out=True)}  {verdict.says}{gap}{code}")
        if verdict.state in ("warn", "FAIL"):
            if verdict.why:
                terminal.answer(f"        {verdict.why}")
            for line in verdict.do:
                terminal.answer(f"        do: {line}")
    shown = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    terminal.answer(f"\n{len(verdicts)} probes in {duration(time.monotonic() - began)}: {shown}")
    return FAILED if counts["FAIL"] or (options.strict and counts["warn"]) else DONE
