"""Which Pods of less importance would have to go so that one finds room, and on which node. Pure.

The cluster is changed while it is asked, and given back as it was. Source:
https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jindou.control.controllers.scheduling import filters
from jindou.control.controllers.scheduling.cluster import Cluster, NodeState
from jindou.control.controllers.scheduling.demands import Demand
from jindou.control.controllers.scheduling.topology import Topology
from jindou.objects.selectors import Selector, from_object

NO_HELP = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
FIXED = (filters.unschedulable, filters.other_node, filters.tainted, filters.affinity)
"""What nobody's going would change."""

Started = Callable[[Demand], float]


@dataclass
class Budget:
    """What a PodDisruptionBudget still allows."""

    namespace: str
    selector: Selector
    left: int
    noted: frozenset[str] = field(default_factory=frozenset)  # Pods that are counted already

    @classmethod
    def of(cls, obj: Any) -> Budget | None:
        selector = from_object((obj.get("spec") or {}).get("selector"))
        if not selector:
            return None
        status = obj.get("status") or {}
        allowed = int(status.get("disruptionsAllowed", 0))
        noted = frozenset(status.get("disruptedPods") or ())
        return cls(obj["metadata"]["namespace"], selector, allowed, noted)

    def covers(self, pod: Demand) -> bool:
        return pod.namespace == self.namespace and self.selector.matches(pod.labels)


class Choice(NamedTuple):
    node: str
    victims: list[Demand]  # the most important first
    violations: int  # of budgets


def plan_preemption(
    demand: Demand, cluster: Cluster, budgets: Sequence[Budget], started: Started
) -> tuple[Choice | None, Counter[str]]:
    """The node where the least is lost, or how many nodes are of no use for what reason."""
    why: Counter[str] = Counter()
    choices = []
    for node in cluster.usable():
        if any(rule(demand, node) for rule in FIXED):
            why[NO_HELP] += 1
            continue
        choice = _on(node, demand, cluster, budgets, started)
        if choice is None:
            why[NO_VICTIMS] += 1
        else:
            choices.append(choice)
    if not choices:
        return None, why
    return min(choices, key=lambda choice: cost(choice, started)), why


def cost(choice: Choice, started: Started) -> tuple[Any, ...]:
    """Fewest budgets broken, least important victims, fewest of them, the youngest."""
    first = choice.victims[0].priority
    important = [started(pod) for pod in choice.victims if pod.priority == first]
    return (
        choice.violations,
        first,
        sum(pod.priority + (1 << 31) for pod in choice.victims),
        len(choice.victims),
        -min(important),
    )


def _on(
    node: NodeState,
    demand: Demand,
    cluster: Cluster,
    budgets: Sequence[Budget],
    started: Started,
) -> Choice | None:
    lower = [pod for pod in node.pods.values() if pod.priority < demand.priority]
    if not lower:
        return None
    for pod in lower:
        cluster.remove(pod.uid)
    try:
        if not fits(demand, node, cluster):
            return None
        lower.sort(key=lambda pod: (-pod.priority, started(pod)))
        violating, others = split(lower, budgets)
        victims, violations = [], 0
        for pod in (*violating, *others):
            cluster.place(pod, node.name)
            if fits(demand, node, cluster):
                continue
            cluster.remove(pod.uid)
            victims.append(pod)
            violations += pod in violating
    finally:
        for pod in lower:
            cluster.place(pod, node.name)
    victims.sort(key=lambda pod: (-pod.priority, started(pod)))
    return Choice(node.name, victims, violations) if victims else None


def fits(demand: Demand, node: NodeState, cluster: Cluster) -> bool:
    if any(rule(demand, node) for rule in filters.ALONE):
        return False
    topology = Topology.of(demand, cluster, cluster.usable())
    return topology is None or not topology.refuses(node)


def split(pods: Iterable[Demand], budgets: Sequence[Budget]) -> tuple[list[Demand], list[Demand]]:
    """Those whose going would break a budget, and the others."""
    left = [budget.left for budget in budgets]
    violating: list[Demand] = []
    others: list[Demand] = []
    for pod in pods:
        broken = False
        for n, budget in enumerate(budgets):
            if budget.covers(pod) and pod.name not in budget.noted:
                left[n] -= 1
                broken = broken or left[n] < 0
        (violating if broken else others).append(pod)
    return violating, others
