"""The volumes that a Pod claims: they have to be there, and may be bound to some nodes only.

A claim whose class waits for its first consumer is bound after the node was chosen: it is told which
one, and the Pod follows when a volume is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers.scheduling.cluster import NodeState
from jindou.control.controllers.scheduling.demands import Demand
from jindou.control.controllers.scheduling.node_terms import matches_term
from jindou.objects.errors import Conflict, Timeout
from jindou.objects.kinds import (
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    STORAGE_CLASS,
    Object,
    Ref,
)

SELECTED_NODE = "volume.kubernetes.io/selected-node"
PATIENCE = 600.0  # seconds that a volume may take to be there
CONFLICT = "node(s) had volume node affinity conflict"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
NOTHING = "node(s) didn't find available persistent volumes to bind"
NO_PROVISIONER = "kubernetes.io/no-provisioner"

Terms = Sequence[Mapping[str, Any]]


class Claims:
    """`changed` is called when a claim, a volume or a class may have made room for someone."""

    def __init__(self, informers: Informers, changed: Callable[[], None]) -> None:
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIM)
        self._volumes = informers.of(PERSISTENT_VOLUME)
        self._classes = informers.of(STORAGE_CLASS)
        self._changed = changed
        self._news = asyncio.Event()
        for informer in (self._claims, self._volumes, self._classes):
            informer.on_change(self._tell)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._changed()
            self._news.set()

    def look(self, demand: Demand) -> tuple[str, list[Terms]]:
        """What is missing, or "", and where the volumes are: one of each of these terms must hold."""
        where: list[Terms] = []
        for name in demand.claims:
            claim = self._claims.get(demand.namespace, name)
            if claim is None or claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" not found', []
            volume = claim["spec"].get("volumeName", "")
            if not _is_bound(claim):
                if not self._waits(claim):
                    return UNBOUND, []
                if not self._may_come(claim):
                    return NOTHING, []
                continue
            held = self._volumes.get("", volume)
            required = ((held or {}).get("spec") or {}).get("nodeAffinity") or {}
            terms = (required.get("required") or {}).get("nodeSelectorTerms")
            if terms:
                where.append(terms)
        return "", where

    def _class(self, claim: Object) -> Object:
        return self._classes.get("", claim["spec"].get("storageClassName") or "") or {}

    def _waits(self, claim: Object) -> bool:
        """Is it bound only when its Pod has a node?"""
        return bool(self._class(claim).get("volumeBindingMode") == "WaitForFirstConsumer")

    def _may_come(self, claim: Object) -> bool:
        """Is there a volume for it, or somebody who makes one?"""
        if self._class(claim).get("provisioner") != NO_PROVISIONER:
            return True
        name = claim["spec"]["storageClassName"]
        return any(
            volume["spec"].get("storageClassName") == name
            and (volume.get("status") or {}).get("phase") in ("Available", "Bound")
            and (volume["spec"].get("claimRef") or {}).get("uid")
            in (None, "", claim["metadata"]["uid"])
            for volume in self._volumes.all()
        )

    def unbound(self, demand: Demand) -> list[Object]:
        found = [self._claims.get(demand.namespace, name) for name in demand.claims]
        return [claim for claim in found if claim is not None and not _is_bound(claim)]

    async def bind(self, client: Client, demand: Demand, node: str) -> None:
        """Tell the claims that wait which node it is, until all are bound. Raises CloudError."""
        for claim in self.unbound(demand):
            if _chosen(claim) != node:
                ref = Ref(PERSISTENT_VOLUME_CLAIM, demand.namespace, claim["metadata"]["name"])
                meta = {"uid": claim["metadata"]["uid"], "annotations": {SELECTED_NODE: node}}
                written = await client.patch(ref, {"metadata": meta})
                await self._claims.caught_up(written["metadata"].get("resourceVersion", ""))
        try:
            async with asyncio.timeout(PATIENCE):
                while waiting := self.unbound(demand):
                    if any(_chosen(claim) != node for claim in waiting):
                        raise Conflict(f"the volumes of the Pod can't be made on node {node}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Timeout("timed out waiting for the volumes of the Pod to be bound") from None


def _chosen(claim: Object) -> str:
    return str((claim["metadata"].get("annotations") or {}).get(SELECTED_NODE, ""))


def _is_bound(claim: Object) -> bool:
    phase = (claim.get("status") or {}).get("phase")
    return bool(claim["spec"].get("volumeName")) and phase == "Bound"


def out_of_reach(node: NodeState, where: Sequence[Terms]) -> bool:
    return any(not any(matches_term(term, node) for term in terms) for terms in where)
