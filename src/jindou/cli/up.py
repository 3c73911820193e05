"""`jindou up`: install what is missing, start, wait until ready, make the base images, deploy a sample.

The steps are planned first, from what is really missing, so that "3/6" means six that will run.
Each is safe to repeat; a second run finds nothing to do and says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple

from jindou.cli import configuration, packages, sample, services
from jindou.cli.api import Api, Refused
from jindou.cli.image import bootstrap, known_here
from jindou.cli.introduce import introduce
from jindou.cli.problems import DONE, IN_THE_WAY, USAGE, WAITED, Blocked, Problem
from jindou.cli.root import become_root, is_root, is_second_run
from jindou.cli.steps import Step, Steps
from jindou.cli.term import Terminal, count, duration
from jindou.cli.welcome import already, machine_line, summary
from jindou.settings import Settings

CHECK, INSTALL, START, READY, IMAGES, DEPLOY = (
    "check the machine",
    "install packages",
    "start services",
    "wait until ready",
    "make base images",
    "deploy the sample",
)
BASE_IMAGES = ("busybox", "debian")
MADE = "base-images"  # a file in the data folder: the images that `up` has made
KEPT = ("api_port", "node_port", "data")  # flags that later runs remember
FIXED = (*KEPT, "pod_cidr", "service_cidr", "node_name", "api_address")  # while the cloud runs


PUT_RIGHT = ("clients", "jindou")  # groups of probes whose trouble `up` ends, or can live with


class Todo(NamedTuple):
    """What is there, and what is still to be done."""

    running: bool
    first: bool
    lacking: list[packages.Program]
    wanted: list[str]  # images
    absent: list[str]
    titles: list[str]


def survey(settings: Settings, options: Namespace) -> Todo:
    api = Api(settings)
    lacking = [] if settings.pretend else packages.missing()
    running = (
        api.running() and services.pid_of(settings, "node") > 0 and not services.halted(settings)
    )
    first = not os.path.exists(os.path.join(settings.data, "store.db"))
    images = list(sample.images(options.deploy)) if options.deploy else []
    base = () if options.no_images else BASE_IMAGES
    wanted = list(dict.fromkeys([*base, *images]))
    here = known_here(api) if running else made_before(settings)
    absent = [name for name in wanted if name not in here]
    titles = plan(running, lacking, first)
    titles += [*([IMAGES] if absent else []), *([DEPLOY] if options.deploy else [])]
    return Todo(running, first, lacking, wanted, absent, titles)


def made_before(settings: Settings) -> set[str]:
    """Images that an earlier `up` made: nobody else can tell before the node runs."""
    try:
        with open(os.path.join(settings.data, MADE)) as file:
            return set(file.read().splitlines())
    except OSError:
        return set()


def note_made(settings: Settings, names: list[str]) -> None:
    known = sorted({*made_before(settings), *names})
    with (
        contextlib.suppress(
            OSError
        ),  # root's cloud, and we are its user: looked at again next time
        open(os.path.join(settings.data, MADE), "w") as file,
    ):
        file.writelines(f"{name}\n" for name in known)


def plan(running: bool, lacking: list[packages.Program], first: bool) -> list[str]:
    """The set-up steps that are still to do."""
    if running:
        return []
    needed = [program for program in lacking if first or program.name not in packages.OPTIONAL]
    return [*([CHECK] if first or needed else []), *([INSTALL] if needed else []), START, READY]


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    began = time.monotonic()
    todo = survey(settings, options)
    if options.plan:
        return show_plan(terminal, settings, todo, options)
    if todo.running:
        refuse_changes(settings)
    if not todo.titles:
        return already(terminal, settings)
    needs_root = not settings.pretend and not todo.running
    if needs_root and not is_root():
        if terminal.progress == "tty":
            terminal.note(machine_line(settings, terminal.width))
        refuse_blockers(settings, todo)
        become_root(
            terminal, settings, reasons(settings, todo.lacking if INSTALL in todo.titles else []),
            yes=options.yes, plan="jindou up --plan   shows every item, for whoever has root here",
        )  # fmt: skip
    with alone(terminal, settings):
        todo = survey(settings, options)  # another `up` may have done it meanwhile
        if not todo.titles:
            return already(terminal, settings)
        if needs_root:
            keep_choices(options)
        if terminal.progress == "tty" and not is_second_run():
            terminal.note(machine_line(settings, terminal.width))
        warning, urls = work(Steps(terminal, todo.titles), settings, options, todo)
    summary(terminal, settings, todo.first, urls, warning, time.monotonic() - began)
    return DONE


def work(
    steps: Steps, settings: Settings, options: Namespace, todo: Todo
) -> tuple[str, list[tuple[str, str]]]:
    """The planned steps, one after the other. Returns a warning, and the sample's addresses."""
    api, titles = Api(settings), todo.titles
    if CHECK in titles:
        with steps.step(CHECK) as step:
            check(step, settings, todo)
    elif START in titles:
        refuse_blockers(settings, todo)
    if INSTALL in titles:
        with steps.step(INSTALL) as step:
            install(step, settings, todo.lacking)
    if START in titles:
        with steps.step(START) as step:
            services.start(settings)
            services.wait_for_socket(settings, options.timeout)
            step.say("2 running")
    if READY in titles:
        with steps.step(READY) as step:
            wait_until_ready(api, settings, options.timeout)
            step.say("API and node" if settings.pretend else "API, node, network")
    warning = introduce(settings)
    if IMAGES in titles:
        with steps.step(IMAGES) as step:
            make_images(step, api, todo.wanted)
        note_made(settings, todo.wanted)
    urls: list[tuple[str, str]] = []
    if DEPLOY in titles:
        with steps.step(DEPLOY) as step:
            urls = sample.deploy(step, settings, options.deploy, options.timeout)
    return warning, urls


@contextlib.contextmanager
def alone(terminal: Terminal, settings: Settings) -> Iterator[None]:
    """One `up` at a time: a second one waits, and then finds everything there."""
    lock = os.path.join(settings.run, "up.lock")
    fresh = not os.path.isdir(settings.run)
    try:
        os.makedirs(settings.run, 0o755, exist_ok=True)
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        if services.pid_of(settings, "server"):  # a cloud of root's: nothing is started twice
            yield
            return
        raise Problem(
            f"{settings.run} can't be used: {error.strerror}",
            "JD-STO-207",
            do=["jindou up --pretend --data DIR" if settings.pretend else "jindou doctor storage"],
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            terminal.note("another `jindou up` is at work; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    except Blocked as blocked:
        if fresh and not blocked.changed:  # as if we had never been here
            with contextlib.suppress(OSError):
                os.unlink(lock)
                os.rmdir(settings.run)
        raise
    finally:
        os.close(descriptor)


def show_plan(terminal: Terminal, settings: Settings, todo: Todo, options: Namespace) -> int:
    details = {
        INSTALL: [
            f"package {name}" for name in packages.package_names(todo.lacking, packages.manager())
        ],
        START: [] if settings.pretend else reasons(settings, []),
        IMAGES: todo.absent,
        DEPLOY: [str(options.deploy)],
    }
    for title in todo.titles:
        terminal.answer(title)
        for line in details.get(title, ()):
            terminal.answer(f"    {line}")
    if not todo.titles:
        terminal.answer("nothing to do")
    return DONE


def reasons(settings: Settings, lacking: list[packages.Program]) -> list[str]:
    names = packages.package_names(lacking, packages.manager())
    how = "systemd, started again at boot" if services.has_systemd() else "a small supervisor"
    return [
        *([f"install    {', '.join(names)}"] if names else []),
        f"run        2 processes under {how}",
        f"network    one bridge, {settings.bridge} ({settings.pod_cidr}), and a packet filter table",
        f"disk       {settings.data}, about 0.5 GiB to begin with",
    ]


def refuse_changes(settings: Settings) -> None:
    """Ports, folders and networks can't be changed while it runs: say so rather than ignore it."""
    started = services.started_with(settings)
    wanted = settings._asdict()
    other = [name for name in FIXED if name in started and started[name] != wanted[name]]
    if other:
        now = ", ".join(f"{name} = {started[name]}" for name in other)
        raise Problem(
            f"it runs with another {' and another '.join(name.replace('_', ' ') for name in other)}",
            "JD-API-504",
            why=f"it was started with {now}",
            now="it runs as before",
            do=["jindou down   then the same command again"],
            status=USAGE,
        )


def keep_choices(options: Namespace) -> None:
    chosen = {
        name: getattr(options, name) for name in KEPT if getattr(options, name, None) is not None
    }
    if "data" in chosen:
        chosen["data"] = os.path.abspath(chosen["data"])
    if chosen and is_root():
        configuration.keep(chosen, os.environ)


def problems(
    settings: Settings, before_install: bool, before_start: bool = False
) -> tuple[int, list[Problem]]:
    """How many probes there were, and those that are in the way."""
    from jindou.serve import probe

    verdicts = probe(settings, before_install=before_install, before_start=before_start)
    return len(verdicts), [
        Problem(v.says, v.code, why=v.why, do=v.do, status=IN_THE_WAY)
        for v in verdicts
        if v.state == "FAIL" and v.group not in PUT_RIGHT
    ]


def unavailable(lacking: list[packages.Program]) -> list[Problem]:
    """Programs that are missing where no package manager is that could bring them."""
    needed = [program for program in lacking if program.name not in packages.OPTIONAL]
    if {"crun", "runc"} <= {program.name for program in lacking}:
        needed += [program for program in lacking if program.name == "crun"]
    if not needed or packages.manager():
        return []
    names = ", ".join(program.name for program in needed)
    return [
        Problem(
            f"{names} missing, and none of apt-get, dnf and pacman is here to install them",
            "JD-RUN-302",
            why="; ".join(f"{program.name} {program.why}" for program in needed),
            do=["jindou up --pretend   needs none of them"],
            status=IN_THE_WAY,
        )
    ]


def refuse_blockers(settings: Settings, todo: Todo) -> None:
    """Before root is asked for, and at each later start: what can be seen in an instant."""
    quick = CHECK not in todo.titles
    _, found = problems(settings, before_install=bool(todo.lacking), before_start=quick)
    found += unavailable(todo.lacking)
    if found:
        raise Blocked(found)


def check(step: Step, settings: Settings, todo: Todo) -> None:
    """All that is in the way, told together, before anything is changed."""
    total, found = problems(settings, before_install=INSTALL in todo.titles)
    found += unavailable(todo.lacking)
    if found:
        step.say(f"{count(len(found), 'thing')} in the way")
        raise Blocked(found)
    step.say(f"{total} probes, nothing in the way")


def install(step: Step, settings: Settings, lacking: list[packages.Program]) -> None:
    os.makedirs(settings.logs, exist_ok=True)
    log = services.log_path(settings, "setup")
    step.say(", ".join(packages.package_names(lacking, packages.manager())))
    asked = packages.install(lacking, log)
    packages.note(settings, asked)
    missing = packages.missing()
    left = [program for program in missing if program.name not in packages.OPTIONAL]
    if {"crun", "runc"} <= {program.name for program in missing}:
        left += [program for program in lacking if program.name == "crun"]
    if left:
        names = packages.package_names(left, packages.manager())
        raise Problem(
            f"{', '.join(program.name for program in left)} could not be installed",
            "JD-RUN-302",
            why=f"{left[0].name}: {left[0].why}",
            said=services.last_words(settings, "setup"),
            log=log,
            do=[packages.command(names)],
        )
    _, found = problems(settings, before_install=False)  # what could not be tried before
    if found:
        raise Blocked(found, changed=True)
    step.say(f"{len(asked)} installed")


def make_images(step: Step, api: Api, wanted: list[str]) -> None:
    here = known_here(api)
    for name in wanted:
        if name not in here:
            step.item(name)
    for item in step.items:
        bootstrap(api, item.name, item, optional=item.name not in BASE_IMAGES)
    made = sum(item.state == "ok" for item in step.items)
    step.say(f"{made} made" if made else "here already")


def wait_until_ready(api: Api, settings: Settings, seconds: float) -> None:
    """Until the node says Ready and answers, told by a watch."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            for event in api.lines(
                "GET", f"/api/v1/nodes?watch=true&timeoutSeconds={max(1, int(left))}"
            ):
                node = event.get("object", {})
                # What was stored before may be old; the node itself answers when it has begun.
                if ready(node):
                    if answers(api, node["metadata"]["name"]):
                        return
                    break
        except (Problem, Refused, OSError):
            time.sleep(0.02)  # the server has just been started, or is being started again
    raise Problem(
        "the node did not become ready",
        "JD-API-502",
        why=f"it was given {duration(seconds)}",
        now="both processes go on trying",
        said=services.last_words(settings, "node"),
        do=["jindou doctor", "jindou logs node", "jindou up --timeout 300"],
        status=WAITED,
    )


def answers(api: Api, node: str) -> bool:
    try:
        api.request("GET", f"/api/v1/nodes/{node}/proxy/healthz")
    except Refused:
        time.sleep(0.01)
        return False
    return True


def ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
