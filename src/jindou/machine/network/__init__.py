"""Bridges, addresses, load-balancing, packet rules and names, as one desired state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol


class Endpoint(NamedTuple):
    address: str  # IPv4 or IPv6
    port: int


class HostPort(NamedTuple):
    protocol: str  # tcp, udp, sctp
    port: int  # on the host
    unit_port: int
    host_address: str = ""  # "" = every address


@dataclass(frozen=True)
class Plug:
    """What a unit asks of the network."""

    sandbox: str  # unique: names the namespaces and the host end of the cable
    hostname: str
    sysctls: Mapping[str, str] = field(default_factory=dict)
    host_ports: tuple[HostPort, ...] = ()


@dataclass(frozen=True)
class Attachment:
    """Where a unit plugs in: namespaces for containers, a tap device for VMs."""

    addresses: tuple[str, ...]  # IPv4 first, then IPv6
    namespaces: Mapping[str, Path] = field(default_factory=dict)  # network, uts, ipc
    tap: str | None = None


@dataclass(frozen=True)
class Balance:
    """One address and port spread over endpoints. An empty list refuses connections."""

    address: str  # "" = every address of the machine (a node port)
    protocol: str
    port: int
    endpoints: tuple[Endpoint, ...]
    affinity: int = 0  # seconds a client keeps its endpoint


@dataclass(frozen=True)
class Rules:
    """All forwarding the machine should do. Given whole; the driver sends only the difference."""

    balances: tuple[Balance, ...] = ()


class NetworkError(Exception):
    """Why a unit can't be plugged in, or the machine's network not be made: one sentence."""


class Network(Protocol):
    @property
    def gateway(self) -> tuple[str, ...]:
        """The machine's own addresses among the units': IPv4, then IPv6 if there is any."""
        ...

    async def open(self) -> None:
        """Make the bridge, the table and what a crash left undone right. May be repeated."""
        ...

    async def attach(self, plug: Plug) -> Attachment:
        """Idempotent for the same sandbox; its addresses stay its own over restarts of ours."""
        ...

    async def detach(self, sandbox: str) -> None: ...
    async def observe(self) -> Mapping[str, Attachment]: ...
    async def program(self, rules: Rules) -> None: ...
    async def leave(self) -> None:
        """Let go of the machine as it is; whoever comes next takes over with `open`."""
        ...

    async def close(self) -> None:
        """Leave no trace on the machine."""
        ...
