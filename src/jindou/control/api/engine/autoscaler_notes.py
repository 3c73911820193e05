"""What autoscaling/v1 keeps in annotations, since its fields can't say it: metrics and behaviour of v2.

Metrics are written as its older types have them, behaviour as the server's own types are called; both
are read back, and so is what carries the names of v2. Source: the Kubernetes API reference of
autoscaling/v1 and v2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jindou.objects.kinds import Object

SOURCES = ("object", "pods", "resource", "containerResource", "external")
NEVER_EMPTY = {("object", "target"), ("object", "current"), ("external", "current")}


def old_metric(metric: Object, part: str) -> Object:
    """`part` is "target" in a spec and "current" in a status."""
    made: Object = {"type": metric["type"]}
    for name in SOURCES:
        held = metric.get(name)
        if not isinstance(held, dict):
            continue
        value = held.get(part) or {}
        old: Object = {}
        if name == "object":
            old["target"] = held.get("describedObject") or {}
        if "metric" in held:
            old["metricName"] = held["metric"].get("name", "")
            selector = held["metric"].get("selector")
            if selector is not None:
                old["metricSelector" if name == "external" else "selector"] = selector
        old |= {key: held[key] for key in ("name", "container") if key in held}
        average = "averageValue" if name == "object" else f"{part}AverageValue"
        for new, older in (
            ("value", f"{part}Value"), ("averageValue", average), ("averageUtilization", f"{part}AverageUtilization"),
        ):  # fmt: skip
            if value.get(new) is not None:
                old[older] = value[new]
        if (name, part) in NEVER_EMPTY:
            old.setdefault(f"{part}Value", "0")
        made[name] = old
    return made


def new_metric(old: Object, part: str) -> Object:
    made: Object = {"type": old.get("type", "")}
    for name in SOURCES:
        held = old.get(name)
        if isinstance(held, dict):
            made[name] = held if _is_new(held, name, part) else _new_source(held, name, part)
    return made


def _is_new(held: Object, name: str, part: str) -> bool:
    told = held.get("current") if part == "current" or name == "object" else held.get("target")
    return "metric" in held or (isinstance(told, dict) and name != "object")


def _new_source(held: Object, name: str, part: str) -> Object:
    made: Object = {key: held[key] for key in ("name", "container") if key in held}
    if name == "object":
        made["describedObject"] = held.get("target") or {}
    if "metricName" in held:
        selector = held.get("metricSelector" if name == "external" else "selector")
        shown = {} if selector is None else {"selector": selector}
        made["metric"] = {"name": held["metricName"], **shown}
    average = held.get("averageValue" if name == "object" else f"{part}AverageValue")
    value, used = held.get(f"{part}Value"), held.get(f"{part}AverageUtilization")
    told: Object = {}
    if value is not None and (average is None or str(value) != "0"):
        told["value"] = value
    if average is not None:
        told["averageValue"] = average
    if used is not None:
        told["averageUtilization"] = used
    if part == "target":
        kind = "Utilization" if used is not None else "Value" if "value" in told else "AverageValue"
        told = {"type": kind, **told}
    made[part] = told
    return made


def old_behavior(behavior: Object) -> Object:
    """With every field of the server's types."""
    made: Object = {}
    for name in ("scaleUp", "scaleDown"):
        rules = behavior.get(name)
        made[_capital(name)] = rules and {
            "StabilizationWindowSeconds": rules.get("stabilizationWindowSeconds"),
            "SelectPolicy": rules.get("selectPolicy"),
            "Policies": _renamed(rules.get("policies"), _capital),
            "Tolerance": rules.get("tolerance"),
        }
    return made


def new_behavior(old: Object) -> Any:
    return _renamed(old, lambda name: name[:1].lower() + name[1:])


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _renamed(value: Any, called: Callable[[str], str]) -> Any:
    """The same with other names of fields, and without those that are null."""
    if isinstance(value, dict):
        return {
            called(name): _renamed(held, called) for name, held in value.items() if held is not None
        }
    if isinstance(value, list):
        return [_renamed(held, called) for held in value]
    return value
