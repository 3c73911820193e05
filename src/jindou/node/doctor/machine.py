"""Probes of the machine itself: control groups, runtimes, overlayfs, room, keys and the clock."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator

from jindou.node.doctor.verdicts import Verdict, existing, install, last_line, run, which
from jindou.settings import Settings

ROOM = 1 << 30  # bytes that have to be free
SOON = 14  # days: a certificate is renewed long before


def cgroups(settings: Settings) -> Iterator[Verdict]:
    with open("/proc/mounts", errors="replace") as file:
        kinds = {tuple(line.split()[1:3]) for line in file}
    unified = any(kind == "cgroup2" and place == "/sys/fs/cgroup" for place, kind in kinds)
    legacy = any(kind == "cgroup" for _, kind in kinds)
    if unified:
        with open("/sys/fs/cgroup/cgroup.controllers") as file:
            there = set(file.read().split())
        lacking = {"cpu", "memory", "pids"} - there
        if lacking:
            yield Verdict(
                "containers",
                "warn",
                f"cgroup v2 without {', '.join(sorted(lacking))}",
                "JD-RUN-304",
                "limits of these are not enforced",
            )
        else:
            yield Verdict("containers", "ok", "cgroup v2 with cpu, memory and pids")
    elif legacy:
        kind = (
            "hybrid (v1 with a v2 mount beside)" if any(k == "cgroup2" for _, k in kinds) else "v1"
        )
        yield Verdict("containers", "ok", f"cgroups: {kind}")
    else:
        yield Verdict(
            "containers",
            "FAIL",
            "no cgroups are mounted",
            "JD-RUN-305",
            "limits and the end of a container need them",
            ("mount -t cgroup2 none /sys/fs/cgroup",),
        )


def runtimes(settings: Settings) -> Iterator[Verdict]:
    from jindou.machine.runtimes.probe import probe

    results = probe()
    for result in results:
        if result.works:
            yield Verdict(
                "containers",
                "ok",
                f"a test container starts and ends with {result.name} {result.version}".rstrip(),
            )
    if not any(result.works for result in results):
        why = "; ".join(f"{result.name}: {result.reason}" for result in results)
        yield Verdict(
            "containers",
            "FAIL",
            "no container runtime works",
            "JD-RUN-301",
            why,
            (install("crun runc conmon", "crun runc conmon", "crun runc conmon"),),
        )
    for result in results:
        if not result.works and any(other.works for other in results):
            yield Verdict("containers", "skip", f"{result.name} is not used: {result.reason}")


def conmon(settings: Settings) -> Iterator[Verdict]:
    if which("conmon"):
        done = run("conmon", "--version")
        yield Verdict("containers", "ok", done.stdout.splitlines()[0] if done.stdout else "conmon")
    else:
        yield Verdict(
            "containers",
            "FAIL",
            "conmon is missing",
            "JD-RUN-302",
            "it keeps a container's log and exit code",
            (install("conmon", "conmon", "conmon"),),
        )


def overlay(settings: Settings) -> Iterator[Verdict]:
    folder = existing(settings.data)
    if which("unshare") is None:
        yield Verdict("storage", "skip", "overlayfs was not tried: unshare is not installed")
        return
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        yield Verdict(
            "storage", "FAIL", f"{folder} can't be written", "JD-STO-207",
            "the data folder has to be on a file system that can be written",
            ("jindou up --data DIR",),
        )  # fmt: skip
        return
    with contextlib.ExitStack() as undo:
        try:
            made = tempfile.TemporaryDirectory(dir=folder, prefix=".jindou-probe-")
            place = undo.enter_context(made)
            for name in ("lower", "upper", "work", "merged"):
                os.mkdir(os.path.join(place, name))
        except OSError as error:  # a full disk, which `disk` tells of
            why = os.strerror(error.errno or 0).lower()
            yield Verdict("storage", "skip", f"overlayfs was not tried in {folder}: {why}")
            return
        options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
        done = run(
            "unshare",
            "--mount",
            "sh",
            "-c",
            f"mount -t overlay overlay -o {options} {place}/merged && touch {place}/merged/x && umount {place}/merged",
        )
    if done.returncode:
        yield Verdict(
            "storage",
            "FAIL",
            f"no overlayfs in {folder}",
            "JD-STO-201",
            last_line(done),
            (
                "modprobe overlay   where the kernel ships the module",
                "jindou up --data /srv/jindou   on a real disk",
            ),
        )
    else:
        yield Verdict("storage", "ok", f"overlayfs in {folder}")


def full(settings: Settings) -> tuple[str, ...]:
    known = ["jindou up --data DIR   on a file system with more room"]
    if which("journalctl") and os.path.isdir("/var/log/journal"):
        known.insert(0, "journalctl --vacuum-size=500M   deletes old logs of the machine")
    return tuple(known)


def disk(settings: Settings) -> Iterator[Verdict]:
    folder = existing(settings.data)
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    says = f"{free / 2**30:.1f} GiB and {room.f_favail / 1e6:.1f} million inodes free in {folder}"
    if free < ROOM or (room.f_files and room.f_favail < 10_000):
        yield Verdict(
            "storage",
            "FAIL",
            f"only {says}",
            "JD-STO-202",
            "images and logs need room",
            full(settings),
        )
    elif free < 4 * ROOM:
        yield Verdict(
            "storage",
            "warn",
            f"only {says}",
            "JD-STO-202",
            "images and logs need room",
            full(settings),
        )
    else:
        yield Verdict("storage", "ok", says)


def keys(settings: Settings) -> Iterator[Verdict]:
    folder = os.path.join(settings.data, "pki")
    if not os.path.isdir(folder):
        yield Verdict("security", "skip", "no keys yet: the first start makes them")
        return
    if not os.access(folder, os.R_OK):
        yield Verdict("security", "skip", "keys and certificates: only root may look")
        return
    open_keys = [
        name
        for name in os.listdir(folder)
        if name.endswith((".key", ".kubeconfig"))
        and stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) & 0o077
    ]
    if open_keys:
        yield Verdict(
            "security",
            "FAIL",
            f"{', '.join(open_keys)} can be read by others",
            "JD-SEC-302",
            "",
            (f"chmod 0600 {' '.join(f'{folder}/{name}' for name in open_keys)}",),
        )
    else:
        yield Verdict("security", "ok", "keys are readable by their owner only")


def certificates(settings: Settings) -> Iterator[Verdict]:
    """They renew themselves, so one near its end means that nobody renews."""
    folder = os.path.join(settings.data, "pki")
    if not os.path.isdir(folder) or not os.access(folder, os.R_OK):
        return
    from datetime import UTC, datetime

    from cryptography import x509

    ends = {}
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".crt"):
            continue
        try:
            with open(os.path.join(folder, name), "rb") as file:
                ends[name] = x509.load_pem_x509_certificate(file.read()).not_valid_after_utc
        except (OSError, ValueError) as error:
            yield Verdict(
                "security", "FAIL", f"{name} is no certificate", "JD-SEC-305", str(error),
                (f"mv {folder}/{name} /root/", "jindou down && jindou up   makes it anew"),
            )  # fmt: skip
    if not ends:
        return
    first = min(ends, key=lambda name: ends[name])
    days = (ends[first] - datetime.now(UTC)).days
    says = f"certificates valid: the first ends {ends[first]:%Y-%m-%d}, in {days} days"
    if days >= SOON:
        yield Verdict("security", "ok", says)
        return
    over = days < 0
    yield Verdict(
        "security",
        "FAIL" if over else "warn",
        f"{first} ended {-days} days ago" if over else f"{first} ends in {days} days",
        "JD-SEC-305",
        "the server renews it while it runs",
        ("jindou down && jindou up",),
    )


def clock(settings: Settings) -> Iterator[Verdict]:
    newest = max(
        (
            os.stat(os.path.join(settings.data, name)).st_mtime
            for name in ("store.db", "store.db-wal")
            if os.path.exists(os.path.join(settings.data, name))
        ),
        default=0.0,
    )
    if newest > time.time() + 60:
        yield Verdict(
            "security",
            "warn",
            "the clock went back since the last write",
            "JD-SEC-303",
            "certificates and tokens may seem not yet valid",
            ("timedatectl status",),
        )
    else:
        yield Verdict("security", "ok", "the clock is not behind what was written last")
