"""`jindou logs`: what the two processes wrote. Logs of Pods are `kubectl logs`."""

from __future__ import annotations

import os
from argparse import Namespace

from jindou.cli import services
from jindou.cli.problems import DONE, NO_ACCESS, NO_OBJECT, Problem
from jindou.cli.root import this_command
from jindou.cli.term import Terminal
from jindou.settings import Settings


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    known = [*services.NAMES, "supervisor", "setup", "cli"]
    if options.name not in known:
        raise Problem(
            f"there is no log called {options.name!r}",
            "JD-CLI-606",
            why=f"there are {', '.join(known)}",
            do=["jindou logs node", "kubectl --context jindou logs POD   of a Pod"],
            status=NO_OBJECT,
        )
    path = services.log_path(settings, options.name)
    if not os.path.exists(path):
        raise Problem(
            f"{path} does not exist yet", "JD-CLI-606", do=["jindou up"], status=NO_OBJECT
        )
    if not os.access(path, os.R_OK):
        raise Problem(
            f"{path} is not yours to read",
            "JD-SEC-304",
            do=[f"sudo {this_command()}"],
            status=NO_ACCESS,
        )
    words = ["tail", "-n", str(options.lines), *(["-F"] if options.follow else []), path]
    terminal.out.flush()
    os.execvp("tail", words)
    return DONE
