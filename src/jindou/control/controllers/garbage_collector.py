"""Deletes what lost its owners, and holds owners back until their dependents are gone.

Every kind that is served is followed, for its metadata only. What the graph says of an absent
owner is asked again of the API before anything is deleted: the graph may be behind.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork.queue import Queue
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.ownership import (
    FOREGROUND,
    ORPHAN,
    Graph,
    Node,
    Owner,
    node_of,
    plan_dependent,
)
from jindou.objects.errors import Conflict, MethodNotAllowed, NotFound
from jindou.objects.kinds import Kind, Object, Ref

REMEMBERED = 8192  # owners known to be gone
PATIENCE = 30.0
UNSEEN = 0.5  # seconds until an owner that only the API knows is looked for again
IGNORED = frozenset({"events", "componentstatuses"})


class GarbageCollector:
    """`kinds` names all kinds that can be listed and deleted; `on_kinds_change` calls back when
    that list has become another one."""

    name = "garbage-collector"

    def __init__(
        self,
        kinds: Callable[[], Sequence[Kind]],
        on_kinds_change: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._kinds = kinds
        self._graph = Graph()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._queue: Queue[str] = Queue(self.name, self._handle, workers=16)
        self._events = Recorder("garbage-collector-controller")
        self._followed: dict[tuple[str, str], Kind] = {}
        self._changed = asyncio.Event()
        if on_kinds_change is not None:
            on_kinds_change(self._changed.set)

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._informers = informers

    async def run(self, client: Client) -> None:
        self._client = client
        try:
            while True:
                self._changed.clear()
                self._follow_all()
                await self._in_step()
                self._queue.start()
                await self._changed.wait()
        finally:
            await self._queue.stop()

    async def _in_step(self) -> None:
        """Orphaning needs all dependents; a kind that never answers must not stop the others."""
        informers = [self._informers.metadata_of(kind) for kind in self._followed.values()]
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for informer in informers:
                    await informer.synced.wait()

    @property
    def idle(self) -> bool:
        return self._queue.idle

    def _follow_all(self) -> None:
        served: dict[tuple[str, str], Kind] = {}
        for kind in self._kinds():
            if kind.plural not in IGNORED and "/" not in kind.plural:
                served.setdefault((kind.group, kind.plural), kind)
        for place in [place for place in self._followed if place not in served]:
            kind = self._followed.pop(place)
            self._informers.forget(kind)
            for node in [one for one in self._graph.nodes.values() if one.ref.kind == kind]:
                self._lost(node.uid)
        for place, kind in served.items():
            if place not in self._followed:
                self._followed[place] = kind
                self._informers.metadata_of(kind).on_change(partial(self._take, kind))
        self._by_name = {(kind.api_version, kind.name): kind for kind in served.values()}
        self._by_group = {(kind.group, kind.name): kind for kind in served.values()}

    # ------------------------------------------------------------ the graph

    def _take(self, kind: Kind, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._lost(old["metadata"]["uid"])
            return
        node = node_of(kind, new)
        before = self._graph.nodes.get(node.uid)
        if before == node:
            return
        self._graph.put(node)
        if node.deleting_dependents or node.orphaning:
            self._queue.add(node.uid)
        owners_changed = before is None or before.owners != node.owners
        if node.owners and owners_changed:
            if any(self._is_doubtful(node, owner) for owner in node.owners):
                self._queue.add(node.uid)
            if before is not None:
                for owner in before.owners:
                    self._wake_owner(owner.uid)
        if node.deleting and (before is None or not before.deleting):
            for owner in node.owners:
                self._wake_owner(owner.uid)

    def _is_doubtful(self, node: Node, owner: Owner) -> bool:
        found = self._graph.nodes.get(owner.uid)
        return found is None or found.deleting_dependents or not _may_own(found, node)

    def _lost(self, uid: str) -> None:
        node = self._graph.nodes.get(uid)
        self._graph.remove(uid)
        self._remember_gone(uid)
        for dependent in self._graph.dependents(uid):
            self._queue.add(dependent.uid)
        for owner in node.owners if node else ():
            self._wake_owner(owner.uid)

    def _wake_owner(self, uid: str) -> None:
        owner = self._graph.nodes.get(uid)
        if owner is not None and owner.deleting_dependents:
            self._queue.add(uid)

    def _remember_gone(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)

    # ------------------------------------------------------------ acting

    async def _handle(self, uid: str) -> float | None:
        node = self._graph.nodes.get(uid)
        if node is None:
            return None
        if node.orphaning:
            return await self._orphan(node)
        if node.deleting_dependents:
            return await self._hold_back(node)
        if node.owners and not node.deleting:
            return await self._check(node)
        return None

    async def _orphan(self, node: Node) -> float | None:
        for dependent in self._graph.dependents(node.uid):
            await self._release(dependent, {node.uid})
        await self._unfinalize(node, ORPHAN)
        return None

    async def _hold_back(self, node: Node) -> float | None:
        blocking = self._graph.blocking(node.uid)
        if not blocking:
            await self._unfinalize(node, FOREGROUND)
            return None
        for dependent in self._graph.dependents(node.uid):
            if not dependent.deleting:
                self._queue.add(dependent.uid)
        return None

    async def _check(self, node: Node) -> float | None:
        gone, waiting, unseen = set(), set(), False
        for owner in node.owners:
            found = self._graph.nodes.get(owner.uid)
            if found is not None and _may_own(found, node):
                if found.deleting_dependents:
                    waiting.add(owner.uid)
                continue
            absent = await self._is_absent(node, owner)
            if absent is None:
                return None
            if absent:
                gone.add(owner.uid)
            else:
                unseen = True  # its deletion could come before we see it at all
        dependents = self._graph.dependents(node.uid)
        verdict = plan_dependent(node, gone, waiting, dependents)
        if verdict.delete:
            if waiting and any(one.deleting_dependents for one in dependents):
                await self._unblock(node)  # a circle of owners would wait for ever
            try:
                await self._client.delete(node.ref, uid=node.uid, propagation=verdict.delete)
            except (NotFound, Conflict, MethodNotAllowed):
                return None
        elif verdict.release:
            await self._release(node, set(verdict.release))
        return UNSEEN if unseen else None

    async def _is_absent(self, node: Node, owner: Owner) -> bool | None:
        """None where nobody can say: a kind that is not served, or an owner out of reach."""
        if owner.uid in self._gone:
            return True
        group = owner.api_version.rpartition("/")[0]
        kind = self._by_name.get((owner.api_version, owner.kind)) or self._by_group.get(
            (group, owner.kind)
        )
        if kind is None:
            return None
        if kind.namespaced and not node.ref.namespace:
            self._tell_namespace(node, owner)
            return None
        found = self._graph.nodes.get(owner.uid)
        if found is not None:
            self._tell_namespace(node, owner)
            return True
        namespace = node.ref.namespace if kind.namespaced else ""
        try:
            live = await self._client.get(Ref(kind, namespace, owner.name))
        except NotFound:
            self._remember_gone(owner.uid)
            return True
        return bool(live["metadata"]["uid"] != owner.uid)

    def _tell_namespace(self, node: Node, owner: Owner) -> None:
        group = owner.api_version.rpartition("/")[0]
        where = f'namespace "{node.ref.namespace}"' if node.ref.namespace else "the cluster"
        obj = {
            "apiVersion": node.ref.kind.api_version,
            "kind": node.ref.kind.name,
            "metadata": {
                "name": node.ref.name,
                "uid": node.uid,
                **({"namespace": node.ref.namespace} if node.ref.namespace else {}),
            },
        }
        text = (
            f"ownerRef [{group or owner.api_version}/{owner.kind}, name: {owner.name}, "
            f"uid: {owner.uid}] does not exist in {where}"
        )
        self._events.event(self._client, obj, "OwnerRefInvalidNamespace", text, "Warning")

    async def _live(self, node: Node) -> Object | None:
        try:
            live = await self._client.get(node.ref)
        except NotFound:
            return None
        return live if live["metadata"]["uid"] == node.uid else None

    async def _release(self, node: Node, owners: set[str]) -> None:
        live = await self._live(node)
        if live is None:
            return
        references = live["metadata"].get("ownerReferences") or []
        rest = [one for one in references if one["uid"] not in owners]
        await self._write(node, live, {"ownerReferences": rest}, len(rest) != len(references))

    async def _unblock(self, node: Node) -> None:
        live = await self._live(node)
        if live is None:
            return
        references = live["metadata"].get("ownerReferences") or []
        open_ones = [{**one, "blockOwnerDeletion": False} for one in references]
        await self._write(node, live, {"ownerReferences": open_ones}, open_ones != references)

    async def _unfinalize(self, node: Node, finalizer: str) -> None:
        live = await self._live(node)
        if live is None:
            return
        held = live["metadata"].get("finalizers") or []
        rest = [one for one in held if one != finalizer]
        await self._write(node, live, {"finalizers": rest}, rest != held)

    async def _write(self, node: Node, live: Object, changes: Object, differs: bool) -> None:
        if not differs:
            return
        meta = live["metadata"]
        changes = {**changes, "uid": node.uid, "resourceVersion": meta["resourceVersion"]}
        try:
            await self._client.patch(node.ref, {"metadata": changes})
        except NotFound:
            return


def _may_own(owner: Node, node: Node) -> bool:
    """An owner is cluster-wide, or in the namespace of what it owns."""
    return not owner.ref.namespace or owner.ref.namespace == node.ref.namespace
