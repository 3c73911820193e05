"""Rules about where other Pods are: affinity, anti-affinity (both ways) and spreading.

All is counted once per Pod to be placed, by domain (one value of one node label), then asked for
each node. Most Pods have no such rule, and on most nodes no Pod has one: then nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jindou.control.controllers.groundwork.taints import untolerated
from jindou.control.controllers.scheduling.cluster import Cluster, NodeState
from jindou.control.controllers.scheduling.demands import AffinityTerm, Demand, Spread
from jindou.control.controllers.scheduling.node_terms import matches_node

Domain = tuple[str, str]  # label, value
NEAR = "node(s) didn't match pod affinity rules"
FAR = "node(s) didn't match pod anti-affinity rules"
REFUSED = "node(s) didn't satisfy existing pods anti-affinity rules"
SKEWED = "node(s) didn't match pod topology spread constraints"
UNLABELLED = f"{SKEWED} (missing required label)"


class Topology:
    """The counts for one Pod."""

    def __init__(self, demand: Demand, cluster: Cluster, nodes: Sequence[NodeState]) -> None:
        self._demand = demand
        self._cluster = cluster
        self._near = [self._count(term, nodes) for term in demand.affinity]
        self._far = [self._count(term, nodes) for term in demand.anti_affinity]
        self._refused = self._refusals(nodes)
        self._spreads = [
            (spread, self._spread_counts(spread, nodes))
            for spread in demand.spread
            if spread.required
        ]

    @classmethod
    def of(cls, demand: Demand, cluster: Cluster, nodes: Sequence[NodeState]) -> Topology | None:
        needed = demand.affinity or demand.anti_affinity or demand.spread
        if needed or any(node.anti for node in nodes):
            return cls(demand, cluster, nodes)
        return None

    def _count(self, term: AffinityTerm, nodes: Iterable[NodeState]) -> dict[str, int]:
        """Matching Pods by value of the term's label."""
        found: dict[str, int] = {}
        for node in nodes:
            value = node.labels.get(term.key)
            if value is None:
                continue
            count = sum(
                term.matches(pod.namespace, pod.labels, self._cluster.namespaces)
                for pod in node.pods.values()
            )
            found[value] = found.get(value, 0) + count
        return found

    def _refusals(self, nodes: Iterable[NodeState]) -> set[Domain]:
        """Domains from which a Pod that is there keeps this one away."""
        demand = self._demand
        return {
            (term.key, node.labels[term.key])
            for node in nodes
            if node.anti
            for pod in node.pods.values()
            for term in pod.anti_affinity
            if term.key in node.labels
            and term.matches(demand.namespace, demand.labels, self._cluster.namespaces)
        }

    def _spread_counts(self, spread: Spread, nodes: Iterable[NodeState]) -> dict[str, int]:
        found: dict[str, int] = {}
        for node in nodes:
            value = node.labels.get(spread.key)
            if value is None:
                continue
            if spread.honor_affinity and not matches_node(self._demand, node):
                continue
            if spread.honor_taints and untolerated(node.taints, self._demand.tolerations):
                continue
            found[value] = found.get(value, 0) + sum(
                pod.namespace == self._demand.namespace
                and spread.selector is not None
                and spread.selector.matches(pod.labels)
                for pod in node.pods.values()
            )
        return found

    def refuses(self, node: NodeState) -> list[str]:
        reason = self._skewed(node) or self._unwanted(node)
        return [reason] if reason else []

    def _skewed(self, node: NodeState) -> str:
        for spread, counts in self._spreads:
            value = node.labels.get(spread.key)
            if value is None:
                return UNLABELLED
            itself = spread.selector is not None and spread.selector.matches(self._demand.labels)
            least = min(counts.values(), default=0)
            if len(counts) < spread.least_domains:
                least = 0
            if counts.get(value, 0) + itself - least > spread.skew:
                return SKEWED
        return ""

    def _unwanted(self, node: NodeState) -> str:
        labels = node.labels
        for term, counts in zip(self._demand.affinity, self._near):
            if term.key not in labels:
                return NEAR
            if not counts.get(labels[term.key]) and not self._first_of_its_kind():
                return NEAR
        for term, counts in zip(self._demand.anti_affinity, self._far):
            if term.key in labels and counts.get(labels[term.key]):
                return FAR
        if any(labels.get(key) == value for key, value in self._refused):
            return REFUSED
        return ""

    def _first_of_its_kind(self) -> bool:
        """A Pod that wants to be near its own kind may be the first of them."""
        demand = self._demand
        return not any(count for counts in self._near for count in counts.values()) and all(
            term.matches(demand.namespace, demand.labels, self._cluster.namespaces)
            for term in demand.affinity
        )


def preference(demand: Demand, node: NodeState, cluster: Cluster) -> int:
    """The sum of the weights of preferred terms that hold on this node's domains."""
    total = 0
    for terms, sign in ((demand.preferred_affinity, 1), (demand.preferred_anti_affinity, -1)):
        for term in terms:
            value = node.labels.get(term.key)
            if value is None:
                continue
            matching = sum(
                term.matches(pod.namespace, pod.labels, cluster.namespaces)
                for other in cluster.usable()
                if other.labels.get(term.key) == value
                for pod in other.pods.values()
            )
            total += sign * term.weight * matching
    return total


def crowding(demand: Demand, node: NodeState, nodes: Iterable[NodeState]) -> float:
    """How many Pods like it are in this node's domains, for the spreads that are only preferred."""
    total = 0.0
    for spread in demand.spread:
        value = node.labels.get(spread.key)
        if spread.required or value is None or spread.selector is None:
            continue
        total += sum(
            pod.namespace == demand.namespace and spread.selector.matches(pod.labels)
            for other in nodes
            if other.labels.get(spread.key) == value
            for pod in other.pods.values()
        )
    return total
