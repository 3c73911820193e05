"""Who owns whom, among all objects of all kinds: a graph by uid, and what to do about a node of it.

A dependent can be known before its owner: then the owner is a gap that others may point to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from jindou.objects.kinds import Kind, Object, Ref, ref_of

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Owner(NamedTuple):
    uid: str
    api_version: str
    kind: str
    name: str
    blocks: bool


class Node(msgspec.Struct, frozen=True, gc=False):
    uid: str
    ref: Ref
    owners: tuple[Owner, ...]
    deleting: bool
    finalizers: tuple[str, ...]

    @property
    def deleting_dependents(self) -> bool:
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphaning(self) -> bool:
        return self.deleting and ORPHAN in self.finalizers


def node_of(kind: Kind, obj: Object) -> Node:
    meta = obj["metadata"]
    return Node(
        meta["uid"],
        ref_of(kind, obj),
        tuple(
            Owner(
                one["uid"],
                one["apiVersion"],
                one["kind"],
                one["name"],
                bool(one.get("blockOwnerDeletion")),
            )
            for one in meta.get("ownerReferences") or ()
        ),
        "deletionTimestamp" in meta,
        tuple(meta.get("finalizers") or ()),
    )


class Graph:
    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._dependents: dict[str, dict[str, None]] = {}

    def put(self, node: Node) -> None:
        old = self.nodes.get(node.uid)
        if old is not None and old.owners != node.owners:
            self._unlink(old)
        if old is None or old.owners != node.owners:
            for owner in node.owners:
                self._dependents.setdefault(owner.uid, {})[node.uid] = None
        self.nodes[node.uid] = node

    def remove(self, uid: str) -> None:
        node = self.nodes.pop(uid, None)
        if node is not None:
            self._unlink(node)

    def _unlink(self, node: Node) -> None:
        for owner in node.owners:
            held = self._dependents.get(owner.uid)
            if held is not None:
                held.pop(node.uid, None)
                if not held:
                    del self._dependents[owner.uid]

    def dependents(self, uid: str) -> list[Node]:
        return [self.nodes[found] for found in self._dependents.get(uid, ()) if found in self.nodes]

    def blocking(self, uid: str) -> list[Node]:
        """The dependents that have to go before an owner that is deleted in the foreground."""
        return [
            node
            for node in self.dependents(uid)
            if any(owner.uid == uid and owner.blocks for owner in node.owners)
        ]


class Verdict(NamedTuple):
    """Of one object that has owners: keep it, let go of some owners, or delete it."""

    release: tuple[str, ...] = ()  # uids of owners to be taken off
    delete: str = ""  # propagation policy


def plan_dependent(
    node: Node, gone: Iterable[str], waiting: Iterable[str], dependents: Iterable[Node]
) -> Verdict:
    """`gone`: owners that are no more; `waiting`: owners deleted in the foreground. An owner that is neither keeps the object."""
    gone, waiting = set(gone), set(waiting)
    if any(owner.uid not in gone and owner.uid not in waiting for owner in node.owners):
        return Verdict(release=tuple(sorted(gone | waiting)))
    if not gone and not waiting:
        return Verdict()
    if waiting and any(True for _ in dependents):
        return Verdict(delete="Foreground")
    if ORPHAN in node.finalizers:
        return Verdict(delete="Orphan")
    if FOREGROUND in node.finalizers:
        return Verdict(delete="Foreground")
    return Verdict(delete="Background")
