"""From a CustomResourceDefinition to the resources that the API serves for it: a pure translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from jindou.control.api.resources.builtin import type_named
from jindou.control.api.resources.registry import Column, Resource, Subresource
from jindou.control.api.resources.schema import Schema, from_document
from jindou.objects.kinds import Kind, Object

VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
SCALE = Kind("autoscaling", "v1", "Scale", "scale")


class Root(Schema):
    """The schema of a whole custom object; its metadata is everybody's.

    Kept as compact bytes until somebody looks: a cloud may hold hundreds of large definitions of
    which few are ever used. A slot that is not filled yet asks `__getattr__`.
    """

    __slots__ = ("_document", "ruled", "rules", "status_apart")

    def __init__(self, document: Mapping[str, Any], status_apart: bool) -> None:
        self._document = orjson.dumps(document)
        self.status_apart = status_apart
        self.ruled = b'"x-kubernetes-validations"' in self._document
        self.rules: Any = None  # compiled, once an object was judged

    def __getattr__(self, name: str) -> Any:
        if name not in Schema.__slots__:
            raise AttributeError(name)
        body = from_document(orjson.loads(self._document), lambda: type_named(OBJECT_META))
        self._document = b""
        properties: dict[str, Schema] = {}
        for part in body.names:
            child = body.field(part)
            assert child is not None
            properties[part] = child
        properties |= {
            "apiVersion": Schema("string"),
            "kind": Schema("string"),
            "metadata": type_named(OBJECT_META),
        }
        super().__init__(
            "object",
            properties=properties,
            additional=body.additional,
            required=body.required,
            preserve_unknown=body.preserve_unknown,
            extra=body.extra,
        )
        return getattr(self, name)


def storage_version(crd: Object) -> str:
    versions = (crd.get("spec") or {}).get("versions") or ()
    return next((v.get("name", "") for v in versions if v.get("storage")), "")


def is_established(crd: Object) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


def resources_of(crd: Object) -> list[Resource]:
    """One resource per served version; none while its names are not accepted."""
    if not is_established(crd):
        return []
    spec = crd["spec"]
    names = crd["status"].get("acceptedNames") or spec["names"]
    namespaced = spec["scope"] == "Namespaced"
    storage = Kind(spec["group"], storage_version(crd), names["kind"], names["plural"], namespaced)
    return [
        _resource(storage._replace(version=version["name"]), storage, names, version)
        for version in spec["versions"]
        if version.get("served")
    ]


def _resource(
    kind: Kind, storage: Kind, names: Mapping[str, Any], version: Mapping[str, Any]
) -> Resource:
    document = (version.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
    sub = version.get("subresources") or {}
    subresources: dict[str, Subresource] = {}
    if "status" in sub:
        subresources["status"] = Subresource("status", ("get", "patch", "update"))
    scale = sub.get("scale")
    if scale:
        subresources["scale"] = Subresource(
            "scale", ("get", "patch", "update"), SCALE._replace(plural=kind.plural)
        )
    fields = {field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()}
    return Resource(
        kind,
        singular=names.get("singular") or kind.name.lower(),
        verbs=VERBS,
        own_schema=Root(document, "status" in sub),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=subresources,
        columns=columns(version.get("additionalPrinterColumns") or ()),
        selectable=frozenset({"metadata.name", "metadata.namespace", *fields}),
        custom=True,
        deprecation=deprecation(kind, version),
        list_kind=names.get("listKind") or f"{kind.name}List",
        storage=storage,
        scale_paths=(
            (
                scale.get("specReplicasPath", ".spec.replicas"),
                scale.get("statusReplicasPath", ".status.replicas"),
                scale.get("labelSelectorPath", ""),
            )
            if scale
            else (".spec.replicas", ".status.replicas", "")
        ),
    )


def deprecation(kind: Kind, version: Mapping[str, Any]) -> str:
    if not version.get("deprecated"):
        return ""
    says: str | None = version.get("deprecationWarning")
    return f"{kind.api_version} {kind.name} is deprecated" if says is None else says


def columns(given: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    return tuple(
        Column(
            column["name"],
            column.get("type", "string"),
            column.get("format", ""),
            column.get("description", "")
            or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
            int(column.get("priority", 0)),
            column["jsonPath"],
        )
        for column in given
    )
