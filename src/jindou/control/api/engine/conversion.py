"""One object in several API versions: what is kept is the storage version, the rest is translated.

Custom resources change only their apiVersion (conversion strategy None). Of the built-in kinds two
have a second form: an Event of events.k8s.io, and a HorizontalPodAutoscaler of autoscaling/v1.
Sources: the Kubernetes API reference of both versions of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from jindou.control.api.engine import autoscaler_notes as notes_of
from jindou.control.api.resources.registry import Resource
from jindou.objects.kinds import Object

Convert = Callable[[Object], Object]


def to_storage(resource: Resource, obj: Object) -> Object:
    """From the version of `resource` to what is kept; returns `obj` itself where they are the same."""
    kind = resource.kind
    convert = TO_STORAGE.get((kind.group, kind.version, kind.plural))
    return convert(obj) if convert else obj


def from_storage(resource: Resource, obj: Object) -> Object:
    kind = resource.kind
    convert = FROM_STORAGE.get((kind.group, kind.version, kind.plural))
    found = convert(obj) if convert else obj
    found["apiVersion"], found["kind"] = kind.api_version, kind.name
    return found


def translated(source: Resource, target: Resource, obj: Object) -> Object:
    """From one version to another of the same objects; a copy, as far as it is changed."""
    return from_storage(target, dict(to_storage(source, obj)))


async def converted(source: Resource, target: Resource, obj: Object) -> Object:
    """The same, also where a webhook converts."""
    if source.conversion is not None:
        return (await source.conversion.convert([obj], target.kind.api_version))[0]
    return translated(source, target, obj)


def _renamed(obj: Object, names: dict[str, str]) -> Object:
    return {names.get(name, name): held for name, held in obj.items()}


EVENT_NAMES = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
EVENT_BACK = {new: old for old, new in EVENT_NAMES.items()}


def event_to_core(obj: Object) -> Object:
    return _renamed(obj, EVENT_NAMES)


def event_from_core(obj: Object) -> Object:
    return _renamed(obj, EVENT_BACK)


HELD = {
    "conditions": "autoscaling.alpha.kubernetes.io/conditions",
    "behavior": "autoscaling.alpha.kubernetes.io/behavior",
    "metrics": "autoscaling.alpha.kubernetes.io/metrics",
    "currentMetrics": "autoscaling.alpha.kubernetes.io/current-metrics",
}


def autoscaler_from_v2(obj: Object) -> Object:
    """autoscaling/v1 has one CPU target; what it can't say travels in annotations."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    meta = dict(obj["metadata"])
    notes = dict(meta.get("annotations") or {})
    metrics, behavior = spec.pop("metrics", None) or [], spec.pop("behavior", None)
    others = [m for m in metrics if _cpu(m, "target") is None]
    for metric in metrics:
        if (target := _cpu(metric, "target")) is not None:
            spec["targetCPUUtilizationPercentage"] = target
    current = status.pop("currentMetrics", None) or []
    for metric in current:
        if (used := _cpu(metric, "current")) is not None:
            status["currentCPUUtilizationPercentage"] = used
    status = {"currentReplicas": 0, "desiredReplicas": 0, **status}
    kept: dict[str, Any] = {
        "metrics": [notes_of.old_metric(m, "target") for m in others],
        "behavior": behavior and notes_of.old_behavior(behavior),
        "conditions": status.pop("conditions", None),
        "currentMetrics": [notes_of.old_metric(m, "current") for m in current],
    }
    notes |= {HELD[name]: orjson.dumps(held).decode() for name, held in kept.items() if held}
    if notes:
        meta["annotations"] = notes
    return {
        **obj,
        "metadata": meta,
        "spec": spec,
        **({"status": status} if "status" in obj else {}),
    }


def autoscaler_to_v2(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    meta = dict(obj["metadata"])
    notes = dict(meta.get("annotations") or {})
    held = {name: _told(notes.pop(key)) for name, key in HELD.items() if key in notes}
    held = {name: value for name, value in held.items() if value is not None}
    target = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = [notes_of.new_metric(m, "target") for m in listed(held.get("metrics"))]
    if target is not None:
        wanted = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}
        metrics.append({"type": "Resource", "resource": wanted})
    if metrics:
        spec["metrics"] = metrics
    if "behavior" in held:
        spec["behavior"] = notes_of.new_behavior(held["behavior"])
    status.pop("currentCPUUtilizationPercentage", None)
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    if "conditions" in held:
        status["conditions"] = held["conditions"]
    if told := listed(held.get("currentMetrics")):
        status["currentMetrics"] = [notes_of.new_metric(m, "current") for m in told]
    meta.pop("annotations", None)
    if notes:
        meta["annotations"] = notes
    return {**obj, "metadata": meta, "spec": spec, **({"status": status} if status else {})}


def listed(held: Any) -> list[Object]:
    return [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []


def _told(note: Any) -> Any:
    """What an annotation holds; a user may have written anything into it."""
    try:
        return orjson.loads(note)
    except (orjson.JSONDecodeError, TypeError):
        return None


def _cpu(metric: Object, part: str) -> int | None:
    held = metric.get("resource") or {}
    if metric.get("type") != "Resource" or held.get("name") != "cpu":
        return None
    found: int | None = (held.get(part) or {}).get("averageUtilization")
    return found


TO_STORAGE: dict[tuple[str, str, str], Convert] = {
    ("events.k8s.io", "v1", "events"): event_to_core,
    ("autoscaling", "v1", "horizontalpodautoscalers"): autoscaler_to_v2,
}
FROM_STORAGE: dict[tuple[str, str, str], Convert] = {
    ("events.k8s.io", "v1", "events"): event_from_core,
    ("autoscaling", "v1", "horizontalpodautoscalers"): autoscaler_from_v2,
}
