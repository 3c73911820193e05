"""Discovery of this server and of those behind it, as one: in both forms, and the index of OpenAPI. Pure.

What a server behind has told once stays listed while it does not answer, as stale.
Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jindou.control.api.aggregation.objects import Remote, priority_of, version_priority_of
from jindou.objects.kinds import Object

Known = Mapping[tuple[str, str], Object]  # group, version -> its APIVersionDiscovery


def by_group(remotes: Iterable[Remote]) -> dict[str, list[Remote]]:
    found: dict[str, list[Remote]] = {}
    for remote in sorted(remotes, key=lambda r: (-r.version_priority, r.version)):
        found.setdefault(remote.group, []).append(remote)
    return found


def groups(local: Sequence[Object], remotes: Iterable[Remote]) -> list[Object]:
    """The groups of an APIGroupList."""
    found, theirs = list(local), by_group(remotes)
    priorities = _priorities(theirs)
    for name, held in theirs.items():
        names = [group["name"] for group in found]
        if name in names:
            at = names.index(name)
            found[at] = group_of(name, held, found[at])
        else:
            found.insert(_place(names, name, priorities), group_of(name, held, None))
    return found


def group_of(name: str, remotes: Sequence[Remote], local: Object | None) -> Object:
    made = [{"groupVersion": f"{name}/{r.version}", "version": r.version} for r in remotes]
    versions = _merged(name, (local or {}).get("versions") or (), made, remotes)
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def aggregated(
    local: Sequence[Object], remotes: Iterable[Remote], known: Known, current: set[tuple[str, str]]
) -> list[Object]:
    """The items of an APIGroupDiscoveryList; of those not in `current` what was known last is shown."""
    found, theirs = list(local), by_group(remotes)
    priorities = _priorities(theirs)
    for name, held in theirs.items():
        made = [
            {
                **known.get(r.place, {"version": r.version, "resources": []}),
                "freshness": "Current" if r.place in current else "Stale",
            }
            for r in held
        ]
        names = [group["metadata"].get("name", "") for group in found]
        if name in names:
            at = names.index(name)
            versions = _merged(name, found[at]["versions"], made, held)
            found[at] = {**found[at], "versions": versions}
        else:
            group = {"metadata": {"name": name}, "versions": made}
            found.insert(_place(names, name, priorities), group)
    return found


def _merged(
    group: str, local: Iterable[Object], made: Iterable[Object], remotes: Sequence[Remote]
) -> list[Object]:
    """Versions of this server and of others, in the order of their priority."""
    ours = {r.version: r.version_priority for r in remotes}
    every = [*(v for v in local if v["version"] not in ours), *made]
    return sorted(
        every,
        key=lambda v: -ours.get(v["version"], version_priority_of(group, v["version"])),
    )


def _place(names: Sequence[str], group: str, priorities: Mapping[str, int]) -> int:
    """Where a group comes: behind all that come before it."""
    wanted = priorities[group]
    known = (priorities.get(name, priority_of(name)) for name in names)
    return next((n for n, priority in enumerate(known) if priority < wanted), len(names))


def _priorities(remotes: Mapping[str, Sequence[Remote]]) -> dict[str, int]:
    return {name: max(r.group_priority for r in held) for name, held in remotes.items()}


# ---------------------------------------------------------------- what others have written


def _part(held: Any, name: str) -> Any:
    return held.get(name) if isinstance(held, dict) else None


def _objects(held: Any, name: str) -> list[Object]:
    """Those of a list, without what can be none of them."""
    found = _part(held, name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def of_index(document: Any, place: str) -> Object | None:
    """Where the OpenAPI document of a group version is."""
    found = _part(_part(document, "paths"), place)
    return found if isinstance(found, dict) else None


def of_whole(document: Any, remote: Remote) -> Object | None:
    """Of an APIGroupDiscoveryList, what it says of one group version."""
    if _part(document, "kind") != "APIGroupDiscoveryList":
        return None
    for group in _objects(document, "items"):
        if _part(group.get("metadata"), "name") == remote.group:
            for version in _objects(group, "versions"):
                if version.get("version") == remote.version:
                    return {**version, "resources": _objects(version, "resources")}
    return None


def of_legacy(document: Any, remote: Remote) -> Object:
    """An APIResourceList as an APIVersionDiscovery."""
    resources: dict[str, Object] = {}
    for entry in _objects(document, "resources"):
        name, slash, sub = str(entry.get("name", "")).partition("/")
        kind = {
            "group": entry.get("group") or remote.group,
            "version": entry.get("version") or remote.version,
            "kind": entry.get("kind", ""),
        }
        if slash:
            part = {"subresource": sub, "responseKind": kind, "verbs": entry.get("verbs") or []}
            held = resources.setdefault(name, {"resource": name, "verbs": []})
            held.setdefault("subresources", []).append(part)
            continue
        made: Object = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": entry.get("singularName", ""),
            "verbs": entry.get("verbs") or [],
        }
        for field in ("shortNames", "categories"):
            if entry.get(field):
                made[field] = entry[field]
        if subresources := resources.get(name, {}).get("subresources"):
            made["subresources"] = subresources
        resources[name] = made
    return {"version": remote.version, "resources": list(resources.values())}
