"""Whatever a command raised, as a problem that can be shown; the whole trace goes to a log file."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback

from jindou.cli.api import Refused
from jindou.cli.problems import NO_ACCESS, Problem
from jindou.settings import Settings


def as_problem(settings: Settings, error: Exception) -> Problem:
    if type(error).__name__ == "Unreadable":  # a kubeconfig; its module is heavy
        return Problem(
            str(error), "JD-CLI-604", now="it was left as it is", do=["jindou doctor clients"]
        )
    if isinstance(error, Refused):
        return Problem(f"the API refused: {error}", "JD-API-503", do=["jindou logs server"])
    if isinstance(error, TimeoutError):
        return Problem(
            "the server is there but does not answer", "JD-API-502", do=["jindou logs server"]
        )
    if isinstance(error, OSError) and error.errno:
        return system(settings, error)
    where = note(settings, error)
    return Problem(
        f"something that was not foreseen: {type(error).__name__}: {error}",
        "JD-RUN-306",
        now="what was done before is kept",
        do=[f"{command()} -vv   shows the whole trace"],
        log=where,
    )


def system(settings: Settings, error: OSError) -> Problem:
    """The kernel's own words, and the file they are about."""
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if error.errno == errno.ENOSPC:
        return Problem(f"the disk is full: {what}", "JD-STO-202", do=["jindou doctor storage"])
    if error.errno in (errno.EACCES, errno.EPERM):
        return Problem(
            what,
            "JD-SEC-304",
            do=["ls -ld " + str(error.filename)] if error.filename else [],
            status=NO_ACCESS,
        )
    if error.errno == errno.EROFS and str(error.filename).startswith(settings.data):
        return Problem(what, "JD-STO-207", do=["jindou up --data DIR"])
    return Problem(what, "JD-STO-206")


def command() -> str:
    return " ".join(["jindou", *sys.argv[1:]])


def note(settings: Settings, error: Exception) -> str:
    """Append the trace to the first log folder that can be written; returns the file, or ""."""
    text = "".join(traceback.format_exception(error))
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for folder in (settings.logs, os.path.expanduser("~/.local/state/jindou")):
        path = os.path.join(folder, "cli.log")
        try:
            os.makedirs(folder, exist_ok=True)
            with open(path, "a") as file:
                file.write(f"{stamp} {command()}\n{text}")
        except OSError:
            continue
        return path
    return ""
