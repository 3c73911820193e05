"""The kinds of metrics.k8s.io, for the registry: read only, and in no store.

Source: https://kubernetes.io/docs/reference/external-api/metrics.v1beta1/
"""

from __future__ import annotations

from typing import Any

from jindou.control.api.resources.registry import Column, Resource
from jindou.control.api.resources.schema import from_document
from jindou.objects.kinds import Kind

GROUP = "metrics.k8s.io"
VERSIONS = ("v1beta1", "v1")
VERBS = ("get", "list")
QUANTITY = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
USAGE: dict[str, Any] = {
    "type": "object",
    "description": "What is used: cpu in cores, memory in bytes.",
    "additionalProperties": QUANTITY,
}
COMMON: dict[str, Any] = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {"type": "object"},
    "timestamp": {
        "type": "string",
        "format": "date-time",
        "description": "The end of the time in which it was measured.",
    },
    "window": {"type": "string", "description": "How long that time was, as 15.3s."},
}
CONTAINERS: dict[str, Any] = {
    "type": "array",
    "description": "What each container of the Pod used.",
    "items": {
        "type": "object",
        "required": ["name", "usage"],
        "properties": {"name": {"type": "string"}, "usage": USAGE},
    },
}


def resources() -> list[Resource]:
    return [made for version in VERSIONS for made in (_nodes(version), _pods(version))]


def _nodes(version: str) -> Resource:
    kind = Kind(GROUP, version, "NodeMetrics", "nodes", False)
    columns = (_column("CPU", ".usage.cpu"), _column("Memory", ".usage.memory"))
    return _resource(kind, {"usage": USAGE}, columns)


def _pods(version: str) -> Resource:
    kind = Kind(GROUP, version, "PodMetrics", "pods")
    columns = (
        _column("CPU", ".containers[*].usage.cpu"),
        _column("Memory", ".containers[*].usage.memory"),
    )
    return _resource(kind, {"containers": CONTAINERS}, columns)


def _column(name: str, path: str) -> Column:
    return Column(name, description=f"{name} that is used", path=path)


def _resource(kind: Kind, more: dict[str, Any], columns: tuple[Column, ...]) -> Resource:
    names = ["metadata.name", *(["metadata.namespace"] if kind.namespaced else [])]
    document = {
        "type": "object",
        "description": f"What a {kind.plural[:-1]} used a moment ago.",
        "required": ["timestamp", "window", *more],
        "properties": {**COMMON, **more},
    }
    return Resource(
        kind,
        singular="",
        verbs=VERBS,
        own_schema=from_document(document),
        columns=(*columns, Column("Window", description="Over how long", path=".window")),
        selectable=frozenset(names),
        custom=True,
        computed=True,
        list_kind=f"{kind.name}List",
    )
