"""/etc/resolv.conf of a Pod, and what the machine's own says.

Pure, except for `machine_text`. As the kubelet: the limits are those of the resolver libraries.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from jindou.objects.kinds import Object
from jindou.settings import Settings

FILE = Path("/etc/resolv.conf")
MOST_SERVERS, MOST_SEARCHES, MOST_SEARCH_TEXT = 3, 32, 2048


class Resolver(NamedTuple):
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse(text: str) -> Resolver:
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        match words:
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search", *names] | ["domain", *names]:
                searches = tuple(names)
            case ["options", *some]:
                options += some
    return Resolver(tuple(servers), searches, tuple(options))


def render(resolver: Resolver) -> str:
    lines = []
    if resolver.searches:
        lines.append(f"search {' '.join(resolver.searches)}")
    lines += [f"nameserver {server}" for server in resolver.servers]
    if resolver.options:
        lines.append(f"options {' '.join(resolver.options)}")
    return "".join(f"{line}\n" for line in lines)


def machine_text(file: Path = FILE) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def gateway(settings: Settings) -> str:
    """Where our DNS server listens for Pods: the first address of their network."""
    return str(ipaddress.ip_network(settings.pod_cidr)[1])


def resolv_conf(pod: Object, settings: Settings, namespace: str, machine: str = "") -> str:
    """The file's text. `machine` is the text of the machine's own (`machine_text()`).

    A resolver on the machine's loopback address can't be reached from a Pod; ours forwards to it.
    """
    spec = pod.get("spec", {})
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    on_host = bool(spec.get("hostNetwork"))
    if policy == "ClusterFirst" and on_host:
        policy = "Default"
    own = parse(machine)
    if policy == "None":
        base = Resolver()
    elif policy == "Default":
        servers = own.servers
        if not on_host:
            servers = tuple(s for s in servers if not _is_loopback(s)) or (gateway(settings),)
        base = Resolver(servers, own.searches, own.options)
    else:
        domain = settings.cluster_domain
        searches = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
        base = Resolver((gateway(settings),), searches + own.searches, ("ndots:5",))
    return render(_within_limits(_merged(base, spec.get("dnsConfig") or {})))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.split("%", 1)[0]).is_loopback
    except ValueError:
        return False


def _merged(base: Resolver, config: Object) -> Resolver:
    """dnsConfig adds servers and searches, and has the last word on options."""
    options = {option.split(":", 1)[0]: option for option in base.options}
    for option in config.get("options") or ():
        value = option.get("value")
        name = option["name"]
        options[name] = name if value in (None, "") else f"{name}:{value}"
    return Resolver(
        _unique((*base.servers, *(config.get("nameservers") or ()))),
        _unique((*base.searches, *(config.get("searches") or ()))),
        tuple(options.values()),
    )


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _within_limits(resolver: Resolver) -> Resolver:
    searches = list(resolver.searches[:MOST_SEARCHES])
    while len(" ".join(searches)) > MOST_SEARCH_TEXT:
        searches.pop()
    return Resolver(resolver.servers[:MOST_SERVERS], tuple(searches), resolver.options)
