"""The table of commands: what each is for, its options and examples, and the function that runs it.

It yields the parser of the command typed, the help and the completion. A command's module is
imported only when it runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from jindou.cli.problems import USAGE, Problem


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


def number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def duration(text: str) -> float:
    """300, 300s or 5m."""
    units = {"s": 1, "m": 60, "h": 3600}
    unit = units.get(text[-1:])
    value = float(text[:-1]) * unit if unit else float(text)
    if not 0 < value < 1e9:
        raise ValueError(text)
    return value


NUMBER = {"type": number, "metavar": "N"}
SWITCH = {"action": "store_true"}
PLACES = (
    Option(("--api-port",), "the Kubernetes API's port (6443); kept for later runs", NUMBER),
    Option(("--node-port",), "the node's streaming port (10250); kept for later runs", NUMBER),
    Option(("--data",), "the data folder (/var/lib/jindou); kept for later runs", {"metavar": "DIR"}),
    Option(("--pretend",), "play the machine: no root, no containers", {**SWITCH, "default": None}),
)  # fmt: skip
PLAN = Option(("--plan",), "print what would be done, and change nothing", SWITCH)
COMMON = (
    Option(("-y", "--yes"), "answer yes to questions", SWITCH),
    Option(("--no-input",), "never ask", SWITCH),
    Option(("-q", "--quiet"), "errors only", SWITCH),
    Option(("-v", "--verbose"), "where settings come from; -vv: traces of errors", {"action": "count", "default": 0}),
    Option(("-o", "--output"), "text, short or json", {"choices": ("text", "short", "json"), "default": "text", "metavar": "FORMAT"}),
    Option(("--color",), "auto, always or never", {"choices": ("auto", "always", "never"), "default": "auto", "metavar": "WHEN"}),
    Option(("--progress",), "auto, tty, plain or json", {"choices": ("auto", "tty", "plain", "json"), "default": "auto", "metavar": "MODE"}),
)  # fmt: skip
NAMESPACE = Option(
    ("-n", "--namespace"), "the namespace (default)", {"default": "default", "metavar": "NAME"}
)

COMMANDS = (
    Command("up", "Run", "set up what is missing, then start", "jindou.cli.up:run",
            (*PLACES,
             Option(("--deploy",), "then apply this file or folder of YAML, with its images", {"metavar": "PATH"}),
             Option(("--no-images",), "make no base images", SWITCH), PLAN,
             Option(("--timeout",), "how long to wait for each thing: 120, 5m", {"type": duration, "default": 120.0, "metavar": "TIME"})),
            ("jindou up", "jindou up --deploy examples/guestbook", "jindou up --pretend")),
    Command("down", "Run", "stop, keep everything", "jindou.cli.down:run", (PLAN,), ("jindou down",)),
    Command("status", "Run", "one screen of what runs", "jindou.cli.status:run", (), ("jindou status", "jindou status -o json")),
    Command("logs", "Run", "read or follow a process of Jindou", "jindou.cli.logs:run",
            (Option(("name",), "server, node, supervisor or setup", {"nargs": "?", "default": "server"}),
             Option(("-f", "--follow"), "go on as it grows", SWITCH),
             Option(("--lines",), "how many lines to begin with (50)", {**NUMBER, "default": 50})),
            ("jindou logs node -f",)),
    Command("env", "Run", "settings for kubectl in this shell", "jindou.cli.env:run",
            (Option(("client",), "kubectl", {"nargs": "?", "default": "kubectl"}),
             Option(("--shell",), "sh or fish (as $SHELL says)", {"default": "", "choices": ("sh", "bash", "zsh", "fish"), "metavar": "NAME"}),
             Option(("--unset",), "the undo", SWITCH)),
            ('eval "$(jindou env kubectl)"',)),
    Command("kubeconfig", "Run", "print the kubeconfig", "jindou.cli.env:kubeconfig", (), ("jindou kubeconfig > admin.yaml",)),
    Command("doctor", "Find out", "probe the machine, with a remedy for each problem", "jindou.cli.doctor:run",
            (Option(("groups",), "containers, network, storage, security, clients, jindou", {"nargs": "*"}),
             Option(("--strict",), "a warning counts as a failure", SWITCH)),
            ("jindou doctor", "jindou doctor network", "jindou doctor -o short")),
    Command("why", "Find out", "follow an object or an error code to its cause", "jindou.cli.why:run",
            (Option(("what",), "pod/NAME, deployment/NAME, replicaset/NAME, service/NAME, node/NAME or a code"), NAMESPACE),
            ("jindou why pod/web-0", "jindou why JD-NET-101")),
    Command("completion", "Find out", "a script that completes commands", "jindou.cli.completion:run",
            (Option(("shell",), "bash, zsh or fish", {"choices": ("bash", "zsh", "fish")}),),
            ("jindou completion bash > /etc/bash_completion.d/jindou",)),
    Command("image", "Images", "make, list, import, export and delete images", "jindou.cli.image:run",
            (Option(("action",), "list, bootstrap, import, export or delete", {"choices": ("list", "bootstrap", "import", "export", "delete")}),
             Option(("names",), "images, or files for import", {"nargs": "*"}),
             Option(("--force",), "make anew what is here", SWITCH),
             Option(("--format",), "docker or oci, for export", {"choices": ("docker", "oci"), "default": "docker"})),
            ("jindou image bootstrap debian", "jindou image list", "jindou image import app.tar")),
    Command("backup", "Keep", "all objects and keys in one file, while it runs", "jindou.cli.backup:backup",
            (Option(("file",), "the file to write", {"nargs": "?"}),), ("jindou backup nightly.tar.gz",)),
    Command("restore", "Keep", "put a backup back", "jindou.cli.backup:restore",
            (Option(("file",), "the backup"), PLAN), ("jindou restore nightly.tar.gz",)),
    Command("uninstall", "Remove", "take jindou off; data stays unless --purge", "jindou.cli.uninstall:run",
            (Option(("--purge",), "delete all data too", SWITCH),
             Option(("--confirm",), "this machine's name, for --purge in a script", {"default": "", "metavar": "NAME"}), PLAN),
            ("jindou uninstall", "jindou uninstall --plan")),
)  # fmt: skip


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
