"""OpenAPI documents: v3 per group version, and v2 whole, made from the same schemas and cached.

kubectl needs the v3 patch operation with its group-version-kind and a `fieldValidation` parameter to
apply, and the component schemas with descriptions to explain. Descriptions are loaded only here.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import orjson

from jindou.control.api.resources import swagger
from jindou.control.api.resources.builtin import kinds, read, type_named
from jindou.control.api.resources.discovery import Behind
from jindou.control.api.resources.operations import EVENT, META, PATCH, Names, Paths
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.api.resources.schema import MISSING, Schema

RAW = "io.k8s.apimachinery.pkg.runtime.RawExtension"
SCALE = "io.k8s.api.autoscaling.v1.Scale"


@cache
def descriptions() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = read("docs.json.z")
    return found


class OpenApi:
    def __init__(self, registry: Registry, behind: Behind) -> None:
        self._registry = registry
        self._behind = behind
        self._generation = -1
        self._cache: dict[str, tuple[bytes, str]] = {}

    def _fresh(self) -> None:
        if self._generation != self._registry.generation:
            self._cache.clear()
            self._generation = self._registry.generation

    def index(self) -> bytes:
        """/openapi/v3: where each document is, with a hash that changes when the document does."""
        self._fresh()
        paths = {}
        for group, versions in self._registry.groups().items():
            for version in versions:
                place = f"apis/{group}/{version}" if group else f"api/{version}"
                mark = (
                    hashlib.sha256(f"{place} {self._shape(group, version)}".encode())
                    .hexdigest()
                    .upper()
                )
                paths[place] = {"serverRelativeURL": f"/openapi/v3/{place}?hash={mark}"}
        paths |= self._behind.index()
        return orjson.dumps({"paths": paths}) + b"\n"

    def _shape(self, group: str, version: str) -> str:
        resources = self._registry.in_version(group, version)
        return str([(r.kind, id(r.own_schema) if r.custom else r.type_name) for r in resources])

    def v3(self, place: str) -> tuple[bytes, str] | None:
        """The document of `api/v1` or `apis/GROUP/VERSION`, and its ETag."""
        self._fresh()
        found = self._cache.get(place)
        if found is None:
            parts = place.split("/")
            group, version = (
                ("", parts[1])
                if parts[0] == "api" and len(parts) == 2
                else tuple(parts[1:3])
                if len(parts) == 3
                else ("", "")
            )
            resources = self._registry.in_version(group, version)
            if not resources:
                return None
            data = orjson.dumps(self._document(resources, "#/components/schemas/", v3=True))
            found = self._cache[place] = (data, f'"{hashlib.sha256(data).hexdigest().upper()}"')
        return found

    def v2(self) -> tuple[bytes, str]:
        self._fresh()
        found = self._cache.get("v2")
        if found is None:
            data = orjson.dumps(
                self._document(list(self._registry.all()), "#/definitions/", v3=False)
            )
            found = self._cache["v2"] = (data, f'"{hashlib.sha256(data).hexdigest().upper()}"')
        return found

    def v2_protobuf(self) -> tuple[bytes, str]:
        body, tag = self.v2()
        found = self._cache.get("v2 protobuf")
        if found is None:
            data = swagger.encode(orjson.loads(body))
            found = self._cache["v2 protobuf"] = (data, tag.replace('"', '"P', 1))
        return found

    def _document(self, resources: list[Resource], base: str, v3: bool) -> dict[str, Any]:
        writer = Writer(base, v3)
        paths: dict[str, Any] = {}
        for resource in resources:
            paths |= Paths(resource, writer.names(resource), base, v3).all()
        info = {"title": "Kubernetes", "version": "1.37"}
        if v3:
            return {
                "openapi": "3.0.0",
                "info": info,
                "paths": paths,
                "components": {"schemas": writer.done()},
            }
        return {"swagger": "2.0", "info": info, "paths": paths, "definitions": writer.done()}


class Writer:
    """Collects the schemas that are referred to, each once."""

    def __init__(self, base: str, v3: bool) -> None:
        self._base, self._v3 = base, v3
        self._schemas: dict[str, Any] = {}
        self._due: list[str] = []
        self._marks: dict[str, list[dict[str, str]]] = {}

    def names(self, resource: Resource) -> Names:
        """Those of all schemas that the operations of a resource name, each of which is described."""
        one = self.root(resource)
        many = self._list(resource, one) if "list" in resource.verbs else ""
        parts = {}
        for sub in resource.subresources.values():
            if resource.custom and sub.name == "scale":
                parts[sub.name] = SCALE
            elif sub.kind is not None and not resource.custom:
                known = self._built_in(sub.kind.group, sub.kind.version, sub.kind.name)
                parts |= {sub.name: known} if known else {}
        for name in parts.values():
            self._refer(name)
        if "delete" in resource.verbs:
            self._refer(f"{META}DeleteOptions")
            self._refer(f"{META}Status")
        if "patch" in resource.verbs:
            self._schemas.setdefault(PATCH, {"type": "object"})
        if not resource.custom and "watch" in resource.verbs:
            said = {"object": self._link(RAW), "type": {"type": "string"}}
            event = {"type": "object", "required": ["type", "object"], "properties": said}
            self._schemas.setdefault(EVENT, event)
        return Names(one, many, parts)

    @staticmethod
    def _built_in(group: str, version: str, kind: str) -> str:
        name = f"io.k8s.api.{group.partition('.')[0] or 'core'}.{version}.{kind}"
        return name if name in kinds()["types"] else ""

    def _list(self, resource: Resource, one: str) -> str:
        kind = resource.kind
        name = f"{one.rpartition('.')[0]}.{resource.list_kind or kind.name + 'List'}"
        items = {"type": "array", "items": {"$ref": f"{self._base}{one}"}}
        properties = {
            "apiVersion": {"type": "string"}, "items": items, "kind": {"type": "string"},
            "metadata": self._link(f"{META}ListMeta"),
        }  # fmt: skip
        self._schemas[name] = {
            "description": f"{resource.list_kind} is a list of {kind.name}",
            "type": "object", "required": ["items"], "properties": properties,
        }  # fmt: skip
        self._mark(name, kind.group, kind.version, resource.list_kind)
        return name

    def root(self, resource: Resource) -> str:
        if not resource.custom:
            self._refer(resource.type_name)
            self._kinds(resource.type_name, resource)
            return resource.type_name
        kind = resource.kind
        name = ".".join([*reversed(kind.group.split(".")), kind.version, kind.name])
        node = self.node(resource.schema)
        node.setdefault("properties", {})["metadata"] = self._link(f"{META}ObjectMeta")
        node["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
        self._schemas[name] = node
        self._kinds(name, resource)
        return name

    def _kinds(self, name: str, resource: Resource) -> None:
        kind = resource.kind
        self._schemas.setdefault(name, {})
        self._mark(name, kind.group, kind.version, kind.name)

    def _mark(self, name: str, group: str, version: str, kind: str) -> None:
        self._marks.setdefault(name, []).append({"group": group, "version": version, "kind": kind})

    def _refer(self, name: str) -> None:
        if name not in self._schemas:
            self._schemas[name] = {}
            self._due.append(name)

    def _link(self, name: str) -> dict[str, Any]:
        self._refer(name)
        return {"$ref": f"{self._base}{name}"}

    def done(self) -> dict[str, Any]:
        while self._due:
            name = self._due.pop()
            self._schemas[name] = self.node(type_named(name), descriptions().get(name, {}))
        for name, marks in self._marks.items():
            self._schemas[name]["x-kubernetes-group-version-kind"] = marks
        return self._schemas

    def node(self, schema: Schema, says: dict[str, str] | None = None) -> dict[str, Any]:
        says = says or {}
        out: dict[str, Any] = {}
        if says.get(""):
            out["description"] = says[""]
        if schema.int_or_string:
            if self._v3 and not schema.ref and schema.format != "int-or-string":
                either = [{"type": "integer"}, {"type": "string"}]
                return {**out, "anyOf": either, "x-kubernetes-int-or-string": True, **schema.extra}
            if self._v3:
                return {
                    **out,
                    "oneOf": [{"type": "integer"}, {"type": "string"}],
                    "format": "int-or-string",
                }
            return {**out, "type": "string", "format": "int-or-string"}
        if schema.type:
            out["type"] = schema.type
        if schema.format == "quantity":
            return (
                {**out, "oneOf": [{"type": "string"}, {"type": "number"}]}
                if self._v3 and schema.ref
                else out
            )
        if schema.format:
            out["format"] = "date-time" if schema.format == "micro-time" else schema.format
        if schema.has_properties:
            out["properties"] = {
                name: self._child(schema.field(name), says.get(name, "")) for name in schema.names
            }
        if schema.additional is not None:
            out["additionalProperties"] = self._child(schema.additional, "")
        if schema.items is not None:
            out["items"] = self._child(schema.items, "")
        if schema.required:
            out["required"] = list(schema.required)
        if schema.default is not MISSING:
            out["default"] = schema.default
        if schema.embedded:
            out["x-kubernetes-embedded-resource"] = True
            out["required"] = [*{"kind": 0, "apiVersion": 0, **dict.fromkeys(schema.required, 0)}]
        if schema.preserve_unknown:
            out["x-kubernetes-preserve-unknown-fields"] = True
        return {**out, **_extensions(schema), **schema.extra}

    def _child(self, schema: Schema | None, says: str) -> dict[str, Any]:
        assert schema is not None
        if schema.ref:
            link = self._link(schema.ref)
            traits = _extensions(schema)
            if not says and not traits:
                return link
            if self._v3:
                return {**({"description": says} if says else {}), "allOf": [link], **traits}
            return {**link, **({"description": says} if says else {}), **traits}
        return self.node(schema, {"": says} if says else None)


def _extensions(schema: Schema) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if schema.list_type:
        out["x-kubernetes-list-type"] = schema.list_type
    if schema.list_keys:
        out["x-kubernetes-list-map-keys"] = list(schema.list_keys)
    if schema.map_type:
        out["x-kubernetes-map-type"] = schema.map_type
    if schema.patch_key:
        out["x-kubernetes-patch-merge-key"] = schema.patch_key
    if schema.patch_strategy:
        out["x-kubernetes-patch-strategy"] = ",".join(sorted(schema.patch_strategy))
    return out
