"""What a probe says, and what probes share: running a program, and finding one as the node would."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from jindou.machine.linux.processes import PATH
from jindou.settings import Settings


class Verdict(NamedTuple):
    """`do` has commands that run as pasted, each alone a remedy: "command" or "command   effect"."""

    group: str
    state: Literal["ok", "warn", "FAIL", "skip"]
    says: str
    code: str = ""
    why: str = ""
    do: tuple[str, ...] = ()


Probe = Callable[[Settings], Iterator[Verdict]]


def run(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """A program of this machine; one that is missing or hangs is told like one that failed."""
    env = {**os.environ, "PATH": PATH, "LC_ALL": "C"}
    try:
        return subprocess.run(
            words, input=text, capture_output=True, text=True, errors="replace", env=env, timeout=60
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", f"{words[0]} is not installed")
    except OSError as error:
        return subprocess.CompletedProcess(words, 126, "", f"{words[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, "", f"{words[0]} did not end in a minute")


def which(name: str) -> str | None:
    return shutil.which(name, path=PATH)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return ((done.stderr or done.stdout).strip().splitlines() or [""])[-1]


def install(apt: str, dnf: str, pacman: str) -> str:
    """The command of this machine's package manager that brings a program."""
    for manager, words, names in (
        ("apt-get", "apt-get install", apt),
        ("dnf", "dnf install", dnf),
        ("pacman", "pacman -S", pacman),
    ):
        if which(manager):
            return f"{words} {names}"
    return f"apt-get install {apt}"


def existing(folder: str) -> str:
    """The nearest folder above that is there."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def process_of(settings: Settings, name: str) -> int:
    """The process id of the server or the node of this cloud, 0 where it does not run."""
    try:
        with open(os.path.join(settings.run, f"{name}.pid")) as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if name.encode() in words else 0
