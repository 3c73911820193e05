"""The programs of the distribution that Jindou runs, and how each package manager calls them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import NamedTuple


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
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            update = subprocess.run(["apt-get", "update", "-q"], stdout=file, stderr=file, env=env)
            names = [name for name in names if update.returncode or _apt_has(name)]
            subprocess.run(
                ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names],
                stdout=file,
                stderr=file,
                env=env,
            )
        elif using == "dnf":
            subprocess.run(
                ["dnf", "install", "-y", "--skip-unavailable", *names], stdout=file, stderr=file
            )
        else:
            subprocess.run(
                ["pacman", "-S", "--noconfirm", "--needed", *names], stdout=file, stderr=file
            )
    return names


def _apt_has(name: str) -> bool:
    found = subprocess.run(["apt-cache", "policy", name], capture_output=True, text=True)
    return "Candidate:" in found.stdout and "Candidate: (none)" not in found.stdout
