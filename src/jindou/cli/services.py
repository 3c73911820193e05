"""Starting and stopping the two processes: units of systemd where it runs, our supervisor elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from jindou.cli import places
from jindou.cli.configuration import as_environment
from jindou.cli.problems import Problem
from jindou.settings import Settings

UNITS = "/etc/systemd/system"
UNIT = """[Unit]
Description=Jindou {what} of the cloud {cloud}
After=network.target{after}
StartLimitIntervalSec=0

[Service]
Type=simple
ExecStart={command}
{environment}
Restart=always
RestartSec=2
KillMode=process
TimeoutStopSec=30
Delegate=yes
OOMScoreAdjust=-900
LimitNOFILE=1048576
TasksMax=infinity
StandardOutput=append:{log}
StandardError=append:{log}

[Install]
WantedBy=multi-user.target
"""


NAMES = ("server", "node")  # in the order of their start
LOOK = 0.5  # seconds between questions to systemd
HOPELESS = 3  # ends of the server, right after its start, after which nobody waits any more


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


def command(name: str) -> list[str]:
    return [sys.executable, "-P", "-m", "jindou", name]


def log_path(settings: Settings, name: str) -> str:
    return os.path.join(settings.logs, f"{name}.log")


def start(settings: Settings) -> None:
    """Both processes, each only if it does not run; returns when they were told, not when they are ready."""
    for folder, mode in ((settings.data, 0o711), (settings.run, 0o755), (settings.logs, 0o755)):
        try:
            os.makedirs(folder, mode, exist_ok=True)
        except OSError as error:
            raise Problem(
                f"{folder} can't be made: {error.strerror}",
                "JD-STO-207",
                do=[
                    "jindou up --pretend --data DIR" if settings.pretend else "jindou up --data DIR"
                ],
            ) from error
    places.mark(settings)
    if halted(settings):  # it starts no Pod any more; whoever keeps it starts it again
        os.unlink(halt_path(settings))
        if pid := pid_of(settings, "node"):
            _end(pid)
    if by_systemd(settings):
        _start_units(settings)
    else:
        _start_supervisor(settings)
    with open(started_path(settings), "w") as file:
        json.dump(settings._asdict(), file)


def halt_path(settings: Settings) -> str:
    return os.path.join(settings.run, "halted")


def halted(settings: Settings) -> bool:
    """Was a `down` stopped in the middle? The node has been told to start nothing, and goes on so."""
    return os.path.exists(halt_path(settings))


def halt(settings: Settings) -> None:
    with contextlib.suppress(OSError), open(halt_path(settings), "w"):
        pass


def started_path(settings: Settings) -> str:
    return os.path.join(settings.run, "started.json")


def started_with(settings: Settings) -> dict[str, Any]:
    """The settings that the running cloud was started with; {} if nobody knows."""
    try:
        with open(started_path(settings)) as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def by_systemd(settings: Settings) -> bool:
    return has_systemd() and os.geteuid() == 0 and not settings.pretend


def unit_path(settings: Settings, name: str) -> str:
    return os.path.join(UNITS, f"{settings.name}-{name}.service")


def unit(settings: Settings, name: str) -> str:
    """The text of a unit. A word of ExecStart or Environment is quoted, its % and $ doubled."""
    environment = "\n".join(
        f"Environment={quoted(f'{k}={v}')}" for k, v in sorted(_environment(settings).items())
    )
    return UNIT.format(
        what=name,
        cloud=settings.name,
        command=" ".join(quoted(word).replace("$", "$$") for word in command(name)),
        environment=environment,
        log=log_path(settings, name).replace("%", "%%"),
        after=f" {settings.name}-server.service" if name == "node" else "",
    )


def quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _start_units(settings: Settings) -> None:
    changed = False
    for name in NAMES:
        path, text = unit_path(settings, name), unit(settings, name)
        changed |= content(path) != text
        with open(path, "w") as file:
            file.write(text)
    _systemctl("daemon-reload")
    _systemctl("enable", *unit_names(settings))
    _systemctl("restart" if changed else "start", *unit_names(settings))


def content(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def unit_names(settings: Settings) -> list[str]:
    return [f"{settings.name}-{name}.service" for name in NAMES]


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True)
    if done.returncode:
        raise Problem(
            f"systemctl {words[0]} failed",
            "JD-RUN-303",
            said=done.stderr,
            do=["journalctl -xe", "jindou logs server"],
        )


def _environment(settings: Settings) -> dict[str, str]:
    owner = os.environ.get("SUDO_UID")
    return {**as_environment(settings), **({"JINDOU_OWNER": owner} if owner else {})}


def _start_supervisor(settings: Settings) -> None:
    if pid_of(settings, "supervisor"):
        if started_with(settings) == settings._asdict():
            return  # it starts again whatever has ended
        stop(settings)  # what it starts again and again has other settings
    for name in NAMES:  # left behind by a supervisor that was killed
        if pid := pid_of(settings, name):
            _end(pid)
    keep = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "TZ")
    environment = {k: v for k, v in os.environ.items() if k in keep}
    environment |= _environment(settings)
    described = [json.dumps([name, log_path(settings, name), command(name)]) for name in NAMES]
    words = [sys.executable, "-P", "-m", "jindou.cli.supervisor", _pidfile(settings, "supervisor")]
    with open(log_path(settings, "supervisor"), "a") as log:
        made = subprocess.Popen(
            [*words, *described],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/",
            start_new_session=True,
        )  # fmt: skip
    made.returncode = 0  # it outlives this command: nobody is to wait for it
    with open(f"{_pidfile(settings, 'supervisor')}.new", "w") as file:
        file.write(f"{made.pid}\n")
    os.replace(file.name, _pidfile(settings, "supervisor"))


def stop(settings: Settings, note: Callable[[str], None] = lambda text: None) -> list[str]:
    """Stop both; returns the names of what ran. Containers go on unless they were stopped before."""
    running = [name for name in NAMES if pid_of(settings, name)]
    if has_systemd() and os.path.exists(unit_path(settings, "server")):
        _systemctl("disable", "--now", *reversed(unit_names(settings)))
    if pid := pid_of(settings, "supervisor"):
        note("supervisor")
        _end(pid, 25.0)
    for name in reversed(NAMES):
        if pid := pid_of(settings, name):
            note(name)
            _end(pid)
    with contextlib.suppress(OSError):
        os.unlink(halt_path(settings))
    return running


def remove_units(settings: Settings) -> list[str]:
    removed = []
    for name in NAMES:
        path = unit_path(settings, name)
        if os.path.exists(path):
            os.unlink(path)
            removed.append(path)
    if removed and has_systemd():
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
    for name in NAMES:
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
    """The end of a log, without the time and place that its lines begin with, each line once."""
    try:
        with open(log_path(settings, name), errors="replace") as file:
            last = file.readlines()[-lines:]
    except OSError:
        return ""
    said = [line.split(None, 3)[-1] if line[:2] == "20" and "Z " in line else line for line in last]
    return "".join(dict.fromkeys(said))


def wait_for_socket(
    settings: Settings, seconds: float, tick: Callable[[], None] = lambda: None
) -> None:
    """Until the server answers, or has ended again and again. Nothing could tell us before it does."""
    from jindou.cli.api import Api

    deadline = time.monotonic() + seconds
    api = Api(settings)
    began = log_size(settings, "supervisor")
    pause = LOOK if by_systemd(settings) else 0.0
    ends, look = 0, time.monotonic() + pause
    while not api.running():
        tick()
        if (now := time.monotonic()) >= look:
            ends, look = ended_since(settings, began), now + pause
        if now > deadline or ends >= HOPELESS:
            again = f"; it ended {ends} times" if ends else ""
            said = last_words(settings, "server")
            raise Problem(
                f"the server did not answer{again}",
                "JD-STO-203" if "store.db" in said else "JD-RUN-303",
                now="it is started again and again until `jindou down`",
                said=said,
                log=log_path(settings, "server"),
                do=["jindou logs server", "jindou doctor", "jindou down"],
            )
        time.sleep(0.01)


def log_size(settings: Settings, name: str) -> int:
    try:
        return os.path.getsize(log_path(settings, name))
    except OSError:
        return 0


def ended_since(settings: Settings, position: int) -> int:
    """How often the server has ended: since the supervisor's log was that long, or since systemd
    was told to start it."""
    if by_systemd(settings):
        words = ("show", "--property=NRestarts", "--value", f"{settings.name}-server.service")
        told = subprocess.run(["systemctl", *words], capture_output=True, text=True).stdout.strip()
        return int(told) if told.isdigit() else 0
    try:
        with open(log_path(settings, "supervisor"), "rb") as file:
            file.seek(position)
            return file.read().count(b"Z server ")
    except OSError:
        return 0
