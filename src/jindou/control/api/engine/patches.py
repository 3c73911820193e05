"""The four kinds of patch, as functions from the object that is stored to the one that is wanted."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from jindou.control.api import status
from jindou.control.api.changes import apply as managed
from jindou.control.api.changes import json_patch, strategic
from jindou.control.api.engine.calls import Call, wrong_option
from jindou.control.api.engine.decoding import check_type
from jindou.control.api.engine.writes import now
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import JSON_NAMES, copy
from jindou.control.api.resources.zeros import as_read
from jindou.control.api.rules.names import forbidden, invalid, quoted, required
from jindou.objects.errors import BadRequest, CloudError, Fault, Invalid, UnsupportedMediaType
from jindou.objects.kinds import Object

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
HOW = {"json": JSON, "merge": MERGE, "strategic": STRATEGIC, "apply": APPLY}


class Patch(NamedTuple):
    how: str  # one of the media types above
    changes: Any
    odd: list[str] = []  # duplicate fields of the body


def check(resource: Resource, how: str) -> None:
    accepted = (JSON, MERGE, APPLY) if resource.custom else (JSON, MERGE, STRATEGIC, APPLY)
    if how not in accepted:
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
        )


def applied(
    resource: Resource, live: Object | None, config: Object, call: Call, part: str
) -> Object:
    """The object that a configuration makes of what there is."""
    found: Object = copy(
        managed.apply(
            live, config, manager=call.manager, force=bool(call.force), schema=resource.schema,
            api_version=resource.kind.api_version, subresource=part, now=now(),
        )
    )  # fmt: skip
    if not resource.custom:
        as_read(resource.schema, found)
    return found


def check_options(patch: Patch, call: Call) -> None:
    """Some options are of server-side apply alone, and needed there."""
    if patch.how == APPLY and not call.named_manager:
        fault = required("fieldManager", "is required for apply patch")
        raise wrong_option("PatchOptions", fault)
    if patch.how != APPLY and call.force is not None:
        fault = forbidden("force", "may not be specified for non-apply patch")
        raise wrong_option("PatchOptions", fault)


def check_absent(resource: Resource, applied: Object) -> None:
    """A configuration that names an identity can make no new object."""
    meta = applied["metadata"]
    if uid := meta.get("uid"):
        says = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise status.conflict(resource.kind, meta["name"], says)


def check_applied(applied: Any) -> None:
    """A configuration says itself what it is; what it is called, only where there is none yet."""
    held = applied if isinstance(applied, dict) else {}
    group, _, version = str(held.get("apiVersion") or "").rpartition("/")
    if not held.get("kind") or not version:
        kind = held.get("kind") or ""
        raise BadRequest(f"invalid object type: {group}/{version}, Kind={kind}")


def check_name(obj: Object, name: str) -> None:
    """What is to be updated says itself how it is called."""
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or not meta.get("name"):
        raise BadRequest(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )


def patched(resource: Resource, obj: Object, patch: Patch) -> Object:
    """A new object; the given one is shared where nothing changes, and not changed."""
    if patch.how == JSON:
        result = json_patch.apply(obj, patch.changes)
    else:
        if not isinstance(patch.changes, dict):
            told = JSON_NAMES.get(type(patch.changes), "null")
            says = f"json: cannot unmarshal {told} into Go value of type map[string]interface {{}}"
            raise BadRequest(says if patch.how == STRATEGIC else f"error decoding patch: {says}")
        if patch.how == MERGE:
            result = json_patch.merge(obj, patch.changes)
        else:
            result = strategic.apply(obj, patch.changes, resource.schema)
            result["kind"], result["apiVersion"] = obj["kind"], obj["apiVersion"]
    if not isinstance(result, dict):
        raise BadRequest("the patch leaves no object")
    given = result.get("apiVersion")
    if resource.custom and given and given != obj["apiVersion"]:
        wrong = invalid("apiVersion", given, f"must be {obj['apiVersion']}")
        raise status.invalid(
            resource.kind._replace(plural=resource.kind.name), obj["metadata"]["name"], [wrong]
        )
    if not isinstance(result.get("metadata"), dict):
        check_name(result, obj["metadata"]["name"])
    found: Object = result
    return found


def scale_patched(resource: Resource, scale: Object, patch: Patch) -> Object:
    new = patched(resource, scale, patch)
    try:
        check_type("Scale", "v1", new)
    except BadRequest as error:
        raise unfit(new, error) from None
    return new


def unfit(new: Object, error: BadRequest) -> CloudError:
    """What a patch leaves can't be read: told as a fault of the patch."""
    if "strict decoding error" in error.message:
        return error
    says = error.message.partition(": ")[2] or error.message
    fault = Fault("FieldValueInvalid", f"Invalid value: {quoted(orjson.dumps(new).decode())}: {says}", "patch")  # fmt: skip
    return Invalid(f' "" is invalid: patch: {fault.message}', {}, [fault])


def touched(new: Object, patch: Patch) -> Object:
    """A copy of the parts that a patch can have changed: the rest was right already."""
    if isinstance(patch.changes, dict):
        return {name: _copy(name, new[name], patch) for name in patch.changes if name in new}
    return {name: _copy(name, held, patch) for name, held in new.items()}


def _copy(name: str, value: Any, patch: Patch) -> Any:
    """managedFields are large, and hardly ever what a patch is about."""
    if name != "metadata" or not isinstance(value, dict):
        return copy(value)
    kept = {part: held for part, held in value.items() if part == "managedFields"}
    return {**copy({part: held for part, held in value.items() if part not in kept}), **kept}


def put_back(new: Object, touched: Object, patch: Patch, *, share: bool) -> Object:
    """The patched object with its touched parts as they were made to fit; the others are copies,
    unless the caller will not change them (`share`)."""
    if not isinstance(patch.changes, dict):
        return touched
    rest = {name: held for name, held in new.items() if name not in patch.changes}
    meta = rest.get("metadata")
    if meta is not None:  # its fields are set one by one later on
        rest["metadata"] = _copy("metadata", meta, patch)
    if not share:
        rest = {name: held if name == "metadata" else copy(held) for name, held in rest.items()}
    return {**rest, **touched}


def names_revision(patch: Patch) -> bool:
    """Does the patch itself say which revision it expects?"""
    if isinstance(patch.changes, dict):
        meta = patch.changes.get("metadata")
        return isinstance(meta, dict) and bool(meta.get("resourceVersion"))
    return isinstance(patch.changes, list) and any(
        isinstance(op, dict) and str(op.get("path", "")).startswith("/metadata/resourceVersion")
        for op in patch.changes
    )
