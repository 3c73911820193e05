"""Writes the status of one Pod: only what changed, the newest only, until the server has it.

While the server is away nothing waits for it: a later status replaces one that is not yet written.
Should someone else write a condition of ours (a node that was silent has its Pods called unready),
it is written again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from jindou.client import Client
from jindou.client.retry import Backoff
from jindou.node.clock import Clock
from jindou.node.state.status import changes
from jindou.objects.errors import CloudError, Conflict, NotFound
from jindou.objects.kinds import Object, Ref

log = logging.getLogger("jindou.status")
MERGED = ("podIPs", "hostIPs")  # by a strategic patch: what is not said would stay
LINGER = 0.5  # seconds that news which will soon be old may wait


class StatusWriter:
    """`known` is the status that the server is known to have."""

    def __init__(self, client: Client, ref: Ref, uid: str, known: Object, clock: Clock) -> None:
        self._client, self._ref, self._uid, self._clock = client, ref, uid, clock
        self.known: dict[str, Any] = dict(known)
        self._wanted: Object | None = None
        self._revision = 0  # of our last write
        self._writing = False
        self._meanwhile: Object | None = None  # the Pod as it was told while we were writing
        self._urgent = asyncio.Event()
        self._offered = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.gone = False

    def offer(self, status: Object, urgent: bool = True) -> None:
        """This is the status now."""
        self._wanted = status
        if not changes(self.known, status):
            return
        self._idle.clear()
        self._offered.set()
        if urgent:
            self._urgent.set()

    def saw(self, pod: Object) -> bool:
        """The server tells what it has; what is older than our last write is no news.
        True: someone else wrote a condition of ours."""
        if self._writing:
            self._meanwhile = pod
            return False
        if int(pod["metadata"].get("resourceVersion") or 0) < self._revision:
            return False
        told = {held["type"]: held for held in (pod.get("status") or {}).get("conditions") or ()}
        ours = self.known.get("conditions") or ()
        if any(told.get(o["type"], o).get("status") != o.get("status") for o in ours):
            self.known["conditions"] = list(told.values())
            return True
        return False

    async def flush(self) -> None:
        """Until the newest status is written, or there is nothing to write it to."""
        self._urgent.set()
        await self._idle.wait()

    async def run(self) -> None:
        backoff = Backoff(0.2, 10.0)
        while not self.gone:
            await self._offered.wait()
            await self._clock.wait(self._urgent, LINGER)
            self._offered.clear()
            self._urgent.clear()
            while not self.gone and (part := changes(self.known, self._wanted or {})):
                if await self._write(part):
                    backoff.reset()
                else:
                    await self._clock.sleep(backoff.delay())
            if not self._offered.is_set():
                self._idle.set()
        self._idle.set()

    async def _write(self, part: Object) -> bool:
        whole = {name: [{"$patch": "replace"}, *part[name]] for name in MERGED if part.get(name)}
        body = {"metadata": {"uid": self._uid}, "status": {**part, **whole}}
        self._writing = True
        try:
            done = await self._client.patch(self._ref, body, part="status", how="strategic")
            self._revision = int(done["metadata"].get("resourceVersion") or 0)
        except (NotFound, Conflict) as error:  # another Pod has the name by now
            log.debug("%s: %s", self._ref, error)
            self.gone = True
        except (CloudError, OSError) as error:
            log.info("the status of %s was not written: %s", self._ref, error)
            return False
        finally:
            self._writing = False
        self.known.update(part)
        told, self._meanwhile = self._meanwhile, None
        if told is not None:
            self.saw(told)
        return True
