"""Pods made from one template: where a body was seen before, what became of it is known.

A controller creates its Pods from bodies that are equal to the byte but for the name. Such a body
has been decoded, defaulted, judged and its fields noted before, and only identity and time are new.
What must stay true: two writes that went the long way have agreed on everything else; nothing that
admission read has changed since; nobody is configured to see or change the object; and whatever
depends on the moment (the namespace, the name being free) is still asked each time.
"""

from __future__ import annotations

import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from jindou.control.api.admission.chain import Chain
from jindou.control.api.admission.plugins import TOKEN_VOLUME
from jindou.control.api.engine import encoding
from jindou.control.api.engine.calls import Call
from jindou.control.api.engine.commits import Commits, Written
from jindou.control.api.engine.places import Places
from jindou.control.api.engine.writes import new_uid, now, suffixed
from jindou.control.api.resources.registry import Resource
from jindou.control.api.rules.names import subdomain
from jindou.control.store import Change, Encode, Listing, Store, Stored
from jindou.control.store.table import bucket_of
from jindou.objects.errors import AlreadyExists
from jindou.objects.kinds import Object

NAME_TRIES = 8
PREFIXES = frozenset({"core/pods/"})
MOST = 16 * 1024 * 1024  # bytes of bodies and templates
MOST_READ = 4096  # objects of which admission need not ask again
NAMED = re.compile(rb'"metadata": ?\{"name": ?"([a-z0-9][-a-z0-9.]*)"')
HOLE = uuid.uuid4().hex

Key = tuple[Any, ...]


class Own(NamedTuple):
    """What one Pod has for itself, in the order of the holes."""

    name: str
    uid: str
    revision: str
    created: str
    noted: str  # when its manager set its fields
    token: str  # name of the volume that holds its token, or ""


class Template:
    """The bytes of an object but for its holes; `prefix` is of a name that is to be generated."""

    def __init__(self, fixed: Sequence[bytes], holes: Sequence[int], prefix: str) -> None:
        self.prefix = prefix
        self.size = sum(map(len, fixed))
        self._holes = holes
        self._parts = [b""] * (2 * len(holes) + 1)
        self._parts[::2] = fixed

    def filled(self, own: Own) -> bytes:
        held = [text.encode() for text in own]
        parts = self._parts.copy()
        parts[1::2] = [held[hole] for hole in self._holes]
        return b"".join(parts)

    def new(self, name: str) -> tuple[str, Encode]:
        """The name of a new object and what a commit calls for its bytes."""
        made = now()
        own = Own(name or suffixed(self.prefix), new_uid(), "", made, made, suffixed(TOKEN_VOLUME))
        return own.name, lambda revision: self.filled(own._replace(revision=str(revision)))


Held = Template | bytes | None  # bytes: what the first write of this body has kept


class Known(NamedTuple):
    """A body of which a template may be made, or was."""

    key: Key
    name: str  # "" where it is to be generated
    template: Template | None


class Witness:
    """The store as admission reads it; `changed` is called when anything of a kind that was read
    changes later on."""

    def __init__(self, store: Store, changed: Callable[[], None]) -> None:
        self._store = store
        self._changed = changed
        self._read: set[str] = set()
        self._gets: dict[str, Stored | None] = {}  # both until anything changes
        self._scans: dict[str, Listing] = {}

    @property
    def revision(self) -> int:
        return self._store.revision

    def get(self, key: str) -> Stored | None:
        try:
            return self._gets[key]
        except KeyError:
            self._note(bucket_of(key))
            found = self._gets[key] = self._store.get(key)
            return found

    def scan(self, prefix: str, after: str = "", limit: int = 0) -> Listing:
        if after or limit:
            self._note(bucket_of(prefix))
            return self._store.scan(prefix, after, limit)
        found = self._scans.get(prefix)
        if found is None:
            self._note(bucket_of(prefix))
            found = self._scans[prefix] = self._store.scan(prefix)
        return found

    async def commit(
        self, key: str, value: Encode | None, *, expect: int | None = None, lazy: bool = False
    ) -> Stored:
        return await self._store.commit(key, value, expect=expect, lazy=lazy)

    def watch(
        self, prefix: str, after: int, deliver: Callable[[Sequence[Change]], None]
    ) -> Callable[[], None]:
        return self._store.watch(prefix, after, deliver)

    def _note(self, bucket: str) -> None:
        if len(self._gets) > MOST_READ:
            self._forget()
        if bucket not in self._read:
            self._read.add(bucket)
            self._store.watch(bucket, self._store.revision, self._told)

    def _told(self, changes: Sequence[Change]) -> None:
        self._forget()
        self._changed()

    def _forget(self) -> None:
        self._gets.clear()
        self._scans.clear()


class Templates:
    """`reads` is the store for admission to read; the steps of a create are `find`, then either
    `create` where there is a template, or the long way and `learn`."""

    def __init__(self, store: Store, chain: Chain, places: Places, commits: Commits) -> None:
        self.reads = Witness(store, self._forget)
        self._chain = chain
        self._places = places
        self._commits = commits
        self._held: OrderedDict[Key, Held] = OrderedDict()
        self._size = 0
        self.used = 0  # how often one was of use

    def _forget(self) -> None:
        self._held.clear()
        self._size = 0

    def find(self, resource: Resource, namespace: str, body: bytes, call: Call) -> Known | None:
        """Of the body of a create (JSON); None where no template can be made of it at all."""
        if resource.prefix not in PREFIXES or call.dry_run:
            return None
        if self._chain.active and self._chain.hands("CREATE", resource, "") is not None:
            return None
        name = ""
        rest: tuple[bytes, ...] = (body,)
        if (found := NAMED.search(body)) is not None:
            name = found[1].decode()
            if subdomain(name):
                return None
            start, end = found.span(1)
            rest = (body[:start], body[end:])
        user = call.user
        key = (resource.prefix, namespace, user.name, user.groups, call.manager, rest)
        held = self._held.get(key)
        if isinstance(held, Template):
            self._held.move_to_end(key)
            self.used += 1
            return Known(key, name, held)
        return Known(key, name, None)

    async def create(self, resource: Resource, namespace: str, known: Known) -> Written:
        template = known.template
        assert template is not None
        for left in reversed(range(1 if known.name else NAME_TRIES)):
            name, encode = template.new(known.name)
            self._places.admit(resource, namespace, name)
            try:
                return await self._commits.fresh(
                    resource, resource.key(namespace, name), name, encode
                )
            except AlreadyExists:
                if not left:
                    raise
        raise AssertionError("a name was tried")

    def learn(self, known: Known | None, written: Written, call: Call) -> None:
        """Note what a write that went the long way has kept; the second of a kind makes a template."""
        if known is None or call.warnings:
            return
        if known.key not in self._held:
            self._keep(known.key, written.value)
        elif isinstance(first := self._held[known.key], bytes):
            self._keep(known.key, made(known.key[-1], first, written.value))

    def _keep(self, key: Key, held: Held) -> None:
        if key in self._held:
            self._size -= weight(key, self._held[key])
        self._held[key] = held
        self._held.move_to_end(key)
        self._size += weight(key, held)
        while self._size > MOST:
            self._size -= weight(*self._held.popitem(last=False))


def weight(key: Key, held: Held) -> int:
    own = held.size if isinstance(held, Template) else len(held or b"")
    return sum(map(len, key[-1])) + own + 500


def own_of(obj: Object) -> Own:
    meta = obj["metadata"]
    volumes = obj["spec"].get("volumes") or ()
    return Own(
        meta["name"],
        meta["uid"],
        meta["resourceVersion"],
        meta["creationTimestamp"],
        meta["managedFields"][0]["time"],
        next((v["name"] for v in volumes if v["name"].startswith(TOKEN_VOLUME)), ""),
    )


def made(rest: tuple[bytes, ...], first: bytes, second: bytes) -> Template | None:
    """A template of what two bodies that differ in their names have become; None where something
    else differs, or the name that was cut out is not that of the object."""
    sent = orjson.loads(HOLE.encode().join(rest))["metadata"]
    if sent.get("name", "") != (HOLE if len(rest) == 2 else ""):
        return None  # it has a name that stands elsewhere
    obj = orjson.loads(second)
    meta = obj["metadata"]
    if len(meta.get("managedFields") or ()) != 1 or (obj.get("status") or {}).get("conditions"):
        return None  # conditions have times of their own
    token = own_of(obj).token.encode()
    hole = Own(*(f"{HOLE}{n}" for n in range(len(Own._fields))))
    meta["name"], meta["uid"], meta["resourceVersion"] = hole[:3]
    meta["creationTimestamp"], meta["managedFields"][0]["time"] = hole.created, hole.noted
    whole = encoding.dumps(obj)
    if token and not any(token in part for part in rest):
        whole = whole.replace(token, hole.token.encode())
    split = re.split(rf"{HOLE}(\d)".encode(), whole)
    template = Template(split[::2], [int(n) for n in split[1::2]], sent.get("generateName", ""))
    return template if template.filled(own_of(orjson.loads(first))) == first else None
