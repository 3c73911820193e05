"""The columns of Pods and of what makes Pods.

Source: the Table type of meta.k8s.io/v1, https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from typing import Any

from jindou.control.api.resources.cells import (
    NONE,
    UNKNOWN,
    UNSET,
    Cells,
    age,
    columns_of,
    containers,
    created,
    human,
    label_selector,
    labels,
    seconds_of,
)
from jindou.control.api.resources.registry import Column
from jindou.objects.kinds import Object


def pod_reason(pod: Object) -> str:
    """What STATUS says of a Pod: the first thing that is not as it should be."""
    spec, status = pod["spec"], pod.get("status", {})
    reason = status.get("reason") or status.get("phase") or "Pending"
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    sidecars = {
        c["name"] for c in spec.get("initContainers", []) if c.get("restartPolicy") == "Always"
    }
    inits = status.get("initContainerStatuses", [])
    initializing = False
    for n, held in enumerate(inits):
        state = held.get("state", {})
        ended, waiting = state.get("terminated"), state.get("waiting")
        if (ended and ended.get("exitCode") == 0) or (
            held["name"] in sidecars and held.get("started")
        ):
            continue
        initializing = True
        if ended:
            reason = "Init:" + (
                ended.get("reason")
                or (
                    f"Signal:{ended['signal']}"
                    if ended.get("signal")
                    else f"ExitCode:{ended.get('exitCode', 0)}"
                )
            )
        elif waiting and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            reason = f"Init:{waiting['reason']}"
        else:
            reason = f"Init:{n}/{len(spec.get('initContainers', []))}"
        break
    if not initializing:
        running = False
        for held in reversed(status.get("containerStatuses", [])):
            state = held.get("state", {})
            ended, waiting = state.get("terminated"), state.get("waiting")
            if waiting and waiting.get("reason"):
                reason = waiting["reason"]
            elif ended:
                reason = ended.get("reason") or (
                    f"Signal:{ended['signal']}"
                    if ended.get("signal")
                    else f"ExitCode:{ended.get('exitCode', 0)}"
                )
            elif held.get("ready") and "running" in state:
                running = True
        if reason == "Completed" and running:
            ready = any(
                c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])
            )
            reason = "Running" if ready else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return str(reason)


def pod_cells(pod: Object, now: float) -> list[Any]:
    spec, status = pod["spec"], pod.get("status", {})
    sidecars = {
        c["name"] for c in spec.get("initContainers", []) if c.get("restartPolicy") == "Always"
    }
    counted = [
        *status.get("containerStatuses", []),
        *(s for s in status.get("initContainerStatuses", []) if s["name"] in sidecars),
    ]
    ready = sum(bool(s.get("ready")) and "running" in s.get("state", {}) for s in counted)
    restarts = sum(s.get("restartCount", 0) for s in counted)
    last = max(
        (
            s["lastState"]["terminated"].get("finishedAt") or ""
            for s in counted
            if s.get("lastState", {}).get("terminated")
        ),
        default="",
    )
    shown: Any = f"{restarts} ({age(last, now)} ago)" if restarts and last else str(restarts)
    gates = spec.get("readinessGates") or []
    true = {c["type"] for c in status.get("conditions", []) if c["status"] == "True"}
    met = sum(g["conditionType"] in true for g in gates)
    ips = status.get("podIPs") or []
    return [
        pod["metadata"]["name"],
        f"{ready}/{len(spec.get('containers', [])) + len(sidecars)}",
        pod_reason(pod),
        shown,
        created(pod, now),
        (ips[0]["ip"] if ips else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{met}/{len(gates)}" if gates else NONE,
    ]


def deployment_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    return [
        obj["metadata"]["name"], f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}",
        status.get("updatedReplicas", 0), status.get("availableReplicas", 0), created(obj, now),
        *containers(spec["template"]), label_selector(spec.get("selector")),
    ]  # fmt: skip


def replica_set_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    selector = spec.get("selector")
    shown = (
        label_selector(selector) if obj.get("kind") != "ReplicationController" else labels(selector)
    )
    return [
        obj["metadata"]["name"], spec.get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0),
        created(obj, now), *containers(spec.get("template", {})), shown,
    ]  # fmt: skip


def stateful_set_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    return [
        obj["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}",
        created(obj, now),
        *containers(spec["template"]),
    ]


def daemon_set_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    counts = [
        status.get(n, 0)
        for n in (
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
        )
    ]
    node = labels(spec["template"].get("spec", {}).get("nodeSelector"))
    return [
        obj["metadata"]["name"],
        *counts,
        node,
        created(obj, now),
        *containers(spec["template"]),
        label_selector(spec.get("selector")),
    ]


def job_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    completions = spec.get("completions")
    done = (
        f"{status.get('succeeded', 0)}/{completions}"
        if completions is not None
        else f"{status.get('succeeded', 0)}/1"
    )
    start, end = status.get("startTime"), status.get("completionTime")
    took = human((seconds_of(end) if end else now) - seconds_of(start)) if start else ""
    state = "Running"
    for condition in status.get("conditions", []):
        if condition["status"] == "True" and condition["type"] in (
            "Complete",
            "Failed",
            "Suspended",
            "FailureTarget",
            "SuccessCriteriaMet",
        ):
            state = condition["type"]
    return [
        obj["metadata"]["name"],
        state,
        done,
        took,
        created(obj, now),
        *containers(spec["template"]),
        label_selector(spec.get("selector")),
    ]


def cron_job_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    last = status.get("lastScheduleTime")
    template = spec["jobTemplate"]["spec"]["template"]
    return [
        obj["metadata"]["name"], spec["schedule"], spec.get("timeZone") or NONE, str(bool(spec.get("suspend"))),
        len(status.get("active") or []), age(last, now) if last else NONE, created(obj, now), *containers(template),
        label_selector(spec["jobTemplate"]["spec"].get("selector")),
    ]  # fmt: skip


MOST_METRICS = 2


def autoscaler_cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status", {})
    target = spec["scaleTargetRef"]
    currents = status.get("currentMetrics") or []
    metrics = spec.get("metrics") or []
    shown = [
        metric_text(metric, currents[n] if n < len(currents) else {})
        for n, metric in enumerate(metrics[:MOST_METRICS])
    ]
    more = f" + {len(metrics) - MOST_METRICS} more..." if len(metrics) > MOST_METRICS else ""
    return [
        obj["metadata"]["name"], f"{target['kind']}/{target['name']}", ", ".join(shown) + more or NONE, str(spec.get("minReplicas", UNSET)),
        spec.get("maxReplicas", 0), status.get("currentReplicas", 0), created(obj, now),
    ]  # fmt: skip


def metric_text(metric: dict[str, Any], current: dict[str, Any]) -> str:
    """What is and what is wanted of one metric: "cpu: 20%/50%"."""
    kind = metric["type"][0].lower() + metric["type"][1:]
    source = metric.get(kind, {})
    wanted, held = source.get("target", {}), current.get(kind, {}).get("current", {})
    named = f"{source.get('name', '')}: " if kind in ("resource", "containerResource") else ""
    if named and "averageValue" not in wanted:
        is_now = f"{held['averageUtilization']}%" if "averageUtilization" in held else UNKNOWN
        goal = f"{wanted['averageUtilization']}%" if "averageUtilization" in wanted else "<auto>"
        return f"{named}{is_now}/{goal}"
    part = "averageValue" if "averageValue" in wanted else "value"
    average = " (avg)" if kind in ("external", "object") and part == "averageValue" else ""
    return f"{named}{held.get(part, UNKNOWN)}/{wanted.get(part, '')}{average}"


WORKLOADS: dict[tuple[str, str], tuple[tuple[Column, ...], Cells]] = {
    ("", "Pod"): (columns_of("Name|Ready|Status|Restarts|Age|IP*|Node*|Nominated Node*|Readiness Gates*"), pod_cells),
    ("apps", "Deployment"): (columns_of("Name|Ready|Up-to-date|Available|Age|Containers*|Images*|Selector*"), deployment_cells),
    ("apps", "ReplicaSet"): (columns_of("Name|Desired:integer|Current:integer|Ready:integer|Age|Containers*|Images*|Selector*"), replica_set_cells),
    ("", "ReplicationController"): (columns_of("Name|Desired:integer|Current:integer|Ready:integer|Age|Containers*|Images*|Selector*"), replica_set_cells),
    ("apps", "StatefulSet"): (columns_of("Name|Ready|Age|Containers*|Images*"), stateful_set_cells),
    ("apps", "DaemonSet"): (columns_of("Name|Desired:integer|Current:integer|Ready:integer|Up-to-date:integer|Available:integer|Node Selector|Age|Containers*|Images*|Selector*"), daemon_set_cells),
    ("batch", "Job"): (columns_of("Name|Status|Completions|Duration|Age|Containers*|Images*|Selector*"), job_cells),
    ("batch", "CronJob"): (columns_of("Name|Schedule|Timezone|Suspend:boolean|Active:integer|Last Schedule|Age|Containers*|Images*|Selector*"), cron_job_cells),
    ("autoscaling", "HorizontalPodAutoscaler"): (columns_of("Name|Reference|Targets|MinPods|MaxPods|Replicas|Age"), autoscaler_cells),
}  # fmt: skip
