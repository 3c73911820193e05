"""Probes of the network: namespaces, nftables, ports, routes, and what others left in the way."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

from jindou.machine.network.foreign import REMEDIES, droppers
from jindou.node.doctor.verdicts import Verdict, install, last_line, process_of, run, which
from jindou.settings import Settings


def namespaces(settings: Settings) -> Iterator[Verdict]:
    if which("unshare") is None:
        yield Verdict("network", "skip", "namespaces were not tried: unshare is not installed")
        return
    done = run("unshare", "--net", "--uts", "--ipc", "--pid", "--fork", "--mount", "true")
    if done.returncode:
        yield Verdict(
            "network",
            "FAIL",
            "namespaces can't be made",
            "JD-NET-104",
            last_line(done),
            ("sysctl -w user.max_net_namespaces=16384",),
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
    if which("nft") is None:
        yield Verdict(
            "network", "FAIL", "nft is missing", "JD-NET-103", "it checks and shows packet rules",
            (install("nftables libnftables1", "nftables", "nftables"),),
        )  # fmt: skip
        return
    done = run("unshare", "--net", "nft", "-f", "-", text=rules)
    if done.returncode:
        yield Verdict(
            "network",
            "FAIL",
            "nftables can't be used",
            "JD-NET-103",
            last_line(done),
            (install("nftables libnftables1", "nftables", "nftables"), "modprobe nf_tables"),
        )
    else:
        yield Verdict("network", "ok", "nftables with maps, fib and masquerade")


def ports(settings: Settings) -> Iterator[Verdict]:
    ours = {process_of(settings, name) for name in ("server", "node")} - {0}
    for port, what, flag, every in (
        (settings.api_port, "the Kubernetes API", "--api-port", False),
        (settings.node_port, "the node's streams", "--node-port", not settings.pretend),
    ):
        holder = listener(port, settings.api_address, every)
        if holder is None and os.geteuid() and settings.pretend and port < unprivileged_from():
            yield Verdict(
                "network", "FAIL", f"port {port} is for root only", "JD-SEC-301",
                f"{what} would listen on it; others may from {unprivileged_from()} on",
                (f"jindou up --pretend {flag} {another(port)}   kept for later runs",),
            )  # fmt: skip
        elif holder is None:
            yield Verdict("network", "ok", f"port {port} is free for {what}")
        elif holder.pid and (holder.pid in ours or of_this_cloud(settings, holder.pid)):
            yield Verdict("network", "ok", f"port {port} is jindou's")
        elif not holder.pid and ours:
            yield Verdict(
                "network", "ok", f"port {port} is in use, by jindou as far as can be seen"
            )
        else:
            where = f"{'every address' if every else settings.api_address}, port {port}"
            yield Verdict(
                "network",
                "FAIL",
                f"port {port} is taken",
                "JD-NET-101",
                f"{what} would listen on {where}, but {holder.name} does",
                (*holder.stop, f"jindou up {flag} {another(port)}   kept for later runs"),
            )


class Listener(NamedTuple):
    """Who listens: pid 0 where that can't be seen. `stop` ends it, where a unit of systemd runs it."""

    name: str
    pid: int = 0
    stop: tuple[str, ...] = ()


def unprivileged_from() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def another(port: int) -> int:
    """A port near by that nobody listens on."""
    wanted = port + 1000 if port < 60000 else port - 1000
    while listener(wanted, "127.0.0.1", True) is not None:
        wanted += 1
    return wanted


def listener(port: int, address: str, every: bool) -> Listener | None:
    """Who is in the way of listening on that TCP port of `address`, or of every address."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        with open(table) as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                where, _, number = fields[1].rpartition(":")
                meets = every or where.strip("0") == "" or where == little_endian(address)
                if fields[3] == "0A" and int(number, 16) == port and meets:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in inodes:
                    return described(int(pid))
        except OSError:
            continue
    return Listener("another process (only root may see which)")


def little_endian(address: str) -> str:
    """An address as /proc/net/tcp writes it: each group of four bytes backwards."""
    packed = ipaddress.ip_address(address).packed
    return "".join(packed[n : n + 4][::-1].hex() for n in range(0, len(packed), 4)).upper()


def described(pid: int) -> Listener:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    name = os.path.basename(words[0]).decode(errors="replace")
    if b"jindou" in words:
        return Listener(f"another jindou (pid {pid})", pid)
    with open(f"/proc/{pid}/cgroup") as file:
        units = [p for line in file for p in line.strip().split("/") if p.endswith(".service")]
    if not units or units[0].startswith("user@"):
        return Listener(f"{name} (pid {pid})", pid)
    unit = units[-1].removesuffix(".service")
    said = f"{name} (pid {pid}, started by {unit}.service)"
    return Listener(said, pid, (f"systemctl stop {unit}   stops that other program",))


def of_this_cloud(settings: Settings, pid: int) -> bool:
    """A process that has just been started listens before it says so in its file."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = dict(one.partition(b"=")[::2] for one in file.read().split(b"\0"))
    except OSError:
        return False
    run_folder = variables.get(b"JINDOU_RUN", Settings().run.encode())
    return b"jindou" in words and run_folder == settings.run.encode()


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
            (
                "JINDOU_POD_CIDR=10.220.0.0/16 JINDOU_SERVICE_CIDR=10.221.0.0/16 jindou up   kept for later runs",
            ),
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
    if not which("nft"):
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
            ("nft list ruleset",),
        )
    else:
        yield Verdict("network", "ok", "no packet rules of another Kubernetes")


def firewalls(settings: Settings) -> Iterator[Verdict]:
    """A packet has to pass every table: what another one drops, no rule of ours can let pass."""
    listed = run("nft", "-j", "list", "chains")
    if listed.returncode or not listed.stdout:
        return
    rows = json.loads(listed.stdout)["nftables"]
    found = [
        (one.where, one.remedy)
        for one in droppers(rows, settings.name, settings.bridge)
        if not names_bridge(one.where, settings.bridge)
    ]
    if any(row.get("chain", {}).get("name") == "filter_FORWARD" for row in rows) and not (
        names_bridge("inet firewalld", settings.bridge)
    ):
        found.append(("inet firewalld filter_FORWARD", REMEDIES["filter_FORWARD"]))
    for where, remedy in found:
        family, table, chain = where.split()
        own = f"nft insert rule {family} {table} {chain} iifname {settings.bridge} accept"
        yield Verdict(
            "network",
            "warn",
            f"a firewall drops what Pods send: {where}",
            "JD-NET-106",
            f"that chain lets pass only what it knows, and {settings.bridge} is not in its table",
            (remedy.format(bridge=settings.bridge) or own,),
        )
    if not found:
        yield Verdict("network", "ok", f"no firewall drops what comes from {settings.bridge}")


def names_bridge(where: str, bridge: str) -> bool:
    family, table = where.split()[:2]
    return f'"{bridge}"' in run("nft", "list", "table", family, table).stdout
