"""Admission by what users configure: policies, webhooks and quotas, asked around every write.

The order is that of the real server. Mutating: our own plugins, policies, webhooks; once more from
the beginning where a webhook changed something (`Review.again`). Then defaults and rules of the
object. Validating: our own plugins, policies, webhooks, and the quota last.

To take part, give an object with the two methods of `Part` to `Chain.plug` and call
`Chain.refresh` whenever what it `concerns` may have changed. A mutating part changes
`review.object` (in place, or by another) and then calls `review.shape()`; each part may refuse by
raising a CloudError. What a part has taken for a write that may yet fail it gives back in a function
that it appends to `review.undo`. While no part is plugged in that concerns anything, `Chain.active`
is False, and that is all that a write pays for. Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, Protocol, TypeVar

from jindou.control.api.access.guard import User
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import copy
from jindou.objects.kinds import Kind, Object

T = TypeVar("T")
MOST = 4096


@dataclass(slots=True)
class Review:
    """One write (or connection), as admission sees it. Objects are in the version of `resource`."""

    operation: str  # CREATE, UPDATE, DELETE, CONNECT
    resource: Resource  # in the version that was asked in
    subresource: str
    kind: Kind  # of `object`: another one than the resource's for Scale, Eviction, PodExecOptions
    namespace: str
    name: str  # "": not known yet, or each of a collection
    object: Object | None
    old: Object | None  # shared with the engine: not to be changed
    options: Object | None
    user: User
    dry_run: bool
    warnings: list[str]
    round: int = 0  # 1 in the second round of mutation
    again: bool = False  # a webhook changed the object: everybody is asked once more
    annotations: dict[str, str] = field(default_factory=dict)  # for the audit log
    undo: list[Callable[[], None]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)  # of a part, from round to round
    hands: Hands | None = None
    fit: Callable[[Review], None] | None = None  # of the engine

    def shape(self) -> None:
        """To be called after every change of `object`: it fits its schema again, with defaults."""
        if self.fit is not None:
            self.fit(self)

    def withdraw(self) -> None:
        """The write came to nothing: what was taken for it is given back."""
        while self.undo:
            self.undo.pop()()


class Part(Protocol):
    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        """May this part have something to say? Asked once for each kind of write until `refresh`."""

    async def admit(self, review: Review) -> None: ...


class Place(IntEnum):
    """Where in the order a part is asked."""

    MUTATING_POLICIES = 1
    MUTATING_WEBHOOKS = 2
    VALIDATING_PLUGINS = 3
    VALIDATING_POLICIES = 4
    VALIDATING_WEBHOOKS = 5
    QUOTA = 6


@dataclass
class Rounds:
    """Of one part that mutates in steps: which of them are due in the second round."""

    called: set[Hashable] = field(default_factory=set)  # so far, of those that may be asked again
    due: set[Hashable] = field(default_factory=set)
    left: Object | None = None  # the object as this part left it

    def begin(self, review: Review) -> None:
        if review.round and self.left != review.object:
            self.require()

    def require(self) -> None:
        """The object has changed: whoever was called before is to see it again."""
        self.due |= self.called
        self.called = set()

    def end(self, review: Review) -> None:
        self.left = copy(review.object)


class Hands(NamedTuple):
    """Those whom one kind of write goes through."""

    mutating: tuple[Part, ...]
    validating: tuple[Part, ...]


class Chain:
    def __init__(self) -> None:
        self.active = False
        self._parts: list[tuple[Place, Part]] = []
        self._known: dict[tuple[str, Kind, str], Hands | None] = {}
        self._asleep: set[int] = set()

    def plug(self, place: Place, part: Part, *, active: bool = True) -> None:
        """`active` False: nothing is configured for this part yet, see `refresh`."""
        self._parts.append((place, part))
        self._parts.sort(key=lambda held: held[0])
        self.refresh(part, active=active)

    def refresh(self, part: Part, *, active: bool) -> None:
        """The configuration of a part has changed; is anything configured for it at all?"""
        (self._asleep.discard if active else self._asleep.add)(id(part))
        self._known.clear()
        self.active = len(self._asleep) < len(self._parts)

    def forget(self) -> None:
        """Which kinds there are has changed: everybody is asked anew what concerns him."""
        self._known.clear()

    def concerned(self, operation: str, resource: Resource, subresource: str) -> bool:
        """Has anybody something to say?"""
        return self.active and self.hands(operation, resource, subresource) is not None

    def hands(self, operation: str, resource: Resource, subresource: str) -> Hands | None:
        """None where nobody has anything to say."""
        key = operation, resource.kind, subresource
        try:
            return self._known[key]
        except KeyError:
            pass
        if len(self._known) > MOST:
            self._known.clear()
        found = [
            (place, part)
            for place, part in self._parts
            if id(part) not in self._asleep and part.concerns(operation, resource, subresource)
        ]
        split = Place.VALIDATING_PLUGINS
        hands = Hands(
            tuple(part for place, part in found if place < split),
            tuple(part for place, part in found if place >= split),
        )
        self._known[key] = hands if found else None
        return self._known[key]


async def mutate(
    review: Review, plugins: Callable[[Review], Awaitable[None]] | None = None
) -> bool:
    """Ask all that mutate; `plugins` are our own, asked again before a second round.
    True where somebody was asked at all."""
    assert review.hands is not None
    if not review.hands.mutating:
        return False
    for part in review.hands.mutating:
        await part.admit(review)
    if review.again:
        review.round, review.again = 1, False
        if plugins is not None:
            await plugins(review)
        for part in review.hands.mutating:
            await part.admit(review)
    return True


async def validated(review: Review, write: Callable[[], Awaitable[T]]) -> T:
    """Ask all that validate, then write. What they took is given back where nothing is written:
    at an error, in a dry run, and where `write` returns None (it has to begin again)."""
    assert review.hands is not None
    written = None
    try:
        for part in review.hands.validating:
            await part.admit(review)
        written = await write()
        return written
    finally:
        if written is None or review.dry_run:
            review.withdraw()
