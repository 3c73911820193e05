"""What the fields of an object may hold: one tree, for built-in kinds and custom ones alike.

The tree is a structural OpenAPI v3 schema with the Kubernetes extensions (x-kubernetes-*), as
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
describes them. Everything that walks an object (pruning, unknown-field warnings, defaults, patches,
field ownership, OpenAPI, protobuf) walks this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Schema:
    """One node. Shared and never changed after it is built; `properties` may be filled lazily."""

    __slots__ = (
        "additional",  # Schema of the values of a map, or None
        "default",  # MISSING where there is none
        "description",
        "embedded",  # x-kubernetes-embedded-resource
        "extra",  # pattern, minimum, maxLength, oneOf, x-kubernetes-validations, ...: as in the document
        "format",
        "int_or_string",
        "items",  # Schema of the elements, or None
        "list_keys",  # x-kubernetes-list-map-keys
        "list_type",  # atomic, set, map
        "map_type",  # granular, atomic
        "nullable",
        "patch_key",  # x-kubernetes-patch-merge-key
        "patch_strategy",  # x-kubernetes-patch-strategy: subset of {"merge", "retainKeys", "replace"}
        "preserve_unknown",
        "properties",
        "ref",  # the name of a shared definition (io.k8s.api.core.v1.Container), or ""
        "required",
        "type",  # object, array, string, integer, number, boolean, or "" for anything
    )

    type: str
    ref: str
    format: str
    description: str
    properties: Mapping[str, Schema]
    additional: Schema | None
    items: Schema | None
    required: tuple[str, ...]
    list_type: str
    list_keys: tuple[str, ...]
    map_type: str
    patch_strategy: frozenset[str]
    patch_key: str
    nullable: bool
    preserve_unknown: bool
    int_or_string: bool
    embedded: bool
    default: Any
    extra: Mapping[str, Any]


MISSING: Any = object()
