"""Every kind that the API serves, built-in and custom, found by URL or by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jindou.control.api.resources import overlay
from jindou.control.api.resources.builtin import kinds, type_named
from jindou.control.api.resources.schema import Schema
from jindou.objects.kinds import Kind

NAMED = frozenset({"metadata.name"})
EVERYWHERE = NAMED | {"metadata.namespace"}  # also of kinds without namespaces, but for a few


@dataclass(frozen=True)
class Column:
    """One column of a Table. `path` is a JSONPath into the object."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    path: str = ""


@dataclass(frozen=True)
class Subresource:
    """status, scale, log, ...; `kind` is the kind of its body where that is another one."""

    name: str
    verbs: tuple[str, ...]
    kind: Kind | None = None


class Converts(Protocol):
    """A webhook that translates between the versions of a custom kind (webhooks.conversion)."""

    async def prepare(self, resource: Resource, values: Iterable[bytes]) -> None:
        """From now on `found` knows these, until somebody prepares others."""

    def found(self, resource: Resource, value: bytes) -> bytes: ...

    async def stored(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]: ...

    async def convert(
        self, objects: Sequence[dict[str, Any]], wanted: str
    ) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class Resource:
    """One kind in one version, as the API serves it."""

    kind: Kind
    singular: str
    verbs: tuple[str, ...]
    type_name: str = ""  # of the built-in schema
    own_schema: Schema | None = None  # of a custom one
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    selectable: frozenset[str] = frozenset()  # field selectors, as "spec.nodeName"
    custom: bool = False
    computed: bool = False  # made when it is asked for, and in no store
    list_kind: str = ""
    since: int = 0  # of a custom kind: objects of this revision or before may not fit its schema
    deprecation: str = ""  # said of every answer in a version that is going to go
    storage: Kind | None = None  # whose objects these are, where another kind holds them
    scale_paths: tuple[str, str, str] = (
        ".spec.replicas",
        ".status.replicas",
        "",
    )  # spec, status, selector
    conversion: Converts | None = field(default=None, compare=False)

    @property
    def schema(self) -> Schema:
        return self.own_schema if self.own_schema is not None else type_named(self.type_name)

    @property
    def prefix(self) -> str:
        """Where its objects are in the store: "core/pods/", "apps/deployments/"; then NAMESPACE/NAME."""
        kind = self.storage or self.kind
        return f"{kind.group or 'core'}/{kind.plural}/"

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}"

    @property
    def stored(self) -> bool:
        """Has objects; else it is a question that is answered at once (a review)."""
        return "get" in self.verbs


class Registry:
    """Mutable only by `set_custom`; tells its listeners afterwards."""

    def __init__(self) -> None:
        self._by_url: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str, str], Resource] = {}
        self._custom: dict[str, list[Resource]] = {}
        self._listeners: list[Callable[[], None]] = []
        self.generation = 0
        for group, version, name, plural, namespaced, verbs, type_name, sub in kinds()["resources"]:
            self._put(
                _built_in(
                    Kind(group, version, name, plural, bool(namespaced)), verbs, type_name, sub
                )
            )

    def _put(self, resource: Resource) -> None:
        kind = resource.kind
        self._by_url[kind.group, kind.version, kind.plural] = resource
        self._by_kind[kind.group, kind.version, kind.name] = resource

    def by_url(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_url.get((group, version, plural))

    def by_kind(self, group: str, version: str, name: str) -> Resource | None:
        return self._by_kind.get((group, version, name))

    def of(self, kind: Kind) -> Resource:
        return self._by_url[kind.group, kind.version, kind.plural]

    def all(self) -> Iterable[Resource]:
        return self._by_url.values()

    def groups(self) -> dict[str, list[str]]:
        """Group -> versions, preferred first; groups in the order of their priority."""
        found: dict[str, set[str]] = {}
        for group, version, _ in self._by_url:
            found.setdefault(group, set()).add(version)
        order = {group: n for n, group in enumerate(overlay.GROUP_ORDER)}
        names = sorted(found, key=lambda group: (order.get(group, len(order)), group))
        return {group: sorted(found[group], key=_version_rank, reverse=True) for group in names}

    def in_version(self, group: str, version: str) -> list[Resource]:
        return sorted(
            (
                r
                for r in self._by_url.values()
                if (r.kind.group, r.kind.version) == (group, version)
            ),
            key=lambda r: r.kind.plural,
        )

    def set_custom(self, name: str, resources: list[Resource]) -> None:
        """Replace what one CustomResourceDefinition defines; an empty list takes it away."""
        for old in self._custom.pop(name, []):
            self._by_url.pop((old.kind.group, old.kind.version, old.kind.plural), None)
            self._by_kind.pop((old.kind.group, old.kind.version, old.kind.name), None)
        if resources:
            self._custom[name] = resources
        for resource in resources:
            self._put(resource)
        self.generation += 1
        for listener in self._listeners:
            listener()

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)


def _version_rank(version: str) -> tuple[int, int, int]:
    """v2 > v1 > v1beta2 > v1beta1 > v1alpha1 > anything else."""
    import re

    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if not match:
        return (0, 0, 0)
    stage = {None: 3, "beta": 2, "alpha": 1}[match[2]]
    return (stage, int(match[1]), int(match[3] or 0))


def _built_in(
    kind: Kind, verbs: list[str], type_name: str, sub: dict[str, list[object]]
) -> Resource:
    subresources = {}
    for name, (sub_verbs, gvk) in sub.items():
        body = Kind(gvk[0], gvk[1], gvk[2], kind.plural, kind.namespaced) if gvk else None  # type: ignore[index]
        subresources[name] = Subresource(name, tuple(sub_verbs), body)  # type: ignore[arg-type]
    for name, sub_verbs, options in overlay.CONNECT.get(kind.plural if not kind.group else "", ()):
        subresources[name] = Subresource(
            name, sub_verbs, Kind("", "v1", options, kind.plural) if options else None
        )
    place = (kind.group, kind.plural)
    return Resource(
        kind,
        singular=overlay.SINGULAR.get(kind.plural, kind.name.lower()),
        verbs=overlay.VERBS.get(place, tuple(verbs)),
        type_name=type_name,
        short_names=overlay.SHORT_NAMES.get(place, ()),
        categories=overlay.CATEGORIES.get(place, ()),
        subresources=subresources,
        selectable=(EVERYWHERE if kind.namespaced or place not in overlay.SELECTABLE else NAMED)
        | overlay.SELECTABLE.get(place, frozenset()),
        list_kind=f"{kind.name}List",
        storage=overlay.STORED_AS.get((kind.group, kind.version, kind.plural)),
        deprecation=overlay.DEPRECATED.get(place, ""),
    )
