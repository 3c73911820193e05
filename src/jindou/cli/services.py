"""Starting and stopping the two processes: units of systemd where it runs, our supervisor elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from jindou.cli.configuration import as_environment
from jindou.cli.problems import FAILED, Problem
from jindou.settings import Settings

UNIT = """[Unit]
Description=Jindou {what}
Documentation=https://pypi.org/project/jindou/
After=network.target{after}

[Service]
Type=simple
ExecStart={command}
{environment}
Restart=always
RestartSec=1
KillMode=process
Delegate=yes
OOMScoreAdjust=-900
LimitNOFILE=1048576
TasksMax=infinity
StandardOutput=append:{log}
StandardError=append:{log}

[Install]
WantedBy=multi-user.target
"""


class Running(NamedTuple):
    """One of our processes: its state, and what it takes now."""

    name: str
    state: str
    pid: int
    cpu: float  # share of one core since it started
    memory: int  # proportional set size in bytes
    seconds: float


def has_systemd() -> bool:
    return os.path.isdir("/run/systemd/system")


def command(settings: Settings, name: str) -> list[str]:
    return [sys.executable, "-m", "jindou", name]


def log_path(settings: Settings, name: str) -> str:
    return os.path.join(settings.logs, f"{name}.log")


def start(settings: Settings) -> None:
    for folder, mode in ((settings.data, 0o711), (settings.run, 0o755), (settings.logs, 0o755)):
        os.makedirs(folder, mode, exist_ok=True)
    if has_systemd() and os.geteuid() == 0 and not settings.pretend:
        _start_units(settings)
    else:
        _start_supervisor(settings)


def names(settings: Settings) -> list[str]:
    return ["server", "node"]


def _start_units(settings: Settings) -> None:
    for name in names(settings):
        environment = "\n".join(f"Environment={k}={v}" for k, v in _environment(settings).items())
        text = UNIT.format(
            what=name,
            command=" ".join(command(settings, name)),
            environment=environment,
            log=log_path(settings, name),
            after=f" {settings.name}-server.service" if name == "node" else "",
        )
        path = f"/etc/systemd/system/{settings.name}-{name}.service"
        with open(path, "w") as file:
            file.write(text)
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", *(f"{settings.name}-{name}.service" for name in names(settings)))


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True)
    if done.returncode:
        raise Problem(f"systemctl {words[0]} failed", "JD-RUN-303", said=done.stderr, status=FAILED)


def _environment(settings: Settings) -> dict[str, str]:
    owner = os.environ.get("SUDO_UID")
    return {**as_environment(settings), **({"JINDOU_OWNER": owner} if owner else {})}


def _start_supervisor(settings: Settings) -> None:
    import json

    for name in names(settings):  # left behind by a supervisor that was killed
        if pid := pid_of(settings, name):
            _end(pid)
    keep = ("PATH", "HOME", "LANG", "LC_ALL", "XDG_RUNTIME_DIR", "PYTHONPATH", "TZ")
    environment = {k: v for k, v in os.environ.items() if k in keep or k.startswith("JINDOU_")}
    environment |= _environment(settings)
    described = [
        json.dumps([name, log_path(settings, name), command(settings, name)])
        for name in names(settings)
    ]
    with open(log_path(settings, "supervisor"), "a") as log:
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jindou.cli.supervisor",
                _pidfile(settings, "supervisor"),
                *described,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )


def stop(settings: Settings, note: Callable[[str], None] = lambda text: None) -> list[str]:
    """Stop both; returns the names of what ran. Containers go on unless they were stopped before."""
    running = [name for name in names(settings) if pid_of(settings, name)]
    if has_systemd() and os.path.exists(f"/etc/systemd/system/{settings.name}-server.service"):
        _systemctl(
            "disable", "--now", *(f"{settings.name}-{n}.service" for n in reversed(names(settings)))
        )
    if pid := pid_of(settings, "supervisor"):
        note("supervisor")
        _end(pid, 25.0)
    for name in reversed(names(settings)):
        if pid := pid_of(settings, name):
            note(name)
            _end(pid)
    return running


def remove_units(settings: Settings) -> list[str]:
    removed = []
    for name in names(settings):
        path = f"/etc/systemd/system/{settings.name}-{name}.service"
        if os.path.exists(path):
            os.unlink(path)
            removed.append(path)
    if removed:
        _systemctl("daemon-reload")
    return removed


def _end(pid: int, patience: float = 12.0) -> None:
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
            try:
                signal.pidfd_send_signal(watched, number)
            except ProcessLookupError:
                return
            if select.select([watched], [], [], seconds)[0]:
                return
    finally:
        os.close(watched)


def _pidfile(settings: Settings, name: str) -> str:
    return os.path.join(settings.run, f"{name}.pid")


def pid_of(settings: Settings, name: str) -> int:
    """The process of that name if it runs, else 0. A reused process id is told by its command line."""
    try:
        with open(_pidfile(settings, name)) as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except (OSError, ValueError):
        return 0
    return (
        pid if any(b"jindou" in word for word in words) and name.encode() in b" ".join(words) else 0
    )


def observe(settings: Settings) -> list[Running]:
    found = []
    for name in names(settings):
        pid = pid_of(settings, name)
        found.append(_measure(name, pid) if pid else Running(name, "FAIL", 0, 0.0, 0, 0.0))
    return found


def _measure(name: str, pid: int) -> Running:
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        with open("/proc/uptime") as file:
            seconds = float(file.read().split()[0]) - int(fields[19]) / ticks
        cpu = (int(fields[11]) + int(fields[12])) / ticks / max(seconds, 0.01)
        memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return Running(name, "FAIL", pid, 0.0, 0, 0.0)
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            memory = next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
    except (OSError, StopIteration):
        pass  # another user's process tells only its resident size
    return Running(name, "ok", pid, cpu, memory, seconds)


def last_words(settings: Settings, name: str, lines: int = 6) -> str:
    try:
        with open(log_path(settings, name), errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError:
        return ""


def wait_for_socket(
    settings: Settings, seconds: float, tick: Callable[[], None] = lambda: None
) -> None:
    """Until the server answers. There is nothing to be told by before it does, so this looks."""
    from jindou.cli.api import Api

    deadline = time.monotonic() + seconds
    api = Api(settings)
    while not api.running():
        tick()
        if time.monotonic() > deadline:
            raise Problem(
                "the server did not answer",
                "JD-RUN-303",
                said=last_words(settings, "server"),
                log=log_path(settings, "server"),
                do=["jindou logs server"],
            )
        time.sleep(0.01)
