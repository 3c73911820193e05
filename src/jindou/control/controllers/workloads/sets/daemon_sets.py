"""DaemonSets: one Pod on every node that fits, made and taken away as nodes come, change and go.

Pods are bound to their node by the scheduler, like all others; their affinity names the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import owners, times
from jindou.control.controllers.groundwork.pod_facts import PodFacts
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.scheduling.cluster import NodeState
from jindou.control.controllers.workloads.owned_pods import OwnedPods
from jindou.control.controllers.workloads.sets import daemon_plans, revisions
from jindou.control.controllers.workloads.sets.daemon_plans import BURST, Changes, View
from jindou.control.controllers.workloads.sets.revisions import POD_LABEL, Revisions
from jindou.objects.errors import CloudError
from jindou.objects.kinds import (
    CONTROLLER_REVISION,
    DAEMON_SET,
    NODE,
    POD,
    Kind,
    Object,
    Ref,
    ref_of,
)

FIRST_WAIT, LONGEST_WAIT = 1.0, 900.0


class DaemonSets:
    kind = DAEMON_SET
    owns: Sequence[Kind] = (POD, CONTROLLER_REVISION)
    name = "daemon-sets"
    pace = 0.03

    def __init__(self) -> None:
        self._events = Recorder("daemonset-controller")
        self._owned = OwnedPods(DAEMON_SET, self._events)
        self._revisions = Revisions(DAEMON_SET, POD_LABEL)
        self._nodes: dict[str, NodeState] = {}
        self._failed: dict[tuple[str, str], tuple[float, float]] = {}  # wait, since when

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._sets = informers.of(DAEMON_SET)
        self._sets.on_change(self._set_changed)
        informers.of(NODE).on_change(self._node_changed)
        self._owned.follow(informers, wake)
        self._revisions.follow(informers, wake)

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            uid = old["metadata"]["uid"]
            self._failed = {key: held for key, held in self._failed.items() if key[0] != uid}

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        """Each set hears of a node only where it changed for one of its Pods to come, stay or go."""
        obj = new if new is not None else old
        assert obj is not None
        name = obj["metadata"]["name"]
        before = self._nodes.pop(name, None)
        after = None
        if new is not None:
            after = self._nodes[name] = NodeState(name)
            after.update(new)
        else:
            self._failed = {key: held for key, held in self._failed.items() if key[1] != name}
        for owner in self._sets.all():
            was = daemon_plans.judge(owner, before) if before else None
            now = daemon_plans.judge(owner, after) if after else None
            if was != now:
                self._wake(ref_of(DAEMON_SET, owner))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        owner = self._sets.get(ref.namespace, ref.name)
        if owner is None:
            return None
        if not owners.selector_of(owner):
            text = "This daemon set is selecting all pods. A non-empty selector is required."
            self._events.event(client, owner, "SelectingAll", text, "Warning")
            return None
        past = await self._revisions.claimed(client, owner)
        pods = await self._owned.claimed(client, owner)
        if owner["metadata"].get("deletionTimestamp"):
            return None
        collisions = (owner.get("status") or {}).get("collisionCount") or 0
        now, collisions = await self._revisions.of_now(client, owner, past, collisions)
        hash = revisions.known_as(now, POD_LABEL) or now["metadata"]["name"]
        view = daemon_plans.view_of(owner, hash, self._nodes, pods, times.now())
        changes = daemon_plans.plan_nodes(view, self._backoff(owner))
        failure = await self._apply(client, view, changes)
        if failure is None and not changes.create and not changes.delete:
            rollout = daemon_plans.plan_rollout(view)
            failure = await self._apply(client, view, rollout)
        view = await self._look_again(client, view)
        await self._tell_status(client, view, collisions)
        if failure is not None:
            raise failure
        live = {(pod["metadata"].get("labels") or {}).get(POD_LABEL, "") for pod in pods}
        surplus = revisions.plan_surplus(owner, past, {*live, hash}, POD_LABEL)
        await self._revisions.delete(client, surplus)
        waits = [changes.wait, daemon_plans.next_available(view)]
        return min((wait for wait in waits if wait is not None), default=None)

    async def _look_again(self, client: Client, view: View) -> View:
        pods = await self._owned.claimed(client, view.owner)
        return daemon_plans.view_of(view.owner, view.hash, self._nodes, pods, times.now())

    async def _apply(self, client: Client, view: View, changes: Changes) -> CloudError | None:
        owner = view.owner
        for reason, text, type in changes.notes:
            self._events.event(client, owner, reason, text, type)
        pods = [daemon_plans.pod_of(owner, view.hash, node) for node in changes.create[:BURST]]
        _, failure = await self._owned.create(client, owner, pods)
        held = [
            pod
            for facts in changes.delete[:BURST]
            if (pod := self._owned.informer.get(facts.namespace, facts.name)) is not None
            and pod["metadata"]["uid"] == facts.uid
        ]
        _, refused = await self._owned.delete(client, owner, held)
        return failure or refused

    def _backoff(self, owner: Object) -> daemon_plans.Backoff:
        """One second after the first failure on a node, twice as long after each."""
        uid = owner["metadata"]["uid"]

        def wait(node: str, pod: PodFacts) -> float:
            now = asyncio.get_running_loop().time()
            pause, since = self._failed.get((uid, node), (0.0, now - 2 * LONGEST_WAIT))
            left = since + pause - now
            if left > 0:
                return left
            fresh = now - since > 2 * LONGEST_WAIT or not pause
            longer = FIRST_WAIT if fresh else min(pause * 2, LONGEST_WAIT)
            self._failed[uid, node] = (longer, now)
            return 0.0

        return wait

    async def _tell_status(self, client: Client, view: View, collisions: int) -> None:
        status = daemon_plans.plan_status(view, collisions)
        if status != (view.owner.get("status") or {}):
            obj = {**view.owner, "status": status}
            written = await client.update(DAEMON_SET, obj, "status")
            await self._sets.caught_up(written["metadata"].get("resourceVersion", ""))
