"""AdmissionReview: what a webhook is asked, and what its answer means. Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import orjson

from jindou.control.api.access.reviews import user_info
from jindou.control.api.admission.chain import Review
from jindou.control.api.changes import json_patch
from jindou.control.api.engine.encoding import ordered
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import JSON_NAMES
from jindou.objects.errors import CloudError
from jindou.objects.kinds import Kind, Object

GROUP = "admission.k8s.io"
VERSIONS = ("v1", "v1beta1")
JSON_PATCH = "JSONPatch"
Types = dict[str, tuple[type, type | None]]  # of a field, and of what it holds
RESPONSE: Types = {
    "allowed": (bool, None), "status": (dict, None), "patchType": (str, None), "warnings": (list, str),
    "auditAnnotations": (dict, str),
}  # fmt: skip
STATUS: Types = {
    "message": (str, None), "reason": (str, None), "code": (int, None), "details": (dict, None),
}  # fmt: skip


class Wrong(Exception):
    """The answer is not one to this question."""


def _invalid(says: str) -> Wrong:
    return Wrong(f"received invalid webhook response: {says}")


class Verdict(NamedTuple):
    allowed: bool
    result: Object | None
    patch: Any  # operations of a JSON patch; None: nothing is changed
    warnings: list[str]
    notes: dict[str, str]


class Denied(CloudError):
    """A webhook said no: with its own code, reason and details."""

    def __init__(self, message: str, code: int, reason: str, details: Object | None) -> None:
        super().__init__(message, details)
        self.code = code
        self.reason = reason


def version_for(versions: list[str]) -> str:
    for version in versions:
        if version in VERSIONS:
            return version
    raise Wrong(
        "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
    )


def question(
    uid: str,
    version: str,
    review: Review,
    resource: Resource,
    kind: Kind,
    obj: Object | None,
    old: Object | None,
) -> Object:
    """`resource` and `kind` are those that the webhook wants; objects are in that version."""
    asked = review.resource
    request: Object = {"uid": uid, "kind": _kind(kind), "resource": _resource(resource)}
    if review.subresource:
        request["subResource"] = review.subresource
    request |= {"requestKind": _kind(review.kind), "requestResource": _resource(asked)}
    if review.subresource:
        request["requestSubResource"] = review.subresource
    if review.name:
        request["name"] = review.name
    if review.namespace:
        request["namespace"] = review.namespace
    request |= {
        "operation": review.operation,
        "userInfo": user_info(review.user),
        "object": _shown(kind, obj),
        "oldObject": _shown(kind, old),
        "dryRun": review.dry_run,
        "options": review.options,
    }
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request}


def _shown(kind: Kind, obj: Object | None) -> Object | None:
    return ordered(kind, obj) if obj is not None and "metadata" in obj else obj


def _kind(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _resource(resource: Resource) -> Object:
    kind = resource.kind
    return {"group": kind.group, "version": kind.version, "resource": kind.plural}


def verdict(answer: Any, uid: str, version: str, *, mutating: bool) -> Verdict:
    """Raises Wrong."""
    _check_kind(answer, version)
    response = answer.get("response") if isinstance(answer, dict) else None
    if not isinstance(response, dict):
        raise _invalid("webhook response was absent")
    _check_types(response)
    patch, how = response.get("patch"), response.get("patchType")
    if version == "v1":
        if response.get("uid", "") != uid:
            raise _invalid(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        if not answer.get("kind"):
            raise _invalid(
                f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got /, Kind="
            )
        if not mutating and patch:
            raise _invalid("validating webhook may not return response.patch")
        if not mutating and how is not None:
            raise _invalid("validating webhook may not return response.patchType")
        if patch and how is None:
            raise _invalid("webhook returned response.patch but not response.patchType")
        if not patch and how is not None:
            raise _invalid("webhook returned response.patchType but not response.patch")
        if how == "":
            raise _invalid('webhook returned invalid response.patchType of ""')
    changes = operations(patch) if patch and mutating else None
    if changes is not None and version == "v1" and how != JSON_PATCH:
        raise Wrong(f'unsupported patch type "{how}"')
    return Verdict(
        response.get("allowed") is True,
        response.get("status"),
        changes,
        list(response.get("warnings") or ()),
        dict(response.get("auditAnnotations") or {}),
    )


def _check_types(response: Object) -> None:
    """What can't be an AdmissionResponse is not guessed at. Raises Wrong."""
    for holder, fields in ((response, RESPONSE), (response.get("status") or {}, STATUS)):
        for field, (kind, inner) in fields.items():
            held = holder.get(field)
            if held is None:
                continue
            wrong = type(held) is not kind
            if not wrong and inner is not None:
                parts = held.values() if isinstance(held, dict) else held
                wrong = any(type(part) is not inner for part in parts)
            if wrong:
                given = JSON_NAMES[type(held)]
                raise Wrong(
                    f"failed to call webhook: json: cannot unmarshal {given} into Go struct field AdmissionReview.response.{field}"
                )


def _check_kind(answer: Any, version: str) -> None:
    if not isinstance(answer, dict):
        raise Wrong("failed to call webhook: couldn't get version/kind; json parse error")
    given = (
        answer.get("apiVersion") or f"{GROUP}/{version}",
        answer.get("kind") or "AdmissionReview",
    )
    if given != (f"{GROUP}/{version}", "AdmissionReview"):
        kind = f"{str(given[0]).rpartition('/')[2]}.{given[1]}"
        raise Wrong(
            f"failed to call webhook: converting ({kind}) to ({version}.AdmissionReview): unknown conversion"
        )


def operations(patch: Any) -> Any:
    """Of base64 JSON. Raises Wrong; an empty patch is None."""
    data = b""
    try:
        data = base64.b64decode(patch)
        found = orjson.loads(data)
    except (binascii.Error, TypeError, ValueError):
        text = data.lstrip().decode("utf-8", "replace")
        says = (
            f"invalid character '{text[0]}' looking for beginning of value"
            if text
            else "unexpected end of JSON input"
        )
        raise Wrong(f"received undecodable patch in webhook response: {says}") from None
    return found or None


def patched(document: Any, changes: Any) -> Any:
    """What a patch makes of an object; says which operation does not fit. Raises Unfit."""
    if not isinstance(changes, list):
        raise Unfit("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    for operation in changes:
        try:
            document = json_patch.apply(document, [operation])
        except CloudError as error:
            raise Unfit(_why_not(operation, error)) from None
    return document


class Unfit(Exception):
    """A patch that the object can't take."""


def _why_not(operation: Any, error: CloudError) -> str:
    if not isinstance(operation, dict):
        return error.message
    name, path = operation.get("op"), operation.get("path")
    last = str(path).rpartition("/")[2]
    return {
        "remove": f"error in remove for path: '{path}': Unable to remove nonexistent key: {last}: missing value",
        "replace": f"replace operation does not apply: doc is missing key: {path}: missing value",
        "add": f'add operation does not apply: doc is missing path: "{path}": missing value',
        "test": f"testing value {path} failed: test failed",
    }.get(str(name), error.message)


def denied(name: str, result: Object | None) -> Denied:
    result = result or {}
    by = f'admission webhook "{name}" denied the request'
    says = result.get("message") or result.get("reason")
    code = result.get("code") or 0
    message = f"{by}: {says}" if says else f"{by} without explanation"
    return Denied(
        message, code if code >= 400 else 400, result.get("reason") or "", result.get("details")
    )
