"""What a connection is asked with, as the object that admission is shown: PodExecOptions and the like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jindou.control.api.resources.registry import Resource
from jindou.objects.kinds import Object

Query = Mapping[str, Sequence[str]]
TRUE = ("", "true", "1", "t", "T", "TRUE", "True")
STREAMS = ("stdin", "stdout", "stderr", "tty")


def options_of(resource: Resource, part: str, query: Query, rest: str) -> Object:
    sub = resource.subresources[part]
    assert sub.kind is not None
    made: Object = {"kind": sub.kind.name, "apiVersion": "v1"}
    if part == "proxy":
        return {**made, **({"path": rest} if rest else {})}
    if part == "portforward":
        ports = [int(port) for text in query.get("ports", ()) for port in numbers(text)]
        return {**made, **({"ports": ports} if ports else {})}
    wished: dict[str, Any] = {name: True for name in STREAMS if asked(query, name)}
    if container := query.get("container"):
        wished["container"] = container[0]
    if command := query.get("command"):
        wished["command"] = list(command)
    return {**made, **wished}


def numbers(text: str) -> list[str]:
    return [port for port in text.split(",") if port.isdigit()]


def asked(query: Query, name: str) -> bool:
    return any(held in TRUE for held in query.get(name, ())[:1])
