"""The few facts of a Pod that owners decide on, kept in step with the informer.

A reconcile of fifty replicas reads fifty tuples, and decodes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from jindou.client.informers import Informer
from jindou.control.controllers.groundwork import conditions, times
from jindou.control.controllers.groundwork.once import once
from jindou.control.controllers.groundwork.owners import controller_uid
from jindou.objects.kinds import Object

COST = "controller.kubernetes.io/pod-deletion-cost"


class PodFacts(msgspec.Struct, frozen=True, gc=False):
    namespace: str
    name: str
    uid: str
    owner: str  # uid of its controller, or ""
    labels: Mapping[str, str]
    phase: str
    deleting: bool
    ready: bool
    ready_since: float
    created: float
    node: str
    restarts: int
    cost: int

    @property
    def active(self) -> bool:
        return self.phase not in ("Succeeded", "Failed") and not self.deleting

    def available(self, min_ready: int, now: float) -> bool:
        return self.ready and (not min_ready or self.ready_since + min_ready <= now)


def facts_of(pod: Object) -> PodFacts:
    meta, status = pod["metadata"], pod.get("status") or {}
    ready = conditions.find(pod, "Ready") or {}
    try:
        cost = int((meta.get("annotations") or {}).get(COST, 0))
    except ValueError:
        cost = 0
    return PodFacts(
        meta.get("namespace", ""),
        meta["name"],
        meta["uid"],
        controller_uid(pod),
        meta.get("labels") or {},
        status.get("phase", "Pending"),
        "deletionTimestamp" in meta,
        ready.get("status") == "True",
        times.parse(ready.get("lastTransitionTime")),
        times.parse(meta.get("creationTimestamp")),
        pod["spec"].get("nodeName", ""),
        sum(c.get("restartCount", 0) for c in status.get("containerStatuses") or ()),
        cost,
    )


told_facts = once(facts_of)  # of what informers tell
Changed = Callable[[PodFacts | None, PodFacts | None], Any]


class PodView:
    """All Pods by their controller's uid, and those without one by namespace. Tells `changed` only
    of changes in the facts."""

    def __init__(self, informer: Informer, changed: Changed) -> None:
        self._owned: dict[str, dict[str, PodFacts]] = {}
        self._orphans: dict[str, dict[str, PodFacts]] = {}
        self._facts: dict[str, PodFacts] = {}
        self._changed = changed
        informer.on_change(self._take)

    def owned_by(self, uid: str) -> list[PodFacts]:
        return list(self._owned.get(uid, {}).values())

    def orphans(self, namespace: str) -> Iterable[PodFacts]:
        return self._orphans.get(namespace, {}).values()

    def _take(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        uid = obj["metadata"]["uid"]
        before = self._facts.pop(uid, None)
        after = told_facts(new) if new is not None else None
        if before is not None:
            self._place(before).pop(uid, None)
            if not after or after.owner != before.owner:
                self._tidy(before)
        if after is not None:
            self._facts[uid] = after
            self._place(after)[uid] = after
        if before != after:
            self._changed(before, after)

    def _place(self, facts: PodFacts) -> dict[str, PodFacts]:
        if facts.owner:
            return self._owned.setdefault(facts.owner, {})
        return self._orphans.setdefault(facts.namespace, {})

    def _tidy(self, facts: PodFacts) -> None:
        places, key = (
            (self._owned, facts.owner) if facts.owner else (self._orphans, facts.namespace)
        )
        if not places.get(key, True):
            del places[key]
