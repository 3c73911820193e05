"""Help of every kind, from the table of commands: the overview, a command's page, its parser, exit codes."""

from __future__ import annotations

import textwrap
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import NoReturn

from jindou.cli.problems import USAGE, Problem
from jindou.cli.table import COMMANDS, COMMON, Command, Option, find
from jindou.cli.term import Terminal

OVERVIEW = """\
jindou - a whole cloud on this machine, for kubectl and the tools you have

Usage: jindou COMMAND [OPTIONS]

Examples:
  jindou up                          set up and start; safe to repeat
  jindou status                      what runs, where, how full
  eval "$(jindou env kubectl)"       point this shell's kubectl at jindou
"""
MORE = """
Every command: -h  -q  -v  -o FORMAT  --yes  --no-input
               --color WHEN  --progress MODE
up, down, restore, uninstall: --plan shows what they would do
More: jindou COMMAND -h     jindou help exit-codes"""
EXIT_CODES = """\
  0        done, healthy, warnings only
  1        failed, unhealthy
  2        the command line is not understood
  3        jindou is not running
  4        root or access is missing
  5        there is no such object
  6        something on the machine is in the way; nothing was changed
  7        waited too long; it goes on working
  130 143  stopped by Ctrl-C or TERM"""


class Parser(ArgumentParser):
    """argparse, whose complaints are errors like all others."""

    def error(self, message: str) -> NoReturn:
        raise Problem(
            message.removeprefix("argument "), "JD-CLI-616", do=[f"{self.prog} -h"], status=USAGE
        )


def parser(command: Command) -> Parser:
    made = Parser(f"jindou {command.name}", add_help=False, allow_abbrev=False)
    for option in (*command.options, *COMMON):
        made.add_argument(*option.names, **option.more)
    return made


def show(words: Sequence[str]) -> int:
    if not words:
        print("\n".join([OVERVIEW, *overview(), MORE]))
    elif words[0] == "exit-codes":
        print(EXIT_CODES)
    else:
        print(page(find(words[0]), Terminal().width))
    return 0


def overview() -> list[str]:
    lines, group = [], ""
    for command in COMMANDS:
        label = f"{command.group}:" if command.group != group else ""
        group = command.group
        lines.append(f"{label:<10} {command.name:<11} {command.says}")
    return lines


def page(command: Command, width: int) -> str:
    """Purpose, usage, examples, then the options: its own before those of every command."""
    places = [o for o in command.options if not o.names[0].startswith("-")]
    switches = [o for o in command.options if o.names[0].startswith("-")]
    usage = " ".join(["jindou", command.name, *map(place, places), "[OPTIONS]"])
    lines = [f"jindou {command.name} - {command.says}", "", f"Usage: {usage}", "", "Examples:"]
    lines += [f"  {example}" for example in command.examples]
    for title, options in (
        ("Arguments:", places),
        ("Options:", switches),
        ("Every command:", COMMON),
    ):
        if options:
            lines += ["", title]
            lines += [line for option in options for line in described(option, width)]
    return "\n".join(lines)


def place(option: Option) -> str:
    name = option.names[0].upper()
    many = {"*": f"[{name}...]", "?": f"[{name}]"}
    return many.get(option.more.get("nargs", ""), name)


def described(option: Option, width: int) -> list[str]:
    names = ", ".join(option.names)
    if not option.names[0].startswith("-"):
        names = option.names[0].upper()
    if value := option.more.get("metavar"):
        names = f"{names} {value}"
    said = textwrap.wrap(option.says, width - 26)
    if len(names) > 22:
        return [f"  {names}", *(f"{'':26}{line}" for line in said)]
    return [f"  {names:<22}  {said[0]}", *(f"{'':26}{line}" for line in said[1:])]
