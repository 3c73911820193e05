"""Bodies of requests: JSON, YAML or protobuf into objects, and what the schema says about them.

Fields that nobody knows are dropped, and told: refused (Strict), warned about (Warn) or passed over
(Ignore). Duplicate fields are looked for only where the bytes show that there may be some.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#setting-the-field-validation-level
"""

from __future__ import annotations

import json
from typing import Any

import orjson
import yaml

from jindou.control.api import status
from jindou.control.api.engine.calls import Call
from jindou.control.api.resources import protobuf
from jindou.control.api.resources.builtin import type_named
from jindou.control.api.resources.checks import is_clean
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.api.resources.schema import JSON_NAMES, drop_nulls, mismatch, unknown_fields
from jindou.control.api.resources.zeros import as_read, unfit
from jindou.control.api.rules.names import invalid
from jindou.objects.errors import BadRequest, UnsupportedMediaType
from jindou.objects.kinds import Kind, Object

JSON, YAML = "application/json", "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MOST_NODES = 1_000_000
TOLD = 4096  # characters of a body, in a refusal
SPACE = b" \t\r\n"
DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
CONFIG_MAP = "io.k8s.api.core.v1.ConfigMap"  # whose metadata is that of every kind
PARTS = {
    "Binding": "io.k8s.api.core.v1.Binding",
    "Eviction": "io.k8s.api.policy.v1.Eviction",
    "Scale": "io.k8s.api.autoscaling.v1.Scale",
}
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def parse(body: bytes, content_type: str, registry: Registry) -> tuple[Any, list[str]]:
    """The value in a body, and what is odd about its form (duplicate fields)."""
    kind = content_type.partition(";")[0].strip().lower() or JSON
    if kind == PROTOBUF:
        return protobuf.decode(body, registry), []
    if kind in (YAML, "application/apply-patch+yaml") and not _looks_like_json(body):
        return _yaml(body), []
    if kind not in (JSON, YAML, "*/*") and "patch" not in kind:
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {JSON}, {YAML}, {PROTOBUF}"
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "patch" in kind and kind != "application/apply-patch+yaml":
            raise BadRequest("invalid JSON patch") from None
        raise BadRequest(f"couldn't get version/kind; json parse error: {error}") from None
    return value, duplicates(body, value)


def _looks_like_json(body: bytes) -> bool:
    return body.lstrip()[:1] in (b"{", b"[")


def _yaml(body: bytes) -> Any:
    try:
        value = yaml.load(body, Loader=_Loader)
    except yaml.YAMLError as error:
        raise BadRequest(f"error converting YAML to JSON: {error}") from None
    check_expansion(value)
    return orjson.loads(compact(value))


def check_expansion(value: Any) -> None:
    """Aliases make a small text stand for a huge document: count before it is written out."""
    due, left = [value], MOST_NODES
    while due:
        held = due.pop()
        below = held.values() if isinstance(held, dict) else held if isinstance(held, list) else ()
        left -= len(below)
        if left < 0:
            raise BadRequest("error converting YAML to JSON: document contains excessive aliasing")
        due.extend(below)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in held if tag != "tag:yaml.org,2002:timestamp"]
    for first, held in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def compact(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:
        raise BadRequest(f"the object can't be read: {error}") from None


def duplicates(body: bytes, value: Any) -> list[str]:
    """Fields that occur twice in one object. JSON that encodes to the same length has none, white
    space (also within strings, on both sides) left out."""
    if len(compact(value).translate(None, SPACE)) == len(body.translate(None, SPACE)):
        return []
    found: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> _Pairs:
        return _Pairs(items)

    _walk(json.loads(body, object_pairs_hook=pairs), "", found)
    return found


class _Pairs:
    __slots__ = ("items",)

    def __init__(self, items: list[tuple[str, Any]]) -> None:
        self.items = items


def _walk(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, held in value.items:
            at = f"{path}.{name}" if path else name
            if name in seen:
                found.append(f'duplicate field "{at}"')
            seen.add(name)
            if isinstance(held, (_Pairs, list)):
                _walk(held, at, found)
    elif isinstance(value, list):
        for n, held in enumerate(value):
            _walk(held, f"{path}[{n}]", found)


def check_kind(resource: Resource, obj: Any) -> Object:
    """Is this the kind that the URL is about? What is left out is filled in."""
    kind = resource.kind
    if not isinstance(obj, dict):
        raise BadRequest(
            f"couldn't get version/kind; json parse error: expected an object of kind {kind.name}"
        )
    if resource.custom:
        _check_said(kind, obj)
    given = obj.setdefault("apiVersion", kind.api_version)
    name = obj.setdefault("kind", kind.name)
    if given != kind.api_version:
        raise BadRequest(
            f"the API version in the data ({given}) does not match the expected API version ({kind.api_version})"
        )
    if name != kind.name and resource.custom:
        wrong = invalid("kind", name, f"must be {kind.name}")
        named = (obj.get("metadata") or {}).get("name", "")
        raise status.invalid(kind._replace(name=name), named, [wrong])
    if name != kind.name:
        raise BadRequest(
            f'{name} in version "{kind.version}" cannot be handled as a {kind.name}: the kind in the data does not match the expected kind'
        )
    meta = obj.get("metadata")
    if meta is None:
        obj["metadata"] = {}
    elif not isinstance(meta, dict):
        raise BadRequest(
            _unfit(
                resource,
                f"json: cannot unmarshal {JSON_NAMES.get(type(meta), 'null')} into Go struct field {kind.name}.metadata of type v1.ObjectMeta",
            )
        )
    return obj


def _check_said(kind: Kind, obj: Object) -> None:
    """A custom object says itself what it is."""
    if not obj.get("kind"):
        sent = json.dumps(obj, ensure_ascii=False)[:TOLD]
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {kind.name}): "
            f"Object 'Kind' is missing in '{sent}' ({sent[:31]} ...)"
        )
    if not obj.get("apiVersion"):
        raise BadRequest(
            f"the API version in the data () does not match the expected API version ({kind.api_version})"
        )


def _unfit(resource: Resource, says: str) -> str:
    kind = resource.kind
    return f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {says}'


def check_type(kind: str, version: str, obj: Any) -> None:
    """Of what is sent to a subresource and not kept. Raises BadRequest where a value is of the wrong type."""
    if not isinstance(obj, dict):
        raise BadRequest(
            f"couldn't get version/kind; json parse error: expected an object of kind {kind}"
        )
    if wrong := unfit(type_named(PARTS[kind]), obj):
        raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {wrong}')


def check_options(given: Object) -> Object:
    """DeleteOptions as they were sent. Raises BadRequest where one is of the wrong type."""
    if wrong := unfit(type_named(DELETE_OPTIONS), given):
        raise BadRequest(f"cannot be handled as a DeleteOptions: {wrong}")
    return given


def fit(resource: Resource, obj: Object, call: Call, odd: list[str], *, drop: bool = True) -> None:
    """Make an object fit its schema, in place: nulls and unknown fields go. Raises BadRequest.

    `drop`: so do fields that are not there while they are zero.
    managedFields are judged by those who read them.
    """
    meta = obj.get("metadata")
    managed = meta.pop("managedFields", None) if meta else None
    if managed is not None and not _tells_managers(managed):
        whole = {"metadata": {"managedFields": managed}}
        if wrong := unfit(type_named(CONFIG_MAP) if resource.custom else resource.schema, whole):
            raise BadRequest(_unfit(resource, wrong))
    unknown = [] if is_clean(resource.schema, obj) else _made_to_fit(resource, obj, drop)
    if managed is not None:
        assert meta is not None
        meta["managedFields"] = managed
    if odd or unknown:
        tell(call, [*odd, *(f'unknown field "{path}"' for path in unknown)], resource)


def _tells_managers(managed: Any) -> bool:
    """A list of entries whose values are text, all but the fields."""
    return type(managed) is list and all(
        type(entry) is dict and all(type(v) is str for k, v in entry.items() if k != "fieldsV1")
        for entry in managed
    )


def _made_to_fit(resource: Resource, obj: Object, drop: bool) -> list[str]:
    schema = resource.schema
    if resource.custom:  # its own schema is judged later, with paths and all at once
        meta, own = obj.get("metadata") or {}, type_named(OBJECT_META)
        as_read(own, meta, drop=drop)
        drop_nulls(meta)
        wrong = unfit(own, meta)
    else:
        as_read(schema, obj, drop=drop)
        drop_nulls(obj)
        wrong = (unfit(schema, obj) or mismatch(schema, obj)) if mismatch(schema, obj) else ""
    if wrong:
        raise BadRequest(_unfit(resource, wrong))
    found = unknown_fields(schema, obj, drop=True)
    return sorted(found) if resource.custom else found


def tell(call: Call, odd: list[str], resource: Resource) -> None:
    if not odd or call.validation == "Ignore":
        return
    if call.validation == "Strict":
        says = ", ".join(odd)
        raise BadRequest(_unfit(resource, f"strict decoding error: {says}"))
    call.warnings.extend(odd)
