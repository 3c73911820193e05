"""How many replicas a metric asks for, from what each Pod uses. Pure; values in thousandths.

Pods that tell nothing, or nothing that can be believed yet, count on the side of caution: as idle
where more would be started, as busy where some would be stopped.
Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jindou.control.controllers.groundwork import conditions, times
from jindou.objects.kinds import Object
from jindou.objects.quantities import milli, parse

TOLERANCE = 0.1
STARTING = 300.0  # seconds after its start in which a Pod's CPU is believed only while it is ready
FIRST_READY = 30.0  # seconds after its start in which unreadiness means that it was never ready
NO_METRICS = "no metrics returned from resource metrics API"
NO_PODS = "no pods returned by selector while calculating replica count"
NOT_YET = "did not receive metrics for targeted pods (pods might be unready)"


class Unknowable(Exception):
    """A metric says nothing; the message is why."""


class Metric(NamedTuple):
    value: int
    at: float = 0.0
    window: float = 60.0


class Tolerances(NamedTuple):
    down: float = TOLERANCE
    up: float = TOLERANCE

    def within(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Proposal(NamedTuple):
    replicas: int
    value: int  # per Pod
    utilization: int | None = None  # per cent of what is requested


class Groups(NamedTuple):
    ready: int
    unready: set[str]
    missing: set[str]
    ignored: set[str]


def tolerances_of(behavior: Mapping[str, Any] | None) -> Tolerances:
    def of(side: str) -> float:
        text = ((behavior or {}).get(side) or {}).get("tolerance")
        return TOLERANCE if text is None else float(parse(text))

    return Tolerances(of("scaleDown"), of("scaleUp"))


def metrics_of(items: Iterable[Object], resource: str, container: str = "") -> dict[str, Metric]:
    """By Pod, of all its containers or of one. Raises Unknowable."""
    held = list(items)
    if not held:
        raise Unknowable(f"unable to fetch metrics from resource metrics API: {NO_METRICS}")
    found = {}
    for item in held:
        told = [c for c in item["containers"] if container in ("", c["name"])]
        if not told or any(resource not in c["usage"] for c in told):
            continue
        value = sum(milli(c["usage"][resource]) for c in told)
        window = seconds_of(item.get("window", "60s"))
        found[item["metadata"]["name"]] = Metric(value, times.parse(item["timestamp"]), window)
    return found


def seconds_of(duration: str) -> float:
    minutes, mark, rest = duration.rpartition("m")
    seconds = float(rest.removesuffix("s") or 0)
    return seconds + 60 * float(minutes) if mark else seconds


def group(
    pods: Iterable[Object], metrics: Mapping[str, Metric], resource: str, now: float
) -> Groups:
    groups = Groups(0, set(), set(), set())
    ready = 0
    for pod in pods:
        name, phase = pod["metadata"]["name"], (pod.get("status") or {}).get("phase")
        if "deletionTimestamp" in pod["metadata"] or phase == "Failed":
            groups.ignored.add(name)
        elif phase == "Pending":
            groups.unready.add(name)
        elif name not in metrics:
            groups.missing.add(name)
        elif resource == "cpu" and not believed(pod, metrics[name], now):
            groups.unready.add(name)
        else:
            ready += 1
    return groups._replace(ready=ready)


def believed(pod: Object, metric: Metric, now: float) -> bool:
    """Is the Pod past what it does only when it starts?"""
    condition = conditions.find(pod, "Ready")
    started = times.parse((pod.get("status") or {}).get("startTime"))
    if condition is None or not started:
        return False
    changed = times.parse(condition.get("lastTransitionTime"))
    if started + STARTING > now:
        return condition["status"] != "False" and metric.at >= changed + metric.window
    return condition["status"] != "False" or started + FIRST_READY <= changed


def requests(pods: Iterable[Object], resource: str, container: str) -> dict[str, int]:
    """Raises Unknowable where one has none."""
    found = {}
    for pod in pods:
        name, spec = pod["metadata"]["name"], pod["spec"]
        whole = (spec.get("resources") or {}).get("requests")
        if whole and not container:
            if resource not in whole:
                raise Unknowable(f"missing pod-level request for {resource} in Pod {name}")
            found[name] = milli(whole[resource])
            continue
        sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy")]
        total, seen = 0, not container
        for held in [*spec["containers"], *sidecars]:
            if container not in ("", held["name"]):
                continue
            seen = True
            asked = ((held.get("resources") or {}).get("requests") or {}).get(resource)
            if asked is None:
                says = f"missing request for {resource} in container {held['name']} of Pod {name}"
                raise Unknowable(says)
            total += milli(asked)
        if not seen:
            raise Unknowable(f"container {container} not found in Pod {name}")
        found[name] = total
    return found


def utilization(
    metrics: Mapping[str, Metric], asked: Mapping[str, int], target: int
) -> tuple[float, int, int]:
    """Of the target, in per cent of what is requested, and per Pod. Raises Unknowable."""
    known = [(metric.value, asked[name]) for name, metric in metrics.items() if name in asked]
    total = sum(request for _, request in known)
    if not total:
        raise Unknowable("no metrics returned matched known pods")
    used = sum(value for value, _ in known)
    percent = used * 100 // total
    return percent / target, percent, used // len(known)


def plan_utilization(
    current: int,
    target: int,
    metrics: Mapping[str, Metric],
    pods: Sequence[Object],
    asked: Mapping[str, int],
    groups: Groups,
    tolerances: Tolerances,
) -> Proposal:
    held = believable(metrics, pods, groups)
    ratio, percent, value = utilization(held, asked, target)
    busy = {name: Metric(asked[name] * max(100, target) // 100) for name in groups.missing}
    filled = fill(held, groups, ratio, busy)
    again = ratio if filled is None else utilization(filled, asked, target)[0]
    count = groups.ready if filled is None else len(filled)
    wanted = replicas(current, ratio, again, count, tolerances, guessed=filled is not None)
    return Proposal(wanted, value, percent)


def plan_value(
    current: int,
    target: int,
    metrics: Mapping[str, Metric],
    pods: Sequence[Object],
    groups: Groups,
    tolerances: Tolerances,
) -> Proposal:
    held = believable(metrics, pods, groups)
    ratio, value = average(held, target)
    filled = fill(held, groups, ratio, dict.fromkeys(groups.missing, Metric(target)))
    again = ratio if filled is None else average(filled, target)[0]
    count = groups.ready if filled is None else len(filled)
    wanted = replicas(current, ratio, again, count, tolerances, guessed=filled is not None)
    return Proposal(wanted, value)


def average(metrics: Mapping[str, Metric], target: int) -> tuple[float, int]:
    value = sum(metric.value for metric in metrics.values()) // len(metrics)
    return value / target, value


def believable(
    metrics: Mapping[str, Metric], pods: Sequence[Object], groups: Groups
) -> dict[str, Metric]:
    """Raises Unknowable."""
    if not pods:
        raise Unknowable(NO_PODS)
    held = {n: m for n, m in metrics.items() if n not in groups.ignored | groups.unready}
    if not held:
        raise Unknowable(NOT_YET)
    return held


def fill(
    held: Mapping[str, Metric], groups: Groups, ratio: float, busy: Mapping[str, Metric]
) -> dict[str, Metric] | None:
    """With guesses for the Pods of which nothing is known; None where nothing has to be guessed."""
    up = bool(groups.unready) and ratio > 1.0
    if not up and not groups.missing:
        return None
    filled = dict(held)
    if ratio < 1.0:
        filled |= busy
    elif ratio > 1.0:
        filled |= dict.fromkeys(groups.missing, Metric(0))
    if up:
        filled |= dict.fromkeys(groups.unready, Metric(0))
    return filled


def replicas(
    current: int, ratio: float, again: float, count: int, tolerances: Tolerances, *, guessed: bool
) -> int:
    """`again` is the ratio with guesses: these may slow a change, and never turn it round."""
    if tolerances.within(again) or ratio < 1.0 < again or again < 1.0 < ratio:
        return current
    wanted = math.ceil(again * count)
    turned = (again < 1.0 and wanted > current) or (again > 1.0 and wanted < current)
    return current if guessed and turned else wanted
