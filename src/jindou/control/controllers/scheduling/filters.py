"""Why a node can't take a Pod, in the field's words; the first failing rule speaks.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from jindou.control.controllers.groundwork.taints import UNSCHEDULABLE, tolerates, untolerated
from jindou.control.controllers.scheduling.cluster import Cluster, NodeState
from jindou.control.controllers.scheduling.demands import Demand, HostPort
from jindou.control.controllers.scheduling.node_terms import matches_node
from jindou.control.controllers.scheduling.topology import Topology

Reasons = list[str]


def unschedulable(demand: Demand, node: NodeState) -> Reasons:
    taint = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
    if node.unschedulable and not any(tolerates(one, taint) for one in demand.tolerations):
        return ["node(s) were unschedulable"]
    return []


def tainted(demand: Demand, node: NodeState) -> Reasons:
    taint = untolerated(node.taints, demand.tolerations) if node.taints else None
    if taint is None:
        return []
    return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"]


def other_node(demand: Demand, node: NodeState) -> Reasons:
    if demand.node_name and demand.node_name != node.name:
        return ["node(s) didn't match the requested node name"]
    return []


def affinity(demand: Demand, node: NodeState) -> Reasons:
    if matches_node(demand, node):
        return []
    return ["node(s) didn't match Pod's node affinity/selector"]


def ports(demand: Demand, node: NodeState) -> Reasons:
    if not demand.ports:
        return []
    taken = list(node.ports())
    if any(_clash(one, other) for one in demand.ports for other in taken):
        return ["node(s) didn't have free ports for the requested pod ports"]
    return []


def _clash(one: HostPort, other: HostPort) -> bool:
    everywhere = ("0.0.0.0", "::", "")
    return one[1:] == other[1:] and (
        one[0] == other[0] or one[0] in everywhere or other[0] in everywhere
    )


def resources(demand: Demand, node: NodeState) -> Reasons:
    found = []
    allocatable = node.allocatable
    if len(node.pods) + 1 > allocatable.get("pods", 0):
        found.append("Too many pods")
    for name, value in demand.requests.items():
        if value and value > allocatable.get(name, 0) - node.requested.get(name, 0):
            found.append(f"Insufficient {name}")
    return found


ALONE: tuple[Callable[[Demand, NodeState], Reasons], ...] = (
    unschedulable,
    other_node,
    tainted,
    affinity,
    ports,
    resources,
)


def plan_feasible(
    demand: Demand, cluster: Cluster
) -> tuple[list[NodeState], Counter[str], Topology | None]:
    """The nodes that can take it, and how many can't for what reason."""
    why: Counter[str] = Counter()
    found: list[NodeState] = []
    nodes = cluster.usable()
    topology = Topology.of(demand, cluster, nodes)
    for node in nodes:
        reasons: Reasons = []
        for rule in ALONE:
            reasons = rule(demand, node)
            if reasons:
                break
        if not reasons and topology is not None:
            reasons = topology.refuses(node)
        if reasons:
            why.update(reasons)
        else:
            found.append(node)
    return found, why, topology


def message(total: int, why: Mapping[str, int]) -> str:
    """As `describe` shows it: 0/3 nodes are available: 1 Insufficient cpu, 2 ..."""
    if not total:
        return "no nodes available to schedule pods"
    reasons: Sequence[str] = sorted(f"{count} {reason}" for reason, count in why.items())
    return f"0/{total} nodes are available: {', '.join(reasons)}."
