"""The past of stateful sets and daemon sets: one ControllerRevision for each template they have had.

The newest number is the template of now. A template that comes back takes its old revision along, with a
new number; `kubectl rollout undo` sends back what a revision holds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import owners
from jindou.control.controllers.workloads.hashing import template_hash
from jindou.objects.errors import AlreadyExists, NotFound
from jindou.objects.kinds import CONTROLLER_REVISION, Kind, Object, Ref, ref_of

POD_LABEL = "controller-revision-hash"


def data_of(owner: Object) -> Object:
    """A patch that brings the template of now back."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def template_in(revision: Object) -> Object:
    template = revision["data"]["spec"]["template"]
    return {name: value for name, value in template.items() if name != "$patch"}


def in_order(revisions: Sequence[Object]) -> list[Object]:
    return sorted(
        revisions,
        key=lambda one: (
            one.get("revision", 0),
            one["metadata"].get("creationTimestamp", ""),
            one["metadata"]["name"],
        ),
    )


def plan_surplus(
    owner: Object, revisions: Sequence[Object], live: Collection[str], label: str = ""
) -> list[Object]:
    """Those beyond the limit of history, oldest first. `live`: names, or hashes in `label`, in use."""
    limit = owner["spec"].get("revisionHistoryLimit")
    past = [one for one in in_order(revisions) if known_as(one, label) not in live]
    return past[: max(len(past) - (10 if limit is None else int(limit)), 0)]


def known_as(revision: Object, label: str) -> str:
    meta = revision["metadata"]
    return str((meta.get("labels") or {}).get(label, "") if label else meta["name"])


class Revisions:
    """`label` holds the hash of a revision."""

    def __init__(self, kind: Kind, label: str) -> None:
        self._kind = kind
        self._label = label

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._held = informers.of(CONTROLLER_REVISION)
        owners.index(self._held)

    async def claimed(self, client: Client, owner: Object) -> list[Object]:
        return in_order(await owners.claim(client, self._held, self._kind, owner))

    async def of_now(
        self, client: Client, owner: Object, revisions: list[Object], collisions: int
    ) -> tuple[Object, int]:
        """The revision of the template of now, made or moved to the end where it is not there;
        `revisions` is brought up to date."""
        data = data_of(owner)
        equal = [one for one in revisions if one.get("data") == data]
        if equal and equal[-1] is revisions[-1]:
            return equal[-1], collisions
        number = revisions[-1].get("revision", 0) + 1 if revisions else 1
        if equal:
            moved = await client.update(CONTROLLER_REVISION, {**equal[-1], "revision": number})
            revisions.remove(equal[-1])
        else:
            moved, collisions = await self._create(client, owner, data, number, collisions)
        revisions.append(moved)
        await self._held.caught_up(moved["metadata"].get("resourceVersion", ""))
        return moved, collisions

    async def _create(
        self, client: Client, owner: Object, data: Object, number: int, collisions: int
    ) -> tuple[Object, int]:
        meta = owner["metadata"]
        while True:
            hashed = template_hash(data, collisions)
            name = f"{meta['name']}-{hashed}"
            labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
            revision = {
                "apiVersion": CONTROLLER_REVISION.api_version,
                "kind": CONTROLLER_REVISION.name,
                "metadata": {
                    "name": name,
                    "namespace": meta["namespace"],
                    "labels": {**labels, self._label: hashed},
                    "annotations": dict(meta.get("annotations") or {}),
                    "ownerReferences": [owners.reference_to(self._kind, owner)],
                },
                "data": data,
                "revision": number,
            }
            try:
                return await client.create(CONTROLLER_REVISION, revision), collisions
            except AlreadyExists:
                live = await client.get(Ref(CONTROLLER_REVISION, meta["namespace"], name))
                if live.get("data") == data and owners.controller_uid(live) == meta["uid"]:
                    return live, collisions
                collisions += 1

    async def delete(self, client: Client, revisions: Sequence[Object]) -> None:
        for one in revisions:
            try:
                uid = one["metadata"]["uid"]
                await client.delete(ref_of(CONTROLLER_REVISION, one), uid=uid)
            except NotFound:
                pass
