"""Discovery: which groups, versions and resources there are, in both forms that clients ask for.

The aggregated form (apidiscovery.k8s.io/v2) answers /api and /apis whole; the legacy form takes a
request per group version. Both are made from the registry and cached until it changes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from jindou.control.api.resources.registry import Registry, Resource, Subresource
from jindou.objects.kinds import Kind

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Behind(Protocol):
    """What other servers behind this one add to its documents (`aggregation`)."""

    active: bool
    generation: int

    def groups(self, local: Sequence[dict[str, Any]]) -> list[dict[str, Any]]: ...

    def aggregated(self, local: Sequence[dict[str, Any]]) -> list[dict[str, Any]]: ...

    def group(self, name: str, local: dict[str, Any] | None) -> dict[str, Any] | None: ...

    def index(self) -> dict[str, dict[str, Any]]: ...


class Discovery:
    """Bodies by path, each with its ETag."""

    def __init__(self, registry: Registry, behind: Behind, server_address: str = "") -> None:
        self._registry = registry
        self._behind = behind
        self._address = server_address
        self._generation = (-1, -1)
        self._cache: dict[tuple[str, bool], tuple[bytes, str]] = {}

    def get(self, path: str, aggregated: bool) -> tuple[bytes, str] | None:
        """The body and ETag of /api, /apis, /api/v1, /apis/GROUP or /apis/GROUP/VERSION."""
        generation = (self._registry.generation, self._behind.generation)
        if self._generation != generation:
            self._cache.clear()
            self._generation = generation
        key = (path, aggregated and path in ("/api", "/apis"))
        found = self._cache.get(key)
        if found is None:
            body = self._make(*key)
            if body is None:
                return None
            data = orjson.dumps(body) + b"\n"
            found = self._cache[key] = (data, f'"{hashlib.sha256(data).hexdigest()[:32].upper()}"')
        return found

    def _make(self, path: str, aggregated: bool) -> dict[str, Any] | None:
        groups = self._registry.groups()
        if path == "/api":
            if aggregated:
                return _aggregated_list([self._group("", groups[""])])
            return {
                "kind": "APIVersions",
                "versions": groups[""],
                "serverAddressByClientCIDRs": [
                    {"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}
                ],
            }
        if path == "/apis":
            named = {group: versions for group, versions in groups.items() if group}
            if aggregated:
                whole = [self._group(group, versions) for group, versions in named.items()]
                return _aggregated_list(self._behind.aggregated(whole))
            return {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": self._behind.groups(
                    [_legacy_group(group, versions) for group, versions in named.items()]
                ),
            }
        parts = path.strip("/").split("/")
        if parts[0] == "apis" and len(parts) == 2:
            name = parts[1]
            ours = _legacy_group(name, groups[name]) if name in groups else None
            found = self._behind.group(name, ours)
            return {"kind": "APIGroup", "apiVersion": "v1", **found} if found else None
        group, version = (
            ("", parts[1])
            if parts[0] == "api"
            else (parts[1], parts[2])
            if len(parts) == 3
            else ("", "")
        )
        if version not in groups.get(group, []):
            return None
        return {
            "kind": "APIResourceList",
            **({"apiVersion": "v1"} if group else {}),
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": [
                entry
                for r in self._registry.in_version(group, version)
                for entry in _legacy_entries(r)
            ],
        }

    def _group(self, group: str, versions: list[str]) -> dict[str, Any]:
        return {
            "metadata": {"name": group} if group else {},
            "versions": [
                {
                    "version": version,
                    "resources": [
                        _aggregated_entry(r) for r in self._registry.in_version(group, version)
                    ],
                    "freshness": "Current",
                }
                for version in versions
            ],
        }


def _aggregated_list(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _aggregated_entry(resource: Resource) -> dict[str, Any]:
    kind = resource.kind
    entry: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": _gvk(kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": _gvk(sub.kind or kind),
                "verbs": sorted(sub.verbs),
            }
            for sub in by_name(resource)
        ]
    return entry


def by_name(resource: Resource) -> list[Subresource]:
    return sorted(resource.subresources.values(), key=lambda sub: sub.name)


def _legacy_group(group: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _legacy_entries(resource: Resource) -> list[dict[str, Any]]:
    kind = resource.kind
    entry: dict[str, Any] = {
        "name": kind.plural,
        "singularName": resource.singular,
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if "watch" in resource.verbs and not resource.computed:
        entry["storageVersionHash"] = storage_hash(resource.storage or kind)
    return [entry, *(_legacy_sub(resource, sub) for sub in by_name(resource))]


def storage_hash(kind: Kind) -> str:
    """By which a migrator sees that objects are kept in another version now."""
    told = f"{kind.group}/{kind.version}/{kind.name}".encode()
    return base64.b64encode(hashlib.sha256(told).digest()[:8]).decode()


def _legacy_sub(resource: Resource, sub: Subresource) -> dict[str, Any]:
    kind = sub.kind or resource.kind
    foreign = sub.kind is not None and (kind.group, kind.version) != (
        resource.kind.group,
        resource.kind.version,
    )
    return {
        "name": f"{resource.kind.plural}/{sub.name}",
        "singularName": "",
        "namespaced": resource.kind.namespaced,
        **({"group": kind.group, "version": kind.version} if foreign else {}),
        "kind": kind.name,
        "verbs": sorted(sub.verbs),
    }
