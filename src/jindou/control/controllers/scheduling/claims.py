"""The volumes that a Pod claims: they have to be there, and may be bound to some nodes only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jindou.client.informers import Informers
from jindou.control.controllers.scheduling.cluster import NodeState
from jindou.control.controllers.scheduling.demands import Demand
from jindou.control.controllers.scheduling.node_terms import matches_term
from jindou.objects.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, Object

CONFLICT = "node(s) had volume node affinity conflict"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"

Terms = Sequence[Mapping[str, Any]]


class Claims:
    """`changed` is called when a claim or a volume may have made room for someone."""

    def __init__(self, informers: Informers, changed: Callable[[], None]) -> None:
        self._claims = informers.of(PERSISTENT_VOLUME_CLAIM)
        self._volumes = informers.of(PERSISTENT_VOLUME)
        self._changed = changed
        for informer in (self._claims, self._volumes):
            informer.on_change(self._tell)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._changed()

    def look(self, demand: Demand) -> tuple[str, list[Terms]]:
        """What is missing, or "", and where the volumes are: one of each of these terms must hold."""
        where: list[Terms] = []
        for name in demand.claims:
            claim = self._claims.get(demand.namespace, name)
            if claim is None or claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" not found', []
            volume = claim["spec"].get("volumeName", "")
            if not volume or (claim.get("status") or {}).get("phase") != "Bound":
                return UNBOUND, []
            held = self._volumes.get("", volume)
            required = ((held or {}).get("spec") or {}).get("nodeAffinity") or {}
            terms = (required.get("required") or {}).get("nodeSelectorTerms")
            if terms:
                where.append(terms)
        return "", where


def out_of_reach(node: NodeState, where: Sequence[Terms]) -> bool:
    return any(not any(matches_term(term, node) for term in terms) for terms in where)
