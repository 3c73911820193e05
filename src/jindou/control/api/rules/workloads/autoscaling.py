"""Rules of HorizontalPodAutoscalers: bounds, metrics and how fast they are followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jindou.control.api.rules.cluster.quotas import resource_name
from jindou.control.api.rules.names import (
    forbidden,
    invalid,
    label,
    path_segment,
    required,
    unsupported,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object
from jindou.objects.quantities import parse

SOURCES = {
    "ContainerResource": "containerResource", "External": "external", "Object": "object", "Pods": "pods",
    "Resource": "resource",
}  # fmt: skip
TARGETS = ("Utilization", "Value", "AverageValue")
METRICS_NOTE = "autoscaling.alpha.kubernetes.io/metrics"  # what version 1 can't say
LONGEST_WINDOW, LONGEST_PERIOD = 3600, 1800
NEITHER = "must set either a target raw value or a target utilization"
BOTH = "may not set both a target raw value and a target utilization"
ZERO = "must specify at least one Object or External metric to support scaling to zero replicas"


def autoscaler(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    found: list[Fault] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 0:
        found.append(invalid("spec.minReplicas", least, "must be greater than or equal to 0"))
    if least is not None and most < least:
        says = "must be greater than or equal to `minReplicas`"
        found.append(invalid("spec.maxReplicas", most, says))
    if not most:
        found.append(required("spec.maxReplicas"))
    elif most < 0:
        found.append(invalid("spec.maxReplicas", most, "must be greater than or equal to 1"))
    found += reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef", grouped=True)
    metrics = spec.get("metrics") or ()
    for n, metric in enumerate(metrics):
        found += measure(metric, f"spec.metrics[{n}]")
    if (share := spec.get("targetCPUUtilizationPercentage")) is not None and share < 1:
        at = "spec.metrics[0].resource.target.averageUtilization"
        found.append(invalid(at, share, "must be greater than 0"))
    noted = METRICS_NOTE in ((obj.get("metadata") or {}).get("annotations") or {})
    scalable = noted or any(metric.get("type") in ("Object", "External") for metric in metrics)
    if least == 0 and not scalable:
        found.append(forbidden("spec.metrics", ZERO))
    for side in ("scaleUp", "scaleDown"):
        if (rules := (spec.get("behavior") or {}).get(side)) is not None:
            found += followed(rules, f"spec.behavior.{side}")
    return found


def reference(target: Object, at: str, *, grouped: bool) -> Iterator[Fault]:
    for name in ("kind", "name"):
        if not (value := target.get(name)):
            yield required(f"{at}.{name}")
        elif wrong := path_segment(value):
            yield invalid(f"{at}.{name}", value, wrong)
    version = target.get("apiVersion", "")
    replication = target.get("kind") == "ReplicationController" and version == "v1"
    if grouped and "/" not in version and not replication:
        yield invalid(f"{at}.apiVersion", version, "apiVersion must specify API group")


def measure(metric: Object, at: str) -> Iterator[Fault]:
    kind = metric.get("type", "")
    if not kind:
        yield required(f"{at}.type", "must specify a metric source type")
    if kind not in SOURCES:
        yield unsupported(f"{at}.type", kind, tuple(SOURCES))
    present = [part for part in ("object", "external", "pods", "resource", "containerResource") if metric.get(part) is not None]  # fmt: skip
    if present:
        yield from source(present[0], metric[present[0]], f"{at}.{present[0]}")
    part = SOURCES.get(kind)
    if part is not None and part not in present:
        yield required(f"{at}.{part}", "must populate information for the given metric source")
    if len(present) != 1:
        for other in present:
            if other != part:
                yield forbidden(f"{at}.{other}", "must populate the given metric source only")


def source(part: str, held: Object, at: str) -> Iterator[Fault]:
    target = held.get("target") or {}
    percent, average = target.get("averageUtilization"), target.get("averageValue")
    if part in ("resource", "containerResource"):
        if not held.get("name"):
            yield required(f"{at}.name", "must specify a resource name")
        elif part == "containerResource":
            yield from resource_name(held["name"], f"{at}.name")
        if part == "containerResource":
            if not (container := held.get("container")):
                yield required(f"{at}.container", "must specify a container")
            elif wrong := label(container):
                yield invalid(f"{at}.container", container, wrong)
    else:
        if part == "object":
            yield from reference(
                held.get("describedObject") or {}, f"{at}.describedObject", grouped=False
            )
        name = (held.get("metric") or {}).get("name", "")
        if not name:
            yield required(f"{at}.metric.name", "must specify a metric name")
        elif wrong := path_segment(name):
            yield invalid(f"{at}.metric.name", name, wrong)
    yield from aim(target, f"{at}.target")
    if part in ("resource", "containerResource"):
        if percent is None and average is None:
            yield required(f"{at}.target.averageUtilization", NEITHER)
        elif percent is not None and average is not None:
            yield forbidden(f"{at}.target.averageValue", BOTH)
    elif part == "pods":
        if average is None:
            says = "must specify a positive target averageValue"
            yield required(f"{at}.target.averageValue", says)
    elif target.get("value") is None and average is None:
        what = "value or averageValue" if part == "object" else "value for metric or a per-pod target"  # fmt: skip
        yield required(f"{at}.target.averageValue", f"must set either a target {what}")
    elif part == "external" and target.get("value") is not None and average is not None:
        says = "may not set both a target value for metric and a per-pod target"
        yield forbidden(f"{at}.target.value", says)


def aim(target: Object, at: str) -> Iterator[Fault]:
    kind = target.get("type", "")
    if not kind:
        yield required(f"{at}.type", "must specify a metric target type")
    if kind not in TARGETS:
        yield invalid(f"{at}.type", kind, "must be either Utilization, Value, or AverageValue")
    for name in ("value", "averageValue"):
        if (value := target.get(name)) is not None and parse(value) <= 0:
            yield invalid(f"{at}.{name}", value, "must be positive")
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        yield invalid(f"{at}.averageUtilization", percent, "must be greater than 0")


def followed(rules: Object, at: str) -> Iterator[Fault]:
    yield from seconds(rules.get("stabilizationWindowSeconds"), f"{at}.stabilizationWindowSeconds", 0, LONGEST_WINDOW)  # fmt: skip
    policy = rules.get("selectPolicy")
    if policy is not None and policy not in ("Max", "Min", "Disabled"):
        yield unsupported(f"{at}.selectPolicy", policy, ("Disabled", "Max", "Min"))
    if not rules.get("policies"):
        yield required(f"{at}.policies", "must specify at least one Policy")
    for n, step in enumerate(rules.get("policies") or ()):
        field = f"{at}.policies[{n}]"
        if step.get("type") not in ("Pods", "Percent"):
            yield unsupported(f"{field}.type", step.get("type", ""), ("Percent", "Pods"))
        if step.get("value", 0) <= 0:
            yield invalid(f"{field}.value", step.get("value", 0), "must be greater than zero")
        yield from seconds(step.get("periodSeconds", 0), f"{field}.periodSeconds", 1, LONGEST_PERIOD)  # fmt: skip
    tolerance = rules.get("tolerance")
    if tolerance is not None and parse(tolerance) < 0:
        yield invalid(f"{at}.tolerance", tolerance, "must be greater than or equal to 0")


def seconds(value: Any, at: str, least: int, most: int) -> Iterator[Fault]:
    if value is None:
        return
    if value < least:
        bound = "greater than zero" if least else "greater than or equal to zero"
        yield invalid(at, value, f"must be {bound}")
    if value > most:
        yield invalid(at, value, f"must be less than or equal to {most}")
