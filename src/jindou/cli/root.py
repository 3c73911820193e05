"""Becoming root once, saying why, and giving back to the user what was made for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from jindou.cli.configuration import as_environment
from jindou.cli.problems import NO_ACCESS, Problem
from jindou.cli.term import Terminal
from jindou.settings import Settings

KEPT = ("KUBECONFIG", "CI", "NO_COLOR", "TERM", "COLUMNS", "ACCESSIBLE", "LANG", "LC_ALL", "TZ")
HOME = "JINDOU_HOME"  # tells the second run whose kubeconfig it is about
PROMPT = "jindou needs root to set up namespaces, mounts and packet rules. Password for %p: "


def is_root() -> bool:
    return os.geteuid() == 0


def become_root(
    terminal: Terminal,
    settings: Settings,
    reasons: Sequence[str],
    *,
    yes: bool,
    plan: str,
    answered: Sequence[str] = (),
) -> None:
    """Return at once as root; else run this same command again with sudo, and never return.

    `answered`: flags that tell the second run what the user has answered already; with them
    nothing is asked here."""
    if is_root():
        return
    import shutil

    sudo = shutil.which("sudo")
    silent = sudo is not None and without_password(sudo)
    if not sudo or not (silent or terminal.interactive):
        raise Problem(
            "root is needed, and there is no terminal to ask on"
            if sudo
            else "root is needed, and sudo is not on this machine",
            "JD-SEC-301",
            why="root would do this: " + "; ".join(" ".join(r.split()) for r in reasons),
            now="nothing was changed",
            do=[
                f"sudo {this_command()} --yes" if sudo else f"su -c '{this_command()} --yes'",
                plan,
                *(
                    ["jindou up --pretend   needs no root: containers are only played"]
                    if sys.argv[1:2] == ["up"]
                    else []
                ),
            ],
            status=NO_ACCESS,
        )
    if not answered:
        terminal.note("The next steps change this machine and need root, once:")
        for reason in reasons:
            terminal.note(f"    {reason}")
        if terminal.interactive and not yes and not terminal.ask("Go on?", True):
            terminal.note("Nothing was changed.")
            raise SystemExit(0)
    sys.stdout.flush()
    sys.stderr.flush()
    again = [word for word in sys.argv[1:] if word not in answered]
    words = [*again, *(answered or ["--yes"])]
    os.execv(sudo, [sudo, "-p", PROMPT, "env", *carried(settings, os.environ), *program(), *words])


def without_password(sudo: str) -> bool:
    import subprocess

    return subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0


def program() -> list[str]:
    return [sys.executable, "-P", "-m", "jindou"]


def carried(settings: Settings, env: Mapping[str, str]) -> list[str]:
    """What the second run has to know: settings of the user's own file, and how to look."""
    known = {k: v for k, v in env.items() if k.startswith("JINDOU_") or k in KEPT}
    known |= as_environment(settings)
    if home := env.get("HOME"):
        known[HOME] = home
    return [f"{name}={value}" for name, value in known.items()]


def this_command() -> str:
    """The command as root can paste it: by its path where the PATH of root may not have it."""
    import shlex
    import shutil

    script = os.path.abspath(sys.argv[0])
    usual = shutil.which("jindou", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
    if usual and os.path.realpath(usual) == os.path.realpath(script):
        script = "jindou"
    words = program() if script.endswith("__main__.py") else [script]
    return shlex.join([*words, *(word for word in sys.argv[1:] if word not in ("-y", "--yes"))])


def invoking_user() -> tuple[int, int, str]:
    """uid, gid and home of the person who asked: behind sudo, not root."""
    import pwd

    behind = os.environ.get("SUDO_UID", "") if is_root() else ""
    uid = int(behind) if behind.isdigit() else os.getuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # a container's user that no file knows
        return uid, os.getgid(), os.environ.get("HOME", "/")
    home = os.environ.get(HOME, "") if behind else os.environ.get("HOME", "")
    return uid, entry.pw_gid, home or entry.pw_dir


def is_second_run() -> bool:
    return is_root() and HOME in os.environ
