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
from jindou.control.controllers.groundwork.owners import Candidate
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.workloads.pods import batches
from jindou.objects.errors import CloudError, Forbidden, NotFound
from jindou.objects.kinds import POD, Kind, Object, Ref, ref_of
from jindou.objects.selectors import Selector, from_object

AT_ONCE = 16


class OwnedPods:
    """`told`: do creations and deletions become events of the owner, in the words of the field?"""

    def __init__(self, kind: Kind, events: Recorder, told: bool = True) -> None:
        self._kind = kind
        self._events = events
        self._told = told
        self._deleted: set[str] = set()  # uids of Pods that we deleted and still see alive
        self._selectors: dict[Ref, Selector] = {}

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self.informer = informers.of(POD)
        self.informer.index("owner", lambda obj: filter(None, [owners.controller_uid(obj)]))
        self.informer.index("orphan", orphan_in)
        informers.of(self._kind).on_change(self._owner_changed)
        self.informer.on_change(self._pod_changed)

    def _owner_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._selectors[ref_of(self._kind, new)] = selector_of(new)
        elif old is not None:
            self._selectors.pop(ref_of(self._kind, old), None)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        meta = obj["metadata"]
        if new is None or meta.get("deletionTimestamp"):
            self._deleted.discard(meta["uid"])
        elif not owners.controller_of(obj):
            labels = meta.get("labels") or {}
            for ref, selector in self._selectors.items():
                if ref.namespace == meta["namespace"] and selector and selector.matches(labels):
                    self._wake(ref)

    async def claimed(
        self,
        client: Client,
        owner: Object,
        finalizer: str = "",
        member: Callable[[Object], bool] = lambda pod: True,
    ) -> list[Object]:
        """All of them. `finalizer` is put on those that are adopted; `member` leaves others out."""
        meta = owner["metadata"]
        found = self.informer.by("owner", meta["uid"])
        found += [
            pod
            for pod in self.informer.by("orphan", meta["namespace"])
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]
        claims = owners.plan_claims(
            meta["uid"],
            bool(meta.get("deletionTimestamp")),
            selector_of(owner),
            (
                Candidate(
                    pod["metadata"].get("labels") or {},
                    owners.controller_uid(pod),
                    bool(pod["metadata"].get("deletionTimestamp")),
                    pod,
                )
                for pod in found
                if member(pod)
            ),
        )
        owned: list[Object] = [self._as_it_is(pod) for pod in claims.owned]
        if claims.adopt and await owners.still_there(client, self._kind, owner):
            reference = owners.reference_to(self._kind, owner)
            for pod in claims.adopt:
                adopted = await owners.adopt(client, POD, pod, reference, finalizer)
                if adopted:
                    owned.append(adopted)
                    await self._seen(adopted)
        for pod in claims.release:
            await owners.release(client, POD, pod, owner["metadata"]["uid"])
        return owned

    def _as_it_is(self, pod: Object) -> Object:
        if pod["metadata"]["uid"] in self._deleted:
            pod["metadata"].setdefault("deletionTimestamp", times.text())
        return pod

    async def _seen(self, obj: Object) -> None:
        await self.informer.caught_up(obj["metadata"].get("resourceVersion", ""))

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
                    await self._seen(result)
                    name = result["metadata"]["name"]
                    self._tell(client, owner, "SuccessfulCreate", f"Created pod: {name}")
            if failure is not None:
                break
        return made, failure

    def _refused(self, client: Client, owner: Object, error: CloudError) -> CloudError | None:
        causes = error.details.get("causes") or ()
        if isinstance(error, Forbidden) and any(
            cause.get("reason") == "NamespaceTerminating" for cause in causes
        ):
            return None
        self._tell(client, owner, "FailedCreate", f"Error creating: {error}", "Warning")
        return error

    async def delete(
        self, client: Client, owner: Object, pods: Sequence[Object]
    ) -> tuple[int, CloudError | None]:
        """How many are on their way out now."""
        gate = asyncio.Semaphore(AT_ONCE)
        results = await asyncio.gather(*(self._delete(client, owner, pod, gate) for pod in pods))
        failures = [result for result in results if result is not None]
        return len(pods) - len(failures), failures[0] if failures else None

    async def _delete(
        self, client: Client, owner: Object, pod: Object, gate: asyncio.Semaphore
    ) -> CloudError | None:
        uid = pod["metadata"]["uid"]
        async with gate:
            self._deleted.add(uid)
            try:
                await client.delete(ref_of(POD, pod), uid=uid)
            except NotFound:
                return None
            except CloudError as error:
                self._deleted.discard(uid)
                self._tell(client, owner, "FailedDelete", f"Error deleting: {error}", "Warning")
                return error
        text = f"Deleted pod: {pod['metadata']['name']}"
        self._tell(client, owner, "SuccessfulDelete", text)
        return None

    def _tell(
        self, client: Client, owner: Object, reason: str, text: str, type: str = "Normal"
    ) -> None:
        if self._told:
            self._events.event(client, owner, reason, text, type)


def selector_of(owner: Object) -> Selector:
    return from_object(owner["spec"].get("selector")) or Selector()


def orphan_in(obj: Object) -> Sequence[str]:
    return () if owners.controller_of(obj) else (obj["metadata"].get("namespace", ""),)
