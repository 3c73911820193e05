"""ResourceQuotas: their status says what may be used and what is, also after deletes.

What is counted is what admission counts (`objects.quotas`), from what the informers hold; kinds of
which only the number counts are followed by their metadata, from the first quota that names them.
Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from jindou.client import Client
from jindou.client.informers import Informer, Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import times
from jindou.objects import quotas
from jindou.objects.errors import NotFound
from jindou.objects.kinds import Kind, Object, Ref
from jindou.objects.quotas import NONE, Account, Place

QUOTA = Kind("", "v1", "ResourceQuota", "resourcequotas")
PATIENCE = 30.0  # seconds that a kind may take to be known


class ResourceQuotas:
    """`kinds`: whatever has objects; `on_kinds_change` calls back when these have become others."""

    kind = QUOTA
    owns: Sequence[Kind] = ()
    name = "resourcequotas"
    pace = 0.05

    def __init__(
        self,
        kinds: Callable[[], Sequence[Kind]],
        on_kinds_change: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._kinds = kinds
        self._on_kinds_change = on_kinds_change
        self._accounts: dict[str, dict[str, Account]] = {}  # by namespace, then quota
        self._specs: dict[Ref, Object] = {}
        self._followed: dict[Place, Informer] = {}

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._informers = informers
        self._wake = wake
        self._quotas = informers.of(QUOTA)
        self._quotas.on_change(self._quota_changed)
        if self._on_kinds_change is not None:
            self._on_kinds_change(self._kinds_changed)

    def _places(self) -> dict[Place, Kind]:
        return {(kind.group, kind.plural): kind for kind in self._kinds() if kind.namespaced}

    def _kinds_changed(self) -> None:
        """What a quota limits may be served now for the first time, or anew, or no more."""
        served = self._places()
        gone = [place for place in self._followed if place not in served]
        for place in gone:
            del self._followed[place]
        for ref, spec in self._specs.items():
            wanted = quotas.places_of((spec.get("hard") or {}), list(served))
            if gone or any(place not in self._followed for place in wanted):
                self._open(ref, spec)
                self._wake(ref)

    def _open(self, ref: Ref, spec: Object) -> None:
        meta = {"namespace": ref.namespace, "name": ref.name}
        account = Account({"metadata": meta, "spec": spec})
        self._accounts.setdefault(ref.namespace, {})[ref.name] = account
        self._fill(account)

    def _quota_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        ref = Ref(QUOTA, namespace, name)
        if new is None:
            self._specs.pop(ref, None)
            self._accounts.get(namespace, {}).pop(name, None)
            if not self._accounts.get(namespace, True):
                del self._accounts[namespace]
        elif self._specs.get(ref) != new.get("spec"):
            self._specs[ref] = new.get("spec") or {}
            self._open(ref, self._specs[ref])

    def _fill(self, account: Account) -> None:
        kinds = self._places()
        now = times.now()
        for place in quotas.places_of(account.hard, list(kinds)):
            if place in self._followed:
                for obj in self._followed[place].all(account.namespace):
                    account.take(place, obj["metadata"]["name"], obj, now)
            elif place in kinds:
                self._follow(place, kinds[place])

    def _follow(self, place: Place, kind: Kind) -> None:
        whole = place in quotas.MEASURED
        informer = self._informers.of(kind) if whole else self._informers.metadata_of(kind)
        self._followed[place] = informer
        informer.on_change(partial(self._changed, place))

    def _changed(self, place: Place, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        for quota, account in self._accounts.get(namespace, {}).items():
            if account.take(place, name, new, times.now()):
                self._wake(Ref(QUOTA, namespace, quota))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        quota = self._quotas.get(ref.namespace, ref.name)
        account = self._accounts.get(ref.namespace, {}).get(ref.name)
        if quota is None or account is None:
            return None
        for place, informer in self._followed.items():
            if account.tracks(place):
                async with asyncio.timeout(PATIENCE):
                    await informer.synced.wait()
        now = times.now()
        status = plan_status(quota, account, list(self._followed), now)
        if status != quota.get("status"):
            quota["status"] = status
            try:
                written = await client.update(QUOTA, quota, "status")
            except NotFound:
                return None
            await self._quotas.caught_up(written["metadata"].get("resourceVersion", ""))
        end = account.next_end()
        return None if end is None else max(0.1, end - now + 0.1)


def plan_status(quota: Object, account: Account, places: Sequence[Place], now: float) -> Object:
    """What nobody counts is limited all the same, but nothing is told of it."""
    used = account.used(now)
    counted = [
        name for name in account.hard if any(quotas.is_tracked(place, name) for place in places)
    ]
    return {
        "hard": quotas.normal((quota.get("spec") or {}).get("hard") or {}),
        "used": {name: str(used.get(name, NONE)) for name in counted},
    }
