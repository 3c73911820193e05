"""`jindou down`: stop everything, delete nothing."""

from __future__ import annotations

from argparse import Namespace

from jindou.cli import services
from jindou.cli.api import Api, Refused
from jindou.cli.problems import DONE, Problem
from jindou.cli.root import become_root
from jindou.cli.term import Steps, Terminal
from jindou.settings import Settings

WORKLOADS, SERVICES = "stop workloads", "stop services"


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    running = [name for name in services.names(settings) if services.pid_of(settings, name)]
    if options.plan:
        terminal.answer(
            f"stop the containers of all Pods\nstop {' and '.join(running) or 'nothing: it is not running'}"
        )
        return DONE
    if not running and not services.pid_of(settings, "supervisor"):
        terminal.note("jindou is not running. Nothing to do.")
        return DONE
    if not settings.pretend:
        become_root(
            terminal,
            ["stop    2 services and the containers they keep"],
            yes=options.yes,
            plan="jindou down --plan",
        )
    stop(terminal, settings)
    terminal.note()
    terminal.note("jindou is stopped. Nothing was deleted.")
    terminal.note(f"  kept   images, volumes, objects and keys in {settings.data}")
    terminal.note("  kept   the entry called jindou in your kubeconfig (silent for now)")
    terminal.note("Start again: jindou up     Take it off this machine: jindou uninstall")
    return DONE


def stop(terminal: Terminal, settings: Settings) -> None:
    steps = Steps(terminal, [WORKLOADS, SERVICES])
    with steps.step(WORKLOADS) as step:
        step.say(stop_workloads(settings))
    with steps.step(SERVICES) as step:
        stopped = services.stop(settings, lambda name: step.say(f"stopping {name}"))
        step.say(f"{len(stopped)} stopped")


def stop_workloads(settings: Settings) -> str:
    """Ask the node to end its containers, each with its own grace; objects stay as they are."""
    api = Api(settings, timeout=3600)
    try:
        nodes = api.get("/api/v1/nodes")["items"]
        total = 0
        for node in nodes:
            total += api.request("POST", f"/api/v1/nodes/{node['metadata']['name']}/proxy/stop")[
                "stopped"
            ]
    except (Problem, Refused, OSError) as error:
        return f"left running ({error})"
    return f"{total} pods"
