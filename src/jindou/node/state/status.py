"""The status of a Pod, as the kubelet writes it, from the progress of its containers. Pure.

Sources: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ ; the sentences and
their order are the kubelet's, because people and programs match them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jindou.node.clock import stamp
from jindou.node.state import resources
from jindou.node.state.progress import Progress
from jindou.objects.kinds import Object


class Outcome(NamedTuple):
    """A phase that the containers don't decide: refused, past its deadline."""

    phase: str = ""
    reason: str = ""
    message: str = ""


class Seen(NamedTuple):
    """What the node knows about a Pod at one moment."""

    pod: Object
    progress: Mapping[str, Progress]
    sandbox: bool  # its network and volumes are there
    addresses: Sequence[str]
    host_addresses: Sequence[str]
    start_time: float
    begun: bool = False  # main containers have been started in this sandbox
    ending: bool = False  # nothing will be started again
    outcome: Outcome = Outcome()


def of_role(seen: Seen, *roles: str) -> list[Progress]:
    return [held for held in seen.progress.values() if held.role in roles]


def initialized(seen: Seen) -> bool:
    """All init containers are done and all sidecars started, or were once and the others went on."""
    return seen.begun or all(_init_complete(held) for held in of_role(seen, "init", "sidecar"))


def _init_complete(held: Progress) -> bool:
    if held.role == "sidecar":
        return held.started
    return held.phase == "exited" and held.code == 0


def decided(seen: Seen) -> Outcome:
    """An outcome is told when nothing runs any more: until then its resources are in use."""
    return Outcome() if any(_runs(held) for held in seen.progress.values()) else seen.outcome


def phase(seen: Seen) -> str:
    if outcome := decided(seen).phase:
        return outcome
    mains, inits = of_role(seen, "main"), of_role(seen, "init")
    never_ran = all(held.attempt < 0 for held in mains)
    if any(held.failed for held in inits) and never_ran:
        return "Failed"
    over = [held for held in mains if held.phase == "exited" and (held.done or seen.ending)]
    if mains and len(over) == len(mains):
        if any(_runs(held) for held in seen.progress.values()):
            return "Running"  # sidecars are still being stopped
        return "Failed" if any(held.code for held in over) else "Succeeded"
    if seen.ending and never_ran and not any(_runs(held) for held in seen.progress.values()):
        return "Failed"
    if not initialized(seen):
        return "Pending"
    fresh = [held for held in mains if held.phase in ("waiting", "starting") and not held.last]
    return "Pending" if fresh else "Running"


def _runs(held: Progress) -> bool:
    return held.phase in ("running", "starting")


def is_fresh(seen: Seen) -> bool:
    """Nothing has happened yet that anyone waits to hear of."""
    return phase(seen) == "Pending" and not any(
        held.waiting or held.terminated or held.phase == "running"
        for held in seen.progress.values()
    )


def container_status(held: Progress, seen: Seen, image: str) -> Object:
    runs = held.phase == "running"
    if held.role == "init":
        ready = held.phase == "exited" and held.code == 0
    else:
        ready = runs and held.ready
    state, last = _state(held, seen), held.last
    if "waiting" in state and held.phase == "exited":
        last = held.terminated
    status: Object = {
        "name": held.name,
        "state": state,
        "lastState": {"terminated": last} if last else {},
        "ready": ready,
        "restartCount": held.restarts,
        "image": held.image or image,
        "imageID": held.image_id,
        "started": runs and held.started,
    }
    if held.unit:
        status["containerID"] = f"jindou://{held.unit}"
    return status


def _state(held: Progress, seen: Seen) -> Object:
    if held.phase == "running":
        return {"running": {"startedAt": stamp(held.began)}}
    if held.phase == "exited" and (held.waiting is None or held.done or seen.ending):
        return {"terminated": held.terminated}
    if held.waiting is not None:
        message = {"message": held.waiting.message} if held.waiting.message else {}
        return {"waiting": {"reason": held.waiting.reason, **message}}
    before = bool(of_role(seen, "init", "sidecar"))
    return {"waiting": {"reason": "PodInitializing" if before else "ContainerCreating"}}


def terminated(held: Progress, code: int, reason: str, message: str, at: float) -> Object:
    """A ContainerStateTerminated."""
    found: Object = {
        "exitCode": code,
        "reason": reason,
        "startedAt": stamp(held.began),
        "finishedAt": stamp(at),
        "containerID": f"jindou://{held.unit}",
    }
    return {**found, "message": message} if message else found


def exit_reason(code: int, oom_killed: bool) -> str:
    if oom_killed:
        return "OOMKilled"
    return "Error" if code else "Completed"


def conditions(seen: Seen, pod_phase: str) -> list[Object]:
    """Without their times; the Pod's own ones only, not those which others set."""
    ready = _containers_ready(seen, pod_phase)
    return [
        _condition("PodReadyToStartContainers", seen.sandbox and not _over(seen, pod_phase)),
        _initialized_condition(seen, pod_phase),
        _ready_condition(seen, ready),
        {**ready, "type": "ContainersReady"},
        _condition("PodScheduled", True),
    ]


def _over(seen: Seen, pod_phase: str) -> bool:
    return pod_phase in ("Succeeded", "Failed")


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Object:
    found: Object = {"type": kind, "status": "True" if holds else "False"}
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    return found


def _initialized_condition(seen: Seen, pod_phase: str) -> Object:
    if pod_phase == "Succeeded" and initialized(seen):
        return _condition("Initialized", True, "PodCompleted")
    if initialized(seen):
        return _condition("Initialized", True)
    names = [held.name for held in of_role(seen, "init", "sidecar") if not _init_complete(held)]
    said = f"containers with incomplete status: [{' '.join(names)}]"
    return _condition("Initialized", False, "ContainersNotInitialized", said)


def _containers_ready(seen: Seen, pod_phase: str) -> Object:
    if pod_phase == "Succeeded":
        return _condition("ContainersReady", False, "PodCompleted")
    if pod_phase == "Failed":
        return _condition("ContainersReady", False, "PodFailed")
    unready = [
        held.name
        for held in of_role(seen, "sidecar", "main")
        if not (held.phase == "running" and held.ready)
    ]
    if not unready:
        return _condition("ContainersReady", True)
    said = f"containers with unready status: [{' '.join(unready)}]"
    return _condition("ContainersReady", False, "ContainersNotReady", said)


def _ready_condition(seen: Seen, containers: Object) -> Object:
    if containers["status"] != "True":
        return {**containers, "type": "Ready"}
    held = {
        condition["type"]: condition.get("status")
        for condition in (seen.pod.get("status") or {}).get("conditions") or ()
    }
    for gate in seen.pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in held:
            said = f'corresponding condition of pod readiness gate "{kind}" does not exist.'
        elif held[kind] != "True":
            said = f'the status of pod readiness gate "{kind}" is not "True", but {held[kind]}'
        else:
            continue
        return _condition("Ready", False, "ReadinessGatesNotReady", said)
    return _condition("Ready", True)


def status(seen: Seen, before: Mapping[str, Any], now: float) -> Object:
    """The whole status; times of conditions that did not change are those of `before`."""
    pod_phase = phase(seen)
    spec = seen.pod["spec"]
    images = {
        container["name"]: container.get("image", "")
        for part in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(part) or ()
    }

    def statuses(*roles: str) -> list[Object]:
        return [
            container_status(held, seen, images.get(held.name, ""))
            for held in of_role(seen, *roles)
        ]

    found: Object = {
        "phase": pod_phase,
        "conditions": _with_times(conditions(seen, pod_phase), before, now),
        "hostIP": seen.host_addresses[0] if seen.host_addresses else None,
        "hostIPs": [{"ip": address} for address in seen.host_addresses] or None,
        "podIP": seen.addresses[0] if seen.addresses else None,
        "podIPs": [{"ip": address} for address in seen.addresses] or None,
        "startTime": stamp(seen.start_time),
        "initContainerStatuses": statuses("init", "sidecar") or None,
        "containerStatuses": statuses("main") or None,
        "ephemeralContainerStatuses": statuses("ephemeral") or None,
        "qosClass": resources.qos_class(seen.pod),
        "reason": decided(seen).reason or None,
        "message": decided(seen).message or None,
    }
    if "generation" in seen.pod["metadata"]:
        found["observedGeneration"] = seen.pod["metadata"]["generation"]
    return found


def _with_times(found: list[Object], before: Mapping[str, Any], now: float) -> list[Object]:
    earlier = {held["type"]: held for held in before.get("conditions") or ()}
    for condition in found:
        old = earlier.get(condition["type"]) or {}
        same = old.get("status") == condition["status"] and old.get("lastTransitionTime")
        condition["lastProbeTime"] = None
        condition["lastTransitionTime"] = old["lastTransitionTime"] if same else stamp(now)
        # A strategic patch merges conditions by type: what is not said would stay.
        for name in ("reason", "message"):
            condition.setdefault(name, None)
    return found


def changes(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> Object:
    """The parts of the status to patch: None deletes one."""
    return {
        name: value
        for name, value in wanted.items()
        if (before.get(name) != value and name != "conditions" and (value or name in before))
        or (name == "conditions" and _changed(before.get(name) or (), value))
    }


def _changed(before: Sequence[Object], wanted: Sequence[Object]) -> bool:
    earlier = {held["type"]: held for held in before}
    return any(
        (earlier.get(condition["type"]) or {}).get(name) != value
        for condition in wanted
        for name, value in condition.items()
        if name != "lastProbeTime"
    )
