"""Every verb on every kind: the one way into the store, for HTTP requests and for our own controllers.

Reads answer with bytes as they are kept. A write reads, works out the new object (`writes`,
`patches`, `deletions`, `scales`, `pods`), and commits it against the revision that it read; one
that named no revision of its own begins again when somebody was quicker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from jindou.control.api import status
from jindou.control.api.admission import plugins as admission
from jindou.control.api.admission.allocation import Allocation
from jindou.control.api.admission.chain import Chain, Review, validated
from jindou.control.api.changes import apply as managed
from jindou.control.api.engine import (
    admitting,
    encoding,
    lists,
    patches,
    scales,
    writes,
)
from jindou.control.api.engine.calls import Call, DeleteOptions
from jindou.control.api.engine.commits import Commits, Deleted, Written, unconditional
from jindou.control.api.engine.decoding import check_kind, check_type, fit
from jindou.control.api.engine.noting import Noting
from jindou.control.api.engine.places import Places
from jindou.control.api.engine.removals import Removals
from jindou.control.api.engine.selection import FactsCache, Selection
from jindou.control.api.engine.templates import Templates
from jindou.control.api.engine.watches import Memos, Tell, Watch
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.api.resources.schema import copy
from jindou.control.store import Store, Stored
from jindou.objects.errors import AlreadyExists, BadRequest, Fault
from jindou.objects.kinds import Object

TRIES = 64
NAME_TRIES = 8
POD_PREFIX = "core/pods/"  # its status has no defaults and is written often

Judge = Callable[[Object, Object | None], list[Fault]]
Complete = Callable[[Object], None]


class Engine:
    """`extend` adds what one kind needs beyond its schema (CustomResourceDefinitions)."""

    def __init__(self, store: Store, registry: Registry, allocation: Allocation) -> None:
        self.store = store
        self.registry = registry
        self.facts = FactsCache()
        self._memos = Memos()
        self._allocation = allocation
        self.chain = Chain()
        self._places = Places(store)
        self._commits = Commits(store, registry, allocation)
        self._noting = Noting()
        self.templates = Templates(store, self.chain, self._places, self._commits)
        self._removals = Removals(store, self._places, self.chain)
        self._judges: dict[str, Judge] = {}
        self._completes: dict[str, Complete] = {}

    def extend(self, prefix: str, judge: Judge, complete: Complete) -> None:
        self._judges[prefix] = judge
        self._completes[prefix] = complete

    # ------------------------------------------------------------ reading

    def find(self, resource: Resource, namespace: str, name: str) -> Stored:
        """As kept. Raises NotFound."""
        stored = self.store.get(resource.key(namespace, name))
        if stored is None:
            raise status.not_found(resource.kind, name)
        return stored

    def read(self, resource: Resource, namespace: str, name: str) -> Object:
        return encoding.loads(resource, self.find(resource, namespace, name).value)

    def page(self, resource: Resource, selection: Selection, query: lists.Query) -> lists.Page:
        return lists.read(self.store, resource, selection, query, self.facts)

    def watch(self, resource: Resource, selection: Selection, tell: Tell) -> Watch:
        return Watch(self.store, resource, selection, self.facts, self._memos, tell)

    def scale(self, resource: Resource, namespace: str, name: str) -> Object:
        return scales.scale_of(resource, self.read(resource, namespace, name))

    # ------------------------------------------------------------ creating

    async def create(
        self,
        resource: Resource,
        namespace: str,
        obj: Any,
        call: Call,
        odd: list[str] | None = None,
        name: str = "",
    ) -> Written:
        obj = check_kind(resource, obj)
        fit(resource, obj, call, odd or [])
        writes.place(resource, obj, namespace, name)
        generated = not obj["metadata"].get("name") and bool(obj["metadata"].get("generateName"))
        for left in reversed(range(NAME_TRIES if generated else 1)):
            try:
                return await self._create(
                    resource, copy(obj) if generated else obj, call, managing=True
                )
            except AlreadyExists:
                if not left:
                    raise
        raise AssertionError("a name was tried")

    async def _create(
        self, resource: Resource, obj: Object, call: Call, *, managing: bool
    ) -> Written:
        generated = not obj["metadata"].get("name")
        writes.begin(resource, obj)
        meta = obj["metadata"]
        namespace, name = meta.get("namespace", ""), meta.get("name", "")
        self._places.admit(resource, namespace, name)
        writes.fill(resource, obj)
        if managing:
            self._track(resource, None, obj, call, "")
        self._complete(resource, obj)
        await admission.admit("create", resource, obj, None, call.user, self.templates.reads)
        if not self.chain.concerned("CREATE", resource, ""):
            return await self._keep_new(resource, obj, call)
        plugins = partial(self._plugins, resource, "create", call)
        obj, review = await admitting.created(self.chain, resource, obj, call, generated, plugins)
        if review is None:
            return await self._keep_new(resource, obj, call)
        writes.fill(resource, obj)
        self._complete(resource, obj)
        return await self._keep_new(resource, obj, call, review)

    async def _plugins(self, resource: Resource, verb: str, call: Call, review: Review) -> None:
        """Once more, over what a webhook has made of the object."""
        assert review.object is not None
        await admission.admit(
            verb, resource, review.object, review.old, call.user, self.templates.reads
        )

    async def _keep_new(
        self, resource: Resource, obj: Object, call: Call, review: Review | None = None
    ) -> Written:
        writes.start_status(resource, obj)
        writes.refuse(resource, obj, self._judge(resource, obj, None, call))
        meta = obj["metadata"]
        key = resource.key(meta.get("namespace", ""), meta["name"])
        write = partial(self._commits.new, resource, key, obj, call)
        if review is None:
            return await write()
        review.undo.append(partial(self._commits.give_back, resource, key))
        return await validated(review, write)

    def _complete(self, resource: Resource, obj: Object) -> None:
        if (complete := self._completes.get(resource.prefix)) is not None:
            complete(obj)

    def _judge(
        self, resource: Resource, obj: Object, old: Object | None, call: Call
    ) -> list[Fault]:
        """Every broken rule; addresses are given to a Service only when it has none."""
        faults = writes.judge(resource, obj, old, call.warnings)
        if (judge := self._judges.get(resource.prefix)) is not None:
            faults += judge(obj, old)
        if not faults and resource.prefix == "core/services/":
            key = resource.key(obj["metadata"]["namespace"], obj["metadata"]["name"])
            faults = self._allocation.assign(key, obj, old)
        return faults

    def _track(
        self, resource: Resource, old: Object | None, obj: Object, call: Call, part: str
    ) -> None:
        self._noting.track(resource, old, obj, call, part)

    # ------------------------------------------------------------ changing

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        obj: Any,
        call: Call,
        part: str = "",
        odd: list[str] | None = None,
    ) -> Written:
        if part != "scale":
            obj = check_kind(resource, obj)
            fit(resource, obj, call, odd or [])
            patches.check_name(obj, name)
            writes.place(resource, obj, namespace, name)
        else:
            check_type("Scale", "v1", obj)
        free = unconditional(resource) or part == "scale"

        def wanted(old: Object) -> tuple[Object, bool]:
            new = scales.scaled(resource, old, obj) if part == "scale" else copy(obj)
            return new, writes.expect(resource, new, old, free)

        return await self._change(resource, namespace, name, wanted, call, part)

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: patches.Patch,
        call: Call, part: str = "",
    ) -> Written:  # fmt: skip
        patches.check(resource, patch.how)
        patches.check_options(patch, call)
        if patch.how == patches.APPLY:
            return await self._apply(resource, namespace, name, patch, call, part)
        named = patches.names_revision(patch)

        def wanted(old: Object) -> tuple[Object, bool]:
            if part == "scale":
                scale = patches.scale_patched(resource, scales.scale_of(resource, old), patch)
                new = scales.scaled(resource, old, scale)
            else:
                new = patches.patched(resource, old, patch)
                touched = patches.touched(new, patch)
                try:
                    check_kind(resource, new)
                    fit(resource, touched, call, patch.odd)
                except BadRequest as error:
                    raise patches.unfit(new, error) from None
                new = patches.put_back(new, touched, patch, share=part == "status")
                writes.place(resource, new, namespace, name)
            writes.expect(resource, new, old, True, patching=part != "scale")
            return new, named

        return await self._change(resource, namespace, name, wanted, call, part)

    async def _apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: patches.Patch,
        call: Call,
        part: str,
    ) -> Written:
        patches.check_applied(patch.changes)
        call.applying = True
        applied = check_kind(resource, patch.changes)
        said: Object = {"metadata": {"name": applied["metadata"].get("name")}}
        managed.check(applied, resource.schema, resource.kind.api_version)
        fit(resource, applied, call, patch.odd, drop=False)
        writes.place(resource, applied, namespace, name)
        applied["metadata"].setdefault("name", name)
        named = bool(applied["metadata"].get("resourceVersion"))

        def wanted(old: Object) -> tuple[Object, bool]:
            new = patches.applied(resource, old, applied, call, part)
            writes.expect(resource, new, old, True, patching=True)
            return new, named

        key = resource.key(namespace if resource.kind.namespaced else "", name)
        for _ in range(TRIES):
            if self.store.get(key) is not None or part:
                return await self._change(
                    resource, namespace, name, wanted, call, part, managing=False
                )
            patches.check_name(said, name)
            patches.check_absent(resource, applied)
            try:
                made = patches.applied(resource, None, applied, call, part)
                return await self._create(resource, made, call, managing=False)
            except AlreadyExists:
                continue
        raise status.conflict(resource.kind, name)

    async def _change(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        wanted: Callable[[Object], tuple[Object, bool]],
        call: Call,
        part: str,
        *,
        managing: bool = True,
        judging: bool = True,
    ) -> Written:
        """Read, change, commit. `wanted` gives the new object and whether it named a revision."""
        for _ in range(TRIES):
            stored = self.find(resource, namespace, name)
            await encoding.prepare(resource, stored.value)
            old = encoding.loads(resource, stored.value)
            new, named = wanted(old)
            review = None
            if judging:
                new, review = await self._finished(resource, new, old, call, part, managing)
            write = partial(self._commits.change, resource, stored, old, new, named, call, part)
            if review is None:
                done = await write()
            else:
                review.undo.append(partial(self._commits.give_back, resource, stored.key))
                done = await validated(review, write)
            if done is not None:
                return done
        raise status.conflict(resource.kind, name)

    async def _finished(
        self, resource: Resource, new: Object, old: Object, call: Call, part: str, managing: bool
    ) -> tuple[Object, Review | None]:
        """The object that an update leaves, judged."""
        new = self._shaped(resource, new, old, part)
        if managing:
            self._track(resource, old, new, call, part)
        self._complete(resource, new)
        if not part:
            await admission.admit("update", resource, new, old, call.user, self.templates.reads)
        writes.bump(resource, new, old, part)
        review = None
        if self.chain.concerned("UPDATE", resource, part):
            new, review = await self._admitted(resource, new, old, call, part)
        if part in ("resize", "ephemeralcontainers"):  # what these may change is in `keep_rest`
            faults = writes.judge(resource, new, None)
        else:
            judged = part != "status" or resource.custom
            faults = self._judge(resource, new, old, call) if judged else []
        writes.refuse(resource, new, faults + writes.subresource_faults(new, old, part))
        return new, review

    def _shaped(self, resource: Resource, new: Object, old: Object, part: str) -> Object:
        writes.keep_system(resource, new, old)
        new = writes.keep_rest(resource, new, old, "" if part == "scale" else part)
        if part != "status" or resource.prefix != POD_PREFIX:
            writes.fill(resource, new)
        return new

    async def _admitted(
        self, resource: Resource, new: Object, old: Object, call: Call, part: str
    ) -> tuple[Object, Review | None]:
        plugins = partial(self._plugins, resource, "update", call)
        new, review, asked = await admitting.updated(
            self.chain, resource, new, old, call, part, plugins if not part else None
        )
        if asked:
            new = self._shaped(resource, new, old, part)
            self._complete(resource, new)
            writes.bump(resource, new, old, part)
        if review is not None and part != "scale":
            review.object = new
        return new, review

    # ------------------------------------------------------------ deleting

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        options: DeleteOptions,
        call: Call,
        *,
        judged: bool = True,
    ) -> Deleted:
        """`judged` False: admission has agreed already."""
        return await self._removals.one(resource, namespace, name, options, call, judged=judged)

    async def delete_collection(
        self,
        resource: Resource,
        selection: Selection,
        query: lists.Query,
        options: DeleteOptions,
        call: Call,
    ) -> lists.Page:
        """Delete all that a list shows; returns the list."""
        page = await lists.read_converted(self.store, resource, selection, query, self.facts)
        await self._removals.all_of(resource, page, options, call)
        return page

    async def rewrite(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        wanted: Callable[[Object], Object],
        call: Call,
        part: str,
        *,
        tracked: bool = True,
    ) -> Written:
        """A change that the server itself makes: right already, kept as it is."""

        def change(old: Object) -> tuple[Object, bool]:
            new = wanted(old)
            if tracked:
                self._track(resource, old, new, call, part)
            return new, False

        return await self._change(resource, namespace, name, change, call, part, judging=False)
