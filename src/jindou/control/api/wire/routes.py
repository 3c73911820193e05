"""What a URL of the API is about: a resource, a namespace, a name, a subresource and what follows it.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from __future__ import annotations

from typing import NamedTuple

from jindou.control.api.access.guard import Asked
from jindou.control.api.resources.registry import Registry, Resource

MOST = 8192
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class Route(NamedTuple):
    resource: Resource
    namespace: str = ""
    name: str = ""
    part: str = ""
    rest: str = ""  # behind a proxy subresource, with its slash
    watching: bool = False  # by the path itself, /api/v1/watch/...

    def asked(self, verb: str) -> Asked:
        kind = self.resource.kind
        plural = f"{kind.plural}/{self.part}" if self.part else kind.plural
        return Asked(verb, kind.group, plural, self.namespace, self.name)

    def verb(self, method: str, watching: bool) -> str:
        """In the words of RBAC; "" for a method that no resource has."""
        if self.watching:
            return "watch" if method == "GET" else ""
        if method in ("GET", "HEAD"):
            return "watch" if watching else "get" if self.name else "list"
        if method == "DELETE":
            return "delete" if self.name else "deletecollection"
        return VERBS.get(method, "")

    def offers(self, verb: str) -> bool:
        """Is the verb one of this resource, and does it make sense at this URL?"""
        resource = self.resource
        sub = resource.subresources.get(self.part) if self.part else None
        if verb not in (sub.verbs if sub is not None else resource.verbs):
            return False
        if resource.kind.namespaced and not self.namespace:
            return verb in ("list", "watch")
        on_one = verb in ("get", "update", "patch", "delete") or bool(self.part)
        return verb in ("watch", "list") or on_one == bool(self.name)


class Routes:
    """Parsed URLs, remembered until the registry changes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._generation = -1
        self._known: dict[str, Route | None] = {}

    def find(self, path: str) -> Route | None:
        """Of a percent-decoded path; None where it names no resource."""
        known = self._known
        if self._generation != self._registry.generation or len(known) > MOST:
            known.clear()
            self._generation = self._registry.generation
        try:
            return known[path]
        except KeyError:
            found = known[path] = parse(path, self._registry)
            return found


def parse(path: str, registry: Registry) -> Route | None:
    parts = path.rstrip("/").split("/")[1:]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watching = rest[0] == "watch" and len(rest) > 1
    if watching:
        rest = rest[1:]
    namespace = ""
    if (
        rest[0] == "namespaces"
        and len(rest) >= 3
        and (group or rest[2] not in ("status", "finalize") or len(rest) > 3)
    ):
        namespace, rest = rest[1], rest[2:]
    resource = registry.by_url(group, version, rest[0])
    if resource is None or (namespace and not resource.kind.namespaced):
        return None
    name = rest[1] if len(rest) > 1 else ""
    part = rest[2] if len(rest) > 2 else ""
    if "" in parts[: len(parts) - len(rest) + 3]:
        return None
    tail = behind(path, len(parts) - len(rest) + 3) if part else ""
    if (name and resource.kind.namespaced and not namespace) or (
        part and (watching or part not in resource.subresources)
    ):
        return None
    return Route(resource, namespace, name, part, tail, watching)


def behind(path: str, count: int) -> str:
    """What follows the first `count` segments of a path, with its slash."""
    at = 0
    for _ in range(count):
        while path[at : at + 1] == "/":
            at += 1
        end = path.find("/", at)
        if end < 0:
            return ""
        at = end
    return path[at:]
