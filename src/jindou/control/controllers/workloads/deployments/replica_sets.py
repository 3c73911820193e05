"""ReplicaSets, and ReplicationControllers by the same rules: as many Pods as asked for.

A look never acts on Pods it has not yet seen of its own making: it ends only when the informer
holds what it created, and what it deleted is remembered until it is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.client.retry import Backoff
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import owners, times
from jindou.control.controllers.groundwork.owners import Candidate
from jindou.control.controllers.groundwork.pod_facts import PodFacts, PodView
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.workloads.deployments.replicas import (
    Replicas,
    next_available,
    plan_replicas,
    plan_status,
)
from jindou.control.controllers.workloads.leaving import Leaving
from jindou.control.controllers.workloads.pods import batches, is_closing, pod_from
from jindou.objects.errors import CloudError
from jindou.objects.kinds import POD, REPLICA_SET, Kind, Object, Ref
from jindou.objects.selectors import Selector, from_labels

REPLICATION_CONTROLLER = Kind("", "v1", "ReplicationController", "replicationcontrollers")


class ReplicaSets:
    owns: Sequence[Kind] = ()
    pace = 0.03

    def __init__(self, kind: Kind = REPLICA_SET) -> None:
        self.kind = kind
        self.name = kind.plural
        self._events = Recorder(
            "replicaset-controller" if kind == REPLICA_SET else "replication-controller"
        )
        self._leaving = Leaving(self._events)
        self._failed: dict[str, dict[str, str]] = {}
        self._retries: dict[str, Backoff] = {}

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._sets = informers.of(self.kind)
        self._pods = informers.of(POD)
        owners.index(self._sets)
        self._wake = wake
        self._names: dict[str, Ref] = {}
        self._selectors: dict[Ref, Selector] = {}
        self._sets.on_change(self._set_changed)
        self._leaving.follow(self._pods)
        self._view = PodView(self._pods, self._pod_changed)

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        meta = obj["metadata"]
        ref = Ref(self.kind, meta["namespace"], meta["name"])
        if new is None:
            self._names.pop(meta["uid"], None)
            self._selectors.pop(ref, None)
            self._failed.pop(meta["uid"], None)
            self._retries.pop(meta["uid"], None)
        else:
            self._names[meta["uid"]] = ref
            self._selectors[ref] = self._selector(new)

    def _selector(self, owner: Object) -> Selector:
        if self.kind == REPLICATION_CONTROLLER:
            return from_labels(owner["spec"].get("selector") or {})
        return owners.selector_of(owner)

    def _pod_changed(self, old: PodFacts | None, new: PodFacts | None) -> None:
        for owner in {facts.owner for facts in (old, new) if facts}:
            if owner in self._names:
                self._wake(self._names[owner])
        if new is not None and not new.owner and new.active:
            for ref, selector in self._selectors.items():
                if ref.namespace == new.namespace and selector and selector.matches(new.labels):
                    self._wake(ref)

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        owner = self._sets.get(ref.namespace, ref.name)
        if owner is None:
            return None
        meta = owner["metadata"]
        pods = await self._claimed(client, owner)
        if not meta.get("deletionTimestamp"):
            active = [pod for pod in pods if pod.active]
            related = self._related(owner) if len(active) > _wanted(owner) else ()
            plan = plan_replicas(_wanted(owner), active, related, times.now())
            await self._apply(client, owner, plan)
        now = times.now()
        status = plan_status(owner, pods, self._failed.get(meta["uid"]), now)
        if status != _known(owner.get("status") or {}):
            owner["status"] = status
            written = await client.update(self.kind, owner, "status")
            await self._sets.caught_up(written["metadata"].get("resourceVersion", ""))
        if meta["uid"] in self._failed:
            return self._retries.setdefault(meta["uid"], Backoff(0.1, 300.0)).delay()
        self._retries.pop(meta["uid"], None)
        return next_available(owner, pods, now)

    async def _claimed(self, client: Client, owner: Object) -> list[PodFacts]:
        meta = owner["metadata"]
        found = self._view.owned_by(meta["uid"])
        found += [pod for pod in self._view.orphans(meta["namespace"]) if pod.active]
        claims = owners.plan_claims(
            meta["uid"],
            bool(meta.get("deletionTimestamp")),
            self._selector(owner),
            (Candidate(pod.labels, pod.owner, pod.deleting, pod) for pod in found),
        )
        owned: list[PodFacts] = [pod for pod in claims.owned if pod.uid not in self._leaving.uids]
        if claims.adopt and not await owners.still_there(client, self.kind, owner):
            return owned
        for pod in claims.adopt:
            obj = self._pods.get(pod.namespace, pod.name)
            reference = owners.reference_to(self.kind, owner)
            adopted = await owners.adopt(client, POD, obj, reference) if obj else None
            if adopted:
                owned.append(pod)
                await self._pods.caught_up(adopted["metadata"].get("resourceVersion", ""))
        for pod in claims.release:
            obj = self._pods.get(pod.namespace, pod.name)
            if obj:
                await owners.release(client, POD, obj, meta["uid"])
        return owned

    def _related(self, owner: Object) -> list[PodFacts]:
        above = owners.controller_uid(owner)
        if not above:
            return self._view.owned_by(owner["metadata"]["uid"])
        family = self._sets.by("owner", above)
        return [pod for one in family for pod in self._view.owned_by(one["metadata"]["uid"])]

    async def _apply(self, client: Client, owner: Object, plan: Replicas) -> None:
        uid = owner["metadata"]["uid"]
        failure = None
        if plan.create:
            failure = await self._create(client, owner, plan.create)
        elif plan.delete:
            failure = await self._delete(client, owner, plan.delete)
        if failure is None:
            self._failed.pop(uid, None)
        else:
            self._failed[uid] = failure

    async def _create(self, client: Client, owner: Object, count: int) -> dict[str, str] | None:
        pod = pod_from(owner, owners.reference_to(self.kind, owner))
        latest = 0
        try:
            for size in batches(count):
                made = await asyncio.gather(
                    *(client.create(POD, pod) for _ in range(size)), return_exceptions=True
                )
                for one in made:
                    if not isinstance(one, BaseException):
                        latest = max(latest, int(one["metadata"].get("resourceVersion") or 0))
                        text = f"Created pod: {one['metadata']['name']}"
                        self._events.event(client, owner, "SuccessfulCreate", text)
                for one in made:
                    if isinstance(one, CloudError):
                        return self._refused(client, owner, one)
                    if isinstance(one, BaseException):
                        raise one
        finally:
            if latest:
                await self._pods.caught_up(str(latest))
        return None

    def _refused(self, client: Client, owner: Object, error: CloudError) -> dict[str, str] | None:
        if is_closing(error):
            return None
        text = f"Error creating: {error}"
        self._events.event(client, owner, "FailedCreate", text, "Warning")
        return {"reason": "FailedCreate", "message": str(error)}

    async def _delete(
        self, client: Client, owner: Object, pods: list[PodFacts]
    ) -> dict[str, str] | None:
        named = ((Ref(POD, pod.namespace, pod.name), pod.uid) for pod in pods)
        failures = await self._leaving.delete(client, owner, named)
        return {"reason": "FailedDelete", "message": str(failures[0])} if failures else None


def _wanted(owner: Object) -> int:
    replicas = owner["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _known(status: Object) -> Object:
    """A status in the form in which it is planned: zeros left out."""
    return {name: value for name, value in status.items() if value or name == "replicas"}
