"""Controllers read objects and write objects, one file each; they never touch the machine.

They look at the world through shared informers and decide in pure `plan_*` functions. All are safe
to run again at any time: a crash, a lost write or a stale read is mended by the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.objects.kinds import Kind, Ref

Wake = Callable[[Ref], None]  # have `reconcile` called for this object, soon


@runtime_checkable
class Controller(Protocol):
    """Brings one object of `kind` closer to what it asks for; safe to call at any time.

    `owns`: a change to an object of these kinds wakes the object of `kind` that controls it.
    """

    kind: Kind
    owns: Sequence[Kind]

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        """Return seconds until the next look, or None to wait for a change."""
        ...


@runtime_checkable
class CanFollow(Protocol):
    """Reads more than its own kind: asks for informers before they start, and says whom to wake."""

    def follow(self, informers: Informers, wake: Wake) -> None: ...


@runtime_checkable
class CanRun(Protocol):
    """Has a loop of its own, begun when all informers are in step, begun again if it fails."""

    async def run(self, client: Client) -> None: ...
