"""`main`: finds the command typed, runs it, and tells how it ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from jindou import __version__
from jindou.cli.problems import FAILED, USAGE, Blocked, Problem
from jindou.cli.table import Command, find
from jindou.cli.term import Terminal
from jindou.settings import Settings

HIDDEN = {"server": "jindou.serve:server", "node": "jindou.serve:node"}


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no such letter
    try:
        code = dispatch(words)
        sys.stdout.flush()
        return code
    except Problem as problem:
        return show(Terminal(), problem)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def dispatch(words: list[str]) -> int:
    from jindou.cli import help

    if not words or words[0] in ("-h", "--help", "help"):
        return help.show(words[1:])
    if words[0] in ("-V", "--version", "version"):
        print(f"jindou {__version__}")
        return 0
    name = words[0]
    if name in HIDDEN:
        return process(name, words[1:])
    command = find(name)
    if any(word in ("-h", "--help") for word in words[1:]):
        return help.show([name])
    options = help.parser(command).parse_args(words[1:])
    terminal = Terminal(
        colour=options.color, progress=options.progress, quiet=options.quiet,
        output=options.output, no_input=options.no_input, verbose=options.verbose,
    )  # fmt: skip
    if options.progress == "tty" and not sys.stderr.isatty():
        return show(
            terminal, Problem("--progress tty needs a terminal", "JD-CLI-615", status=USAGE)
        )
    return attempt(terminal, command, options)


def attempt(terminal: Terminal, command: Command, options: Any) -> int:
    """Run it; whatever goes wrong ends as an exit code and at most five parts on the screen."""
    import signal

    from jindou.cli import configuration

    def ended(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, ended)
    settings = Settings()
    try:
        try:
            settings, origin = configuration.load(vars(options), os.environ)
        except Problem as problem:
            if command.name != "doctor":
                raise
            settings, origin = configuration.load(vars(options), os.environ, files=False)
            options.broken = problem
        settings = placed(settings, command.name)
        if options.verbose:
            for field, place in origin.items():
                terminal.note(f"{field} = {getattr(settings, field)}  ({place})")
        return int(resolve(command.target)(terminal, settings, options))
    except KeyboardInterrupt as stop:
        terminal.note("\nstopped; what was done is kept, and the same command goes on from there")
        return 143 if isinstance(stop, Terminated) else 130
    except BrokenPipeError:
        raise
    except Exception as error:
        return show(terminal, foreseen(terminal, settings, error))


def placed(settings: Settings, command: str) -> Settings:
    """A pretended cloud is below the user's own folders, and found again without the flag."""
    from jindou.cli.places import remembered, unprivileged

    if settings.pretend:
        return unprivileged(settings)
    return remembered(settings, only_running=command == "up") or settings


def process(name: str, words: Sequence[str]) -> int:
    """One of the two processes, in the foreground: what systemd or the supervisor starts."""
    from jindou.cli import configuration

    if words:
        raise Problem(
            f"jindou {name} takes no arguments", "JD-CLI-616",
            why="it is started by `jindou up`; its settings are JINDOU_* variables", do=["jindou up -h"],
            status=USAGE,
        )  # fmt: skip
    settings, _ = configuration.load({}, os.environ)
    return int(resolve(HIDDEN[name])(settings) or 0)


def foreseen(terminal: Terminal, settings: Settings, error: Exception) -> Problem | Blocked:
    """Every exception as a problem that can be shown. What nobody foresaw goes to a log, whole."""
    if isinstance(error, (Problem, Blocked)):
        return error
    if terminal.verbose > 1:
        import traceback

        traceback.print_exception(error)
    from jindou.cli.unforeseen import as_problem

    return as_problem(settings, error)


def show(terminal: Terminal, error: Problem | Blocked) -> int:
    sys.stdout.flush()
    problems = error.problems if isinstance(error, Blocked) else [error]
    for number, problem in enumerate(problems, 1):
        many = len(problems) > 1
        label = f"error {number} of {len(problems)}" if many else "error"
        gap = "\n" if number > 1 else ""
        print(f"{gap}{problem.render(terminal, label)}", file=sys.stderr)
    if isinstance(error, Blocked):
        print(
            f"\nNothing was changed. To read more: jindou why {problems[0].code}", file=sys.stderr
        )
    if terminal.output == "json":
        import json

        told = [problem.as_json() for problem in problems]
        print(json.dumps({"v": 1, "errors": told}))
    return problems[0].status if problems else FAILED


def resolve(target: str) -> Any:
    module, _, function = target.partition(":")
    return getattr(import_module(module), function)
