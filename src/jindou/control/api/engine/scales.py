"""The scale subresource: a Scale made of an object, and an object with the replicas of a Scale."""

from __future__ import annotations

from typing import Any

from jindou.control.api import status
from jindou.control.api.resources.jsonpath import find
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import copy
from jindou.control.api.rules.names import invalid
from jindou.objects import selectors
from jindou.objects.errors import InternalError
from jindou.objects.kinds import Kind, Object

SCALE = Kind("autoscaling", "v1", "Scale", "scales")


def scale_of(resource: Resource, obj: Object) -> Object:
    spec_path, status_path, selector_path = resource.scale_paths
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    wanted, now = first(obj, spec_path), first(obj, status_path)
    if wanted is None and resource.custom:
        raise InternalError(
            f'Internal error occurred: the spec replicas field "{spec_path}" does not exist'
        )
    report: dict[str, Any] = {"replicas": now or 0}
    if text := selector_of(resource, obj, selector_path):
        report["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"replicas": wanted} if wanted else {},
        "status": report,
    }


def first(obj: Object, path: str) -> Any:
    return next(iter(find(obj, path)), None) if path else None


def selector_of(resource: Resource, obj: Object, path: str) -> str:
    if path:
        return str(first(obj, path) or "")
    if resource.custom:
        return ""
    held = (obj.get("spec") or {}).get("selector") or {}
    if "matchLabels" not in held and "matchExpressions" not in held:
        return ",".join(f"{k}={v}" for k, v in sorted(held.items()))
    words = [f"{k}={v}" for k, v in sorted((held.get("matchLabels") or {}).items())]
    for requirement in selectors.from_expressions(held.get("matchExpressions") or ()):
        values = ",".join(sorted(requirement.values))
        words.append(
            requirement.key
            if requirement.operator == "exists"
            else f"!{requirement.key}"
            if requirement.operator == "!"
            else f"{requirement.key} {requirement.operator} ({values})"
        )
    return ",".join(words)


def scaled(resource: Resource, obj: Object, scale: Object) -> Object:
    """A copy of the object with the replicas that a Scale asks for. Raises Invalid."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    name = obj["metadata"]["name"]
    if not isinstance(replicas, int) or replicas < 0:
        if resource.custom:
            path = resource.scale_paths[0]
            fault = invalid(path, replicas, "should be a non-negative integer")
            raise status.invalid(resource.kind, name, [fault])
        fault = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise status.invalid(SCALE._replace(plural=resource.kind.plural), name, [fault])
    changed: Object = copy(obj)
    value: Any = changed
    *parents, last = resource.scale_paths[0].strip(".").split(".")
    for part in parents:
        value = value.setdefault(part, {})
    value[last] = replicas
    if revision := (scale.get("metadata") or {}).get("resourceVersion"):
        changed["metadata"]["resourceVersion"] = revision
    else:
        changed["metadata"].pop("resourceVersion", None)
    if uid := (scale.get("metadata") or {}).get("uid"):
        changed["metadata"]["uid"] = uid
    return changed
