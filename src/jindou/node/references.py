"""The ConfigMaps and Secrets that Pods of this node use, each followed while it is used.

One watch for each single object, so the node reads only what its Pods name and hears of a change
at once, without polling. What nobody holds is asked for each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from jindou.client import Client
from jindou.client.retry import Backoff
from jindou.objects.errors import CloudError, Expired, NotFound, Unavailable
from jindou.objects.kinds import SERVICE_ACCOUNT, Kind, Object, Ref

log = logging.getLogger("jindou.references")

Handler = Callable[[Ref, Object | None], None]  # None: it is gone


class Token(NamedTuple):
    text: str
    expires: float  # Unix seconds


class Followed:
    """One object as last seen. `settled` once it was looked for, with or without success."""

    def __init__(self, ref: Ref) -> None:
        self.ref = ref
        self.holders: set[str] = set()
        self.settled = asyncio.Event()
        self.synced = False
        self.object: Object | None = None
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None


class References:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._followed: dict[Ref, Followed] = {}
        self._held: dict[str, set[Ref]] = {}  # Pod uid -> what it uses
        self._handlers: list[Handler] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none. Raises CloudError when that can't be known."""
        ref = Ref(kind, namespace, name)
        followed = self._followed.get(ref)
        if followed is not None:
            await followed.settled.wait()
            if followed.synced:
                return followed.object
        try:
            return await self._client.get(ref)
        except NotFound:
            return None

    def hold(self, uid: str, kind: Kind, namespace: str, name: str) -> None:
        """The Pod uses this object: follow it until the Pod's `release`."""
        ref = Ref(kind, namespace, name)
        self._held.setdefault(uid, set()).add(ref)
        followed = self._followed.get(ref)
        if followed is None:
            followed = self._followed[ref] = Followed(ref)
            followed.task = asyncio.create_task(self._follow(followed), name=f"following {ref}")
        followed.holders.add(uid)

    def release(self, uid: str) -> None:
        for ref in self._held.pop(uid, ()):
            followed = self._followed[ref]
            followed.holders.discard(uid)
            if not followed.holders:
                del self._followed[ref]
                if followed.task is not None:
                    followed.task.cancel()
                followed.settled.set()

    def users(self, ref: Ref) -> set[str]:
        """The uids of the Pods that hold it."""
        followed = self._followed.get(ref)
        return set(followed.holders) if followed else set()

    def on_change(self, handler: Handler) -> None:
        """Called after each change of a followed object, not for what was there at first."""
        self._handlers.append(handler)

    async def close(self) -> None:
        tasks = [followed.task for followed in self._followed.values() if followed.task]
        self._followed.clear()
        self._held.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def token(
        self, pod: Object, audience: str = "", seconds: int = 3600, account: str = ""
    ) -> Token:
        """A fresh token of the Pod's service account, valid while the Pod lives."""
        meta, spec = pod["metadata"], pod["spec"]
        bound = {
            "apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"],
        }  # fmt: skip
        request: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {
                "name": account or spec.get("serviceAccountName") or "default",
                "namespace": meta["namespace"],
            },
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": bound,
            },
        }
        answer = await self._client.create(SERVICE_ACCOUNT, request, "token")
        status = answer["status"]
        expires = datetime.fromisoformat(status["expirationTimestamp"].replace("Z", "+00:00"))
        return Token(status["token"], expires.timestamp())

    # ------------------------------------------------------------ following

    async def _follow(self, followed: Followed) -> None:
        kind, namespace, name = followed.ref
        fields = f"metadata.name={name}"
        backoff = Backoff(0.1, 30.0)
        revision = ""
        while True:
            try:
                if not revision:
                    listing = await self._client.find(kind, namespace, fields=fields)
                    revision = listing.revision
                    self._take(followed, listing.items[0] if listing.items else None)
                    backoff.reset()
                async for event in self._client.watch(kind, namespace, fields=fields, after=revision):  # fmt: skip
                    revision = event.object["metadata"].get("resourceVersion") or revision
                    if event.type == "DELETED":
                        self._take(followed, None)
                    elif event.type != "BOOKMARK":
                        self._take(followed, event.object)
                    backoff.reset()
            except Expired:
                revision = ""
            except (CloudError, OSError) as error:
                log.debug("%s: %s", followed.ref, error)
                followed.error = error
                followed.settled.set()
                if not isinstance(error, (Unavailable, OSError)):
                    revision = ""
                await asyncio.sleep(backoff.delay())

    def _take(self, followed: Followed, obj: Object | None) -> None:
        first, old = not followed.synced, followed.object
        followed.object, followed.synced, followed.error = obj, True, None
        followed.settled.set()
        if first or _revision(old) == _revision(obj):
            return
        for handler in list(self._handlers):
            try:
                handler(followed.ref, obj)
            except Exception:
                log.exception("a handler of %s failed", followed.ref)


def _revision(obj: Object | None) -> str | None:
    return None if obj is None else obj["metadata"].get("resourceVersion", "")
