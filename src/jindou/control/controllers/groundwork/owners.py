"""Who controls what: controller references, adoption and release.

An object has at most one controller. One that matches a selector and has none is adopted; one that
no longer matches is released. Both are written only if nobody wrote in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from jindou.client import Client
from jindou.client.informers import Informer
from jindou.objects.errors import Conflict, NotFound
from jindou.objects.kinds import Kind, Object, Ref, ref_of
from jindou.objects.selectors import Selector, from_object


def controller_of(obj: Mapping[str, Any]) -> Object | None:
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Object = reference
            return found
    return None


def controller_uid(obj: Mapping[str, Any]) -> str:
    owner = controller_of(obj)
    return owner["uid"] if owner else ""


def reference_to(kind: Kind, owner: Object) -> Object:
    meta = owner["metadata"]
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


class Candidate(NamedTuple):
    """What a claim is decided on; `item` is what the caller gets back."""

    labels: Mapping[str, str]
    owner: str  # uid of its controller, "" for none
    deleting: bool
    item: Any


class Claims(NamedTuple):
    owned: list[Any]
    adopt: list[Any]
    release: list[Any]


def plan_claims(
    owner_uid: str, owner_deleting: bool, selector: Selector, candidates: Iterable[Candidate]
) -> Claims:
    claims = Claims([], [], [])
    for candidate in candidates:
        if candidate.owner:
            if candidate.owner != owner_uid:
                continue
            if selector.matches(candidate.labels):
                claims.owned.append(candidate.item)
            elif not owner_deleting:
                claims.release.append(candidate.item)
        elif not owner_deleting and not candidate.deleting and selector.matches(candidate.labels):
            claims.adopt.append(candidate.item)
    return claims


def index(informer: Informer) -> None:
    """Find objects `by` "owner", the uid of their controller, or "orphan", the namespace of those without."""
    informer.index("owner", lambda obj: filter(None, [controller_uid(obj)]))
    informer.index("orphan", _orphan_in)


def _orphan_in(obj: Object) -> tuple[str, ...]:
    return () if controller_of(obj) else (obj["metadata"].get("namespace", ""),)


def _anyone(obj: Object) -> bool:
    return True


async def claim(
    client: Client,
    informer: Informer,
    kind: Kind,
    owner: Object,
    finalizer: str = "",
    member: Callable[[Object], bool] = _anyone,
) -> list[Object]:
    """What an owner of this kind has, of what the informer indexes: adopts and releases on the way.
    `finalizer` is put on what is adopted; `member` leaves others out."""
    meta = owner["metadata"]
    found = informer.by("owner", meta["uid"]) + informer.by("orphan", meta["namespace"])
    claims = plan_claims(
        meta["uid"],
        bool(meta.get("deletionTimestamp")),
        selector_of(owner),
        (
            Candidate(
                one["metadata"].get("labels") or {},
                controller_uid(one),
                bool(one["metadata"].get("deletionTimestamp")),
                one,
            )
            for one in found
            if member(one)
        ),
    )
    owned: list[Object] = claims.owned
    if claims.adopt and await still_there(client, kind, owner):
        reference = reference_to(kind, owner)
        for one in claims.adopt:
            adopted = await adopt(client, informer.kind, one, reference, finalizer)
            if adopted is not None:
                owned.append(adopted)
                await informer.caught_up(adopted["metadata"].get("resourceVersion", ""))
    for one in claims.release:
        await release(client, informer.kind, one, meta["uid"])
    return owned


def selector_of(owner: Object) -> Selector:
    return from_object(owner["spec"].get("selector")) or Selector()


async def still_there(client: Client, kind: Kind, owner: Object) -> bool:
    """Asked of the API itself before anything is adopted: our own view may be old."""
    meta = owner["metadata"]
    try:
        live = await client.get(ref_of(kind, owner))
    except NotFound:
        return False
    return live["metadata"]["uid"] == meta["uid"] and not live["metadata"].get("deletionTimestamp")


async def adopt(
    client: Client, kind: Kind, obj: Object, reference: Object, finalizer: str = ""
) -> Object | None:
    """`finalizer` is put on it besides."""
    references = [*(obj["metadata"].get("ownerReferences") or ()), reference]
    held = obj["metadata"].get("finalizers") or []
    more = {"finalizers": [*held, finalizer]} if finalizer and finalizer not in held else {}
    return await _write(client, ref_of(kind, obj), obj, references, more)


async def release(client: Client, kind: Kind, obj: Object, owner_uid: str) -> Object | None:
    references = obj["metadata"].get("ownerReferences") or ()
    rest = [reference for reference in references if reference["uid"] != owner_uid]
    return await _write(client, ref_of(kind, obj), obj, rest)


async def _write(
    client: Client, ref: Ref, obj: Object, references: list[Object], more: Mapping[str, Any] = {}
) -> Object | None:
    """None where it is gone, or has changed: the change will wake us again."""
    meta = obj["metadata"]
    changes = {
        "uid": meta["uid"],
        "resourceVersion": meta["resourceVersion"],
        "ownerReferences": references,
        **more,
    }
    try:
        return await client.patch(ref, {"metadata": changes})
    except (NotFound, Conflict):
        return None
