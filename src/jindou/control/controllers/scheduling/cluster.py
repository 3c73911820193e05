"""What nodes have and hold, kept in step with the API and ahead of it: a Pod counts from the
moment a node was chosen for it, before the API has heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jindou.control.controllers.scheduling.demands import Amounts, Demand, HostPort, amounts
from jindou.objects.kinds import Object


class NodeState:
    """One node and the Pods on it."""

    __slots__ = (
        "allocatable",
        "anti",
        "images",
        "known",
        "labels",
        "name",
        "nonzero",
        "pods",
        "requested",
        "taints",
        "unschedulable",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.known = False  # False: Pods name it, but there is no such Node
        self.labels: Mapping[str, str] = {}
        self.taints: tuple[Mapping[str, Any], ...] = ()
        self.unschedulable = False
        self.allocatable: Amounts = {}
        self.images: dict[str, int] = {}  # name -> size
        self.pods: dict[str, Demand] = {}
        self.requested: Amounts = {}
        self.nonzero = [0, 0]
        self.anti = 0  # Pods here that refuse others

    def update(self, node: Object) -> bool:
        """True where something changed that decides on Pods."""
        spec, status = node.get("spec") or {}, node.get("status") or {}
        before = (self.labels, self.taints, self.unschedulable, self.allocatable, self.known)
        self.labels = node["metadata"].get("labels") or {}
        self.taints = tuple(spec.get("taints") or ())
        self.unschedulable = bool(spec.get("unschedulable"))
        self.allocatable = amounts(status.get("allocatable") or status.get("capacity"))
        self.images = {
            name: image.get("sizeBytes", 0)
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        }
        self.known = True
        return before != (
            self.labels, self.taints, self.unschedulable, self.allocatable, self.known
        )  # fmt: skip

    def add(self, demand: Demand) -> None:
        if demand.uid in self.pods:
            return
        self.pods[demand.uid] = demand
        self._count(demand, 1)

    def remove(self, uid: str) -> bool:
        demand = self.pods.pop(uid, None)
        if demand is not None:
            self._count(demand, -1)
        return demand is not None

    def _count(self, demand: Demand, sign: int) -> None:
        for name, value in demand.requests.items():
            self.requested[name] = self.requested.get(name, 0) + sign * value
        self.nonzero[0] += sign * demand.nonzero[0]
        self.nonzero[1] += sign * demand.nonzero[1]
        self.anti += sign * bool(demand.anti_affinity)

    def ports(self) -> Iterable[HostPort]:
        return (port for demand in self.pods.values() for port in demand.ports)


class Cluster:
    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self._where: dict[str, str] = {}  # uid of a Pod -> its node

    def usable(self) -> list[NodeState]:
        return [node for node in self.nodes.values() if node.known]

    def _node(self, name: str) -> NodeState:
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = NodeState(name)
        return node

    def set_node(self, node: Object) -> bool:
        return self._node(node["metadata"]["name"]).update(node)

    def remove_node(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is not None:
            node.known = False
            if not node.pods:
                del self.nodes[name]

    def holds(self, uid: str) -> bool:
        return uid in self._where

    def place(self, demand: Demand, node: str) -> None:
        """Put a Pod on a node, or replace what was known of it."""
        self.remove(demand.uid)
        self._where[demand.uid] = node
        self._node(node).add(demand)

    def remove(self, uid: str) -> bool:
        name = self._where.pop(uid, None)
        if name is None:
            return False
        node = self.nodes[name]
        node.remove(uid)
        if not node.pods and not node.known:
            del self.nodes[name]
        return True
