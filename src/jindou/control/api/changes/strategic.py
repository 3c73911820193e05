"""Strategic merge patch: a merge patch that knows which lists are sets and which are keyed maps.

Directives: $patch (replace, delete, merge), $retainKeys, $setElementOrder/FIELD,
$deleteFromPrimitiveList/FIELD. Which list merges by which key is in the schema (patch strategy and
merge key). Nothing given is changed; parts that stay the same are shared with the original.
Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from typing import Any

from jindou.control.api.resources.schema import Schema, copy
from jindou.objects.errors import BadRequest, InternalError

ORDER = "$setElementOrder/"
DELETE = "$deleteFromPrimitiveList/"


class Untold(InternalError):
    """An error that its author gave no reason."""

    reason = ""


def in_go(value: Any) -> str:
    """A value as Go prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{in_go(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(in_go, value))}]"
    return {True: "true", False: "false", None: "<nil>"}.get(value) or str(value)


def apply(original: Any, patch: Any, schema: Schema) -> Any:
    """The original with the patch applied. Raises BadRequest for a malformed directive."""
    if not isinstance(patch, dict):
        raise BadRequest("a strategic merge patch is an object")
    return _object(original if isinstance(original, dict) else {}, patch, schema)


def _object(original: dict[str, Any], patch: dict[str, Any], schema: Schema) -> dict[str, Any]:
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: copy(held) for name, held in patch.items() if name != "$patch"}
    if directive == "delete":
        return {}
    if directive is not None:
        raise Untold(f"unknown patch type: {directive} in map: {in_go(patch)}")
    merged = dict(original)
    if "$retainKeys" in patch:
        kept = patch["$retainKeys"]
        if not isinstance(kept, list):
            raise BadRequest("$retainKeys has to be a list")
        merged = {name: held for name, held in merged.items() if name in kept}
    for name, held in patch.items():
        if name.startswith("$"):
            if name.startswith(DELETE):
                field = name.removeprefix(DELETE)
                current = merged.get(field)
                if isinstance(current, list):
                    merged[field] = [item for item in current if item not in held]
            continue
        child = schema.field(name)
        if held is None:
            merged.pop(name, None)
        elif isinstance(held, dict):
            below = merged.get(name)
            if child is not None and "replace" in child.patch_strategy:
                merged[name] = copy(held)
            else:
                result = _object(below if isinstance(below, dict) else {}, held, child or Schema())
                if held.get("$patch") == "delete":
                    merged.pop(name, None)
                else:
                    merged[name] = result
        elif isinstance(held, list):
            order = patch.get(ORDER + name)
            if child is not None and "merge" in child.patch_strategy:
                merged[name] = _list(merged.get(name) or [], held, child, order)
            else:
                merged[name] = copy(held)
        else:
            merged[name] = held
    for name, order in patch.items():  # an order without a patch of the list itself
        if (
            name.startswith(ORDER)
            and (field := name.removeprefix(ORDER)) not in patch
            and field in merged
        ):
            child = schema.field(field)
            if child is not None:
                held = merged[field]
                merged[field] = _ordered(held, order, child.patch_key, held)
    return merged


def _list(
    original: list[Any], patch: list[Any], schema: Schema, order: list[Any] | None
) -> list[Any]:
    key = schema.patch_key
    items = schema.items or Schema()
    if not key:
        merged = list(original) + [item for item in patch if item not in original]
        merged = _ordered(merged, patch, "", original)
        return _ordered(merged, order, "", original) if order else merged
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [copy(item) for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    merged = list(original)
    for item in patch:
        if not isinstance(item, dict):
            raise BadRequest(f"cannot patch a list of objects with {in_go(item)}")
        if key not in item:
            raise Untold(f"map: {in_go(item)} does not contain declared merge key: {key}")
        at = next(
            (
                n
                for n, held in enumerate(merged)
                if isinstance(held, dict) and held.get(key) == item[key]
            ),
            None,
        )
        if item.get("$patch") == "delete":
            merged = [
                held
                for held in merged
                if not (isinstance(held, dict) and held.get(key) == item[key])
            ]
        elif at is None:
            merged.append(_object({}, item, items))
        else:
            merged[at] = _object(merged[at], item, items)
    kept = [item for item in patch if "$patch" not in item]
    merged = _ordered(merged, kept, key, original)
    return _ordered(merged, order, key, original) if order else merged


def _ordered(merged: list[Any], order: list[Any], key: str, original: list[Any]) -> list[Any]:
    """What the order names, in that order; any other goes before only what it was before already.

    So what is new comes ahead of what others put there.
    """

    def mark(item: Any) -> str:
        return repr(item.get(key) if key and isinstance(item, dict) else item)

    wanted = {mark(item): n for n, item in enumerate(order)}
    places = {mark(item): n for n, item in enumerate(original)}
    named = sorted(
        (item for item in merged if mark(item) in wanted), key=lambda item: wanted[mark(item)]
    )
    others = [item for item in merged if mark(item) not in wanted]
    result: list[Any] = []
    while named and others:
        mine, theirs = places.get(mark(named[0])), places.get(mark(others[0]))
        behind = mine is not None and theirs is not None and theirs < mine
        result.append((others if behind else named).pop(0))
    return result + named + others
