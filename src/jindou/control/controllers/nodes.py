"""Nodes that fall silent, taints that follow their conditions, and Pods that may not stay.

A node lives by its Lease. When it was last renewed is measured by our own clock, from the moment
we saw the renewal, so a wrong clock on either side does no harm; one timer waits for all nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import conditions, times
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.groundwork.taints import plan_eviction, plan_taints
from jindou.objects.errors import Conflict, NotFound
from jindou.objects.kinds import LEASE, NODE, POD, Kind, Object, Ref, ref_of

LEASES = "kube-node-lease"
GRACE = 40.0
HEALTH = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
STOPPED = "Kubelet stopped posting node status."
NEVER = "Kubelet never posted node status."


class Nodes:
    """`grace`: seconds without a sign of life after which a node is Unknown."""

    kind = NODE
    owns: Sequence[Kind] = ()
    name = "nodes"

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._seen: dict[str, float] = {}  # node -> when it last gave a sign of life
        self._silent: set[str] = set()
        self._tainted: set[str] = set()  # nodes with a NoExecute taint
        self._timer: asyncio.TimerHandle | None = None
        self._events = Recorder("node-controller")
        self._evictions = Recorder("taint-eviction-controller")

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._nodes = informers.of(NODE)
        self._pods = informers.of(POD)
        self._pods.index("node", lambda pod: filter(None, [pod["spec"].get("nodeName")]))
        informers.of(LEASE).on_change(self._lease_changed)
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)

    def _lease_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and new["metadata"]["namespace"] == LEASES:
            self._heard(new["metadata"]["name"])

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            name = old["metadata"]["name"]
            self._seen.pop(name, None)
            self._silent.discard(name)
            self._tainted.discard(name)
            return
        name = new["metadata"]["name"]
        if old is None or _spoke(old, new):
            self._heard(name)
        if any(
            taint["effect"] == "NoExecute" for taint in (new.get("spec") or {}).get("taints") or ()
        ):
            self._tainted.add(name)
        else:
            self._tainted.discard(name)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        node = new["spec"].get("nodeName") if new is not None else None
        if node in self._tainted:
            self._wake(Ref(NODE, "", node))

    def _heard(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        self._seen[name] = loop.time()
        if name in self._silent:
            self._silent.discard(name)
            self._wake(Ref(NODE, "", name))
        if self._timer is None:
            self._timer = loop.call_later(self._grace, self._look)

    def _look(self) -> None:
        """The timer: whoever was silent for too long is looked at; then wait for the next."""
        loop = asyncio.get_running_loop()
        self._timer, now = None, loop.time()
        for name, seen in self._seen.items():
            if seen + self._grace <= now and name not in self._silent:
                self._silent.add(name)
                self._wake(Ref(NODE, "", name))
        alive = [seen for name, seen in self._seen.items() if name not in self._silent]
        if alive:
            self._timer = loop.call_at(min(alive) + self._grace, self._look)

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        node = self._nodes.get("", ref.name)
        if node is None:
            return None
        if ref.name in self._silent:
            told = plan_unknown(node)
            if told is not None:
                node = await self._mark_unknown(client, node, told)
        taints = plan_taints(node)
        if taints != ((node.get("spec") or {}).get("taints") or []):
            node.setdefault("spec", {})["taints"] = taints
            node = await client.update(NODE, node)
            await self._nodes.caught_up(node["metadata"].get("resourceVersion", ""))
        return await self._evict(client, node)

    async def _mark_unknown(self, client: Client, node: Object, told: list[Object]) -> Object:
        node["status"] = {**(node.get("status") or {}), "conditions": told}
        node = await client.update(NODE, node, "status")
        name = node["metadata"]["name"]
        self._events.event(client, node, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        for pod in self._pods.by("node", name):
            ready = conditions.find(pod, "Ready")
            if ready is None or ready["status"] != "True":
                continue
            held = conditions.put(pod["status"]["conditions"], "Ready", "False", "NodeNotReady")
            changes = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": held}}
            try:
                await client.patch(ref_of(POD, pod), changes, "status")
            except (NotFound, Conflict):
                continue
            self._events.event(client, pod, "NodeNotReady", "Node is not ready", "Warning")
        return node

    async def _evict(self, client: Client, node: Object) -> float | None:
        taints = [
            taint
            for taint in (node.get("spec") or {}).get("taints") or ()
            if taint["effect"] == "NoExecute"
        ]
        if not taints:
            return None
        waits: list[float] = []
        now = times.now()
        for pod in self._pods.by("node", node["metadata"]["name"]):
            if pod["metadata"].get("deletionTimestamp"):
                continue
            left = plan_eviction(pod, taints, now)
            if left is None:
                continue
            if left > 0:
                waits.append(left)
                continue
            meta = pod["metadata"]
            text = f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
            self._evictions.event(client, pod, "TaintManagerEviction", text)
            try:
                await client.delete(ref_of(POD, pod), uid=meta["uid"])
            except (NotFound, Conflict):
                continue
        return min(waits) if waits else None


def _spoke(old: Object, new: Object) -> bool:
    """The node has told its health; that we called it Unknown does not count."""
    before, after = (conditions.find(node, "Ready") or {} for node in (old, new))
    names = ("status", "lastHeartbeatTime")
    return after.get("status") != "Unknown" and any(
        before.get(name) != after.get(name) for name in names
    )


def plan_unknown(node: Object) -> list[Object] | None:
    """The conditions of a silent node; None where they say so already."""
    held = (node.get("status") or {}).get("conditions") or []
    found = list(held)
    for type in HEALTH:
        old = conditions.among(found, type)
        if old is not None and old.get("status") == "Unknown":
            continue
        if old is None:
            told = ("NodeStatusNeverUpdated", NEVER)
            beat = node["metadata"].get("creationTimestamp")
        else:
            told, beat = ("NodeStatusUnknown", STOPPED), old.get("lastHeartbeatTime")
        found = conditions.put(found, type, "Unknown", *told, lastHeartbeatTime=beat)
    return found if found != held else None
