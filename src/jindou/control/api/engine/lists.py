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

from jindou.control.api.engine.selection import FactsCache, Selection
from jindou.control.api.resources.registry import Resource
from jindou.control.api.status import PageExpired
from jindou.control.store import Change, Forgotten, Store, Stored
from jindou.objects.errors import BadRequest, Expired, Invalid, Timeout

VERSION = "meta.k8s.io/v1"


class Query(NamedTuple):
    """What a list asks for; `match` is resourceVersionMatch."""

    limit: int = 0
    token: str = ""
    revision: str = ""
    match: str = ""


class Page(NamedTuple):
    items: Sequence[Stored]
    revision: int
    token: str = ""
    remaining: int | None = None


def read(
    store: Store, resource: Resource, selection: Selection, query: Query, facts: FactsCache
) -> Page:
    """Raises Expired, Timeout (a revision of the future) and BadRequest."""
    check(query)
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
    return paged(resource, chosen(resource, items, selection, facts), revision, selection, query)


def check(query: Query) -> None:
    match, revision = query.match, query.revision
    says = ""
    if revision and not revision.isdigit():
        raise BadRequest(
            f'resourceVersion: Invalid value: "{revision}": strconv.ParseUint: parsing "{revision}": invalid syntax'
        )
    if match and match not in ("Exact", "NotOlderThan"):
        says = f'resourceVersionMatch: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
    elif match and query.token:
        says = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"
    elif match and not revision:
        says = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif match == "Exact" and revision == "0":
        says = 'resourceVersionMatch: Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
    if says:
        raise Invalid(f'ListOptions.meta.k8s.io "" is invalid: {says}')
    if query.token and revision not in ("", "0"):
        raise BadRequest("specifying resource version is not allowed when using continue")


def wanted_revision(query: Query, current: int) -> int:
    """The revision to show: N exactly where that is asked for, else the present, if it is not older."""
    number = int(query.revision)
    exact = query.match == "Exact" or (not query.match and query.limit)
    return number if exact or number > current else current


def too_new(wanted: int, current: int) -> Timeout:
    says = f"Too large resource version: {wanted}, current: {current}"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return Timeout(says, {"causes": causes, "retryAfterSeconds": 1})


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
    try:
        held = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        revision, start = held["rv"], held["start"]
        if held["v"] != VERSION or not isinstance(revision, int) or not isinstance(start, str):
            raise ValueError
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise BadRequest("continue key is not valid") from None
    return revision, start.rstrip("\0")
