"""What a Pod's worker works with: one frozen value, made in `agent.py` or a test and handed down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from jindou.client import Client
from jindou.machine.images import Image, Images
from jindou.machine.network import Network
from jindou.machine.runtimes import Mount, Runtime
from jindou.machine.volumes import Volumes as Folders
from jindou.node.clock import Clock
from jindou.node.events import Events
from jindou.node.state.records import Records
from jindou.objects.kinds import Object
from jindou.settings import Settings

STARTS_AT_ONCE = 4  # more gain nothing on two cores, and fewer leave one idle
ENDS_AT_ONCE = 4


class Puller(Protocol):
    async def ensure(self, pod: Object, container: Object) -> Image:
        """The container's image, pulled by its policy. Raises PullError."""
        ...


class Volumes(Protocol):
    async def prepare(self, pod: Object) -> Mapping[str, Path]:
        """Every volume of the Pod, by name. Raises VolumeError. May be repeated."""
        ...

    def update(self, pod: Object) -> None:
        """Its labels or annotations may have changed."""
        ...

    async def release(self, uid: str) -> None: ...
    def mounts(
        self,
        pod: Object,
        container: Object,
        paths: Mapping[str, Path],
        env: Sequence[tuple[str, str]] = (),
    ) -> list[Mount]: ...
    async def over_limit(self, pod: Object, layers: Mapping[str, int]) -> str:
        """Why it has to go, given the bytes of each container; "" when it keeps its limits."""
        ...


def _nothing(name: str) -> None:
    pass


Report = Callable[[str, str], None]  # reason and message of an event
Variables = list[tuple[str, str]]
Environment = Callable[
    [Object, Object, tuple[str, ...], Mapping[str, Path], Report], Awaitable[Variables]
]


@dataclass(frozen=True)
class Parts:
    settings: Settings
    client: Client
    runtime: Runtime
    network: Network
    images: Images
    puller: Puller
    volumes: Volumes
    folders: Folders  # the machine's, for what a Pod's containers share
    environment: Environment  # of (pod, container, the Pod's addresses, its volumes, report)
    resolve_user: Callable[[Path, str], tuple[int, int, tuple[int, ...]]]  # uid, gid, groups
    resolv_conf: Callable[[Object], str]
    events: Events
    records: Records
    clock: Clock = field(default_factory=Clock)
    host_addresses: tuple[str, ...] = ("127.0.0.1",)
    memory: int = 1 << 30  # bytes of the machine
    allocatable: Mapping[str, int] = field(default_factory=dict)  # cpu in thousandths, memory
    delete_group: Callable[[str], object] = _nothing  # the control group of a Pod's containers
    starts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STARTS_AT_ONCE))
    ends: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ENDS_AT_ONCE))
