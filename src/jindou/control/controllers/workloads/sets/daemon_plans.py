"""What a DaemonSet does next: on which nodes a Pod is made or taken away, and what its status says.
Decisions only.

A node gets a Pod where its labels and name fit and its taints are tolerated; a Pod that is there stays
until a taint says NoExecute. A rollout deletes old Pods as long as few enough nodes are without an
available one, or, with a surge, makes the new Pod beside the old one first.
Source: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jindou.control.controllers.groundwork import owners, taints
from jindou.control.controllers.groundwork.pod_facts import PodFacts, facts_of
from jindou.control.controllers.groundwork.portions import portion
from jindou.control.controllers.scheduling.cluster import NodeState
from jindou.control.controllers.scheduling.node_terms import matches_term
from jindou.control.controllers.workloads.pods import pod_from
from jindou.control.controllers.workloads.sets.revisions import POD_LABEL
from jindou.objects.kinds import DAEMON_SET, Object

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
POD_GENERATION = "pod-template-generation"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
TOLERATED = (
    (taints.NOT_READY, "NoExecute"),
    (taints.UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (taints.UNSCHEDULABLE, "NoSchedule"),
)
HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")
BURST = 250  # Pods made or deleted in one look


def tolerations_of(spec: Object) -> list[Object]:
    """Those of the template, and those that all Pods of daemon sets have."""
    found = list(spec.get("tolerations") or ())
    for key, effect in (*TOLERATED, *((HOST_NETWORK,) if spec.get("hostNetwork") else ())):
        ours = {"key": key, "operator": "Exists", "effect": effect}
        same = [n for n, one in enumerate(found) if (one.get("key"), one.get("effect")) == (key, effect)
                and one.get("operator") == "Exists"]  # fmt: skip
        for n in same:
            found[n] = ours
        if not same:
            found.append(ours)
    return found


class Verdict(NamedTuple):
    should_run: bool
    may_stay: bool


def judge(owner: Object, node: NodeState) -> Verdict:
    spec = owner["spec"]["template"]["spec"]
    if spec.get("nodeName", node.name) != node.name:
        return Verdict(False, False)
    selector = spec.get("nodeSelector") or {}
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED) or {}
    terms = affinity.get("nodeSelectorTerms")
    if not selector.items() <= node.labels.items():
        return Verdict(False, False)
    if terms is not None and not any(matches_term(term, node) for term in terms):
        return Verdict(False, False)
    tolerated = tolerations_of(spec)
    if taints.untolerated(node.taints, tolerated) is None:
        return Verdict(True, True)
    return Verdict(False, taints.untolerated(node.taints, tolerated, ("NoExecute",)) is None)


def node_of(pod: Object) -> str:
    """Where it runs, or is meant to run."""
    if name := pod["spec"].get("nodeName"):
        return str(name)
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED) or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        for field_ in term.get("matchFields") or ():
            if field_["key"] == "metadata.name" and field_["operator"] == "In":
                return str(field_["values"][0])
    return ""


# ---------------------------------------------------------------- what there is


@dataclass
class View:
    owner: Object
    hash: str  # of the template of now
    nodes: Mapping[str, Verdict]
    now: float
    pods: dict[str, list[PodFacts]] = field(default_factory=dict)  # by node, oldest first

    @property
    def least(self) -> int:
        return int(self.owner["spec"].get("minReadySeconds") or 0)

    def updated(self, pod: PodFacts) -> bool:
        annotations = self.owner["metadata"].get("annotations") or {}
        generation = annotations.get(TEMPLATE_GENERATION)
        if generation is not None and pod.labels.get(POD_GENERATION) == generation:
            return True
        return pod.labels.get(POD_LABEL) == self.hash

    def available(self, pod: PodFacts) -> bool:
        return pod.available(self.least, self.now)

    def wanted(self) -> int:
        return sum(verdict.should_run for verdict in self.nodes.values())


def view_of(
    owner: Object, hash: str, nodes: Mapping[str, NodeState], pods: Sequence[Object], now: float
) -> View:
    view = View(owner, hash, {name: judge(owner, node) for name, node in nodes.items()}, now)
    for pod in pods:
        facts, node = facts_of(pod), node_of(pod)
        if node and not (facts.deleting and facts.phase in ("Succeeded", "Failed")):
            view.pods.setdefault(node, []).append(facts)
    for held in view.pods.values():
        held.sort(key=lambda pod: (not pod.node, pod.created, pod.name))
    return view


class Limits(NamedTuple):
    surge: int
    unavailable: int


def limits(view: View) -> Limits:
    """Both are rounded up; both zero would never move."""
    strategy = view.owner["spec"]["updateStrategy"]
    if strategy["type"] != "RollingUpdate":
        return Limits(0, 0)
    rolling, count = strategy.get("rollingUpdate") or {}, view.wanted()
    surge = portion(rolling.get("maxSurge") or 0, count)
    away = portion(rolling.get("maxUnavailable", 1), count)
    return Limits(surge, away or (1 if count and not surge else 0))


def surges(owner: Object) -> bool:
    strategy = owner["spec"]["updateStrategy"]
    rolling = strategy.get("rollingUpdate") or {}
    return strategy["type"] == "RollingUpdate" and rolling.get("maxSurge") not in (None, 0, "0%")


# ---------------------------------------------------------------- a Pod on each node


class Changes(NamedTuple):
    create: list[str]  # nodes
    delete: list[PodFacts]
    notes: list[tuple[str, str, str]] = []  # reason, message and type of events
    wait: float | None = None  # seconds until failed Pods may be replaced


Backoff = Callable[[str, PodFacts], float]  # seconds that a failed Pod on a node has to stay


def plan_nodes(view: View, backoff: Backoff) -> Changes:
    changes, waits = Changes([], [], []), []
    for name, verdict in view.nodes.items():
        held = view.pods.get(name, [])
        if not verdict.may_stay:
            changes.delete.extend(pod for pod in held if not pod.deleting)
        elif verdict.should_run and not held:
            changes.create.append(name)
        else:
            waits += _plan_node(view, name, held, changes, backoff)
    for name, held in view.pods.items():
        if name not in view.nodes:
            changes.delete.extend(pod for pod in held if not pod.node and not pod.deleting)
    return changes._replace(wait=min(waits, default=None))


def _plan_node(
    view: View, name: str, held: Sequence[PodFacts], changes: Changes, backoff: Backoff
) -> list[float]:
    waits, running = [], []
    for pod in (pod for pod in held if not pod.deleting):
        where = f"daemon pod {pod.namespace}/{pod.name} on node {name}"
        if pod.phase == "Failed":
            if wait := backoff(name, pod):
                waits.append(wait)
                continue
            text = f"Found failed {where}, will try to kill it"
            changes.notes.append(("FailedDaemonPod", text, "Warning"))
            changes.delete.append(pod)
        elif pod.phase == "Succeeded":
            text = f"Found succeeded {where}, will try to delete it"
            changes.notes.append(("SucceededDaemonPod", text, "Normal"))
            changes.delete.append(pod)
        else:
            running.append(pod)
    if not surges(view.owner):
        changes.delete.extend(running[1:])
    elif len(running) > 1:
        changes.delete.extend(_surplus(view, running))
    elif not running and view.nodes[name].should_run:
        changes.create.append(name)
    return waits


def _surplus(view: View, running: Sequence[PodFacts]) -> list[PodFacts]:
    """All but the oldest of the new and the oldest of the old; that one too, when it has done its time."""
    new = [pod for pod in running if pod.labels.get(POD_LABEL) == view.hash]
    old = [pod for pod in running if pod not in new]
    surplus = [*new[1:], *old[1:]]
    if new and old and (not old[0].ready or view.available(new[0])):
        surplus.append(old[0])
    return surplus


# ---------------------------------------------------------------- rollout


def plan_rollout(view: View) -> Changes:
    if view.owner["spec"]["updateStrategy"]["type"] != "RollingUpdate":
        return Changes([], [])
    limit = limits(view)
    return _plan_surge(view, limit.surge) if limit.surge else _plan_swap(view, limit.unavailable)


def _pair(view: View, held: Sequence[PodFacts]) -> tuple[list[PodFacts], list[PodFacts]]:
    """The new and the old ones that are not on their way out: at most one each, when all is well."""
    there = [pod for pod in held if not pod.deleting]
    return [p for p in there if view.updated(p)], [p for p in there if not view.updated(p)]


def _nodes(view: View) -> list[str]:
    wanted = [name for name, verdict in view.nodes.items() if verdict.should_run]
    return [*view.pods, *(name for name in wanted if name not in view.pods)]


def _plan_swap(view: View, most: int) -> Changes:
    unavailable, replace, candidates = 0, [], []
    for name in _nodes(view):
        new, old = _pair(view, view.pods.get(name, []))
        if len(new) + len(old) != 1:
            unavailable += 1  # the other plan sees to it
        elif new:
            unavailable += not view.available(new[0])
        elif not view.available(old[0]):
            replace.append(old[0])
            unavailable += 1
        else:
            candidates.append(old[0])
    return Changes([], [*replace, *candidates[: max(most - unavailable, 0)]])


def _plan_surge(view: View, most: int) -> Changes:
    surging, available = 0, 0
    at_once, candidates, delete, leaving = [], [], [], []
    for name in _nodes(view):
        new, old = _pair(view, view.pods.get(name, []))
        if len(new) > 1 or len(old) > 1:
            surging += 1
            continue
        available += any(view.available(pod) for pod in (old or new)[:1])
        if not old:
            continue
        if new:
            if view.available(new[0]):
                delete.append(old[0])
            else:
                surging += 1
            continue
        runs = view.nodes.get(name, Verdict(False, False)).should_run
        if not view.available(old[0]):
            if runs:
                at_once.append(name)
            else:
                delete.append(old[0])
        elif runs:
            candidates.append(name)
        else:
            leaving.append(old[0])
    delete += leaving[: max(available - view.wanted(), 0)]
    return Changes([*at_once, *candidates[: max(most - surging, 0)]], delete)


# ---------------------------------------------------------------- Pods and status


def pod_of(owner: Object, hash: str, node: str) -> Object:
    pod = pod_from(owner, owners.reference_to(DAEMON_SET, owner))
    labels = dict(pod["metadata"].get("labels") or {})
    generation = (owner["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION)
    if generation is not None:
        labels[POD_GENERATION] = generation
    pod["metadata"]["labels"] = labels | {POD_LABEL: hash}
    match = {"key": "metadata.name", "operator": "In", "values": [node]}
    spec = dict(pod["spec"])
    spec["tolerations"] = tolerations_of(spec)
    affinity = dict(spec.get("affinity") or {})
    terms = {"nodeSelectorTerms": [{"matchFields": [match]}]}
    affinity["nodeAffinity"] = {**(affinity.get("nodeAffinity") or {}), REQUIRED: terms}
    pod["spec"] = {**spec, "affinity": affinity}
    return pod


def plan_status(view: View, collisions: int) -> Object:
    right = {name for name, verdict in view.nodes.items() if verdict.should_run}
    first = {name: held[0] for name, held in view.pods.items() if name in view.nodes}
    there = [pod for name, pod in first.items() if name in right]
    available = sum(view.available(pod) for pod in there)
    status: Object = {
        "currentNumberScheduled": len(there),
        "numberMisscheduled": len(first) - len(there),
        "desiredNumberScheduled": len(right),
        "numberReady": sum(pod.ready for pod in there),
        "observedGeneration": view.owner["metadata"].get("generation", 0),
        "updatedNumberScheduled": sum(view.updated(pod) for pod in there),
        "numberAvailable": available,
        "numberUnavailable": len(right) - available,
        "collisionCount": collisions,
    }
    if held := (view.owner.get("status") or {}).get("conditions"):
        status["conditions"] = held
    kept = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    return {name: value for name, value in status.items() if value or name in kept}


def next_available(view: View) -> float | None:
    waits = [
        pod.ready_since + view.least - view.now
        for held in view.pods.values()
        for pod in held
        if pod.ready and not pod.deleting and not view.available(pod)
    ]
    return max(min(waits), 0.01) if waits else None
