"""What a request to a server behind this one is about, in the words of RBAC: told by its path alone. Pure."""

from __future__ import annotations

from jindou.control.api.access.guard import Asked

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def asked_of(method: str, path: str, watching: bool) -> Asked:
    """`/apis/GROUP/VERSION` and what may follow it."""
    parts = [part for part in path.split("/") if part]
    group, rest = parts[1], parts[3:]
    if not rest:
        verb = "get" if method in ("GET", "HEAD") else method.lower()
        return Asked(verb, path=path)
    if rest[0] == "watch" and len(rest) > 1:
        watching, rest = True, rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    resource = f"{rest[0]}/{rest[2]}" if len(rest) > 2 else rest[0]
    if method in ("GET", "HEAD"):
        verb = "watch" if watching and not name else "get" if name else "list"
    elif method == "DELETE":
        verb = "delete" if name else "deletecollection"
    else:
        verb = VERBS.get(method, method.lower())
    return Asked(verb, group, resource, namespace, name)
