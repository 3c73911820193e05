"""`jindou uninstall`: no process, mount, namespace, bridge, table, cgroup or setting of ours stays.

Data stays unless `--purge`, and then only after the name of the machine was typed.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from argparse import Namespace

from jindou.cli import configuration, packages, places, services
from jindou.cli.down import stop_workloads
from jindou.cli.problems import DONE, USAGE, Problem
from jindou.cli.root import become_root, invoking_user
from jindou.cli.steps import Steps
from jindou.cli.term import Terminal, count, size
from jindou.client import kubeconfig
from jindou.settings import Settings

STOP, CLEAN, FORGET, DELETE = (
    "stop everything",
    "clean the machine",
    "take out settings",
    "delete the data",
)


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    plan = goes(settings, options.purge)
    if options.plan:
        for line in plan:
            terminal.answer(line)
        return DONE
    host = socket.gethostname()
    confirm(terminal, options, plan, host)
    if not settings.pretend:
        answered = ["--yes", *(["--confirm", host] if options.purge else [])]
        become_root(
            terminal, settings, plan, yes=True, plan="jindou uninstall --plan", answered=answered
        )
    began = os.path.isdir(settings.data)
    installed = packages.noted(settings)
    remove(terminal, settings, purge=options.purge)
    if options.purge:
        terminal.answer("jindou is gone from this machine, with all its data.")
    elif began:
        terminal.answer(f"Removed. {settings.data} stays; a later `jindou up` finds it again.")
    else:
        terminal.answer("Removed. There was no data.")
    if installed:
        terminal.answer(
            f"Packages that were installed for it stay. To remove them too:\n  {installed}"
        )
    return DONE


def remove(terminal: Terminal, settings: Settings, purge: bool) -> None:
    steps = Steps(terminal, [STOP, CLEAN, FORGET, *([DELETE] if purge else [])])
    with steps.step(STOP) as step:
        if services.pid_of(settings, "server"):
            stop_workloads(step, settings)
        said = step.detail
        services.stop(settings, lambda name: step.say(f"stopping {name}"))
        step.say("" if step.state == "warn" else said)
        step.state = "ok"  # what was left running is ended by the cleaning
    with steps.step(CLEAN) as step:
        from jindou.serve import clean

        clean(settings)
        step.say("" if settings.pretend else "containers, mounts, network, cgroups")
    with steps.step(FORGET) as step:
        done, left = forget(settings)
        step.say(f"{count(len(done), 'place')}{''.join(f'; {one}' for one in left)}")
        step.state = "warn" if left else "ok"
    if purge:
        with steps.step(DELETE) as step:
            for folder in (settings.data, settings.logs):
                remove_tree(folder)
            own = os.path.join(invoking_user()[2], ".local", "state", "jindou")
            if os.path.isdir(own) and set(os.listdir(own)) <= {"cli.log"}:
                remove_tree(own)  # traces of errors, where a user may write
            step.say(settings.data)


def goes(settings: Settings, purge: bool) -> list[str]:
    places_of = " and ".join(dict.fromkeys((settings.data, settings.logs)))
    machine = f"network    bridge {settings.bridge}, packet filter table {settings.name}, every Pod's namespace"
    return [
        "processes  the server, the node, and every container they keep",
        *([] if settings.pretend else [machine]),
        "settings   the entries in kubeconfigs, systemd units, the link in bin",
        f"data       {places_of}, {size(used(settings.data))}, for good"
        if purge
        else f"stays      {places_of}",
    ]


def used(folder: str) -> int:
    """Bytes on disk below a folder, as far as they may be seen."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return total


def confirm(terminal: Terminal, options: Namespace, plan: list[str], host: str) -> None:
    if options.purge and options.confirm and options.confirm != host:
        raise Problem(
            f"this machine is called {host}, not {options.confirm}",
            "JD-CLI-614",
            now="nothing was changed",
            do=[f"jindou uninstall --purge --confirm {host}"],
            status=USAGE,
        )
    if options.confirm == host if options.purge else options.yes:
        return
    if not terminal.interactive:
        raise Problem(
            "--purge deletes all data, and needs the name of this machine"
            if options.purge
            else "uninstall asks first, and there is no terminal to ask on",
            "JD-CLI-614",
            now="nothing was changed",
            do=[
                f"jindou uninstall --purge --confirm {host}"
                if options.purge
                else "jindou uninstall --yes",
                "jindou uninstall --plan",
            ],
            status=USAGE,
        )
    for line in plan:
        terminal.note(line)
    if options.purge:
        question = f"There is no way back. Type the name of this machine to go on ({host}): "
        print(question, end="", file=terminal.err, flush=True)
        if sys.stdin.readline().strip() != host:
            terminal.note("That is another name. Nothing was changed.")
            raise SystemExit(DONE)
    elif not terminal.ask("Go on?", False):
        terminal.note("Nothing was changed.")
        raise SystemExit(DONE)


def forget(settings: Settings) -> tuple[list[str], list[str]]:
    """Take our entries out of kubeconfigs, units, links and the configuration file.

    Returns what was done, and a sentence for each thing that has to be done by hand."""
    done, left = forget_kubeconfigs(settings)
    if not settings.pretend:  # units are of a real cloud, perhaps of the same name
        done += services.remove_units(settings)
    mark = os.path.join(settings.data, places.MARK)
    if os.path.exists(mark):
        os.unlink(mark)
        done.append(mark)
    if settings.name != Settings().name:
        return done, left  # the link and the machine's file belong to the usual one
    _, _, home = invoking_user()
    for link in (os.path.join(home, ".local/bin/jindou"), "/usr/local/bin/jindou"):
        if settings.pretend and not link.startswith(home):
            continue
        if os.path.islink(link) and "jindou" in os.path.basename(os.readlink(link)):
            os.unlink(link)
            done.append(link)
    if os.path.exists(configuration.MACHINE_FILE) and not settings.pretend:
        os.unlink(configuration.MACHINE_FILE)
        done.append(configuration.MACHINE_FILE)
        if not os.listdir(folder := os.path.dirname(configuration.MACHINE_FILE)):
            os.rmdir(folder)
    return done, left


def forget_kubeconfigs(settings: Settings) -> tuple[list[str], list[str]]:
    noted = os.path.join(settings.data, "kubeconfigs")
    done: list[str] = []
    left: list[str] = []
    if not os.path.exists(noted):
        return done, left
    with open(noted) as file:
        paths = file.read().splitlines()
    for path in paths:
        try:
            if forget_kubeconfig(path, settings.name):
                done.append(path)
        except (OSError, kubeconfig.Unreadable) as error:
            left.append(f"take the entry {settings.name} out by hand: {error}")
    os.unlink(noted)
    return done, left


def forget_kubeconfig(path: str, name: str) -> bool:
    before = kubeconfig.read(path)
    after = kubeconfig.without(before, name)
    if not before or after == before:
        return False
    if after["clusters"] or after["contexts"] or after["users"]:
        kubeconfig.write(path, after, (os.getuid(), os.getgid()))
    else:
        os.unlink(path)
    return True


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
