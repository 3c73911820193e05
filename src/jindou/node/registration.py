"""This machine as a Node object: created once, kept true, and a Lease that says we are alive.

The Lease is renewed every ten seconds, and the Node is looked at; its status is written where it is
not what we would say, or after five minutes. What must stay true: what others wrote into the Node
(labels, taints, unschedulable) survives us; a Node that was deleted comes back, and one that was
called Unknown because we were silent is Ready again at our next beat.
Source: https://kubernetes.io/docs/reference/node/node-status/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jindou import __version__
from jindou.client import Client
from jindou.client.retry import Backoff
from jindou.machine.images import Images
from jindou.node.clock import Clock, stamp
from jindou.node.facts import MEMORY_FLOOR, Machine, Pressure, observe_machine, observe_pressure
from jindou.objects.errors import AlreadyExists, CloudError, Conflict, NotFound
from jindou.objects.kinds import LEASE, NODE, Object, Ref
from jindou.objects.quantities import format_bytes
from jindou.settings import Settings

log = logging.getLogger("jindou.registration")

RENEW, STATUS, LEASE_SECONDS = 10.0, 300.0, 40
LEASES = "kube-node-lease"
PODS = 250  # at once on this machine
MOST_IMAGES = 50  # named in the status, the largest
VERSION = f"v1.37.0+jindou{__version__}"

# type, reason and message while false, while true
CONDITIONS = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available",
     "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure",
     "KubeletHasDiskPressure", "kubelet has disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available",
     "KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
)  # fmt: skip


class Registration:
    def __init__(
        self,
        settings: Settings,
        client: Client,
        images: Images,
        *,
        addresses: Sequence[str] = ("127.0.0.1",),
        runtime: str = "",
        handlers: Sequence[str] = (),
        on_pressure: Callable[[Pressure], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`runtime` is name://version of what runs containers, `handlers` its other names;
        `on_pressure` hears the machine's state at each heartbeat."""
        self.machine = observe_machine(settings.node_name, settings.data)
        self.node: Object = {}  # as last seen
        self._settings = settings
        self._client = client
        self._images = images
        self._addresses = tuple(addresses)
        self._runtime = runtime or "jindou://0"
        self._handlers = tuple(handlers)
        self._on_pressure = on_pressure
        self._clock = clock or Clock()
        self._why_not = "container runtime status check may not have completed yet"
        self._wake = asyncio.Event()
        self._lease: Object | None = None
        self._written = float("-inf")

    @property
    def name(self) -> str:
        return self.machine.name

    def allocatable(self) -> Mapping[str, str]:
        return allocatable(self.machine)

    def set_ready(self, why_not: str = "") -> None:
        """The node is ready, or why it isn't."""
        if why_not != self._why_not:
            self._why_not = why_not
            self._wake.set()

    def changed(self) -> None:
        """Something in the status (the images) may have changed."""
        self._wake.set()

    async def start(self) -> None:
        """Create the Node, or take over the one that is there. Raises CloudError."""
        wanted = plan_node(self._settings, self.machine)
        try:
            self.node = await self._client.create(NODE, wanted)
        except AlreadyExists:
            self.node = await self._client.get(self._ref)
            if changes := plan_takeover(self.node, wanted):
                self.node = await self._client.patch(self._ref, changes)
        await self._write_status()
        await self._renew()

    async def run(self) -> None:
        """Heartbeats until cancelled, through every failure of the API."""
        backoff = Backoff(0.2, RENEW)
        while True:
            try:
                await self._beat()
                backoff.reset()
                await self._rest(RENEW)
            except (CloudError, OSError) as error:
                log.info("heartbeat: %s", error)
                self._lease = None
                await self._rest(backoff.delay())

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _beat(self) -> None:
        await self._renew()
        try:
            self.node = await self._client.get(self._ref)
            await self._write_status()
        except NotFound:
            await self.start()

    @property
    def _ref(self) -> Ref:
        return Ref(NODE, "", self.name)

    # ------------------------------------------------------------ status

    async def _write_status(self) -> None:
        pressure = observe_pressure(self._settings.data)
        if self._on_pressure is not None:
            self._on_pressure(pressure)
        now = stamp(self._clock.wall())
        wanted = self._status(pressure, now)
        old = self.node.get("status") or {}
        due = self._clock.now() - self._written >= STATUS
        if not due and same_status(old, wanted):
            return
        changes = {**wanted, "addresses": [{"$patch": "replace"}, *wanted["addresses"]]}
        self.node = await self._client.patch(
            self._ref, {"status": changes}, "status", how="strategic"
        )
        self._written = self._clock.now()

    def _status(self, pressure: Pressure, now: str) -> Object:
        old = {c["type"]: c for c in (self.node.get("status") or {}).get("conditions") or ()}
        return {
            "capacity": capacity(self.machine),
            "allocatable": allocatable(self.machine),
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in self._addresses),
                {"type": "Hostname", "address": self.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._settings.node_port}},
            "nodeInfo": node_info(self.machine, self._runtime),
            "images": image_list(self._images),
            "runtimeHandlers": [
                {"name": name, "features": {"recursiveReadOnlyMounts": True, "userNamespaces": False}}
                for name in ("", *self._handlers)
            ],
            "conditions": conditions(pressure, self._why_not, now, old),
        }  # fmt: skip

    # ------------------------------------------------------------ lease

    async def _renew(self) -> None:
        ref = Ref(LEASE, LEASES, self.name)
        wall = self._clock.wall()
        renewed = f"{stamp(wall).removesuffix('Z')}.{int(wall % 1 * 1e6):06d}Z"
        if self._lease is None:
            try:
                self._lease = await self._client.get(ref)
            except NotFound:
                self._lease = None
        try:
            if self._lease is None:
                lease = plan_lease(self.name, self.node, renewed)
                self._lease = await self._client.create(LEASE, lease)
            else:
                spec = {**self._lease["spec"], "holderIdentity": self.name, "renewTime": renewed}
                spec["leaseDurationSeconds"] = LEASE_SECONDS
                self._lease = await self._client.update(LEASE, {**self._lease, "spec": spec})
        except (Conflict, AlreadyExists, NotFound):
            self._lease = None  # read it again at the next beat, soon
            self._wake.set()


def plan_node(settings: Settings, machine: Machine) -> Object:
    labels = {
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": machine.name,
        "kubernetes.io/os": "linux",
        "node-role.kubernetes.io/control-plane": "",
    }
    cidrs = [cidr for cidr in (settings.pod_cidr, settings.pod_cidr6) if cidr]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": machine.name, "labels": labels},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs} if cidrs else {},
    }


def plan_takeover(found: Object, wanted: Object) -> dict[str, Any]:
    """What an existing Node lacks; what others set stays."""
    changes: dict[str, Any] = {}
    labels = found["metadata"].get("labels") or {}
    missing = {k: v for k, v in wanted["metadata"]["labels"].items() if labels.get(k) != v}
    if missing:
        changes["metadata"] = {"labels": missing}
    if wanted["spec"] and not (found.get("spec") or {}).get("podCIDRs"):
        changes["spec"] = wanted["spec"]
    return changes


def plan_lease(name: str, node: Object, renewed: str) -> Object:
    meta = node.get("metadata") or {}
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": meta.get("uid", "")}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": LEASES,
            **({"ownerReferences": [owner]} if owner["uid"] else {}),
        },
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": renewed,
        },
    }


def capacity(machine: Machine) -> dict[str, str]:
    pages = {f"hugepages-{size}": str(total) for size, total in sorted(machine.huge_pages.items())}
    return {
        "cpu": str(machine.cores),
        "ephemeral-storage": format_bytes(machine.disk),
        **pages,
        "memory": format_bytes(machine.memory),
        "pods": str(PODS),
    }


def allocatable(machine: Machine) -> dict[str, str]:
    """Less what must stay free for the machine itself to work."""
    memory = machine.memory - MEMORY_FLOOR - sum(machine.huge_pages.values())
    return {
        **capacity(machine),
        "ephemeral-storage": str(machine.disk * 9 // 10),
        "memory": format_bytes(max(memory, 0)),
    }


def node_info(machine: Machine, runtime: str) -> dict[str, str]:
    return {
        "architecture": machine.architecture,
        "bootID": machine.boot_id,
        "containerRuntimeVersion": runtime,
        "kernelVersion": machine.kernel,
        "kubeProxyVersion": VERSION,
        "kubeletVersion": VERSION,
        "machineID": machine.machine_id.replace("-", ""),
        "operatingSystem": "linux",
        "osImage": machine.system,
        "systemUUID": machine.system_uuid,
    }


def image_list(images: Images) -> list[Object]:
    held = sorted(images.all(), key=lambda image: -image.size)[:MOST_IMAGES]
    return [
        {"names": list(image.names)[:5] or [image.digest], "sizeBytes": image.size}
        for image in held
    ]


def conditions(
    pressure: Pressure, why_not: str, now: str, old: Mapping[str, Object]
) -> list[Object]:
    found = []
    for (kind, no, no_text, yes, yes_text), pressed in zip(CONDITIONS, pressure, strict=True):
        reason, message = (yes, yes_text) if pressed else (no, no_text)
        found.append(_condition(kind, pressed, reason, message, now, old))
    reason = "KubeletNotReady" if why_not else "KubeletReady"
    message = why_not or "kubelet is posting ready status"
    found.append(_condition("Ready", not why_not, reason, message, now, old))
    return found


def _condition(
    kind: str, true: bool, reason: str, message: str, now: str, old: Mapping[str, Object]
) -> Object:
    status = "True" if true else "False"
    before = old.get(kind) or {}
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": kind,
        "status": status,
        "lastHeartbeatTime": now,
        "lastTransitionTime": since or now,
        "reason": reason,
        "message": message,
    }


def same_status(old: Object, new: Object) -> bool:
    """But for the times of the heartbeats."""

    def shown(status: Object) -> list[Any]:
        conditions = [
            {k: v for k, v in condition.items() if k != "lastHeartbeatTime"}
            for condition in status.get("conditions") or ()
        ]
        return [conditions, *(status.get(name) for name in new if name != "conditions")]

    return shown({**old, "conditions": ours(old)}) == shown(new)


def ours(status: Object) -> list[Object]:
    """Our conditions in our order, without those that others added."""
    held = {condition["type"]: condition for condition in status.get("conditions") or ()}
    kinds = (*(condition[0] for condition in CONDITIONS), "Ready")
    return [held[kind] for kind in kinds if kind in held]
