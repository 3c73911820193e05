"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386), without changing what they are given."""

from __future__ import annotations

from typing import Any

import orjson

from jindou.control.api.resources.schema import copy
from jindou.objects.errors import BadRequest, Invalid, TooLarge

MOST = 10_000
REFUSED = "the server rejected our request due to an error in our request"
MOST_COPIED = 3 * 1024 * 1024  # bytes, by all copy operations of a patch


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null deletes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, held in patch.items():
        if held is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), held)
    return merged


def apply(document: Any, operations: Any) -> Any:
    """Raises BadRequest for a malformed patch, Invalid where it does not fit the document."""
    if not isinstance(operations, list):
        raise BadRequest("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > MOST:
        raise TooLarge(
            f"Request entity too large: The allowed maximum operations in a JSON patch is {MOST}, got {len(operations)}"
        )
    result = copy(document)
    copied = 0
    for operation in operations:
        if (
            not isinstance(operation, dict)
            or not isinstance(operation.get("op"), str)
            or not isinstance(operation.get("path"), str)
        ):
            raise BadRequest("a JSON patch operation needs op and path")
        if operation["op"] == "copy" and isinstance(operation.get("from"), str):
            copied += len(orjson.dumps(_get(result, operation["from"])))
            if copied > MOST_COPIED:
                raise Invalid(
                    f"Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MOST_COPIED}"
                )
        result = _apply(result, operation)
    return result


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    name, path = operation["op"], operation["path"]
    if name in ("add", "replace", "test") and "value" not in operation:
        raise BadRequest(f"a JSON patch operation {name!r} needs a value")
    if name == "add":
        return _add(document, path, copy(operation["value"]))
    if name == "remove":
        return _remove(document, path)
    if name == "replace":
        _get(document, path)
        return (
            _add(_remove(document, path), path, copy(operation["value"]))
            if path
            else copy(operation["value"])
        )
    if name in ("move", "copy"):
        source = operation.get("from")
        if not isinstance(source, str):
            raise BadRequest(f"a JSON patch operation {name!r} needs from")
        value = copy(_get(document, source))
        return _add(_remove(document, source) if name == "move" else document, path, value)
    if name == "test":
        try:
            same = _get(document, path) == operation["value"]
        except Invalid:
            same = operation["value"] is None
        if not same:
            raise Invalid(REFUSED)
        return document
    raise BadRequest(f"Unexpected kind: {name}")


def _tokens(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise BadRequest(f"a JSON pointer begins with a slash: {path!r}")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _index(held: list[Any], token: str, past: bool = False) -> int:
    if token == "-" and past:
        return len(held)
    if not token.lstrip("-").isdigit():
        raise Invalid(REFUSED)
    index = int(token)
    if not 0 <= index <= (len(held) if past else len(held) - 1):
        raise Invalid(REFUSED)
    return index


def _get(document: Any, path: str) -> Any:
    value = document
    for token in _tokens(path):
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list):
            value = value[_index(value, token)]
        else:
            raise Invalid(REFUSED)
    return value


def _add(document: Any, path: str, value: Any) -> Any:
    tokens = _tokens(path)
    if not tokens:
        return value
    parent = _get(document, "/".join(["", *path[1:].split("/")[:-1]]) if len(tokens) > 1 else "")
    if isinstance(parent, dict):
        parent[tokens[-1]] = value
    elif isinstance(parent, list):
        parent.insert(_index(parent, tokens[-1], past=True), value)
    else:
        raise Invalid(REFUSED)
    return document


def _remove(document: Any, path: str) -> Any:
    tokens = _tokens(path)
    if not tokens:
        return None
    parent = _get(document, "/".join(["", *path[1:].split("/")[:-1]]) if len(tokens) > 1 else "")
    if isinstance(parent, dict) and tokens[-1] in parent:
        del parent[tokens[-1]]
    elif isinstance(parent, list):
        del parent[_index(parent, tokens[-1])]
    else:
        raise Invalid(REFUSED)
    return document
