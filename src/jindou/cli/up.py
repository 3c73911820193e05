"""`jindou up`: install what is missing, start, wait until ready, make the base images, deploy a sample.

The steps are planned first, from what is really missing, so that "3/6" means six that will run.
Each is safe to repeat; a second run finds nothing to do and says so.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from argparse import Namespace
from typing import Any

from jindou import __version__
from jindou.cli import configuration, packages, sample, services
from jindou.cli.api import Api, Refused
from jindou.cli.image import bootstrap, known_here
from jindou.cli.problems import DONE, IN_THE_WAY, WAITED, Problem
from jindou.cli.root import become_root, invoking_user, is_root, unprivileged
from jindou.cli.term import Step, Steps, Terminal, duration, size
from jindou.client import kubeconfig
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
KEPT = ("api_port", "node_port", "data", "pod_cidr", "service_cidr", "node_name")


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    began = time.monotonic()
    if settings.pretend:
        settings = unprivileged(settings)
    api = Api(settings)
    lacking = [] if settings.pretend else packages.missing()
    running = api.running() and services.pid_of(settings, "node") > 0
    images = list(sample.images(options.deploy)) if options.deploy else []
    wanted = [] if options.no_images else list(dict.fromkeys([*BASE_IMAGES, *images]))
    absent = [name for name in wanted if name not in known_here(api)] if running else wanted
    titles = plan(
        running, lacking, first=not os.path.exists(os.path.join(settings.data, "store.db"))
    )
    if options.plan:
        return show_plan(terminal, settings, titles, lacking, absent, options)
    if running and not absent and not options.deploy:
        return already(terminal, settings, api)
    if not settings.pretend and titles:
        become_root(
            terminal,
            reasons(settings, lacking),
            yes=options.yes,
            plan="jindou up --plan > plan.txt",
        )
        keep_choices(options)
    steps_titles = [*titles, *([IMAGES] if absent else []), *([DEPLOY] if options.deploy else [])]
    if terminal.progress == "tty":
        terminal.note(machine_line(settings))
    steps = Steps(terminal, steps_titles)
    if CHECK in titles:
        with steps.step(CHECK) as step:
            check(step, settings, lacking)
    if INSTALL in titles:
        with steps.step(INSTALL) as step:
            install(step, settings, lacking)
    if START in titles:
        with steps.step(START) as step:
            services.start(settings)
            services.wait_for_socket(settings, 30.0)
            step.say("2 running")
    if READY in titles:
        with steps.step(READY) as step:
            wait_until_ready(api, settings, options.timeout)
            introduce(settings)
            step.say("API, node, network")
    absent = [name for name in wanted if name not in known_here(api)] if absent else []
    if IMAGES in steps_titles:
        with steps.step(IMAGES) as step:
            for name in absent:
                step.item(name)
            for item in step.items:
                bootstrap(api, item.name, item)
            step.say(f"{len(absent)} made")
    urls: list[tuple[str, str]] = []
    if options.deploy:
        with steps.step(DEPLOY) as step:
            urls = sample.deploy(step, settings, options.deploy, options.timeout)
    summary(terminal, settings, urls, time.monotonic() - began)
    return DONE


def plan(running: bool, lacking: list[packages.Program], first: bool) -> list[str]:
    """The set-up steps that are still to do."""
    if running:
        return []
    needed = [program for program in lacking if first or program.name not in packages.OPTIONAL]
    return [*([CHECK] if first or needed else []), *([INSTALL] if needed else []), START, READY]


def show_plan(
    terminal: Terminal,
    settings: Settings,
    titles: list[str],
    lacking: list[packages.Program],
    absent: list[str],
    options: Namespace,
) -> int:
    for title in titles:
        terminal.answer(title)
        if title == INSTALL:
            for name in packages.package_names(lacking, packages.manager()):
                terminal.answer(f"    package {name}")
        if title == START:
            for line in reasons(settings, []):
                terminal.answer(f"    {line}")
    for name in absent:
        terminal.answer(f"make the image {name}")
    if options.deploy:
        terminal.answer(f"kubectl apply -f {options.deploy}")
    if not titles and not absent and not options.deploy:
        terminal.answer("nothing to do")
    return DONE


def reasons(settings: Settings, lacking: list[packages.Program]) -> list[str]:
    using = packages.manager()
    names = packages.package_names(lacking, using)
    how = "systemd, started again at boot" if services.has_systemd() else "a small supervisor"
    return [
        *([f"install    {', '.join(names)}"] if names else []),
        f"run        2 processes under {how}",
        f"network    one bridge, {settings.bridge} ({settings.pod_cidr}), and a packet filter table of its own",
        f"disk       {settings.data}",
    ]


def keep_choices(options: Namespace) -> None:
    chosen = {
        name: getattr(options, name) for name in KEPT if getattr(options, name, None) is not None
    }
    if chosen and is_root():
        configuration.keep(chosen, os.environ)


def machine_line(settings: Settings) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    existing = settings.data
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    disk = os.statvfs(existing)
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return (
        f"jindou {__version__} on {socket.gethostname()}: {system}, {platform.machine()}, "
        f"{os.cpu_count()} CPUs, {size(memory)} memory, {size(disk.f_bavail * disk.f_frsize)} free"
    )


def check(step: Step, settings: Settings, lacking: list[packages.Program]) -> None:
    """All that is in the way, told together, before anything is changed."""
    from jindou.serve import probe

    verdicts = probe(settings, before_install=bool(lacking))
    blockers = [v for v in verdicts if v.state == "FAIL"]
    step.say(f"{len(verdicts)} probes, nothing in the way")
    if blockers:
        step.say(
            f"{len(blockers)} things in the way" if len(blockers) > 1 else "1 thing in the way"
        )
        problems = [
            Problem(
                v.says, v.code, why=v.why, now="nothing was changed", do=v.do, status=IN_THE_WAY
            )
            for v in blockers
        ]
        raise Blocked(problems)


class Blocked(Exception):
    """Several problems to be shown one after the other."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


def install(step: Step, settings: Settings, lacking: list[packages.Program]) -> None:
    os.makedirs(settings.logs, exist_ok=True)
    log = services.log_path(settings, "setup")
    step.say(", ".join(packages.package_names(lacking, packages.manager())))
    asked = packages.install(lacking, log)
    left = [program for program in packages.missing() if program.name not in packages.OPTIONAL]
    names = {program.name for program in packages.missing()}
    if {"crun", "runc"} <= names:
        left += [program for program in lacking if program.name == "crun"]
    if left:
        raise Problem(
            f"{', '.join(program.name for program in left)} could not be installed",
            "JD-RUN-302",
            why=f"{left[0].name}: {left[0].why}",
            said=services.last_words(settings, "setup"),
            log=log,
            do=[f"{packages.manager() or 'install'} {' '.join(program.apt for program in left)}"],
        )
    step.say(f"{len(asked)} installed")


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


def introduce(settings: Settings) -> None:
    """Put `jindou` into the kubeconfig of whoever asked, and `jindou` on the PATH."""
    import yaml

    uid, gid, home = invoking_user()
    with open(os.path.join(settings.data, "pki", "admin.kubeconfig")) as file:
        ours = yaml.safe_load(file)
    path = kubeconfig.path_for(home, dict(os.environ))
    before = kubeconfig.read(path)
    merged = kubeconfig.merge(before, ours)
    if merged != before:
        kubeconfig.write(path, merged, (uid, gid))
    remember(settings, path)


def remember(settings: Settings, path: str) -> None:
    """Which kubeconfigs hold our entry: they are refreshed with the certificate, and cleaned up."""
    noted = os.path.join(settings.data, "kubeconfigs")
    known = set()
    if os.path.exists(noted):
        with open(noted) as file:
            known = set(file.read().splitlines())
    if path not in known:
        with open(noted, "a") as file:
            file.write(f"{path}\n")


def already(terminal: Terminal, settings: Settings, api: Api) -> int:
    introduce(settings)
    seconds = max(process.seconds for process in services.observe(settings))
    pods = api.get("/api/v1/pods")["items"]
    running = sum(pod["status"].get("phase") == "Running" for pod in pods)
    terminal.note(
        f"jindou {__version__} is already up on {socket.gethostname()}, for {duration(seconds)}. Nothing to do.\n"
        f"{running} of {len(pods)} pods run. More: jindou status"
    )
    return DONE


def summary(
    terminal: Terminal, settings: Settings, urls: list[tuple[str, str]], seconds: float
) -> None:
    if terminal.output == "json":
        return
    terminal.note()
    terminal.answer(f"jindou is ready on {socket.gethostname()}. It took {duration(seconds)}.\n")
    terminal.answer(
        f"  {'Kubernetes':<12} https://{settings.api_address}:{settings.api_port}     context jindou"
    )
    for name, url in urls:
        terminal.answer(f"  {name:<12} {url}     open it in a browser")
    context = "" if current_context() == "jindou" else " --context jindou"
    terminal.answer("\nTry:")
    terminal.answer(f"  kubectl{context} get pods --all-namespaces")
    terminal.answer(f"  kubectl{context} run shell --image=busybox --restart=Never -it --rm -- sh")
    if context:
        terminal.answer("\nYour own kubectl default is as it was.")
    terminal.answer("Everything: jindou status     Stop: jindou down     Logs: jindou logs server")


def current_context() -> str:
    _, _, home = invoking_user()
    return str(
        kubeconfig.read(kubeconfig.path_for(home, dict(os.environ))).get("current-context", "")
    )
