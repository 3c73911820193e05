"""Who owns which field: metadata.managedFields for every write, and server-side apply on top of it.

`track` notes what a create, update or patch changed; `apply` merges what a manager says it wants,
refuses to take what others own, and drops what it no longer speaks about and nobody else owns.
What must stay true: an apply of the same configuration changes nothing, not even a time.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from typing import Any

import orjson

from jindou.control.api.changes.fields import (
    LIST,
    MAP,
    SET,
    Fields,
    Plan,
    common,
    compare,
    everything,
    is_member,
    join,
    of_object,
    paths,
    plan_of,
    said,
    without,
)  # fmt: skip
from jindou.control.api.changes.managers import Manager, Owned, Owners, base, capped, decode, encode
from jindou.control.api.resources.definitions import Root
from jindou.control.api.resources.schema import MISSING, Schema, copy, unknown_fields
from jindou.objects.errors import BadRequest, Conflict, InternalError
from jindou.objects.kinds import Object

NAMED: Fields = {"f:metadata": {"f:name": {}}}  # what every configuration says, and nobody owns
BEFORE = "before-first-apply"  # owns what nobody was noted for
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def track(
    before: Object | None,
    after: Object,
    *,
    manager: str,
    schema: Schema,
    api_version: str,
    subresource: str,
    now: str,
) -> None:
    """Set `after`'s managedFields: what was changed is the manager's now, and nobody else's."""
    plan = plan_of(schema)
    meta = after["metadata"]
    changed: Fields = {}
    removed: Fields = {}
    if before is None:
        changed = of_object(everything(plan, after, False))
    else:
        _compare_objects(plan, before, after, changed, removed)
    if not subresource and status_is_apart(schema):
        changed.pop("f:status", None)
        removed.pop("f:status", None)
    held = before["metadata"].get("managedFields") if before is not None else None
    sent = held if subresource else meta.get("managedFields", held)
    if not changed and not removed and sent == held:
        _set_entries(meta, held)
        return
    owners = base(sent, held)
    if before is not None and not owners:  # nobody keeps count, until somebody applies
        _set_entries(meta, None)
        return
    if subresource == "scale" and not any(common(o.fields, changed) for o in owners.values()):
        _set_entries(meta, held)  # the replicas are nobody's, and stay so
        return
    if removed or (changed and owners):
        for other, owned in owners.items():
            left = without(without(owned.fields, changed), removed)
            owners[other] = owned._replace(fields=left)
    if changed:
        who = Manager(manager, "Update", api_version, subresource)
        mine = owners[who].fields if who in owners else {}
        owners[who] = Owned(join(mine, changed), now, api_version)
    _set_entries(meta, encode(capped(owners)))


def apply(
    live: Object | None,
    applied: Object,
    *,
    manager: str,
    force: bool,
    schema: Schema,
    api_version: str,
    subresource: str,
    now: str,
) -> Object:
    """The object that is to be written. Raises Conflict where others own what is to be changed."""
    check(applied, schema, api_version)
    if status_is_apart(schema):
        ignored = "spec" if subresource == "status" else "status"
        applied = {name: value for name, value in applied.items() if name != ignored}
    plan = plan_of(schema)
    start: Object = live if live is not None else {}
    held = (start.get("metadata") or {}).get("managedFields")
    owners = decode(held) or {}
    if live is not None and not owners:
        before = of_object(everything(plan, live, False))
        if not subresource and status_is_apart(schema):
            before.pop("f:status", None)
        owners[Manager(BEFORE, "Update", api_version, "")] = Owned(before, now, api_version)
    who = Manager(manager, "Apply", "", subresource)
    last = owners[who].fields if who in owners else {}
    mine = of_object(said(plan, applied))
    others = {other: owned for other, owned in owners.items() if other != who}
    merged: Object = copy(_merge(plan, start, applied))
    if last:
        kept = join(mine, NAMED)
        for owned in others.values():
            kept = join(kept, owned.fields)
        merged = _prune(plan, merged, last, kept)
    changed: Fields = {}
    removed: Fields = {}
    _compare_objects(plan, start, merged, changed, removed)
    if not force:
        allowed = _last_applied(plan, start) if manager == "kubectl" else {}
        _refuse_conflicts(others, changed, allowed)
    left = {
        other: owned._replace(fields=without(without(owned.fields, changed), removed))
        for other, owned in others.items()
    }
    unchanged = not changed and not removed and who in owners and last == mine
    before_now = owners[who].time if who in owners else ""
    moved = any(merged.get(name) != start.get(name) for name in {*merged, *start} - {"metadata"})
    when = now if changed or removed or moved else before_now  # who changes no value has no time
    left[who] = Owned(mine, when, api_version)
    _remember_last_applied(manager, start, applied, merged)
    _set_entries(merged["metadata"], held if unchanged else encode(left))
    return merged


def status_is_apart(schema: Schema) -> bool:
    """Is the status written by a subresource, and ignored elsewhere?"""
    return schema.status_apart if isinstance(schema, Root) else bool(schema.ref)


def check(applied: Object, schema: Schema, api_version: str) -> None:
    """Refuse what no object of this kind can hold. Raises BadRequest or InternalError."""
    meta = applied.get("metadata") or {}
    if meta.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    unknown = unknown_fields(schema, applied, drop=False)
    if unknown:
        place = f"{meta.get('namespace', '')}/{meta.get('name', '')}"
        says = "\n".join(f".{path}: field not declared in schema" for path in unknown)
        raise InternalError(
            f"failed to create typed patch object ({place}; {api_version}, Kind={applied.get('kind', '')}): {says}"
        )
    _check_keys(plan_of(schema), applied, "", applied, api_version)


def _check_keys(plan: Plan, value: Any, path: str, applied: Object, api_version: str) -> None:
    """Items of associative lists must be tellable apart."""
    wrong = ""
    if plan.shape == MAP and isinstance(value, dict):
        for name, held in value.items():
            if isinstance(held, (dict, list)):
                _check_keys(plan.entry(name)[1], held, f"{path}.{name}", applied, api_version)
    elif plan.shape in (LIST, SET) and isinstance(value, list):
        seen: set[str] = set()
        for n, item in enumerate(value):
            key = plan.key(item)
            if key in seen:
                wrong = f"{path}: duplicate entries for key {_last_step(key)}"
            elif plan.shape == LIST and (missing := _missing_key(plan, item)):
                wrong = f'{path}: element {n}: associative list with keys has an element that omits key field "{missing}" (and doesn\'t have default value)'
            seen.add(key)
            _check_keys(plan.items, item, f"{path}{_last_step(key)}", applied, api_version)
    if wrong:
        meta = applied.get("metadata") or {}
        place = f"{meta.get('namespace', '')}/{meta.get('name', '')}"
        raise InternalError(
            f"failed to create typed patch object ({place}; {api_version}, Kind={applied.get('kind', '')}): {wrong}"
        )


def _last_step(key: str) -> str:
    return next(paths({key: {}}))


def _missing_key(plan: Plan, item: Any) -> str:
    held = item if isinstance(item, dict) else {}
    return next((k for k in plan.keys if k not in held and plan.defaults[k] is MISSING), "")


def _compare_objects(
    plan: Plan, old: Object, new: Object, changed: Fields, removed: Fields
) -> None:
    found: Fields = {}
    lost: Fields = {}
    compare(plan, old, new, found, lost)
    changed.update(of_object(found))
    removed.update(of_object(lost))


# ---------------------------------------------------------------- merging and pruning


def merged(live: Object, applied: Object, schema: Schema) -> Object:
    """An object with what another one says laid over it, by the rules of its lists and maps; nobody
    owns anything. Shares with what it is given."""
    found: Object = _merge(plan_of(schema), live, applied)
    return found


def _merge(plan: Plan, live: Any, applied: Any) -> Any:
    """What is applied, laid over what there is; neither is changed."""
    if plan.shape == MAP and isinstance(live, dict) and isinstance(applied, dict):
        merged = dict(live)
        for name, held in applied.items():
            before = live.get(name, MISSING)
            merged[name] = (
                copy(held) if before is MISSING else _merge(plan.entry(name)[1], before, held)
            )
        return merged
    if plan.shape in (LIST, SET) and isinstance(live, list) and isinstance(applied, list):
        return _merge_lists(plan, live, applied)
    return copy(applied)


def _merge_lists(plan: Plan, live: list[Any], applied: list[Any]) -> list[Any]:
    """In the order of what is applied; items that only exist stay in front of the ones they preceded."""
    wanted = {plan.key(item): item for item in applied}
    existing = [(plan.key(item), item) for item in live]
    held = dict(reversed(existing))
    merged: list[Any] = []
    at = 0
    for key, item in wanted.items():
        end = next((n for n in range(at, len(existing)) if existing[n][0] == key), None)
        stop = end if end is not None else at
        if end is None and key not in held:
            stop = next(
                (n for n in range(at, len(existing)) if existing[n][0] in wanted), len(live)
            )
        merged += [kept for name, kept in existing[at:stop] if name not in wanted]
        at = stop + 1 if end is not None else stop
        before = held.get(key, MISSING)
        merged.append(copy(item) if before is MISSING else _merge(plan.items, before, item))
    merged += [kept for name, kept in existing[at:] if name not in wanted]
    return merged


def _prune(plan: Plan, value: Any, last: Fields, kept: Fields) -> Any:
    """Without what was said last time and is kept by nobody now; MISSING when nothing is left."""
    if plan.shape == MAP and isinstance(value, dict):
        result = {}
        for name, held in value.items():
            key, child, _ = plan.entry(name)
            left = _prune_one(child, held, last.get(key), kept.get(key), name in plan.named)
            if left is not MISSING:
                result[name] = left
        return result if result or not value else MISSING
    if plan.shape in (LIST, SET) and isinstance(value, list):
        items = []
        for held in value:
            key = plan.key(held)
            left = _prune_one(plan.items, held, last.get(key), kept.get(key), False)
            if left is not MISSING:
                items.append(left)
        return items if items or not value else MISSING
    return value


def _prune_one(
    plan: Plan, value: Any, last: Fields | None, kept: Fields | None, named: bool
) -> Any:
    if last is None:
        return value
    was_ours = named or is_member(last)
    still_held = kept is not None and (named or is_member(kept))
    if was_ours and not still_held:
        return MISSING
    return _prune(plan, value, last, kept or {}) if last else value


# ---------------------------------------------------------------- conflicts


def changed_between(before: Object, after: Object, schema: Schema) -> tuple[Fields, Fields]:
    """What was changed or added, and what was removed."""
    changed: Fields = {}
    removed: Fields = {}
    _compare_objects(plan_of(schema), before, after, changed, removed)
    return changed, removed


def refuse_conflicts(others: Owners, changed: Fields) -> None:
    _refuse_conflicts(others, changed, {})


def _refuse_conflicts(others: Owners, changed: Fields, allowed: Fields) -> None:
    found: list[tuple[str, str]] = []
    for other, owned in others.items():
        shared = without(common(owned.fields, changed), allowed)
        if shared:
            found += [(described(other, owned.version), path) for path in paths(shared)]
    if not found:
        return
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path}
        for who, path in found
    ]
    if len(found) == 1:
        who, path = found[0]
        message = f"Apply failed with 1 conflict: conflict with {who}: {path}"
    else:
        lines = []
        for who in sorted({who for who, _ in found}):
            lines.append(f"conflicts with {who}:")
            lines += [f"- {path}" for name, path in found if name == who]
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    raise Conflict(message, {"causes": causes})


def described(who: Manager, version: str) -> str:
    quoted = orjson.dumps(who.name).decode()
    if who.subresource:
        quoted += f' with subresource "{who.subresource}"'
    return f"{quoted} using {version}" if who.operation == "Update" else quoted


def _last_applied(plan: Plan, live: Object) -> Fields:
    """What kubectl applied from its own side and still holds: it may take that over from itself."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        applied = orjson.loads(text) if text else None
    except ValueError:
        return {}
    if not isinstance(applied, dict):
        return {}
    changed: Fields = {}
    _compare_objects(plan, live, _merge(plan, live, applied), changed, {})
    return without(of_object(said(plan, applied)), changed)


def _remember_last_applied(manager: str, live: Object, applied: Object, merged: Object) -> None:
    """An object that both kinds of `kubectl apply` touch keeps its annotation true."""
    annotations = (live.get("metadata") or {}).get("annotations") or {}
    if manager != "kubectl" or LAST_APPLIED not in annotations:
        return
    held = merged["metadata"].get("annotations")
    if held and LAST_APPLIED in held:
        said_now = copy(applied)
        said_now["metadata"].setdefault("annotations", {}).pop(LAST_APPLIED, None)
        merged["metadata"]["annotations"] = {
            **held,
            LAST_APPLIED: orjson.dumps(said_now, option=orjson.OPT_SORT_KEYS).decode() + "\n",
        }


def _set_entries(meta: Object, entries: list[Object] | None) -> None:
    if entries:
        meta["managedFields"] = entries
    else:
        meta.pop("managedFields", None)
