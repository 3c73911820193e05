"""`jindou env CLIENT` and `jindou kubeconfig`: what a client has to be told, ready for `eval`."""

from __future__ import annotations

import os
from argparse import Namespace

from jindou.cli.api import Api
from jindou.cli.problems import DONE, NO_ACCESS, NO_OBJECT, NOT_RUNNING, Problem
from jindou.cli.root import invoking_user
from jindou.cli.term import Terminal
from jindou.settings import Settings


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    if options.client != "kubectl":
        raise Problem(
            f"there are no settings for {options.client!r}",
            "JD-CLI-605",
            why="known: kubectl",
            do=["jindou env kubectl"],
            status=NO_OBJECT,
        )
    if options.unset:  # also when nothing runs
        pass
    elif not Api(settings).running():
        terminal.note("jindou is not running. Start: jindou up")
        return NOT_RUNNING
    path = admin_path(settings)
    if not options.unset and not os.access(path, os.R_OK):
        path = own_copy(settings)
        if not os.path.exists(path):
            raise Problem(
                "the keys are for root, and your kubeconfig has no entry of this cloud",
                "JD-SEC-301",
                do=["sudo jindou up   adds it", "sudo jindou kubeconfig"],
                status=NO_ACCESS,
            )
    if options.output == "json":
        import json

        terminal.answer(json.dumps({"v": 1, "KUBECONFIG": path}), always=True)
        return DONE
    shell = options.shell or os.path.basename(os.environ.get("SHELL", "sh"))
    for line in lines(path, shell, options.unset, settings.name):
        terminal.answer(line, always=True)
    return DONE


def lines(path: str, shell: str, unset: bool, context: str) -> list[str]:
    fish = shell == "fish"
    if unset:
        return ["set -e KUBECONFIG" if fish else "unset KUBECONFIG"]
    value = "'" + path.replace("'", "\\'" if fish else "'\\''") + "'"
    first = f"set -gx KUBECONFIG {value}" if fish else f"export KUBECONFIG={value}"
    call = "jindou env kubectl --shell fish | source" if fish else 'eval "$(jindou env kubectl)"'
    return [
        first,
        f"# use:   {call}",
        f"# undo:  {call.replace('kubectl', 'kubectl --unset', 1)}",
        f"# or leave the shell alone:  kubectl --context {context} get pods",
    ]


def admin_path(settings: Settings) -> str:
    """The kubeconfig that the server keeps, always with valid certificates; root may read it."""
    return os.path.join(settings.data, "pki", "admin.kubeconfig")


def own_copy(settings: Settings) -> str:
    """The user's own file, which has the same entry. `jindou up` made it for whoever asked."""
    _, _, home = invoking_user()
    return os.path.join(home, ".kube", "config")


def kubeconfig(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    path = admin_path(settings)
    try:
        with open(path) as file:
            terminal.answer(file.read().rstrip(), always=True)
    except FileNotFoundError:
        raise Problem(
            "there is no cloud yet", "JD-API-501", do=["jindou up"], status=NOT_RUNNING
        ) from None
    except PermissionError:
        raise Problem(
            "the key in the kubeconfig is for root only",
            "JD-SEC-301",
            do=[
                "sudo jindou kubeconfig",
                f"kubectl config view --raw --minify --context {settings.name}",
            ],
            status=NO_ACCESS,
        ) from None
    return DONE
