"""ResourceQuotas: a write that would use more than a namespace may is refused.

What is used is added up from the store's own changes, so it is exact at every moment; what has been
let through and is not yet stored is reserved until it is seen there, or given back. Nothing is
asked of the disk. While there is no quota at all, nothing is added up either.
Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import orjson

from jindou.control.api.admission.chain import Chain, Place, Review
from jindou.control.api.admission.plugins import refused
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.store import Change, Store
from jindou.objects import quotas
from jindou.objects.kinds import Object
from jindou.objects.quotas import NONE, Account, Amounts

PREFIX = "core/resourcequotas/"
ON_UPDATE = {
    quotas.POD: ("", "resize"),
    quotas.SERVICE: ("",),
    quotas.CLAIM: ("", "status"),
}


class Quotas:
    """A `Part` of the admission chain, the last that is asked."""

    def __init__(self, store: Store, registry: Registry, chain: Chain) -> None:
        self._store = store
        self._registry = registry
        self._chain = chain
        self._books: dict[str, dict[str, Book]] = {}  # by namespace, then quota
        self._pending: dict[str, list[tuple[Book, Amounts]]] = {}  # by key in the store
        self._stops: list[Callable[[], None]] = []
        chain.plug(Place.QUOTA, self, active=False)

    def start(self) -> None:
        self._stops = [self._store.watch(PREFIX, self._store.revision, self._quotas_changed)]
        for stored in self._store.scan(PREFIX).items:
            self._hold(stored.key, stored.value)

    def close(self) -> None:
        for stop in self._stops:
            stop()
        self._stops.clear()

    # ------------------------------------------------------------ what is used

    def _quotas_changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._hold(change.key, change.value)

    def _hold(self, key: str, value: bytes | None) -> None:
        namespace, _, name = key.removeprefix(PREFIX).partition("/")
        before = self._books.get(namespace, {}).get(name)
        quota: Object | None = orjson.loads(value) if value is not None else None
        if quota is None:
            if self._books.get(namespace, {}).pop(name, None) and not self._books[namespace]:
                del self._books[namespace]
        elif before is None or before.spec != quota.get("spec"):
            book = Book(quota)
            self._books.setdefault(namespace, {})[name] = book
            self._fill(book)
        self._attend()

    def _attend(self) -> None:
        """Follow the whole store while there is something to add up."""
        following = len(self._stops) > 1
        if bool(self._books) == following or not self._stops:
            return
        if self._books:
            self._stops.append(self._store.watch("", self._store.revision, self._changed))
        else:
            self._stops.pop()()
            self._pending.clear()
        self._chain.refresh(self, active=bool(self._books))

    def _fill(self, book: Book) -> None:
        account, now = book.account, time.time()
        kinds = {(r.kind.group, r.kind.plural): r for r in self._registry.all()}
        for place in quotas.places_of(account.hard, list(kinds)):
            if (resource := kinds.get(place)) is None:
                continue
            for stored in self._store.scan(f"{resource.prefix}{account.namespace}/").items:
                name = stored.key.rpartition("/")[2]
                account.take(place, name, _content(place, stored.value), now)

    def _changed(self, changes: Sequence[Change]) -> None:
        now = time.time()
        for change in changes:
            if self._pending:
                self._forget(change.key)
            group, plural, namespace, name = change.key.split("/", 3)
            books = self._books.get(namespace)
            if not books:
                continue
            place = "" if group == "core" else group, plural
            tracking = [book.account for book in books.values() if book.account.tracks(place)]
            if not tracking:
                continue
            obj = None if change.value is None else _content(place, change.value)
            for account in tracking:
                account.take(place, name, obj, now)

    def _forget(self, key: str) -> None:
        for book, delta in self._pending.pop(key, ()):
            book.reserve(delta, -1)

    # ------------------------------------------------------------ what is asked for

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        kind = resource.kind
        place = kind.group, kind.plural
        if not kind.namespaced or not resource.stored or place in quotas.NEVER:
            return False
        if operation == "CREATE":
            return not subresource
        return operation == "UPDATE" and subresource in ON_UPDATE.get(place, ())

    async def admit(self, review: Review) -> None:
        """Raises Forbidden."""
        obj = review.object
        assert obj is not None
        books = self._books.get(obj["metadata"].get("namespace", ""))
        if not books:
            return
        kind = review.resource.storage or review.resource.kind
        place = kind.group, kind.plural
        wanted = []
        now = time.time()
        for name in sorted(books):
            if delta := self._asked(books[name], place, review, obj, now):
                wanted.append((books[name], delta))
        for book, delta in wanted:
            if says := book.exceeded(delta, now):
                raise refused(_label(review.resource), obj, says)
        if wanted and not review.dry_run:
            self._reserve(review, obj, wanted)

    def _asked(
        self, book: Book, place: quotas.Place, review: Review, obj: Object, now: float
    ) -> Amounts:
        """What the write would use of a quota beyond what is used now."""
        account, old = book.account, review.old
        names = account.tracks(place)
        if not names or not account.covers(place, obj):
            return {}
        if place == quotas.POD:
            if old is not None and not review.subresource and _same_life(old, obj):
                return {}
            if says := quotas.missing(obj["spec"], names):
                raise refused("pods", obj, f"failed quota: {account.name}: {says}")
        used = quotas.usage(place, obj, now)
        before: Amounts = {}
        if old is not None and account.covers(place, old):
            before = quotas.usage(place, old, now)
        more = {}
        for name in names:
            if name in used:
                value = used[name].value - before.get(name, NONE).value
                if value > 0:
                    more[name] = used[name]._replace(value=value)
        return more

    def _reserve(self, review: Review, obj: Object, wanted: list[tuple[Book, Amounts]]) -> None:
        meta = obj["metadata"]
        key = review.resource.key(meta["namespace"], meta["name"])
        held = self._pending.setdefault(key, [])
        for entry in wanted:
            book, delta = entry
            book.reserve(delta, 1)
            held.append(entry)

        def give_back() -> None:
            waiting = self._pending.get(key, [])
            for entry in wanted:
                kept = [other for other in waiting if other is not entry]
                if len(kept) < len(waiting):
                    entry[0].reserve(entry[1], -1)
                    waiting[:] = kept
            if not waiting:
                self._pending.pop(key, None)

        review.undo.append(give_back)


class Book:
    """The account of one quota, and what is reserved beside it."""

    def __init__(self, quota: Object) -> None:
        self.spec = quota.get("spec")
        self.account = Account(quota)
        self._reserved: Amounts = {}

    def reserve(self, delta: Mapping[str, quotas.Amount], sign: int) -> None:
        for name, amount in delta.items():
            value = self._reserved.get(name, NONE).value + sign * amount.value
            self._reserved[name] = amount._replace(value=value)

    def exceeded(self, delta: Amounts, now: float) -> str:
        """In the words of the refusal; "" where there is room."""
        hard, held = self.account.hard, self.account.used(now)
        used = {n: held.get(n, NONE) + self._reserved.get(n, NONE) for n in delta}
        over = [n for n in delta if used[n].value + delta[n].value > hard[n].value]
        if not over:
            return ""
        parts = (("requested", delta), ("used", used), ("limited", hard))
        told = [f"{word}: {quotas.told({n: of[n] for n in over})}" for word, of in parts]
        return f"exceeded quota: {self.account.name}, {', '.join(told)}"


def _content(place: quotas.Place, value: bytes) -> Object:
    """Only of what is measured is the content looked at."""
    found: Object = orjson.loads(value) if place in quotas.MEASURED else {"metadata": {}}
    return found


def _same_life(old: Object, new: Object) -> bool:
    return quotas.is_terminating(old["spec"]) == quotas.is_terminating(new["spec"])


def _label(resource: Resource) -> str:
    kind = resource.kind
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural
