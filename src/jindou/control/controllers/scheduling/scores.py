"""Which of the nodes that can take a Pod is the best: each rule gives 0 to 100, times its weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import pstdev

from jindou.control.controllers.groundwork.taints import tolerates
from jindou.control.controllers.scheduling.cluster import Cluster, NodeState
from jindou.control.controllers.scheduling.demands import Demand
from jindou.control.controllers.scheduling.node_terms import matches_term
from jindou.control.controllers.scheduling.topology import crowding, preference

Scores = list[float]
MB = 1024 * 1024


def least_allocated(demand: Demand, nodes: Sequence[NodeState]) -> Scores:
    return [
        sum(100 * (1 - used) for used in _used(demand, node)) / 2 if _used(demand, node) else 0.0
        for node in nodes
    ]


def balanced(demand: Demand, nodes: Sequence[NodeState]) -> Scores:
    return [100 * (1 - pstdev(_used(demand, node) or [0.0])) for node in nodes]


def _used(demand: Demand, node: NodeState) -> list[float]:
    """The share of cpu and memory in use once the Pod is there, at most 1."""
    found = []
    for name, held, asked in zip(("cpu", "memory"), node.nonzero, demand.nonzero):
        total = node.allocatable.get(name, 0)
        if total:
            found.append(min((held + asked) / total, 1.0))
    return found


def preferred_nodes(demand: Demand, nodes: Sequence[NodeState]) -> Scores:
    if not demand.node_preferred:
        return [0.0] * len(nodes)
    return _stretch(
        [
            float(
                sum(
                    term["weight"]
                    for term in demand.node_preferred
                    if matches_term(term["preference"], node)
                )
            )
            for node in nodes
        ]
    )


def fewer_taints(demand: Demand, nodes: Sequence[NodeState]) -> Scores:
    counts = [
        float(
            sum(
                taint["effect"] == "PreferNoSchedule"
                and not any(tolerates(one, taint) for one in demand.tolerations)
                for taint in node.taints
            )
        )
        for node in nodes
    ]
    return _reverse(counts)


def images(demand: Demand, nodes: Sequence[NodeState]) -> Scores:
    """Images that are there already, by size, between 23 MB and 1000 MB for each container."""
    most = 1000 * MB * max(len(demand.images), 1)
    found = []
    for node in nodes:
        held = sum(node.images.get(name, 0) for name in demand.images)
        found.append(100 * (min(max(held, 23 * MB), most) - 23 * MB) / (most - 23 * MB))
    return found


ALONE: tuple[tuple[int, Callable[[Demand, Sequence[NodeState]], Scores]], ...] = (
    (1, least_allocated),
    (1, balanced),
    (2, preferred_nodes),
    (3, fewer_taints),
    (1, images),
)


def plan_best(demand: Demand, nodes: Sequence[NodeState], cluster: Cluster) -> NodeState:
    """Among equals the one with the fewest Pods, then by name: the same question, the same answer."""
    if len(nodes) == 1:
        return nodes[0]
    totals = [0.0] * len(nodes)
    for weight, rule in ALONE:
        for n, score in enumerate(rule(demand, nodes)):
            totals[n] += weight * score
    if demand.preferred_affinity or demand.preferred_anti_affinity:
        near = _stretch([float(preference(demand, node, cluster)) for node in nodes])
        totals = [total + 2 * score for total, score in zip(totals, near)]
    if demand.spread:
        thin = _reverse([crowding(demand, node, cluster.usable()) for node in nodes])
        totals = [total + 2 * score for total, score in zip(totals, thin)]
    best = min(range(len(nodes)), key=lambda n: (-totals[n], len(nodes[n].pods), nodes[n].name))
    return nodes[best]


def _stretch(values: Scores) -> Scores:
    """To 0..100, the least to the most."""
    least, most = min(values), max(values)
    if most == least:
        return [0.0] * len(values)
    return [100 * (value - least) / (most - least) for value in values]


def _reverse(values: Scores) -> Scores:
    most = max(values)
    return [100 * (1 - value / most) if most else 100.0 for value in values]
