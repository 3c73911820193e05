"""The client for those who live in this process: the same verbs and errors, and no socket between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Literal, TypeVar

import orjson

from jindou.client import Event, Listing, Stream
from jindou.client.shared import Shared
from jindou.control.api import status
from jindou.control.api.access import reviews
from jindou.control.api.access.guard import CONTROLLERS, Access, User
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.engine import actions, admitting, encoding
from jindou.control.api.engine.calls import Call, DeleteOptions
from jindou.control.api.engine.commits import Written
from jindou.control.api.engine.lists import Query
from jindou.control.api.engine.patches import HOW, Patch
from jindou.control.api.engine.selection import select
from jindou.control.api.engine.templates import PREFIXES
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.engine.watches import Start, Told
from jindou.control.api.metrics.source import Metrics
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import copy
from jindou.control.store import Forgotten, StoreFailed
from jindou.objects.errors import (
    CloudError,
    Expired,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Unknown,
)
from jindou.objects.kinds import Kind, Object, Ref

T = TypeVar("T")


class LocalClient:
    """Implements `jindou.client.Client`. Objects given are not kept, objects returned are the caller's."""

    def __init__(
        self,
        engine: Engine,
        user: User = CONTROLLERS,
        access: Access | None = None,
        tokens: Tokens | None = None,
        manager: str = "",
        metrics: Metrics | None = None,
    ) -> None:
        self._engine = engine
        self._user = user
        self._access = access
        self._tokens = tokens
        self._manager = manager or user.name.rpartition(":")[2]
        self._metrics = metrics

    def _call(self) -> Call:
        return Call(user=self._user, manager=self._manager)

    def _resource(self, kind: Kind) -> Resource:
        found = self._engine.registry.by_url(kind.group, kind.version, kind.plural)
        if found is None:
            raise NotFound("the server could not find the requested resource")
        return found

    async def get(self, ref: Ref, part: str = "") -> Object:
        resource = self._resource(ref.kind)
        if part == "scale":
            if part not in resource.subresources:
                raise NotFound("the server could not find the requested resource")
            await self._prepare(resource, ref)
            return self._engine.scale(resource, ref.namespace, ref.name)
        if resource.computed and self._metrics is not None:
            return await self._metrics.get(resource, ref.namespace, ref.name)
        await self._prepare(resource, ref)
        return self._engine.read(resource, ref.namespace, ref.name)

    async def _prepare(self, resource: Resource, ref: Ref) -> None:
        if resource.conversion is not None:
            stored = self._engine.find(resource, ref.namespace, ref.name)
            await encoding.prepare(resource, stored.value)

    async def _loaded(self, resource: Resource, value: bytes) -> Object:
        await encoding.prepare(resource, value)
        return encoding.loads(resource, value)

    async def find(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        resource = self._resource(kind)
        if resource.computed and self._metrics is not None:
            found = await self._metrics.find(resource, namespace, labels=labels, fields=fields)
            return Listing(found, "")
        page = self._engine.page(resource, select(resource, namespace, labels, fields), Query())
        await encoding.prepare(resource, *(stored.value for stored in page.items))
        return Listing(
            [encoding.loads(resource, stored.value) for stored in page.items], str(page.revision)
        )

    async def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        after: str = "",
    ) -> AsyncIterator[Event]:
        async for batch in self.follow(kind, namespace, labels, fields, after):
            for told in batch:
                yield Event(told.type, orjson.loads(told.data))

    def held(self, kind: Kind, namespace: str, labels: str, fields: str) -> tuple[list[bytes], str]:
        resource = self._resource(kind)
        page = self._engine.page(resource, select(resource, namespace, labels, fields), Query())
        return [encoding.unconverted(resource, s.value) for s in page.items], str(page.revision)

    async def follow(
        self, kind: Kind, namespace: str, labels: str, fields: str, after: str
    ) -> AsyncIterator[Sequence[Shared]]:
        resource = self._resource(kind)
        waiting: list[Told] = []
        come = asyncio.Event()

        def tell(told: Sequence[Told]) -> None:
            waiting.extend(told)
            come.set()

        watch = self._engine.watch(resource, select(resource, namespace, labels, fields), tell)
        try:
            watch.begin(Start(int(after) if after else None))
            while True:
                if waiting:
                    batch = [
                        Shared(t.type, encoding.unconverted(resource, t.value)) for t in waiting
                    ]
                    waiting.clear()
                    yield batch
                    continue
                come.clear()
                await come.wait()
        except Forgotten as forgotten:
            raise Expired(
                f"too old resource version: {forgotten.after} ({forgotten.oldest})"
            ) from None
        finally:
            watch.end()

    async def create(self, kind: Kind, obj: Object, part: str = "") -> Object:
        resource, obj = self._resource(kind), copy(obj)
        meta = obj.get("metadata") or {}
        namespace, name = meta.get("namespace", "") if kind.namespaced else "", meta.get("name", "")
        if part == "binding":
            return await self._told(
                actions.bind(self._engine, resource, namespace, name, obj, self._call())
            )
        if part == "eviction":
            told = await self._told(
                actions.evict(self._engine, resource, namespace, name, obj, self._call())
            )
            if told["status"] == "Failure":
                raise InternalError(told["message"])
            return told
        if part or not resource.stored:
            if self._access is None or self._tokens is None:
                raise MethodNotAllowed(
                    "the server does not allow this method on the requested resource"
                )
            obj = await self._told(
                admitting.decided(
                    self._engine.chain, "CREATE", resource, part, namespace, name, obj, self._call()
                )
            )
            asked = reviews.review(
                resource,
                namespace,
                name,
                obj,
                self._user,
                self._access,
                self._tokens,
                self._engine.store,
            )
            return await self._told(asked)
        written = await self._told(self._created(resource, namespace, obj))
        return await self._loaded(resource, written.value)

    async def _created(self, resource: Resource, namespace: str, obj: Object) -> Written:
        engine, call = self._engine, self._call()
        body = encoding.body_of(obj) if resource.prefix in PREFIXES else b""
        known = engine.templates.find(resource, namespace, body, call)
        if known is not None and known.template is not None:
            return await engine.templates.create(resource, namespace, known)
        written = await engine.create(resource, namespace, obj, call)
        engine.templates.learn(known, written, call)
        return written

    async def update(self, kind: Kind, obj: Object, part: str = "") -> Object:
        resource, obj = self._resource(kind), copy(obj)
        meta = obj["metadata"]
        namespace = meta.get("namespace", "") if kind.namespaced else ""
        written = await self._told(
            self._engine.update(resource, namespace, meta["name"], obj, self._call(), part)
        )
        return await self._loaded(resource, written.value)

    async def patch(
        self,
        ref: Ref,
        changes: Any,
        part: str = "",
        *,
        how: Literal["merge", "json", "strategic"] = "merge",
    ) -> Object:
        resource = self._resource(ref.kind)
        patch = Patch(HOW[how], changes)
        written = await self._told(
            self._engine.patch(resource, ref.namespace, ref.name, patch, self._call(), part)
        )
        return await self._loaded(resource, written.value)

    async def delete(
        self, ref: Ref, *, grace: int | None = None, uid: str = "", propagation: str = ""
    ) -> None:
        options = DeleteOptions(grace=grace, uid=uid, propagation=propagation)
        resource = self._resource(ref.kind)
        await self._told(
            self._engine.delete(resource, ref.namespace, ref.name, options, self._call())
        )

    async def connect(self, ref: Ref, action: str, **options: str) -> Stream:
        raise MethodNotAllowed(f"{action} is not served inside the process: use the API over HTTP")

    async def _told(self, write: Awaitable[T]) -> T:
        """The outcome of a write, with the store's failures as errors that a client knows."""
        try:
            return await write
        except StoreFailed as failure:
            told = status.of(failure)
            error: CloudError = (Unknown if "not known" in told["message"] else InternalError)(
                told["message"]
            )
            raise error from failure
