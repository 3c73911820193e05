"""What the API holds of one kind, kept up to date here: list once, then watch.

Held are compact bytes (in the process of the store, the store's own), decoded for whoever asks, so
thousands of unchanged objects cost neither time nor collector pauses. Handlers are called in the order of the changes, on the event loop, with
objects that they must not change. A relist after a gap tells the deletions that were missed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import msgspec
import orjson

from jindou.client import Client, Event
from jindou.client.retry import Backoff
from jindou.client.shared import CanShare, Shared, bare_object
from jindou.objects.errors import CloudError, Expired, Timeout
from jindou.objects.kinds import Kind, Object

log = logging.getLogger("jindou.informers")

Key = tuple[str, str]  # namespace, name
Handler = Callable[[Object | None, Object | None], None]  # (old, new); None: absent
Keep = Callable[[Object], Object]
Keys = Callable[[Object], Iterable[str]]
View = tuple[Kind, str, Keep | None]  # kind, field selector, projection


class Held(msgspec.Struct, frozen=True, gc=False):
    revision: str  # "" where the bytes are shared: then they are compared
    data: bytes
    indexed: tuple[tuple[str, str], ...]  # (index, key) pairs under which it is found


def without_managed_fields(obj: Object) -> Object:
    """What controllers and the node hold: all but the record of who set which field."""
    obj["metadata"].pop("managedFields", None)
    return obj


def only_metadata(obj: Object) -> Object:
    meta = obj["metadata"]
    meta.pop("managedFields", None)
    meta.pop("annotations", None)
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": meta}


def _key(obj: Object) -> Key:
    meta = obj["metadata"]
    return sys.intern(meta.get("namespace", "")), meta["name"]


class Informer:
    """All objects of `kind` that match; `keep` says what of each is held and handed out."""

    def __init__(
        self,
        client: Client,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        keep: Keep | None = None,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.revision = ""
        self._client = client
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._keep = keep
        self._sharing = client if isinstance(client, CanShare) else None
        self._decode = self._shown if self._sharing is not None else _decode
        self._held: dict[Key, Held] = {}
        self._handlers: list[Handler] = []
        self._indexes: dict[str, Keys] = {}
        self._index: dict[tuple[str, str], dict[Key, None]] = {}
        self._waiters: list[tuple[str, asyncio.Future[None]]] = []

    # ------------------------------------------------------------ reading

    def get(self, namespace: str, name: str) -> Object | None:
        held = self._held.get((namespace, name))
        return None if held is None else self._decode(held.data)

    def has(self, namespace: str, name: str) -> bool:
        return (namespace, name) in self._held

    def all(self, namespace: str = "") -> list[Object]:
        return [
            self._decode(held.data)
            for key, held in self._held.items()
            if not namespace or key[0] == namespace
        ]

    def names(self) -> Iterator[Key]:
        return iter(list(self._held))

    def __len__(self) -> int:
        return len(self._held)

    def index(self, name: str, keys: Keys) -> None:
        """Find objects by what `keys` says of them, with `by(name, key)`."""
        if name in self._indexes:
            return
        self._indexes[name] = keys
        for key, held in list(self._held.items()):
            self._hold(key, self._decode(held.data), b"" if held.revision else held.data)

    def by(self, name: str, key: str) -> list[Object]:
        return [self._decode(self._held[found].data) for found in self._index.get((name, key), ())]

    def names_by(self, name: str, key: str) -> list[Key]:
        return list(self._index.get((name, key), ()))

    def on_change(self, handler: Handler) -> None:
        """Call `handler` with each change; with all that is held already, at once."""
        self._handlers.append(handler)
        for held in list(self._held.values()):
            self._tell((handler,), None, self._decode(held.data))

    async def caught_up(self, revision: str, timeout: float = 30.0) -> bool:
        """Wait until what is held here includes a write that returned `revision`."""
        if not revision or self._seen(revision):
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters = [pair for pair in self._waiters if pair[1] is not waiter]
        return True

    def _seen(self, revision: str) -> bool:
        return int(self.revision or 0) >= int(revision)

    # ------------------------------------------------------------ following

    async def run(self) -> None:
        """Follow until cancelled, through every failure of the API."""
        backoff = Backoff()
        listed = False
        while True:
            try:
                if not listed:
                    await self._list()
                    listed = True
                    self.synced.set()
                    backoff.reset()
                await self._follow(backoff)
                continue
            except (Expired, Timeout):  # forgotten, or not reached yet: the store was replaced
                listed = False
            except (CloudError, OSError) as error:
                log.debug("%s: %s", self.kind.plural, error)
            except Exception:
                log.exception("following %s failed and is begun again", self.kind.plural)
                listed = False
            await asyncio.sleep(backoff.delay())

    async def _list(self) -> None:
        found: set[Key] = set()
        if self._sharing is not None:
            many, revision = self._sharing.held(
                self.kind, self._namespace, self._labels, self._fields
            )
            for data in many:
                found.add(self._listed(self._shown(data), data))
        else:
            listing = await self._client.find(
                self.kind, self._namespace, labels=self._labels, fields=self._fields
            )
            revision = listing.revision
            for obj in listing.items:
                found.add(self._listed(obj))
        for key in [key for key in self._held if key not in found]:
            self._remove(key)
        self._reached(revision)

    def _listed(self, obj: Object, data: bytes = b"") -> Key:
        key = _key(obj)
        held = self._held.get(key)
        known = held is not None and (
            held.data == data if data else held.revision == obj["metadata"].get("resourceVersion")
        )
        if not known:
            self._put(key, obj, data)
        return key

    def _shown(self, data: bytes) -> Object:
        """What is handed out of shared bytes."""
        if self._keep is None:
            return _decode(data)
        return self._keep(bare_object(data))

    async def _follow(self, backoff: Backoff) -> None:
        if self._sharing is None:
            async for event in self._watch():
                self._take(event)
                backoff.reset()
            return
        told: Shared
        async for batch in self._sharing.follow(
            self.kind, self._namespace, self._labels, self._fields, self.revision
        ):
            for told in batch:
                self._take(Event(told.type, self._shown(told.data)), told.data)
            backoff.reset()

    def _watch(self) -> AsyncIterator[Event]:
        return self._client.watch(
            self.kind,
            self._namespace,
            labels=self._labels,
            fields=self._fields,
            after=self.revision,
        )

    def _take(self, event: Event, data: bytes = b"") -> None:
        obj = event.object
        revision = obj["metadata"].get("resourceVersion") or self.revision
        if event.type == "DELETED":
            self._remove(_key(obj), obj)
        elif event.type != "BOOKMARK":
            self._put(_key(obj), obj, data)
        elif int(revision) < int(self.revision or 0):
            raise Expired(f"the server is at {revision}, before {self.revision}: it was replaced")
        self._reached(revision)

    def _reached(self, revision: str) -> None:
        self.revision = revision
        for awaited, waiter in self._waiters:
            if not waiter.done() and self._seen(awaited):
                waiter.set_result(None)

    def _put(self, key: Key, obj: Object, data: bytes = b"") -> None:
        if not data:
            obj.setdefault("apiVersion", self.kind.api_version)
            obj.setdefault("kind", self.kind.name)
            if self._keep is not None:
                obj = self._keep(obj)
        before = self._held.get(key)
        old = None if before is None or not self._handlers else self._decode(before.data)
        replaced = old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid")
        if replaced:
            self._drop(key)
            self._tell(self._handlers, old, None)
        self._hold(key, obj, data)
        self._tell(self._handlers, None if replaced else old, obj)

    def _remove(self, key: Key, last: Object | None = None) -> None:
        held = self._drop(key)
        if held is not None and self._handlers:
            if last is not None and self._keep is not None and self._sharing is None:
                last = self._keep(last)
            self._tell(self._handlers, self._decode(held.data) if last is None else last, None)

    def _hold(self, key: Key, obj: Object, data: bytes) -> None:
        """`data` is what may be held for the object as it is, or nothing."""
        indexed = tuple(self._places(obj))
        before = self._held.get(key)
        if before is None or before.indexed != indexed:
            self._drop(key)
            for pair in indexed:
                self._index.setdefault(pair, {})[key] = None
        if data:
            self._held[key] = Held("", data, indexed)
        else:
            kept = bytes(memoryview(orjson.dumps(obj)))
            self._held[key] = Held(obj["metadata"].get("resourceVersion", ""), kept, indexed)

    def _places(self, obj: Object) -> Iterator[tuple[str, str]]:
        """One strange object, of which an index can't say anything, must not hold up all others."""
        for name, keys in self._indexes.items():
            try:
                yield from [(name, value) for value in keys(obj)]
            except Exception:
                log.exception("%s are not found by %s", self.kind.plural, name)

    def _drop(self, key: Key) -> Held | None:
        held = self._held.pop(key, None)
        for pair in held.indexed if held else ():
            places = self._index.get(pair)
            if places is not None:
                places.pop(key, None)
                if not places:
                    del self._index[pair]
        return held

    def _tell(self, handlers: Iterable[Handler], old: Object | None, new: Object | None) -> None:
        for handler in list(handlers):
            try:
                handler(old, new)
            except Exception:
                log.exception("a handler of %s failed", self.kind.plural)


class Informers:
    """One informer for each kind and view of it, shared by all that ask; `run` follows them, and
    those asked for later too."""

    def __init__(self, client: Client, keep: Keep | None = without_managed_fields) -> None:
        self._client = client
        self._keep = keep
        self._informers: dict[View, Informer] = {}
        self._tasks: dict[View, asyncio.Task[None]] = {}
        self._running = False

    def of(self, kind: Kind, *, fields: str = "", keep: Keep | None = None) -> Informer:
        view = (kind, fields, keep)
        informer = self._informers.get(view)
        if informer is None:
            informer = Informer(self._client, kind, fields=fields, keep=keep or self._keep)
            self._informers[view] = informer
            if self._running:
                self._start(view)
        return informer

    def metadata_of(self, kind: Kind) -> Informer:
        """For who reads nothing but metadata: the whole objects only where they are held anyway."""
        whole = self._informers.get((kind, "", None))
        return whole if whole is not None else self.of(kind, keep=only_metadata)

    def all(self) -> list[Informer]:
        return list(self._informers.values())

    def forget(self, kind: Kind) -> None:
        """Stop following a kind that is served no more."""
        for view in [view for view in self._informers if view[0] == kind]:
            del self._informers[view]
            task = self._tasks.pop(view, None)
            if task is not None:
                task.cancel()

    async def wait_until_synced(self) -> None:
        for informer in self.all():
            await informer.synced.wait()

    async def run(self) -> None:
        """Follow until cancelled."""
        self._running = True
        try:
            for view in list(self._informers):
                self._start(view)
            await asyncio.Event().wait()
        finally:
            self._running = False
            tasks = list(self._tasks.values())
            self._tasks.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, view: View) -> None:
        task = asyncio.create_task(self._informers[view].run(), name=f"informer {view[0].plural}")
        self._tasks[view] = task


def _decode(data: bytes) -> Object:
    obj: Object = orjson.loads(data)
    return obj
