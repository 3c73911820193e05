"""LimitRanges as a part of admission: what their defaults have left is judged when nobody changes it any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jindou.control.api.admission import limits
from jindou.control.api.admission.chain import Chain, Place, Review
from jindou.control.api.admission.plugins import objects, refused
from jindou.control.api.resources.registry import Resource
from jindou.control.store import Change, Store

PREFIX = "core/limitranges/"


class LimitRanger:
    """A `Part` that is asked while there is a LimitRange at all."""

    def __init__(self, store: Store, chain: Chain) -> None:
        self._store = store
        self._chain = chain
        self._stop: Callable[[], None] = lambda: None
        chain.plug(Place.VALIDATING_PLUGINS, self, active=False)

    def start(self) -> None:
        self._stop = self._store.watch(PREFIX, self._store.revision, self._changed)
        self._changed(())

    def close(self) -> None:
        self._stop()

    def _changed(self, changes: Sequence[Change]) -> None:
        held = self._store.scan(PREFIX, limit=1).items
        self._chain.refresh(self, active=bool(held))

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        place = resource.kind.group, resource.kind.plural
        if place == ("", "pods"):
            return (operation, subresource) in (("CREATE", ""), ("UPDATE", "resize"))
        claims = place == ("", "persistentvolumeclaims")
        return claims and operation in ("CREATE", "UPDATE") and not subresource

    async def admit(self, review: Review) -> None:
        """Raises Forbidden."""
        obj, old = review.object, review.old
        assert obj is not None
        if old is not None and "deletionTimestamp" in old["metadata"]:
            return
        judge = limits.pod_faults if review.resource.kind.plural == "pods" else limits.claim_faults
        for held in objects(self._store, f"{PREFIX}{obj['metadata']['namespace']}/"):
            if faults := judge(obj.get("spec") or {}, held):
                faults = list(dict.fromkeys(faults))
                says = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
                raise refused(review.resource.kind.plural, obj, says)
