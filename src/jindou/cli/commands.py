"""The table of commands, and `main`: it yields the help, the parser of the one command typed, and completion."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from jindou import __version__
from jindou.cli.problems import USAGE, Problem
from jindou.cli.term import Terminal


class Option(NamedTuple):
    """One argument of a command; `more` goes to argparse as it is."""

    names: tuple[str, ...]
    says: str
    more: dict[str, Any] = {}


class Command(NamedTuple):
    name: str
    group: str
    says: str
    target: str  # module:function, imported when the command is run
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()


NUMBER = {"type": int, "metavar": "N"}
SWITCH = {"action": "store_true"}
PLACES = (
    Option(
        ("--api-port",),
        "the Kubernetes API's port (6443); kept for later runs",
        {**NUMBER, "dest": "api_port"},
    ),
    Option(
        ("--node-port",), "the node's streaming port (10250); kept", {**NUMBER, "dest": "node_port"}
    ),
    Option(("--data",), "the data folder (/var/lib/jindou); kept", {"metavar": "DIR"}),
    Option(("--pretend",), "play the machine: no root, no containers", {**SWITCH, "default": None}),
)
COMMON = (
    Option(("--plan",), "print what would be done, and change nothing", SWITCH),
    Option(("--yes", "-y"), "answer yes to questions", SWITCH),
    Option(("--no-input",), "never ask", SWITCH),
    Option(("-q", "--quiet"), "errors only", SWITCH),
    Option(("-v", "--verbose"), "say more", {"action": "count", "default": 0}),
    Option(
        ("-o", "--output"),
        "text, short or json",
        {"choices": ("text", "short", "json"), "default": "text"},
    ),
    Option(
        ("--color",),
        "auto, always or never",
        {"choices": ("auto", "always", "never"), "default": "auto"},
    ),
    Option(
        ("--progress",),
        "auto, tty, plain or json",
        {"choices": ("auto", "tty", "plain", "json"), "default": "auto"},
    ),
)
NAMESPACE = Option(("-n", "--namespace"), "the namespace (default)", {"default": "default"})

COMMANDS = (
    Command("up", "Run", "set up what is missing, then start", "jindou.cli.up:run",
            (*PLACES,
             Option(("--deploy",), "then apply this file or folder of YAML, with its images", {"metavar": "PATH"}),
             Option(("--no-images",), "make no base images", SWITCH),
             Option(("--timeout",), "seconds to wait for each thing (120)", {"type": float, "default": 120.0, "metavar": "S"})),
            ("jindou up", "jindou up --deploy examples/guestbook", "jindou up --pretend")),
    Command("down", "Run", "stop, keep everything", "jindou.cli.down:run", (), ("jindou down",)),
    Command("status", "Run", "one screen of what runs", "jindou.cli.status:run", (), ("jindou status", "jindou status -o json")),
    Command("logs", "Run", "read or follow a process of Jindou", "jindou.cli.logs:run",
            (Option(("name",), "server, node, supervisor or setup", {"nargs": "?", "default": "server"}),
             Option(("-f", "--follow"), "go on as it grows", SWITCH),
             Option(("--lines",), "how many lines to begin with (50)", {"type": int, "default": 50})),
            ("jindou logs node -f",)),
    Command("env", "Run", "settings for kubectl in this shell", "jindou.cli.env:run",
            (Option(("client",), "kubectl", {"nargs": "?", "default": "kubectl"}),
             Option(("--shell",), "sh or fish", {"default": ""}),
             Option(("--unset",), "the undo", SWITCH)),
            ('eval "$(jindou env kubectl)"',)),
    Command("kubeconfig", "Run", "print the kubeconfig", "jindou.cli.env:kubeconfig", (), ("jindou kubeconfig > admin.yaml",)),
    Command("doctor", "Find out", "probe the machine, with a remedy for each problem", "jindou.cli.doctor:run",
            (Option(("groups",), "containers, network, storage, security, clients, jindou", {"nargs": "*"}),
             Option(("--strict",), "a warning counts as a failure", SWITCH)),
            ("jindou doctor", "jindou doctor network", "jindou doctor -o short")),
    Command("why", "Find out", "follow an object or an error code to its cause", "jindou.cli.why:run",
            (Option(("what",), "pod/NAME, service/NAME, deployment/NAME, node/NAME or a code"), NAMESPACE),
            ("jindou why pod/web-0", "jindou why JD-NET-101")),
    Command("image", "Images", "make, list, import, export and delete images", "jindou.cli.image:run",
            (Option(("action",), "list, bootstrap, import, export or delete", {"choices": ("list", "bootstrap", "import", "export", "delete")}),
             Option(("names",), "images, or files for import", {"nargs": "*"}),
             Option(("--force",), "make anew what is here", SWITCH),
             Option(("--format",), "docker or oci, for export", {"choices": ("docker", "oci"), "default": "docker"})),
            ("jindou image bootstrap debian", "jindou image list", "jindou image import app.tar")),
    Command("backup", "Keep", "all objects and keys in one file, while it runs", "jindou.cli.backup:backup",
            (Option(("file",), "the file to write", {"nargs": "?"}),), ("jindou backup nightly.tar.gz",)),
    Command("restore", "Keep", "put a backup back", "jindou.cli.backup:restore",
            (Option(("file",), "the backup"),), ("jindou restore nightly.tar.gz",)),
    Command("uninstall", "Remove", "take jindou off; data stays unless --purge", "jindou.cli.uninstall:run",
            (Option(("--purge",), "delete all data too", SWITCH),
             Option(("--confirm",), "this machine's name, for --purge in a script", {"default": "", "metavar": "NAME"})),
            ("jindou uninstall", "jindou uninstall --plan")),
)  # fmt: skip
HIDDEN = {"server": "jindou.serve:server", "node": "jindou.serve:node"}


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        return show_help(words[1:])
    if words[0] in ("--version", "version"):
        print(f"jindou {__version__}")
        return 0
    terminal = Terminal(colour="auto")
    try:
        return dispatch(words)
    except Problem as problem:
        print(problem.render(terminal), file=sys.stderr)
        return problem.status
    except KeyboardInterrupt:
        print("\nstopped; what was done is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def dispatch(words: list[str]) -> int:
    from jindou.cli import configuration

    name = words[0]
    if name in HIDDEN:
        settings, _ = configuration.load({}, os.environ)
        return int(resolve(HIDDEN[name])(settings) or 0)
    command = find(name)
    options = parser(command).parse_args(words[1:])
    if options.progress == "tty" and not sys.stderr.isatty():
        raise Problem("--progress tty needs a terminal", "JD-CLI-615", status=USAGE)
    terminal = Terminal(
        colour=options.color, progress=options.progress, quiet=options.quiet, output=options.output
    )
    settings, origin = configuration.load(vars(options), os.environ)
    if options.verbose:
        for field, place in origin.items():
            terminal.note(f"{field} = {getattr(settings, field)}  ({place})")
    if not settings.pretend and remembered_pretend(settings):
        settings = settings._replace(pretend=True)
    if settings.pretend:
        from jindou.cli.root import unprivileged

        settings = unprivileged(settings)
    try:
        return int(resolve(command.target)(terminal, settings, options))
    except Problem:
        raise
    except Exception as error:
        if type(error).__name__ == "Blocked":
            return show_blocked(terminal, error)
        if type(error).__name__ == "Unreadable":
            raise Problem(str(error), "JD-CLI-604", now="it was left as it is") from error
        raise


def remembered_pretend(settings: Any) -> bool:
    """A cloud started with --pretend is found again without the flag, where no real one runs."""
    from jindou.cli.root import unprivileged

    if os.path.exists(os.path.join(settings.run, "api.sock")):
        return os.path.exists(os.path.join(settings.data, "pretend"))
    own = unprivileged(settings)
    return own != settings and os.path.exists(os.path.join(own.data, "pretend"))


def show_blocked(terminal: Terminal, error: Exception) -> int:
    problems: list[Problem] = getattr(error, "problems", [])
    for number, problem in enumerate(problems, 1):
        label = f"error {number} of {len(problems)}" if len(problems) > 1 else "error"
        print(f"\n{problem.render(terminal, label)}", file=sys.stderr)
    print(f"\nNothing was changed. To read more: jindou why {problems[0].code}", file=sys.stderr)
    return problems[0].status


def resolve(target: str) -> Any:
    module, _, function = target.partition(":")
    return getattr(import_module(module), function)


def find(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    import difflib

    close = difflib.get_close_matches(name, [command.name for command in COMMANDS], 1)
    raise Problem(
        f"there is no command {name!r}", "JD-CLI-600",
        do=[f"jindou {close[0]}"] if close else ["jindou --help"], status=USAGE,
    )  # fmt: skip


def parser(command: Command) -> Any:
    import argparse

    made = argparse.ArgumentParser(
        f"jindou {command.name}",
        description=f"{command.says[0].upper()}{command.says[1:]}.",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in command.examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for option in command.options:
        made.add_argument(*option.names, help=option.says, **option.more)
    group = made.add_argument_group("every command")
    for option in COMMON:
        group.add_argument(*option.names, help=option.says, **option.more)
    return made


def show_help(words: Sequence[str]) -> int:
    if words and words[0] == "exit-codes":
        print(EXIT_CODES)
        return 0
    if words:
        try:
            parser(find(words[0])).print_help()
        except Problem as problem:
            print(problem.render(Terminal()), file=sys.stderr)
            return problem.status
        return 0
    lines = [
        "jindou - a whole cloud on this machine, for kubectl and the tools you have",
        "",
        "Usage: jindou COMMAND [OPTIONS]",
        "",
        "Examples:",
        "  jindou up                          set up and start; safe to repeat",
        "  jindou status                      what runs, where, how full",
        '  eval "$(jindou env kubectl)"       point this shell\'s kubectl at jindou',
        "",
    ]
    group = ""
    for command in COMMANDS:
        label = f"{command.group}:" if command.group != group else ""
        group = command.group
        lines.append(f"{label:<10} {command.name:<11} {command.says}")
    lines += [
        "",
        "Every command: -h  -q  -v  -o FORMAT  --plan  --yes  --no-input",
        "               --color WHEN  --progress MODE",
        "More: jindou COMMAND -h     jindou help exit-codes",
    ]
    print("\n".join(lines))
    return 0


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
