"""Pods that nobody will end: bound to a node that is gone, never bound, or finished and too many."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import conditions
from jindou.objects.errors import Conflict, NotFound
from jindou.objects.kinds import NODE, POD, Kind, Object, Ref

QUARANTINE = 40.0  # seconds that a node may be missing before its Pods are
LEAVING = 5.0  # and that a Pod may be on its way out which nobody holds any more
ALL, GOING = Ref(POD, "", ""), Ref(POD, "", "going")
GONE = "PodGC: node no longer exists"


class PodsGC:
    """`most_finished`: how many finished Pods are kept, the youngest."""

    kind = NODE
    owns: Sequence[Kind] = ()
    name = "pods-gc"

    def __init__(self, most_finished: int = 12500, quarantine: float = QUARANTINE) -> None:
        self._most = most_finished
        self._quarantine = quarantine
        self._finished: set[tuple[str, str]] = set()
        self._missing: dict[str, float] = {}  # node -> since when
        self._going: dict[tuple[str, str], float] = {}  # Pods without a node -> the same

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._nodes = informers.of(NODE)
        self._pods = informers.of(POD)
        self._pods.index("node", lambda pod: filter(None, [pod["spec"].get("nodeName")]))
        self._pods.on_change(self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if new is None:
            self._finished.discard(key)
            self._going.pop(key, None)
            return
        if (new.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self._finished.add(key)
            if len(self._finished) > self._most:
                self._wake(ALL)
        node = new["spec"].get("nodeName")
        if node and node not in self._missing and not self._nodes.has("", node):
            self._wake(Ref(NODE, "", node))
        if not node and new["metadata"].get("deletionTimestamp"):
            if not self._going:
                self._wake(GOING)
            self._going.setdefault(key, asyncio.get_running_loop().time())

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        if ref == ALL:
            await self._thin_out(client)
        elif ref == GOING:
            return await self._end(client)
        else:
            return await self._check_node(client, ref)
        return None

    async def _end(self, client: Client) -> float | None:
        """The API takes them away itself, right after it has marked them; unless it was stopped there."""
        now = asyncio.get_running_loop().time()
        for key in [key for key, since in self._going.items() if since + LEAVING <= now]:
            pod = self._pods.get(*key)
            if pod and pod["metadata"].get("deletionTimestamp") and not pod["spec"].get("nodeName"):
                await _delete(client, pod)
                self._going[key] = now  # something holds it
            else:
                self._going.pop(key, None)
        return LEAVING if self._going else None

    async def _check_node(self, client: Client, ref: Ref) -> float | None:
        if self._nodes.has("", ref.name) or not self._pods.names_by("node", ref.name):
            self._missing.pop(ref.name, None)
            return None
        now = asyncio.get_running_loop().time()
        left = self._missing.setdefault(ref.name, now) + self._quarantine - now
        if left > 0:
            return left
        try:
            await client.get(ref)
            return self._quarantine
        except NotFound:
            pass
        for pod in self._pods.by("node", ref.name):
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                await _fail(client, pod)
            await _delete(client, pod)
        self._missing.pop(ref.name, None)
        return None

    async def _thin_out(self, client: Client) -> None:
        finished = [pod for key in self._finished if (pod := self._pods.get(*key)) is not None]
        finished.sort(
            key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])
        )
        for pod in finished[: max(len(finished) - self._most, 0)]:
            await _delete(client, pod)


async def _fail(client: Client, pod: Object) -> None:
    held = (pod.get("status") or {}).get("conditions") or []
    told = conditions.put(held, "DisruptionTarget", "True", "DeletionByPodGC", GONE)
    meta = pod["metadata"]
    changes = {"metadata": {"uid": meta["uid"]}, "status": {"phase": "Failed", "conditions": told}}
    try:
        await client.patch(Ref(POD, meta["namespace"], meta["name"]), changes, "status")
    except (NotFound, Conflict):
        return


async def _delete(client: Client, pod: Object) -> None:
    meta = pod["metadata"]
    try:
        await client.delete(Ref(POD, meta["namespace"], meta["name"]), grace=0, uid=meta["uid"])
    except (NotFound, Conflict):
        return
