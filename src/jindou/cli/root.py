"""Becoming root once, saying why, and giving back to the user what was made for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from jindou.cli.problems import NO_ACCESS, Problem
from jindou.cli.term import Terminal
from jindou.settings import Settings


def is_root() -> bool:
    return os.geteuid() == 0


def become_root(terminal: Terminal, reasons: Sequence[str], *, yes: bool, plan: str) -> None:
    """Return at once as root; else run this same command again with sudo, and never return."""
    if is_root():
        return
    import shutil
    import subprocess

    sudo = shutil.which("sudo")
    words = [os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0:
        _again(sudo, words)
    if not sudo or not terminal.interactive:
        raise Problem(
            "root is needed, and there is no terminal to ask on"
            if sudo
            else "root is needed, and sudo is not here",
            "JD-SEC-301",
            why="; ".join(reasons),
            now="nothing was changed",
            do=[f"sudo {' '.join(words)} --yes", plan],
            status=NO_ACCESS,
        )
    terminal.note("This needs root, once:")
    for reason in reasons:
        terminal.note(f"    {reason}")
    if not yes and not terminal.ask("Go on?", True):
        raise SystemExit(0)
    _again(sudo, words)


def _again(sudo: str, words: Sequence[str]) -> None:
    keep = [
        f"{k}={v}"
        for k, v in os.environ.items()
        if k.startswith("JINDOU_") or k in ("KUBECONFIG", "CI", "NO_COLOR")
    ]
    prompt = "jindou needs root to set up namespaces, mounts and packet rules. Password for %p: "
    os.execv(sudo, [sudo, "-p", prompt, "env", *keep, sys.executable, "-m", "jindou", *words[1:]])


def invoking_user() -> tuple[int, int, str]:
    """uid, gid and home of the person who asked: behind sudo, not root."""
    import pwd

    uid = int(os.environ.get("SUDO_UID") or os.getuid())
    entry = pwd.getpwuid(uid)
    home = entry.pw_dir if "SUDO_UID" in os.environ else os.environ.get("HOME", entry.pw_dir)
    return uid, entry.pw_gid, home


def unprivileged(settings: Settings) -> Settings:
    """The same cloud below the user's own folders, for `--pretend` without root."""
    if is_root() or settings.data != Settings().data:
        return settings
    home = os.path.expanduser("~")
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state")
    run = os.environ.get("XDG_RUNTIME_DIR") or os.path.join(state, "run")
    return settings._replace(
        data=os.path.join(state, "jindou"),
        run=os.path.join(run, "jindou"),
        logs=os.path.join(state, "jindou", "logs"),
    )
