"""What the expressions of a policy can name: object, oldObject, request, params, namespaceObject, authorizer, variables.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#validation-expression
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jindou.control.api.access.guard import User
from jindou.control.api.admission.chain import Review
from jindou.control.api.expressions.compiler import Environment
from jindou.control.api.expressions.language import library
from jindou.control.api.expressions.types import DYN, PLAIN_NAMES, Schemas, Shape, adapter
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import Schema
from jindou.objects.kinds import Kind, Object

TEXT = Schema("string")
TEXTS = Schema("array", items=TEXT)
MOMENT = Schema("string", format="date-time")
KIND = Schema("object", properties={"group": TEXT, "version": TEXT, "kind": TEXT})
RESOURCE = Schema("object", properties={"group": TEXT, "version": TEXT, "resource": TEXT})
USER = Schema(
    "object",
    properties={
        "username": TEXT,
        "uid": TEXT,
        "groups": TEXTS,
        "extra": Schema("object", additional=TEXTS),
    },
)
REQUEST = Schema(
    "object",
    properties={
        "kind": KIND,
        "resource": RESOURCE,
        "subResource": TEXT,
        "requestKind": KIND,
        "requestResource": RESOURCE,
        "requestSubResource": TEXT,
        "name": TEXT,
        "namespace": TEXT,
        "operation": TEXT,
        "userInfo": USER,
        "dryRun": Schema("boolean"),
        "options": Schema(int_or_string=True),
    },
    extra={PLAIN_NAMES: True},
)
TEXT_MAP = Schema("object", additional=TEXT)
NAMESPACE_META = Schema(
    "object",
    properties={
        **dict.fromkeys(("name", "generateName", "namespace", "UID", "resourceVersion"), TEXT),
        "labels": TEXT_MAP,
        "annotations": TEXT_MAP,
        "creationTimestamp": MOMENT,
        "deletionTimestamp": MOMENT,
        "deletionGracePeriodSeconds": Schema("integer"),
        "generation": Schema("integer"),
        "finalizers": TEXTS,
    },
    extra={PLAIN_NAMES: True},
)
CONDITION = Schema(
    "object",
    properties={
        **dict.fromkeys(("status", "type", "message", "reason"), TEXT),
        "lastTransitionTime": MOMENT,
    },
)
NAMESPACE = Schema(
    "object",
    properties={
        "metadata": NAMESPACE_META,
        "spec": Schema("object", properties={"finalizers": TEXTS}),
        "status": Schema(
            "object", properties={"conditions": Schema("array", items=CONDITION), "phase": TEXT}
        ),
    },
)
SCALARS = {
    "BOOL": "bool", "BYTES": "bytes", "DOUBLE": "double", "INT": "int", "STRING": "string",
    "TIMESTAMP": "timestamp", "DURATION": "duration",
}  # fmt: skip
NAMES = {
    "TIMESTAMP": "google.protobuf.Timestamp",
    "DURATION": "google.protobuf.Duration",
    "NULL": "null_type",
}
GENERIC = re.compile(r"^(LIST|MAP|TYPE|optional_type)<(.*)>$")
MATCH_BUDGET = 2_500_000
BUDGET = 10_000_000


def environment(
    variables: Mapping[str, Shape],
    *,
    params: bool,
    authorizer: bool = True,
    typed: Mapping[str, tuple[Schemas, Shape]] | None = None,
    messages: Mapping[str, Mapping[str, Shape]] | None = None,
) -> Environment:
    """`variables` are those of the policy that may be named here. `typed` gives object, oldObject or
    params a type of their own, all in one `Schemas`. `messages` can be made by the expression."""
    typed = typed or {}
    schemas = next((held for held, _ in typed.values()), None) or Schemas()
    shapes = {name: schemas.shape(schema) or DYN for name, schema in OURS.items()}
    if variables:
        shapes["variables"] = schemas.add(variables)
    for name in ("object", "oldObject", *(("params",) if params else ())):
        shapes[name] = typed[name][1] if name in typed else DYN
    types = {name: schemas.type(shape) for name, shape in shapes.items()}
    if authorizer:
        types["authorizer"] = library.AUTHORIZER
        types["authorizer.requestResource"] = library.RESOURCE_CHECK
    for name, fields in (messages or {}).items():
        schemas.name(name, fields)
    more = library.JSON_PATCH if messages else ""
    return Environment(types, pool=schemas.pool, more=more)


OURS = {"request": REQUEST, "namespaceObject": NAMESPACE}
_namespace_seen = adapter(NAMESPACE)


def shape_of(result: str) -> Shape:
    """Of a variable, from the type of its expression; what can't be a field of a message is dyn."""
    if result in SCALARS:
        return Shape(SCALARS[result])
    match = GENERIC.match(result)
    if match and match[1] == "LIST":
        return Shape("list", shape_of(match[2]))
    if match and match[1] == "MAP" and match[2].startswith("STRING, "):
        return Shape("map", shape_of(match[2].removeprefix("STRING, ")))
    return DYN


def named(result: str) -> str:
    """A type as the real server prints it."""
    match = GENERIC.match(result)
    if match is None:
        return NAMES.get(result, result.lower() if result.isupper() else result)
    inner = ", ".join(named(part) for part in match[2].split(", ", 1))
    return f"{match[1].lower()}({inner})"


# ---------------------------------------------------------------- values


def request_of(review: Review, resource: Resource, kind: Kind) -> Object:
    """`resource` and `kind` are those in whose version the policy wants the objects."""
    asked = review.resource.kind
    found: Object = {
        "kind": _kind(kind),
        "resource": _resource(resource.kind),
        "requestKind": _kind(review.kind),
        "requestResource": _resource(asked),
        "operation": review.operation,
        "userInfo": _user(review.user),
        "dryRun": review.dry_run,
        "options": review.options,
    }
    if review.subresource:
        found["subResource"] = found["requestSubResource"] = review.subresource
    if review.name:
        found["name"] = review.name
    if review.namespace:
        found["namespace"] = review.namespace
    return found


def _kind(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _resource(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "resource": kind.plural}


def _user(user: User) -> Object:
    info: Object = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    info["extra"] = {name: list(values) for name, values in user.extra.items()}
    return {name: held for name, held in info.items() if held}


def namespace_seen(namespace: Object | None) -> Any:
    """A Namespace without what only the server has use for."""
    if namespace is None:
        return None
    meta = dict(namespace["metadata"])
    meta["UID"] = meta.pop("uid", "")
    for name in ("managedFields", "ownerReferences", "selfLink"):
        meta.pop(name, None)
    shown: Object = {name: namespace[name] for name in ("spec", "status") if name in namespace}
    shown["metadata"] = meta
    return shown if _namespace_seen is None else _namespace_seen(shown)
