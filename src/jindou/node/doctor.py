"""Is this machine able? Each probe tries the thing itself and says one sentence, with a remedy.

The list is what `jindou doctor` prints and what `jindou up` checks before it changes anything: a
probe leaves nothing behind (namespaces and mounts are made in a child process that ends).
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from jindou.settings import Settings

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ROOM = 1 << 30  # bytes that have to be free


class Verdict(NamedTuple):
    group: str
    state: Literal["ok", "warn", "FAIL", "skip"]
    says: str
    code: str = ""
    why: str = ""
    do: tuple[str, ...] = ()


Probe = Callable[[Settings], Iterator[Verdict]]


def examine(settings: Settings, skip: frozenset[str] = frozenset()) -> list[Verdict]:
    """All probes in their order. `skip` leaves out what needs packages that are not installed yet."""
    return [
        verdict for probe in PROBES if probe.__name__ not in skip for verdict in probe(settings)
    ]


def run(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        input=text,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": PATH},
        timeout=60,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (
        (done.stderr or done.stdout).strip().splitlines()[-1:][0]
        if (done.stderr or done.stdout).strip()
        else ""
    )


# ---------------------------------------------------------------- containers


def cgroups(settings: Settings) -> Iterator[Verdict]:
    with open("/proc/mounts") as file:
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
            ("apt-get install crun runc conmon",),
        )
    for result in results:
        if not result.works and any(other.works for other in results):
            yield Verdict("containers", "skip", f"{result.name} is not used: {result.reason}")


def conmon(settings: Settings) -> Iterator[Verdict]:
    if shutil.which("conmon", path=PATH):
        done = run("conmon", "--version")
        yield Verdict("containers", "ok", done.stdout.splitlines()[0] if done.stdout else "conmon")
    else:
        yield Verdict(
            "containers",
            "FAIL",
            "conmon is missing",
            "JD-RUN-302",
            "it keeps a container's log and exit code",
            ("apt-get install conmon",),
        )


# ---------------------------------------------------------------- network


def namespaces(settings: Settings) -> Iterator[Verdict]:
    done = run("unshare", "--net", "--uts", "--ipc", "--pid", "--fork", "--mount", "true")
    if done.returncode:
        yield Verdict(
            "network",
            "FAIL",
            "namespaces can't be made",
            "JD-NET-104",
            last_line(done),
            ("sudo jindou doctor network", "sysctl -w user.max_net_namespaces=16384"),
        )
    else:
        yield Verdict("network", "ok", "network, process, mount and host name namespaces")


def nftables(settings: Settings) -> Iterator[Verdict]:
    rules = (
        "table inet probe {\n"
        " map services { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
        " chain nat { type nat hook prerouting priority dstnat; fib daddr type local counter accept; }\n"
        " chain forward { type filter hook forward priority filter; ct state established,related accept; }\n"
        " chain out { type nat hook postrouting priority srcnat; ip saddr 10.0.0.0/8 masquerade; }\n"
        "}\n"
    )
    done = run("unshare", "--net", "nft", "-f", "-", text=rules)
    if done.returncode:
        yield Verdict(
            "network",
            "FAIL",
            "nftables can't be used",
            "JD-NET-103",
            last_line(done),
            ("apt-get install nftables libnftables1", "modprobe nf_tables"),
        )
    else:
        yield Verdict("network", "ok", "nftables with maps, fib and masquerade")


def ports(settings: Settings) -> Iterator[Verdict]:
    for port, what, flag in (
        (settings.api_port, "the Kubernetes API", "--api-port"),
        (settings.node_port, "the node's streams", "--node-port"),
    ):
        holder = listener(port)
        if not holder:
            yield Verdict("network", "ok", f"port {port} is free for {what}")
        elif "jindou" in holder:
            yield Verdict("network", "ok", f"port {port} is jindou's")
        else:
            yield Verdict(
                "network",
                "FAIL",
                f"port {port} is taken",
                "JD-NET-101",
                f"{what} would listen on {settings.api_address}:{port}, but {holder} does",
                (f"jindou up {flag} {port + 1000}",),
            )


def listener(port: int) -> str:
    """Who listens on a TCP port of loopback or of every address: "name (pid N)", or ""."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        with open(table) as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return ""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in inodes:
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        words = file.read().split(b"\0")
                    name = (
                        "jindou"
                        if b"jindou" in words
                        else os.path.basename(words[0]).decode(errors="replace")
                    )
                    return f"{name} (pid {pid})"
        except OSError:
            continue
    return "another process"


def routes(settings: Settings) -> Iterator[Verdict]:
    ours = [ipaddress.ip_network(settings.pod_cidr), ipaddress.ip_network(settings.service_cidr)]
    clashes = []
    for route, device in host_routes():
        if device == settings.bridge or route.prefixlen == 0:
            continue
        clashes += [f"{route} on {device}" for own in ours if route.overlaps(own)]
    if clashes:
        yield Verdict(
            "network",
            "FAIL",
            "the pod network meets another route",
            "JD-NET-102",
            "; ".join(clashes),
            ("JINDOU_POD_CIDR=10.220.0.0/16 JINDOU_SERVICE_CIDR=10.221.0.0/16 jindou up",),
        )
    else:
        yield Verdict(
            "network", "ok", f"{settings.pod_cidr} and {settings.service_cidr} meet no other route"
        )


def host_routes() -> Iterator[tuple[ipaddress.IPv4Network, str]]:
    """The IPv4 routes of the machine, from /proc/net/route (little-endian hexadecimal)."""
    with open("/proc/net/route") as file:
        for line in file.readlines()[1:]:
            device, destination, *_, mask = line.split()[:8]
            address = socket.inet_ntoa(bytes.fromhex(destination)[::-1])
            yield (
                ipaddress.IPv4Network(f"{address}/{socket.inet_ntoa(bytes.fromhex(mask)[::-1])}"),
                device,
            )


def other_products(settings: Settings) -> Iterator[Verdict]:
    """Rules that others left behind and that drop or divert what is ours."""
    if not shutil.which("nft", path=PATH):
        return
    text = run("nft", "list", "ruleset").stdout
    found = [
        name
        for mark, name in (
            ("KUBE-", "kube-proxy"),
            ("CNI-", "a CNI plugin"),
            ("FLANNEL", "flannel"),
            ("cali-", "Calico"),
            ("CILIUM", "Cilium"),
        )
        if mark in text
    ]
    if found:
        yield Verdict(
            "network",
            "warn",
            f"packet rules of {', '.join(found)} are here",
            "JD-NET-105",
            "left by another Kubernetes, they may drop or divert packets",
            ("nft list ruleset | less",),
        )
    else:
        yield Verdict("network", "ok", "no packet rules of another Kubernetes")


# ---------------------------------------------------------------- storage


def overlay(settings: Settings) -> Iterator[Verdict]:
    existing = settings.data
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    with tempfile.TemporaryDirectory(dir=existing, prefix=".jindou-probe-") as place:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(os.path.join(place, name))
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
            f"no overlayfs in {existing}",
            "JD-STO-201",
            last_line(done),
            ("modprobe overlay", "jindou up --data /srv/jindou"),
        )
    else:
        yield Verdict("storage", "ok", f"overlayfs in {existing}")


def disk(settings: Settings) -> Iterator[Verdict]:
    existing = settings.data
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    room = os.statvfs(existing)
    free = room.f_bavail * room.f_frsize
    says = f"{free / 2**30:.1f} GiB and {room.f_favail / 1e6:.1f} million inodes free in {existing}"
    if free < ROOM or (room.f_files and room.f_favail < 10_000):
        yield Verdict(
            "storage",
            "FAIL",
            f"only {says}",
            "JD-STO-202",
            "images and logs need room",
            ("jindou up --data DIR",),
        )
    elif free < 4 * ROOM:
        yield Verdict(
            "storage",
            "warn",
            f"only {says}",
            "JD-STO-202",
            "images and logs need room",
            ("jindou up --data DIR",),
        )
    else:
        yield Verdict("storage", "ok", says)


# ---------------------------------------------------------------- security


def keys(settings: Settings) -> Iterator[Verdict]:
    folder = os.path.join(settings.data, "pki")
    if not os.path.isdir(folder):
        yield Verdict("security", "skip", "no keys yet: the first start makes them")
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
            tuple(f"chmod 0600 {folder}/{name}" for name in open_keys[:3]),
        )
    else:
        yield Verdict("security", "ok", "keys are readable by their owner only")


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


# ---------------------------------------------------------------- clients


def kubectl(settings: Settings) -> Iterator[Verdict]:
    path = shutil.which("kubectl")
    if not path:
        yield Verdict(
            "clients",
            "warn",
            "kubectl is missing",
            "JD-CLI-602",
            "everything else works without it",
            ("apt-get install kubernetes-client",),
        )
        return
    done = run(path, "version", "--client", "-o", "json")
    try:
        version = json.loads(done.stdout)["clientVersion"]["gitVersion"]
    except (ValueError, KeyError):
        version = ""
    yield Verdict("clients", "ok", f"kubectl {version}".rstrip())


def environment(settings: Settings) -> Iterator[Verdict]:
    place = os.environ.get("KUBECONFIG", "")
    if place and "jindou" not in place:
        yield Verdict(
            "clients",
            "warn",
            "KUBECONFIG is set, so kubectl reads other files first",
            "JD-CLI-601",
            place,
            ("unset KUBECONFIG", 'eval "$(jindou env kubectl)"'),
        )


PROBES: tuple[Probe, ...] = (
    cgroups,
    runtimes,
    conmon,
    namespaces,
    nftables,
    ports,
    routes,
    other_products,
    overlay,
    disk,
    keys,
    clock,
    kubectl,
    environment,
)
NEED_PACKAGES = frozenset({"runtimes", "conmon", "nftables", "kubectl", "other_products"})
