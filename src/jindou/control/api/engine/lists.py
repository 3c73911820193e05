"""Lists: pages that belong together, at one revision, joined from the bytes that are kept.

A page after the first is read as of the revision of the first: what changed since is undone from
the history of the store. When that has been forgotten, the client is told so and given a token to
go on from where it was, at the present revision.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from jindou.control.api.engine import encoding
from jindou.control.api.engine.selection import FactsCache, Selection
from jindou.control.api.resources.registry import Resource
from jindou.control.api.status import PageExpired
from jindou.control.store import Change, Forgotten, Store, Stored
from jindou.objects.errors import BadRequest, CloudError, Expired, Fault, Invalid, Timeout

META = "meta.k8s.io"
VERSION = f"{META}/v1"
MATCH = "resourceVersionMatch"


class Query(NamedTuple):
    """What a list or a watch asks for; `match` is resourceVersionMatch."""

    limit: int = 0
    token: str = ""
    revision: str = ""
    match: str = ""
    initial: bool | None = None  # sendInitialEvents, of a watch


class Page(NamedTuple):
    items: Sequence[Stored]
    revision: int
    token: str = ""
    remaining: int | None = None


class Found(NamedTuple):
    """What a list is chosen from, and as of when."""

    items: Sequence[Stored]
    revision: int
    query: Query


def read(
    store: Store, resource: Resource, selection: Selection, query: Query, facts: FactsCache
) -> Page:
    return page_of(resource, found(store, resource, selection, query), selection, facts)


async def read_converted(
    store: Store, resource: Resource, selection: Selection, query: Query, facts: FactsCache
) -> Page:
    """The same, also where a webhook converts what selectors look at."""
    all_ = found(store, resource, selection, query)
    if selection.needs_facts:
        await encoding.prepare(resource, *(stored.value for stored in all_.items))
    return page_of(resource, all_, selection, facts)


def page_of(resource: Resource, all_: Found, selection: Selection, facts: FactsCache) -> Page:
    items = chosen(resource, all_.items, selection, facts)
    return paged(resource, items, all_.revision, selection, all_.query)


def found(store: Store, resource: Resource, selection: Selection, query: Query) -> Found:
    """Raises Expired, Timeout (a revision of the future), BadRequest and Invalid."""
    check(query)
    if query.revision == "0":
        query = query._replace(limit=0)
    prefix = f"{resource.prefix}{selection.namespace}/" if selection.namespace else resource.prefix
    after, revision = "", store.revision
    if query.token:
        revision, start = parse_token(query.token)
        after = resource.prefix + start
        revision = store.revision if revision < 0 else revision
    elif query.revision not in ("", "0"):
        revision = wanted_revision(query, store.revision)
    if revision > store.revision:
        raise too_new(revision, store.revision)
    if selection.name and not query.limit and revision == store.revision:
        items: Sequence[Stored] = named(store, resource, selection)
    elif revision == store.revision:
        simple = query.limit and selection.everything
        items = store.scan(prefix, after, query.limit + 1 if simple else 0).items
        if simple and len(items) > query.limit:
            items = store.scan(prefix, after).items  # to know how many remain
    else:
        items = as_of(store, prefix, revision, query, resource)
        if after:
            items = items[bisect_right(items, after, key=lambda stored: stored.key) :]
    return Found(items, revision, query)


class Unreadable(CloudError):
    """No revision at all; the original gives this error no reason, but in lists."""

    code, reason = 500, ""


def check_revision(revision: str) -> None:
    """That of a get."""
    if revision and not is_revision(revision):
        raise Unreadable(unreadable(revision))


def check(query: Query, watching: bool = False) -> None:
    """Raises Invalid for options that exclude each other, BadRequest for a revision that is none."""
    faults = watch_faults(query) if watching else list_faults(query)
    if faults:
        raise refused(faults)
    if query.token and query.revision not in ("", "0") and not watching:
        raise BadRequest("specifying resource version is not allowed when using continue")
    if query.revision and not is_revision(query.revision):
        says = unreadable(query.revision)
        if watching:
            raise Unreadable(says)
        raise BadRequest(f"invalid resource version: {says}")


def unreadable(revision: str) -> str:
    why = "value out of range" if revision.isdecimal() and revision.isascii() else "invalid syntax"
    return f'resourceVersion: Invalid value: "{revision}": strconv.ParseUint: parsing "{revision}": {why}'


def list_faults(query: Query) -> list[Fault]:
    match, found = query.match, []
    if match:
        if not query.revision:
            found.append(forbidden(f"{MATCH} is forbidden unless resourceVersion is provided"))
        if query.token:
            found.append(forbidden(f"{MATCH} is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            found.append(unsupported(match, ("Exact", "NotOlderThan", "")))
        if match == "Exact" and query.revision == "0":
            found.append(forbidden(f'{MATCH} "exact" is forbidden for resourceVersion "0"'))
    if query.initial is not None:
        found.append(forbidden("sendInitialEvents is forbidden for list", "sendInitialEvents"))
    return found


def watch_faults(query: Query) -> list[Fault]:
    match, found = query.match, []
    if query.initial is not None and match != "NotOlderThan":
        found.append(forbidden(f"sendInitialEvents requires setting {MATCH} to NotOlderThan"))
    if match:
        if query.initial is None:
            says = f"{MATCH} is forbidden for watch unless sendInitialEvents is provided"
            found.append(forbidden(says))
        if match != "NotOlderThan":
            found.append(unsupported(match, ("NotOlderThan",)))
        if query.token:
            found.append(forbidden(f"{MATCH} is forbidden when continue is provided"))
    return found


def forbidden(says: str, field: str = MATCH) -> Fault:
    return Fault("FieldValueForbidden", f"Forbidden: {says}", field)


def unsupported(value: str, known: Sequence[str]) -> Fault:
    told = ", ".join(f'"{name}"' for name in known)
    return Fault(
        "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {told}', MATCH
    )


def refused(faults: Sequence[Fault]) -> Invalid:
    told = [f"{fault.field}: {fault.message}" for fault in faults]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    kind = "ListOptions"
    return Invalid(f'{kind}.{META} "" is invalid: {text}', {"group": META, "kind": kind}, faults)


def exact(query: Query) -> bool:
    return query.match == "Exact" or (not query.match and bool(query.limit))


def wanted_revision(query: Query, current: int) -> int:
    """The revision to show: N exactly where that is asked for, else the present, if it is not older."""
    number = int(query.revision)
    return number if exact(query) or number > current else current


def too_new(wanted: int, current: int) -> Timeout:
    says = f"Timeout: Too large resource version: {wanted}, current: {current}"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return Timeout(says, {"causes": causes, "retryAfterSeconds": 1})


def awaited(query: Query) -> int:
    """The revision that has to be reached before anything may be shown; 0: none."""
    return int(query.revision) if is_revision(query.revision) and not query.token else 0


def is_revision(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def named(store: Store, resource: Resource, selection: Selection) -> list[Stored]:
    if selection.namespace or not resource.kind.namespaced:
        stored = store.get(resource.key(selection.namespace, selection.name))
        return [stored] if stored else []
    return [s for s in store.scan(resource.prefix).items if selection.admits(s.key)]


def as_of(
    store: Store, prefix: str, revision: int, query: Query, resource: Resource
) -> list[Stored]:
    """All objects as they were at a revision, in order of their keys."""
    undone: dict[str, Stored | None] = {}

    def undo(changes: Sequence[Change]) -> None:
        for change in changes:
            undone.setdefault(change.key, change.previous)

    try:
        store.watch(prefix, revision, undo)()
    except Forgotten:
        raise expired(query, resource) from None
    kept = [stored for stored in store.scan(prefix).items if stored.key not in undone]
    return sorted([*kept, *(stored for stored in undone.values() if stored)], key=lambda s: s.key)


def expired(query: Query, resource: Resource) -> Expired:
    if not query.token:
        return Expired("The resourceVersion for the provided list is too old.")
    error = PageExpired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    error.token = make_token(-1, parse_token(query.token)[1])
    return error


def chosen(
    resource: Resource, items: Sequence[Stored], selection: Selection, facts: FactsCache
) -> Sequence[Stored]:
    if selection.name:
        items = [stored for stored in items if selection.admits(stored.key)]
    if selection.needs_facts:
        items = [stored for stored in items if selection.matches(facts.of(resource, stored))]
    return items


def paged(
    resource: Resource, items: Sequence[Stored], revision: int, selection: Selection, query: Query
) -> Page:
    if not query.limit or len(items) <= query.limit:
        return Page(items, revision)
    page = items[: query.limit]
    token = make_token(revision, page[-1].key.removeprefix(resource.prefix))
    return Page(page, revision, token, None if selection.needs_facts else len(items) - query.limit)


def make_token(revision: int, start: str) -> str:
    body = orjson.dumps({"v": VERSION, "rv": revision, "start": f"{start}\0"})
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def parse_token(token: str) -> tuple[int, str]:
    """Revision (-1: the present) and where to go on; raises BadRequest for what we never gave."""
    says = "continue key is not valid"
    try:
        held = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        revision, start = held.get("rv", 0), held.get("start", "")
        if held.get("v") != VERSION:
            says += f": server does not recognize this encoded version {held.get('v', '')}"
        elif not isinstance(start, str) or not _inside(start):
            says += f": {start}"
        elif isinstance(revision, int) and revision:
            return revision, start.rstrip("\0")
    except (binascii.Error, ValueError, AttributeError):
        says += ": it is not one that this server gave"
    raise BadRequest(f"invalid continue token: {says}")


def _inside(start: str) -> bool:
    """Is it a place below the prefix that it is looked up under?"""
    return bool(start) and not {"", ".", ".."} & set(start.removeprefix("/").split("/"))
