"""Is the schema of a custom resource structural? Every field has a type, said once and outside all logic.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jindou.control.api.resources.builtin import type_named
from jindou.control.api.resources.schema import Schema, from_document, mismatch
from jindou.control.api.rules.custom import patterns, structural
from jindou.control.api.rules.names import duplicate, forbidden, invalid, required, unsupported
from jindou.objects.errors import Fault

TYPES = ("array", "boolean", "integer", "number", "object", "string")
PROPS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
JUNCTORS = ("allOf", "anyOf", "oneOf")
ONLY_STRUCTURAL = (
    "description", "default", "title", "nullable", "additionalProperties",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
)  # fmt: skip
REFUSED = {
    "$ref": "$ref is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "patternProperties": "patternProperties is not supported",
    "additionalItems": "additionalItems is not supported",
    "id": "id is not supported",
}


def shape(node: Any, at: str) -> list[Fault]:
    """Is this a schema at all, in those parts too that may hold one thing or another?"""
    if not isinstance(node, dict):
        return [invalid(at, node, "must be a schema object")]
    if wrong := mismatch(type_named(PROPS), node, at):
        return [invalid(at, "", wrong)]
    found: list[Fault] = []
    for part, below in either(node, at):
        found += shape(part, below)
    return found


def either(node: Mapping[str, Any], at: str) -> Iterator[tuple[Any, str]]:
    """The schemas in `items` and `additionalProperties`, at any depth that the types already cover."""
    held = node.get("items")
    if held is not None:
        for n, part in enumerate(held if isinstance(held, list) else [held]):
            yield part, f"{at}.items[{n}]" if isinstance(held, list) else f"{at}.items"
    extra = node.get("additionalProperties")
    if extra is not None and not isinstance(extra, bool):
        yield extra, f"{at}.additionalProperties"
    for name, child in (node.get("properties") or {}).items():
        yield from either(child or {}, f"{at}.properties[{name}]")
    for word in JUNCTORS:
        for n, child in enumerate(node.get(word) or ()):
            yield from either(child or {}, f"{at}.{word}[{n}]")
    if node.get("not"):
        yield from either(node["not"], f"{at}.not")


def structure(document: Any, at: str) -> list[Fault]:
    found = shape(document, at)
    if found:
        return found
    kind = document.get("type", "")
    if not kind:
        if not document.get("x-kubernetes-preserve-unknown-fields"):
            found.append(required(f"{at}.type", "must not be empty at the root"))
    elif kind != "object":
        found.append(invalid(f"{at}.type", kind, "must be object at the root"))
    if document.get("nullable"):
        found.append(forbidden(f"{at}.nullable", "nullable cannot be true at the root"))
    metadata = (document.get("properties") or {}).get("metadata") or {}
    if set(metadata.get("properties") or ()) - {"name", "generateName"}:
        found.append(
            forbidden(
                f"{at}.properties[metadata]",
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            )
        )
    _node(document, at, found, root=True)
    return found


def _node(node: Mapping[str, Any], at: str, found: list[Fault], *, root: bool = False) -> None:
    kind = node.get("type", "")
    free = node.get("x-kubernetes-int-or-string") or node.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    if kind and kind not in TYPES:
        found.append(unsupported(f"{at}.type", kind, TYPES))
    elif not kind and not free and not root:
        word = "array items" if at.endswith(".items") else "object fields"
        found.append(required(f"{at}.type", f"must not be empty for specified {word}"))
    for name, says in REFUSED.items():
        if name in node:
            found.append(forbidden(f"{at}.{name}", says))
    if node.get("uniqueItems"):
        found.append(
            forbidden(
                f"{at}.uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            )
        )
    if node.get("additionalProperties") is False:
        found.append(
            forbidden(f"{at}.additionalProperties", "additionalProperties cannot be set to false")
        )
    _pattern(node, at, found)
    _extensions(node, kind, at, found)
    _default(node, at, found)
    properties, additional, items = (
        node.get(n) for n in ("properties", "additionalProperties", "items")
    )
    if properties and additional:
        found.append(
            forbidden(
                f"{at}.additionalProperties",
                "additionalProperties and properties are mutual exclusive",
            )
        )
    for name, child in (properties or {}).items():
        if root and name in ("metadata", "apiVersion", "kind"):
            continue
        if isinstance(child, dict | None):  # null is an empty schema
            _node(child or {}, f"{at}.properties[{name}]", found)
    if isinstance(additional, dict):
        _node(additional, f"{at}.additionalProperties", found)
    if isinstance(items, list):
        found.append(forbidden(f"{at}.items", "items must be a schema object and not an array"))
    elif isinstance(items, dict):
        _node(items, f"{at}.items", found)
    elif kind == "array":
        found.append(required(f"{at}.items", "must be specified"))
    _junctors(node, at, found)


def _pattern(node: Mapping[str, Any], at: str, found: list[Fault]) -> None:
    text = node.get("pattern")
    if text:
        try:
            patterns.compiled(text)
        except patterns.BadPattern as error:
            found.append(
                invalid(
                    f"{at}.pattern", text, f"must be a valid regular expression, but isn't: {error}"
                )
            )


def _extensions(node: Mapping[str, Any], kind: str, at: str, found: list[Fault]) -> None:
    if node.get("x-kubernetes-int-or-string") and kind:
        found.append(forbidden(f"{at}.type", "must be empty if x-kubernetes-int-or-string is true"))
    if node.get("x-kubernetes-preserve-unknown-fields") is False:
        found.append(
            invalid(
                f"{at}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined"
            )
        )
    if node.get("x-kubernetes-embedded-resource"):
        if kind != "object":
            found.append(
                invalid(
                    f"{at}.type", kind, "must be object if x-kubernetes-embedded-resource is true"
                )
            )
        if not node.get("x-kubernetes-preserve-unknown-fields") and not node.get("properties"):
            found.append(
                required(
                    f"{at}.properties",
                    "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
                )
            )
    listed = node.get("x-kubernetes-list-type")
    keys = node.get("x-kubernetes-list-map-keys") or ()
    if listed is not None:
        if listed not in ("atomic", "map", "set"):
            found.append(
                unsupported(f"{at}.x-kubernetes-list-type", listed, ("atomic", "map", "set"))
            )
        if kind != "array":
            found.append(
                invalid(f"{at}.type", kind, "must be array if x-kubernetes-list-type is specified")
            )
    if keys and listed != "map":
        found.append(
            forbidden(
                f"{at}.x-kubernetes-list-map-keys",
                "must be empty if x-kubernetes-list-type is not map",
            )
        )
    if listed == "map":
        if not keys:
            found.append(
                required(
                    f"{at}.x-kubernetes-list-map-keys",
                    "must not be empty if x-kubernetes-list-type is map",
                )
            )
        _list_keys(node.get("items") or {}, keys, at, found)
    if node.get("x-kubernetes-map-type") not in (None, "atomic", "granular"):
        found.append(
            unsupported(
                f"{at}.x-kubernetes-map-type", node["x-kubernetes-map-type"], ("atomic", "granular")
            )
        )


def _list_keys(items: Any, keys: Sequence[str], at: str, found: list[Fault]) -> None:
    held = items.get("properties") or {} if isinstance(items, dict) else {}
    needed = items.get("required") or () if isinstance(items, dict) else ()
    for n, key in enumerate(keys):
        if key not in held:
            found.append(
                invalid(
                    f"{at}.x-kubernetes-list-map-keys[{n}]",
                    key,
                    "entries must all be names of item properties",
                )
            )
        elif key not in needed and "default" not in (held[key] or {}):
            found.append(
                required(
                    f"{at}.items.properties[{key}].default",
                    "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                )
            )
    if len(set(keys)) != len(keys):
        found.append(duplicate(f"{at}.x-kubernetes-list-map-keys", list(keys)))


def _default(node: Mapping[str, Any], at: str, found: list[Fault]) -> None:
    if "default" not in node or node["default"] is None:
        return
    rest = {name: held for name, held in node.items() if name != "default"}
    wrapped = Schema("object", properties={"default": from_document(rest)})
    try:
        faults = structural.validate(wrapped, {"default": node["default"]}, None)
    except (TypeError, AttributeError):  # the schema itself is wrong, which is told elsewhere
        return
    found += [fault._replace(field=f"{at}.{fault.field}") for fault in faults]


def _junctors(node: Mapping[str, Any], at: str, found: list[Fault]) -> None:
    """Logical parts may only restrict what the structure has already said."""
    for word in JUNCTORS:
        for n, part in enumerate(node.get(word) or ()):
            _restriction(part, node, f"{at}.{word}[{n}]", found)
    if isinstance(node.get("not"), dict):
        _restriction(node["not"], node, f"{at}.not", found)


def _restriction(
    part: Mapping[str, Any], outer: Mapping[str, Any], at: str, found: list[Fault]
) -> None:
    free = outer.get("x-kubernetes-int-or-string")
    for name in ONLY_STRUCTURAL:
        if part.get(name):
            found.append(forbidden(f"{at}.{name}", "must be empty to be structural"))
    if part.get("type") and not free:
        found.append(forbidden(f"{at}.type", "must be empty to be structural"))
    base = at.rpartition(".")[0]
    for name, child in (part.get("properties") or {}).items():
        held = (outer.get("properties") or {}).get(name)
        if held is None and not outer.get("x-kubernetes-preserve-unknown-fields"):
            found.append(
                required(
                    f"{base}.properties[{name}]",
                    f"because it is defined in {at}.properties[{name}]",
                )
            )
        elif isinstance(child, dict):
            _restriction(child, held or {}, f"{at}.properties[{name}]", found)
    if isinstance(part.get("items"), dict):
        _restriction(part["items"], outer.get("items") or {}, f"{at}.items", found)
    _junctors(part, at, found)
