"""`jindou down`: stop everything, delete nothing."""

from __future__ import annotations

import contextlib
import threading
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from jindou.cli import services
from jindou.cli.api import Api, Refused
from jindou.cli.problems import DONE, Problem
from jindou.cli.root import become_root
from jindou.cli.steps import Step, Steps
from jindou.cli.term import Terminal, count
from jindou.settings import Settings

WORKLOADS, SERVICES = "stop workloads", "stop services"
LOOK = 0.5  # seconds between looks at what still runs


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    running = [name for name in services.NAMES if services.pid_of(settings, name)]
    if not running and not services.pid_of(settings, "supervisor"):
        terminal.answer("jindou is not running. Nothing to do.")
        return DONE
    reasons = [
        "stop       the containers of all Pods, each with its own grace period",
        f"stop       {' and '.join(running) or 'the supervisor'}",
    ]
    if options.plan:
        for line in reasons:
            terminal.answer(line)
        return DONE
    if not settings.pretend:
        become_root(terminal, settings, reasons, yes=True, plan="jindou down --plan")
    stop(terminal, settings)
    terminal.note()
    terminal.answer("jindou is stopped. Nothing was deleted.")
    terminal.answer(f"  kept   images, volumes, objects and keys in {settings.data}")
    terminal.answer(
        f"  kept   the entry called {settings.name} in your kubeconfig (silent for now)"
    )
    again = "jindou up --pretend" if settings.pretend else "jindou up"
    terminal.answer(f"Start again: {again}     Take it off this machine: jindou uninstall")
    return DONE


def stop(terminal: Terminal, settings: Settings) -> None:
    steps = Steps(terminal, [WORKLOADS, SERVICES])
    with steps.step(WORKLOADS) as step:
        stop_workloads(step, settings)
    with steps.step(SERVICES) as step:
        stopped = services.stop(settings, lambda name: step.say(f"stopping {name}"))
        step.say(f"{len(stopped)} stopped")


def stop_workloads(step: Step, settings: Settings) -> None:
    """Ask the node to end its containers, each with its own grace; objects stay as they are."""
    api = Api(settings, timeout=3600)
    if not api.running():
        step.state = "warn"
        step.say("containers left running: the server does not answer")
        return
    try:
        nodes = [node["metadata"]["name"] for node in api.get("/api/v1/nodes")["items"]]
        services.halt(settings)
        with watched(step, settings, nodes):
            total = sum(
                api.request("POST", f"/api/v1/nodes/{name}/proxy/stop")["stopped"] for name in nodes
            )
    except (Problem, Refused, OSError) as error:
        step.state = "warn"
        step.say(f"containers left running: {error}")
        return
    step.say(count(total, "container"))


@contextlib.contextmanager
def watched(step: Step, settings: Settings, nodes: list[str]) -> Iterator[None]:
    """Meanwhile, name the Pods that still run and how long they may take: one item each."""
    over = threading.Event()

    def look() -> None:
        api = Api(settings)
        graces: dict[str, int] = {}
        while not over.wait(LOOK):
            with contextlib.suppress(Problem, Refused, OSError, KeyError):
                graces = graces or {key(p["metadata"]): grace(p) for p in pods_of(api)}
                running = [one for name in nodes for one in still_running(api, name)]
                show_waiting(step, {name: graces.get(name, 30) for name in running})

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        yield
    finally:
        over.set()
        looker.join()


def pods_of(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/api/v1/pods")["items"]
    return found


def key(reference: dict[str, Any]) -> str:
    return f"{reference['namespace']}/{reference['name']}"


def grace(pod: dict[str, Any]) -> int:
    return int(pod["spec"].get("terminationGracePeriodSeconds", 30))


def still_running(api: Api, node: str) -> list[str]:
    """The Pods that have containers now, as the node sees them: their objects stay as they are."""
    summary = api.get(f"/api/v1/nodes/{node}/proxy/stats/summary")
    return [key(pod["podRef"]) for pod in summary.get("pods") or () if pod.get("containers")]


def show_waiting(step: Step, waiting: dict[str, int]) -> None:
    known = {item.name: item for item in step.items}
    for name, seconds in waiting.items():
        if name not in known:
            item = step.item(name)
            item.start()
            item.detail = f"has {seconds}s to end by itself"
    for name, item in known.items():
        if name not in waiting and item.state == "now":
            item.end("ended")
    if waiting:
        first = next(iter(waiting))
        more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        step.say(f"waiting for {first}{more}")
