"""The Pods of Jobs, stateful sets and daemon sets: found, adopted, released, made and deleted.

A look never acts on Pods it has not yet seen of its own making: a write ends only when the informer
holds it, and what was deleted counts as on its way out from that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import owners, times
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.workloads.leaving import Leaving
from jindou.control.controllers.workloads.pods import batches, is_closing
from jindou.objects.errors import CloudError
from jindou.objects.kinds import POD, Kind, Object, Ref, ref_of
from jindou.objects.selectors import Selector


class OwnedPods:
    """`told`: do creations and deletions become events of the owner, in the words of the field?"""

    def __init__(self, kind: Kind, events: Recorder, told: bool = True) -> None:
        self._kind = kind
        self._events = events
        self._told = told
        self._leaving = Leaving(events, told)
        self._selectors: dict[Ref, Selector] = {}

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self.informer = informers.of(POD)
        owners.index(self.informer)
        self._leaving.follow(self.informer)
        informers.of(self._kind).on_change(self._owner_changed)
        self.informer.on_change(self._pod_changed)

    def _owner_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._selectors[ref_of(self._kind, new)] = owners.selector_of(new)
        elif old is not None:
            self._selectors.pop(ref_of(self._kind, old), None)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or new["metadata"].get("deletionTimestamp") or owners.controller_of(new):
            return
        namespace, labels = new["metadata"]["namespace"], new["metadata"].get("labels") or {}
        for ref, selector in self._selectors.items():
            if ref.namespace == namespace and selector and selector.matches(labels):
                self._wake(ref)

    async def claimed(
        self,
        client: Client,
        owner: Object,
        finalizer: str = "",
        member: Callable[[Object], bool] = lambda pod: True,
    ) -> list[Object]:
        """All of them. `finalizer` is put on those that are adopted; `member` leaves others out."""

        def wanted(pod: Object) -> bool:
            over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            return member(pod) and bool(owners.controller_uid(pod) or not over)

        found = await owners.claim(client, self.informer, self._kind, owner, finalizer, wanted)
        for pod in found:
            if pod["metadata"]["uid"] in self._leaving.uids:
                pod["metadata"].setdefault("deletionTimestamp", times.text())
        return found

    # ------------------------------------------------------------ writing

    async def create(
        self, client: Client, owner: Object, pods: Sequence[Object]
    ) -> tuple[int, CloudError | None]:
        """How many were made: first one, then two, four, ... until the first failure."""
        made, failure, left = 0, None, list(pods)
        for size in batches(len(left)):
            batch, left = left[:size], left[size:]
            results = await asyncio.gather(
                *(client.create(POD, pod) for pod in batch), return_exceptions=True
            )
            for result in results:
                if isinstance(result, CloudError):
                    failure = self._refused(client, owner, result) or failure
                elif isinstance(result, BaseException):
                    raise result
                else:
                    made += 1
                    await self.informer.caught_up(result["metadata"].get("resourceVersion", ""))
                    name = result["metadata"]["name"]
                    self._tell(client, owner, "SuccessfulCreate", f"Created pod: {name}")
            if failure is not None:
                break
        return made, failure

    def _refused(self, client: Client, owner: Object, error: CloudError) -> CloudError | None:
        if is_closing(error):
            return None
        self._tell(client, owner, "FailedCreate", f"Error creating: {error}", "Warning")
        return error

    async def delete(
        self, client: Client, owner: Object, pods: Sequence[Object]
    ) -> tuple[int, CloudError | None]:
        """How many are on their way out now."""
        named = ((ref_of(POD, pod), pod["metadata"]["uid"]) for pod in pods)
        failures = await self._leaving.delete(client, owner, named)
        return len(pods) - len(failures), failures[0] if failures else None

    def _tell(
        self, client: Client, owner: Object, reason: str, text: str, type: str = "Normal"
    ) -> None:
        if self._told:
            self._events.event(client, owner, reason, text, type)
