"""Deleting: one object, or all that a list shows, past whoever may object and what still holds them."""

from __future__ import annotations

import asyncio
import datetime
from functools import partial

from jindou.control.api import status
from jindou.control.api.admission.chain import Chain, mutate, validated
from jindou.control.api.engine import admitting, deletions, encoding, writes
from jindou.control.api.engine.calls import Call, DeleteOptions
from jindou.control.api.engine.commits import Deleted, dry, settle, success
from jindou.control.api.engine.lists import Page
from jindou.control.api.engine.places import Places
from jindou.control.api.resources.registry import Resource
from jindou.control.store import Stale, Store, Stored
from jindou.objects.errors import NotFound
from jindou.objects.kinds import Object

TRIES = 64


class Removals:
    def __init__(self, store: Store, places: Places, chain: Chain) -> None:
        self._store = store
        self._places = places
        self._chain = chain

    async def one(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        options: DeleteOptions,
        call: Call,
        *,
        named: bool = True,
        judged: bool = True,
    ) -> Deleted:
        """`named` False: it is one of a collection; `judged` False: admission has agreed already."""
        self._places.check_deletion(resource, name)
        for _ in range(TRIES):
            stored = self._store.get(resource.key(namespace, name))
            if stored is None:
                raise status.not_found(resource.kind, name)
            await encoding.prepare(resource, stored.value)
            old = encoding.loads(resource, stored.value)
            writes.preconditions(resource, old, options.uid, options.revision)
            plan = deletions.plan(resource, old, options, datetime.datetime.now(datetime.UTC))
            review = None
            if judged and self._chain.concerned("DELETE", resource, "") and not _waits(plan, old):
                review = admitting.deletion(self._chain, resource, old, options, call, named)
            write = partial(self._carry_out, resource, stored, old, plan, options, call)
            if review is None:
                done = await write()
            else:
                await mutate(review)
                done = await validated(review, write)
            if done is not None:
                return done
        raise status.conflict(resource.kind, name)

    async def _carry_out(
        self,
        resource: Resource,
        stored: Stored,
        old: Object,
        plan: deletions.Plan,
        options: DeleteOptions,
        call: Call,
    ) -> Deleted | None:
        """None: somebody was quicker, and has made himself seen."""
        if not plan.changed:
            return Deleted(None, stored.value)
        gone = plan.marked is None
        told = success(resource, old) if gone and not deletions.is_returned(resource) else None
        if deletions.orphans(resource, options) and resource.kind.name == "Job":
            call.warnings.append(KEPT)
        if options.dry_run or call.dry_run:
            shown = await encoding.to_keep(resource, plan.marked or plan.last or old)
            return Deleted(told, dry(resource, shown).value)
        encode = None
        if plan.marked is not None:
            encode = encoding.encoder(resource, await encoding.to_keep(resource, plan.marked))
        try:
            if plan.last is not None:
                seen = encoding.encoder(resource, plan.last)
                stored = await self._store.commit(stored.key, seen, expect=stored.revision)
            kept = await self._store.commit(stored.key, encode, expect=stored.revision)
        except Stale as stale:
            await settle(self._store, stored.key, stale.found)
            return None
        if gone:
            return Deleted(told, encoding.with_revision(kept.value, kept.revision))
        return Deleted(None, kept.value)

    async def all_of(
        self, resource: Resource, page: Page, options: DeleteOptions, call: Call
    ) -> None:
        async def one(stored: Stored) -> None:
            namespace, _, name = stored.key.removeprefix(resource.prefix).partition("/")
            try:
                await self.one(resource, namespace, name, options, call, named=False)
            except NotFound:
                return

        await asyncio.gather(*(one(stored) for stored in page.items))


KEPT = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to "
    "remove them or set propagationPolicy=Orphan to suppress this warning"
)


def _waits(plan: deletions.Plan, old: Object) -> bool:
    """It is on its way out already, and this request makes it no quicker."""
    return not plan.changed and bool(old["metadata"].get("deletionGracePeriodSeconds"))
