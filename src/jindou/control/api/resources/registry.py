"""Every kind that the API serves, built-in and custom, found by URL or by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jindou.control.api.resources.schema import Schema
from jindou.objects.kinds import Kind


@dataclass(frozen=True)
class Column:
    """One column of a Table. `path` is a JSONPath into the object, or the name of a cell function
    of `columns.py` where it starts with "@"."""

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


@dataclass(frozen=True)
class Resource:
    """One kind in one version, as the API serves it."""

    kind: Kind
    singular: str
    schema: Schema
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    selectable: frozenset[str] = frozenset()  # field selectors, as "spec.nodeName"
    custom: bool = False
    storage: Kind | None = None  # the version in which it is stored, where that is another one

    @property
    def prefix(self) -> str:
        """Where its objects are in the store: "core/pods/", "apps/deployments/"; then NAMESPACE/NAME."""
        group = f"{self.kind.group}/" if self.kind.group else "core/"
        return f"{group}{self.kind.plural}/"
