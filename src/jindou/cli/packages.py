"""The programs of the distribution that Jindou runs, and how each package manager calls them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import IO, NamedTuple

from jindou.settings import Settings


class Program(NamedTuple):
    name: str  # a program on the PATH, or a shared library "libX.so.N"
    apt: str
    dnf: str
    pacman: str
    why: str


PROGRAMS = (
    Program("crun", "crun", "crun", "crun", "runs containers"),
    Program("runc", "runc", "runc", "runc", "runs containers where crun can't"),
    Program(
        "conmon",
        "conmon",
        "conmon",
        "conmon",
        "keeps a container's log and exit code while Jindou restarts",
    ),
    Program("nft", "nftables", "nftables", "nftables", "shows and checks packet rules"),
    Program(
        "libnftables.so.1", "libnftables1", "nftables", "nftables", "packet rules for Services"
    ),
    Program(
        "libseccomp.so.2",
        "libseccomp2",
        "libseccomp",
        "libseccomp",
        "compiles the system call filter",
    ),
    Program("mmdebstrap", "mmdebstrap", "", "", "makes base images from packages"),
    Program("busybox", "busybox-static", "busybox", "busybox", "the busybox image"),
    Program("kubectl", "kubernetes-client", "kubernetes-client", "kubectl", "the ordinary client"),
)
OPTIONAL = {
    "kubectl",
    "mmdebstrap",
    "busybox",
    "runc",
    "crun",
}  # one runtime is enough; the probe decides


def present(program: Program) -> bool:
    if ".so" in program.name:
        import ctypes

        try:
            ctypes.CDLL(program.name)
        except OSError:
            return False
        return True
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])
    return shutil.which(program.name, path=path) is not None


def missing() -> list[Program]:
    return [program for program in PROGRAMS if not present(program)]


def manager() -> str:
    return next((m for m in ("apt-get", "dnf", "pacman") if shutil.which(m)), "")


def package_names(programs: Iterable[Program], with_manager: str) -> list[str]:
    field = {"apt-get": "apt", "dnf": "dnf", "pacman": "pacman"}.get(with_manager, "")
    names = {getattr(program, field) for program in programs} if field else set()
    return sorted(names - {""})


def install(programs: Iterable[Program], log: str) -> list[str]:
    """Install with the machine's package manager; returns what was asked for. A package that the
    distribution does not have is passed over: what is still missing afterwards tells."""
    using = manager()
    names = package_names(programs, using)
    if not names:
        return []
    with open(log, "a") as file:
        if using == "apt-get":
            updated = _work(["apt-get", "update", "-q"], file)
            names = [name for name in names if updated or _apt_has(name)]
            _work(["apt-get", "install", "-y", "-q", "--no-install-recommends", *names], file)
        elif using == "dnf":
            _work(["dnf", "install", "-y", "--setopt=strict=False", *names], file)
        else:
            _work(["pacman", "-Sy", "--noconfirm", "--needed", *names], file)
    return names


def command(names: Iterable[str]) -> str:
    """What a person would type for the same."""
    words = {"apt-get": "apt-get install", "dnf": "dnf install", "pacman": "pacman -S"}
    return f"{words.get(manager(), 'install')} {' '.join(names)}"


def _work(words: list[str], log: IO[str]) -> int:
    """A package manager must not be stopped in the middle: Ctrl-C waits for it, a second one ends it."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.terminate()
        raise


def _apt_has(name: str) -> bool:
    found = subprocess.run(
        ["apt-cache", "policy", name],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    return "Candidate:" in found.stdout and "Candidate: (none)" not in found.stdout


def note(settings: Settings, names: Iterable[str]) -> None:
    """Which packages were installed for us: `uninstall` names them, and removes none by itself."""
    os.makedirs(settings.data, 0o711, exist_ok=True)
    with open(os.path.join(settings.data, "packages"), "a") as file:
        file.writelines(f"{name}\n" for name in names)


def noted(settings: Settings) -> str:
    """The command that removes them, or ""."""
    try:
        with open(os.path.join(settings.data, "packages")) as file:
            names = sorted(set(file.read().split()))
    except OSError:
        return ""
    words = {
        "apt-get": "apt-get autoremove --purge", "dnf": "dnf remove", "pacman": "pacman -Rs"
    }.get(manager(), "")  # fmt: skip
    return f"{words} {' '.join(names)}" if names and words else ""
