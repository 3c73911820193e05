"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386), without changing what they are given."""

from __future__ import annotations

from typing import Any

from jindou.control.api import depth
from jindou.control.api.resources.schema import JSON_NAMES, copy
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
    """Raises BadRequest for what is no patch, Invalid where it does not fit the document."""
    if not isinstance(operations, list):
        told = JSON_NAMES.get(type(operations), "null")
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {told} into Go value of type []handlers.jsonPatchOp"
        )
    if len(operations) > MOST:
        raise TooLarge(
            f"Request entity too large: The allowed maximum operations in a JSON patch is {MOST}, got {len(operations)}"
        )
    result = copy(document)
    copied = 0
    for operation in operations:
        if not isinstance(operation, dict):
            told = JSON_NAMES.get(type(operation), "null")
            raise BadRequest(
                f"error decoding patch: json: cannot unmarshal {told} into Go value of type handlers.jsonPatchOp"
            )
        if not isinstance(operation.get("op"), str) or not isinstance(operation.get("path"), str):
            raise refused()
        if operation["op"] == "copy" and isinstance(operation.get("from"), str):
            copied += len(depth.dumps(_get(result, operation["from"])))
            if copied > MOST_COPIED:
                raise Invalid(
                    f"Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MOST_COPIED}"
                )
        result = _apply(result, operation)
    return result


def refused() -> Invalid:
    return Invalid(REFUSED)


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    name, path = operation["op"], operation["path"]
    if name == "add":
        return _add(document, path, copy(operation.get("value")))
    if name == "remove":
        return _remove(document, path)
    if name == "replace":
        return _replace(document, path, copy(operation.get("value")))
    if name in ("move", "copy"):
        source = operation.get("from")
        if not isinstance(source, str):
            raise refused()
        value = copy(_get(document, source))
        return _add(_remove(document, source) if name == "move" else document, path, value)
    if name == "test":
        try:
            same = _get(document, path) == operation.get("value")
        except Invalid:
            same = operation.get("value") is None
        if not same:
            raise refused()
        return document
    raise refused()


def _replace(document: Any, path: str, value: Any) -> Any:
    """A field that is not there is added."""
    tokens = _tokens(path)
    if not tokens:
        return value
    parent = _parent(document, path)
    if isinstance(parent, dict):
        parent[tokens[-1]] = value
    elif isinstance(parent, list):
        parent[_index(parent, tokens[-1])] = value
    else:
        raise refused()
    return document


def _parent(document: Any, path: str) -> Any:
    return _get(document, "/".join(["", *path[1:].split("/")[:-1]]) if path.count("/") > 1 else "")


def _tokens(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise refused()
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _index(held: list[Any], token: str, past: bool = False) -> int:
    if token == "-" and past:
        return len(held)
    if not token.lstrip("-").isdigit():
        raise refused()
    index = int(token)
    if index < 0:  # from the end
        index += len(held)
    if not 0 <= index <= (len(held) if past else len(held) - 1):
        raise refused()
    return index


def _get(document: Any, path: str) -> Any:
    value = document
    for token in _tokens(path):
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list):
            value = value[_index(value, token)]
        else:
            raise refused()
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
        raise refused()
    return document


def _remove(document: Any, path: str) -> Any:
    tokens = _tokens(path)
    if not tokens:
        raise refused()
    parent = _get(document, "/".join(["", *path[1:].split("/")[:-1]]) if len(tokens) > 1 else "")
    if isinstance(parent, dict) and tokens[-1] in parent:
        del parent[tokens[-1]]
    elif isinstance(parent, list):
        del parent[_index(parent, tokens[-1])]
    else:
        raise refused()
    return document
