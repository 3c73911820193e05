"""`jindou logs`: what the two processes wrote. Logs of Pods are `kubectl logs`."""

from __future__ import annotations

import os
from argparse import Namespace

from jindou.cli import services
from jindou.cli.problems import DONE, NO_OBJECT, Problem
from jindou.cli.term import Terminal
from jindou.settings import Settings


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    known = [*services.names(settings), "supervisor", "setup"]
    if options.name not in known:
        raise Problem(
            f"there is no log called {options.name!r}",
            "JD-CLI-606",
            why=f"there are {', '.join(known)}",
            do=["kubectl --context jindou logs POD"],
            status=NO_OBJECT,
        )
    path = services.log_path(settings, options.name)
    if not os.path.exists(path):
        raise Problem(
            f"{path} does not exist yet", "JD-CLI-606", do=["jindou up"], status=NO_OBJECT
        )
    words = ["tail", "-n", str(options.lines), *(["-F"] if options.follow else []), path]
    terminal.out.flush()
    os.execvp("tail", words)
    return DONE
