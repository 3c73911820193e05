"""Nodes that are kept for Pods for which others have to go first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from jindou.control.controllers.scheduling.cluster import Cluster
from jindou.control.controllers.scheduling.demands import Demand


class Nomination(NamedTuple):
    demand: Demand
    node: str
    victims: frozenset[str] = frozenset()  # uids


class Nominations:
    def __init__(self) -> None:
        self._held: dict[str, Nomination] = {}

    def of(self, uid: str) -> Nomination | None:
        return self._held.get(uid)

    def keep(self, nomination: Nomination) -> None:
        self._held[nomination.demand.uid] = nomination

    def forget(self, uid: str) -> None:
        self._held.pop(uid, None)

    def less_important(self, demand: Demand, node: str) -> list[Demand]:
        """Those who wait for the same node and have to look for another."""
        return [
            held.demand
            for held in self._held.values()
            if held.node == node and held.demand.priority < demand.priority
        ]

    @contextmanager
    def counted(self, cluster: Cluster, demand: Demand) -> Iterator[None]:
        """The cluster as if all who are at least as important had got their nodes."""
        placed = [
            held
            for uid, held in self._held.items()
            if uid != demand.uid
            and held.demand.priority >= demand.priority
            and not cluster.holds(uid)
            and held.node in cluster.nodes
        ]
        for held in placed:
            cluster.place(held.demand, held.node)
        try:
            yield
        finally:
            for held in placed:
                cluster.remove(held.demand.uid)
