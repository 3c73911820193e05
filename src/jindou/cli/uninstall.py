"""`jindou uninstall`: no process, mount, namespace, bridge, table, cgroup or setting of ours stays.

Data stays unless `--purge`, and then only after the name of the machine was typed.
"""

from __future__ import annotations

import os
import shutil
import socket
from argparse import Namespace

from jindou.cli import configuration, services
from jindou.cli.api import Api
from jindou.cli.down import stop_workloads
from jindou.cli.problems import DONE, USAGE, Problem
from jindou.cli.root import become_root, unprivileged
from jindou.cli.term import Steps, Terminal
from jindou.client import kubeconfig
from jindou.settings import Settings

STOP, CLEAN, FORGET, DELETE = (
    "stop everything",
    "clean the machine",
    "take out settings",
    "delete the data",
)
LINKS = ("/usr/local/bin/jindou", os.path.expanduser("~/.local/bin/jindou"))


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    if settings.pretend:
        settings = unprivileged(settings)
    plan = goes(settings, options.purge)
    if options.plan:
        for line in plan:
            terminal.answer(line)
        return DONE
    confirm(terminal, settings, options, plan)
    if not settings.pretend:
        become_root(terminal, plan, yes=True, plan="jindou uninstall --plan")
    steps = Steps(terminal, [STOP, CLEAN, FORGET, *([DELETE] if options.purge else [])])
    with steps.step(STOP) as step:
        if Api(settings).running():
            stop_workloads(settings)
        services.stop(settings, lambda name: step.say(f"stopping {name}"))
        step.say("")
    with steps.step(CLEAN) as step:
        from jindou.serve import clean

        step.say(clean(settings))
    with steps.step(FORGET) as step:
        step.say(forget(settings))
    if options.purge:
        with steps.step(DELETE) as step:
            for folder in (settings.data, settings.logs):
                remove_tree(folder)
            step.say(settings.data)
    if options.purge:
        terminal.note("jindou is gone from this machine, with all its data.")
    else:
        terminal.note(f"Removed. {settings.data} stays; a later `jindou up` finds it again.")
    return DONE


def goes(settings: Settings, purge: bool) -> list[str]:
    return [
        "processes  the server, the node, and every container they keep",
        f"network    bridge {settings.bridge}, packet filter table {settings.name}, every Pod's namespace",
        "settings   the entries called jindou in kubeconfigs, systemd units, the link in bin",
        *(
            [f"data       {settings.data} and {settings.logs}, for good"]
            if purge
            else [f"stays      {settings.data}, {settings.logs}"]
        ),
    ]


def confirm(terminal: Terminal, settings: Settings, options: Namespace, plan: list[str]) -> None:
    host = socket.gethostname()
    if options.purge:
        if options.confirm == host:
            return
        if not terminal.interactive:
            raise Problem(
                "--purge deletes all data, and needs the name of this machine",
                "JD-CLI-614",
                now="nothing was changed",
                do=[f"jindou uninstall --purge --confirm {host}"],
                status=USAGE,
            )
        for line in plan:
            terminal.note(line)
        print(
            f"There is no way back. Type the name of this machine to go on ({host}): ",
            end="",
            file=terminal.err,
            flush=True,
        )
        import sys

        if sys.stdin.readline().strip() != host:
            terminal.note("That is another name. Nothing was changed.")
            raise SystemExit(DONE)
        return
    if options.yes:
        return
    if not terminal.interactive:
        raise Problem(
            "uninstall asks first, and there is no terminal to ask on",
            "JD-CLI-614",
            now="nothing was changed",
            do=["jindou uninstall --yes", "jindou uninstall --plan"],
            status=USAGE,
        )
    for line in plan:
        terminal.note(line)
    if not terminal.ask("Go on?", False):
        raise SystemExit(DONE)


def forget(settings: Settings) -> str:
    """Take our entries out of kubeconfigs, units, links and the configuration file."""
    done = []
    noted = os.path.join(settings.data, "kubeconfigs")
    if os.path.exists(noted):
        with open(noted) as file:
            paths = file.read().splitlines()
        for path in paths:
            before = kubeconfig.read(path)
            after = kubeconfig.without(before, settings.name)
            if before and after != before:
                if after["clusters"] or after["contexts"] or after["users"]:
                    kubeconfig.write(path, after, (os.getuid(), os.getgid()))
                else:
                    os.unlink(path)
                done.append(path)
        os.unlink(noted)
    done += services.remove_units(settings)
    if settings.name != Settings().name:  # links and the machine's file belong to the usual one
        return f"{len(done)} places"
    for link in LINKS:
        if os.path.islink(link) and "jindou" in os.readlink(link):
            os.unlink(link)
            done.append(link)
    if os.path.exists(configuration.MACHINE_FILE):
        shutil.rmtree(os.path.dirname(configuration.MACHINE_FILE))
        done.append(configuration.MACHINE_FILE)
    return f"{len(done)} places"


def remove_tree(folder: str) -> None:
    """Delete a folder without ever crossing into something mounted below it."""
    if not os.path.isdir(folder):
        return
    device = os.stat(folder).st_dev
    for place, folders, _ in os.walk(folder):
        for name in folders:
            path = os.path.join(place, name)
            if not os.path.islink(path) and os.stat(path).st_dev != device:
                raise Problem(
                    f"something is mounted at {path}",
                    "JD-STO-205",
                    now="nothing more was deleted",
                    do=[f"umount {path}", "jindou uninstall --purge"],
                )
    shutil.rmtree(folder)
