"""Keeps the server and the node running where there is no systemd.

    python -m jindou.cli.supervisor PIDFILE '["NAME", "LOG", ["COMMAND", ...]]'...

It restarts what ends, sooner or later depending on how long it ran, and on SIGTERM stops all.
Containers do not belong to it: they outlive the node, and the node finds them again. Standard
library and few modules only, for it stays in memory all the time. A log that has grown too long is
put aside before a start; while a process runs, it does that itself.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

FIRST, LONGEST = 0.2, 5.0  # seconds before a restart, doubling while it keeps ending at once
STEADY = 10.0  # seconds after which a start counts as good
GRACE = 10.0  # seconds for a child to end before it is killed
LONGEST_LOG = 16 << 20  # bytes; one older file is kept


class Child:
    def __init__(self, name: str, log: str, argv: list[str]) -> None:
        self.name, self.log, self.argv = name, log, argv
        self.pid = 0
        self.started = 0.0
        self.due = 0.0
        self.delay = FIRST

    def start(self) -> None:
        put_aside(self.log)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ]
        self.started = time.monotonic()
        try:
            self.pid = os.posix_spawn(
                self.argv[0], self.argv, os.environ, file_actions=actions, setsigmask=[]
            )
        except OSError as error:  # the program is gone: perhaps being installed anew
            self.ended(f"can't be started: {error.strerror}")
        finally:
            os.close(log)

    def ended(self, how: str) -> None:
        now = time.monotonic()
        ran = now - self.started
        self.delay = FIRST if ran > STEADY else min(LONGEST, self.delay * 2)
        self.pid, self.due = 0, now + self.delay
        say(f"{self.name} {how} after {ran:.1f}s")


def say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", flush=True)


def put_aside(log: str) -> None:
    try:
        if os.path.getsize(log) > LONGEST_LOG:
            os.replace(log, f"{log}.1")
    except OSError:
        return


def run(children: list[Child], pidfile: str) -> None:
    signals, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(signals, False)
    stopping: list[int] = []
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with open(f"{pidfile}.new", "w") as file:
        file.write(f"{os.getpid()}\n")
    os.replace(f"{pidfile}.new", pidfile)
    while not stopping:
        for child in children:
            if not child.pid and time.monotonic() >= child.due:
                child.start()
        waits = [child.due - time.monotonic() for child in children if not child.pid]
        select.select([signals], [], [], max(0.0, min(waits)) if waits else None)
        _drain(signals)
        _reap(children)
    _stop(children, signals)
    say("stopped")
    if os.path.exists(pidfile):
        os.unlink(pidfile)


def _drain(signals: int) -> None:
    try:
        os.read(signals, 512)
    except BlockingIOError:
        pass


def _reap(children: list[Child]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        for child in children:
            if child.pid == pid:
                code = os.waitstatus_to_exitcode(status)
                child.ended(f"ended with {code}" if code >= 0 else f"ended by signal {-code}")


def _stop(children: list[Child], signals: int) -> None:
    """In the reverse order of the start: the node before the server it talks to."""
    for child in reversed(children):
        if not child.pid:
            continue
        os.kill(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while child.pid and (left := deadline - time.monotonic()) > 0:
            select.select([signals], [], [], left)
            _drain(signals)
            _reap(children)
        if child.pid:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


def main() -> None:
    import json

    pidfile, *described = sys.argv[1:]
    run([Child(name, log, argv) for name, log, argv in map(json.loads, described)], pidfile)


if __name__ == "__main__":
    main()
