"""Where this cloud lives on the machine, and the few numbers that can be chosen.

One frozen value, made once at the edge (`cli` or a test) and handed down; nothing reads the
environment later. A second cloud on the same machine differs in `name` and has its own folders,
bridge, nftables table and ports. Standard library only, and cheap to import: `status` uses it.
"""

from __future__ import annotations

import socket
from typing import NamedTuple


class Settings(NamedTuple):
    name: str = "jindou"  # names the nftables table, cgroup, bridge (jin0), systemd units
    data: str = "/var/lib/jindou"  # survives reboots: store, keys, images, writable layers
    run: str = "/run/jindou"  # gone at a reboot: sockets, process ids, bundles
    logs: str = "/var/log/jindou"
    node_name: str = ""  # "": the machine's host name
    api_address: str = "127.0.0.1"
    api_port: int = 6443
    node_port: int = 10250  # the node's streaming endpoint (logs, exec, attach, port-forward)
    bridge: str = "jin0"
    pod_cidr: str = "10.210.0.0/16"
    pod_cidr6: str = "fd00:10:210::/64"
    service_cidr: str = "10.211.0.0/16"
    service_cidr6: str = "fd00:10:211::/112"
    cluster_domain: str = "cluster.local"
    pretend: bool = False  # the machine is faked: no root, no containers

    @property
    def node(self) -> str:
        """The name of this machine's Node."""
        return self.node_name or socket.gethostname().lower()

    @property
    def gateways(self) -> tuple[str, str]:
        """This machine's own addresses on the bridge: the first of each Pod network."""
        return _first(self.pod_cidr), _first(self.pod_cidr6)

    @property
    def first_services(self) -> tuple[str, str]:
        """The addresses of the `kubernetes` Service."""
        return _first(self.service_cidr), _first(self.service_cidr6)

    @property
    def url(self) -> str:
        host = f"[{self.api_address}]" if ":" in self.api_address else self.api_address
        return f"https://{host}:{self.api_port}"


def _first(network: str) -> str:
    import ipaddress

    return str(ipaddress.ip_network(network)[1])
