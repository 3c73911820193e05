"""What a StatefulSet does next: which of its numbered Pods are made, mended or taken away, and what
its status says. Decisions only.

OrderedReady goes from the lowest number up, one at a time, and waits for whoever is not available:
so a Pod that never gets ready holds up everything, its own mending included, until somebody deletes
it. Parallel waits for nobody.
Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR
from typing import NamedTuple

from jindou.control.controllers.groundwork import owners
from jindou.control.controllers.groundwork.pod_facts import PodFacts, facts_of
from jindou.control.controllers.groundwork.portions import portion
from jindou.control.controllers.workloads.pods import pod_from
from jindou.control.controllers.workloads.sets import claim_plans
from jindou.control.controllers.workloads.sets.claim_plans import claim_name
from jindou.control.controllers.workloads.sets.revisions import POD_LABEL, template_in
from jindou.objects.kinds import STATEFUL_SET, Object

NUMBERED = re.compile(r"(.*)-([0-9]+)")
NAME, INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


def ordinal_of(owner: Object, name: str) -> int:
    """-1: the name is not of this set."""
    match = NUMBERED.fullmatch(name)
    return int(match[2]) if match and match[1] == owner["metadata"]["name"] else -1


def start_of(owner: Object) -> int:
    return int((owner["spec"].get("ordinals") or {}).get("start") or 0)


def wanted(owner: Object) -> int:
    replicas = owner["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def in_range(owner: Object, ordinal: int) -> bool:
    return start_of(owner) <= ordinal < start_of(owner) + wanted(owner)


def parallel(owner: Object) -> bool:
    return bool(owner["spec"].get("podManagementPolicy") == "Parallel")


@dataclass
class Member:
    """One number of a set, and its Pod, if there is one."""

    ordinal: int
    pod: Object | None = None
    facts: PodFacts | None = None
    available: bool = False  # and not on its way out

    @property
    def ready(self) -> bool:
        return self.facts is not None and self.facts.phase == "Running" and self.facts.ready

    @property
    def deleting(self) -> bool:
        return self.facts is not None and self.facts.deleting

    @property
    def revision(self) -> str:
        return self.facts.labels.get(POD_LABEL, "") if self.facts else ""


@dataclass
class View:
    owner: Object
    current: Object  # revisions
    update: Object
    claims: Mapping[str, Object]  # by name
    now: float
    members: list[Member] = field(default_factory=list)  # by ordinal
    condemned: list[Member] = field(default_factory=list)  # beyond the range, highest first

    @property
    def everyone(self) -> list[Member]:
        return [*self.members, *self.condemned]


def view_of(
    owner: Object,
    current: Object,
    update: Object,
    pods: Sequence[Object],
    claims: Mapping[str, Object],
    now: float,
) -> View:
    least = owner["spec"].get("minReadySeconds") or 0
    view = View(owner, current, update, claims, now)
    held = {}
    for pod in pods:
        ordinal, facts = ordinal_of(owner, pod["metadata"]["name"]), facts_of(pod)
        available = facts.available(least, now) and not facts.deleting
        held[ordinal] = Member(ordinal, pod, facts, available)
    start = start_of(owner)
    view.members = [held.pop(n, Member(n)) for n in range(start, start + wanted(owner))]
    view.condemned = [held[n] for n in sorted(held, reverse=True) if n >= 0]
    return view


# ---------------------------------------------------------------- steps


class Step(NamedTuple):
    """`verb`: create, delete, mend (identity, volumes and claims) or claims (those that are missing)."""

    verb: str
    member: Member


def plan_steps(view: View) -> list[Step]:
    steps: list[Step] = []
    one_by_one = not parallel(view.owner)
    for member in view.members:
        waits = _plan_member(view, member, one_by_one, steps)
        if waits and one_by_one:
            return steps
    for member in view.condemned:
        if not _claims_fit(view, member):
            steps.append(Step("mend", member))
    if _plan_condemned(view, one_by_one, steps) and one_by_one:
        return steps
    if view.owner["spec"]["updateStrategy"]["type"] == "RollingUpdate":
        steps += _plan_update(view)
    return steps


def _plan_member(view: View, member: Member, one_by_one: bool, steps: list[Step]) -> bool:
    """True where those after it have to wait."""
    if member.pod is None or member.facts is None:
        if claim_plans.stale(view.owner, member.ordinal, view.claims):
            return True
        steps.append(Step("create", member))
        return True
    if member.facts.phase in ("Succeeded", "Failed"):
        if not member.deleting:
            steps.append(Step("delete", member))
        return True
    if member.facts.phase == "Pending" and _claims_missing(view, member):
        steps.append(Step("claims", member))
    if one_by_one and not (member.ready and member.available):
        return True
    if not (
        _identity_fits(member) and _volumes_fit(view.owner, member) and _claims_fit(view, member)
    ):
        steps.append(Step("mend", member))
    return False


def _plan_condemned(view: View, one_by_one: bool, steps: list[Step]) -> bool:
    first_unavailable = next(
        (m for m in [*view.members, *reversed(view.condemned)] if not m.available), None
    )
    for member in view.condemned:
        if member.deleting:
            if one_by_one:
                return True
            continue
        if one_by_one and not member.available and member is not first_unavailable:
            return True
        steps.append(Step("delete", member))
        if one_by_one:
            return True
    return False


def _plan_update(view: View) -> list[Step]:
    """Those of an old revision, from the highest number down to the partition, as few at once as
    may be away; in parallel, first those that are away already."""
    rolling = view.owner["spec"]["updateStrategy"].get("rollingUpdate") or {}
    most = max(portion(rolling.get("maxUnavailable") or 1, wanted(view.owner), ROUND_FLOOR), 1)
    update = view.update["metadata"]["name"]
    old = [
        member
        for place, member in reversed(list(enumerate(view.members)))
        if place >= int(rolling.get("partition") or 0)
        and member.pod is not None
        and member.revision != update
        and not member.deleting
    ]
    room = most - sum(not member.available for member in view.members)
    if not parallel(view.owner):
        return [Step("delete", member) for member in old[: max(room, 0)]]
    away = [member for member in old if not member.available]
    there = [member for member in old if member.available]
    return [Step("delete", member) for member in [*away, *there[: max(room, 0)]]]


def _identity_fits(member: Member) -> bool:
    assert member.facts is not None
    return member.facts.labels.get(NAME) == member.facts.name


def _volumes_fit(owner: Object, member: Member) -> bool:
    assert member.pod is not None
    held = {volume["name"]: volume for volume in member.pod["spec"].get("volumes") or ()}
    return all(
        (held.get(name, {}).get("persistentVolumeClaim") or {}).get("claimName")
        == claim_name(owner, name, member.ordinal)
        for name in claim_plans.templates_of(owner)
    )


def _claims_fit(view: View, member: Member) -> bool:
    assert member.pod is not None
    scaled_down = not in_range(view.owner, member.ordinal)
    return all(
        claim_plans.plan_owners(claim, view.owner, member.pod, scaled_down) is None
        for claim in claim_plans.held(view.owner, member.ordinal, view.claims)
    )


def _claims_missing(view: View, member: Member) -> bool:
    held = claim_plans.held(view.owner, member.ordinal, view.claims)
    return len(held) < len(claim_plans.templates_of(view.owner))


# ---------------------------------------------------------------- Pods


def pod_of(view: View, ordinal: int) -> Object:
    """A new Pod: of the current revision below the partition, else of the newest."""
    owner = view.owner
    revision = view.current if _stays(view, ordinal) else view.update
    spec = {**owner["spec"], "template": template_in(revision)}
    pod = pod_from({**owner, "spec": spec}, owners.reference_to(STATEFUL_SET, owner))
    name = f"{owner['metadata']['name']}-{ordinal}"
    pod["metadata"]["name"] = name
    pod["spec"] = {**pod["spec"], "hostname": name}
    if owner["spec"].get("serviceName"):
        pod["spec"]["subdomain"] = owner["spec"]["serviceName"]
    mend(owner, pod, ordinal)
    pod["metadata"]["labels"][POD_LABEL] = revision["metadata"]["name"]
    return pod


def _stays(view: View, ordinal: int) -> bool:
    strategy, start = view.owner["spec"]["updateStrategy"], start_of(view.owner)
    if strategy["type"] != "RollingUpdate":
        return False
    rolling = strategy.get("rollingUpdate")
    if rolling is None:
        return ordinal < start + int((view.owner.get("status") or {}).get("currentReplicas") or 0)
    return ordinal < start + int(rolling.get("partition") or 0)


def mend(owner: Object, pod: Object, ordinal: int) -> None:
    """Its labels and the volumes of its claims; in place."""
    meta, spec = pod["metadata"], pod["spec"]
    meta["labels"] = {**(meta.get("labels") or {}), NAME: meta["name"], INDEX: str(ordinal)}
    names = claim_plans.templates_of(owner)
    volumes: list[Object] = [
        {"name": name, "persistentVolumeClaim": {"claimName": claim_name(owner, name, ordinal)}}
        for name in names
    ]
    volumes += [volume for volume in spec.get("volumes") or () if volume["name"] not in names]
    if volumes:
        spec["volumes"] = volumes


# ---------------------------------------------------------------- status


def plan_status(view: View, steps: Sequence[Step], collisions: int) -> Object:
    """`steps` are those that are taken now: who is deleted does not count as of a revision."""
    going = {id(step.member) for step in steps if step.verb == "delete"}
    there = [member for member in view.everyone if member.pod is not None]
    staying = [m for m in there if not m.deleting and id(m) not in going]
    current, update = view.current["metadata"]["name"], view.update["metadata"]["name"]
    status: Object = {
        "observedGeneration": view.owner["metadata"].get("generation", 0),
        "replicas": len(there),
        "readyReplicas": sum(m.ready for m in there),
        "availableReplicas": sum(m.ready and (m.available or _old_enough(view, m)) for m in there),
        "currentReplicas": sum(m.revision == current for m in staying),
        "updatedReplicas": sum(m.revision == update for m in staying),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": collisions,
    }
    count = wanted(view.owner)
    if status["updatedReplicas"] == status["readyReplicas"] == status["replicas"] == count:
        status["currentReplicas"] = count
        status["currentRevision"] = update
    if held := (view.owner.get("status") or {}).get("conditions"):
        status["conditions"] = held
    kept = ("replicas", "availableReplicas", "collisionCount")
    return {name: value for name, value in status.items() if value or name in kept}


def _old_enough(view: View, member: Member) -> bool:
    assert member.facts is not None
    return member.facts.available(view.owner["spec"].get("minReadySeconds") or 0, view.now)


def next_available(view: View) -> float | None:
    """Seconds until the next ready Pod has been ready for long enough."""
    least = view.owner["spec"].get("minReadySeconds") or 0
    waits = [
        member.facts.ready_since + least - view.now
        for member in view.everyone
        if member.facts and member.ready and not member.deleting and not member.available
    ]
    return max(min(waits), 0.01) if waits else None
