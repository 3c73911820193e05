"""Which nodes a Pod, or a volume, asks for by labels and names of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jindou.control.controllers.scheduling.cluster import NodeState
from jindou.control.controllers.scheduling.demands import Demand
from jindou.objects.selectors import OPERATORS, Requirement


def matches_node(demand: Demand, node: NodeState) -> bool:
    if demand.node_selector and not demand.node_selector.items() <= node.labels.items():
        return False
    terms = demand.node_required
    return terms is None or any(matches_term(term, node) for term in terms)


def matches_term(term: Mapping[str, Any], node: NodeState) -> bool:
    """An empty term matches nothing."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return _all(expressions, node.labels) and _all(fields, {"metadata.name": node.name})


def _all(expressions: Iterable[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    return all(
        Requirement(
            one["key"], OPERATORS[one["operator"]], frozenset(one.get("values") or ())
        ).matches(labels)
        for one in expressions
    )
