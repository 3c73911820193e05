"""The servers behind this one, as their APIServices say: who answers, what they serve, and requests handed on.

What must stay true: an APIService holds from the moment its write is visible; its Available
condition follows its Service, the endpoints of that, and whether the server answers. A server is
asked when one of these changes, when a request did not get through, and now and then while it is
there; without any there is nothing to do at rest.
Source: https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from jindou.client import Client
from jindou.control.api.access.guard import Access, User
from jindou.control.api.aggregation import documents
from jindou.control.api.aggregation.objects import (
    API_SERVICE,
    PASSED,
    PREFIX,
    Remote,
    Told,
    available,
    examined,
    remote_of,
    with_condition,
)
from jindou.control.api.aggregation.questions import asked_of
from jindou.control.api.aggregation.ways import HEADERS, SELF, Ways, headers_of
from jindou.control.api.engine.calls import flag
from jindou.control.api.engine.writes import now
from jindou.control.api.webhooks.clients import SLICES, CallFailed, slices_of, why_not
from jindou.control.api.wire import forwarding
from jindou.control.store import Change, Store
from jindou.objects.errors import CloudError, NotFound, Unavailable
from jindou.objects.kinds import Object, Ref
from jindou.transport import Answer, Request, Response

log = logging.getLogger("jindou.aggregation")
AGAIN = 30.0  # seconds until a server that answers is asked again
FIRST, LATEST = 1.0, 30.0  # seconds until one is that does not
PATIENCE = 5.0  # seconds for one answer
LARGEST = 16 * 1024 * 1024
WHOLE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
TEXT = (("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff"))
SERVICES = "core/services/"


class Aggregation:
    """`active` is False while everything is served here: all that a request pays for is to see that."""

    def __init__(self, store: Store, access: Access, ways: Ways, client: Client) -> None:
        self.active = False
        self.generation = 0
        self._store = store
        self._access = access
        self._ways = ways
        self._client = client
        self._remotes: dict[str, Remote] = {}
        self._places: dict[tuple[str, str], Remote] = {}
        self._available: set[str] = set()
        self._known: dict[tuple[str, str], Object] = {}
        self._index: dict[str, Object] = {}  # of OpenAPI documents, by their place
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._due: dict[str, asyncio.Event] = {}
        self._stops: list[Callable[[], None]] = []

    def start(self) -> None:
        listing = self._store.scan(PREFIX)
        for stored in listing.items:
            self._put(orjson.loads(stored.value))
        self._stops.append(self._store.watch(PREFIX, listing.revision, self._deliver))

    def close(self) -> None:
        for stop in self._stops:
            stop()
        for task in self._tasks.values():
            task.cancel()
        self._ways.close()

    # ------------------------------------------------------------ following

    def _deliver(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.value is None:
                self._drop(change.key.rpartition("/")[2])
            else:
                self._put(orjson.loads(change.value))

    def _put(self, obj: Object) -> None:
        name, remote = obj["metadata"]["name"], remote_of(obj)
        condition = available(obj) or {}
        before = self._remotes.get(name)
        if remote is None:
            self._drop(name)
            return
        if remote != before:
            self._drop(name)
            self._remotes[name] = self._places[remote.place] = remote
            self.active = True
            self.generation += 1
            self._follow_services()
            self._due[name] = asyncio.Event()
            task = asyncio.get_running_loop().create_task(self._watch_over(remote))
            self._tasks[name] = task
        was = name in self._available
        (self._available.add if condition.get("status") == "True" else self._available.discard)(
            name
        )
        if was != (name in self._available):
            self.generation += 1

    def _drop(self, name: str) -> None:
        remote = self._remotes.pop(name, None)
        if remote is None:
            return
        self._places.pop(remote.place, None)
        self._known.pop(remote.place, None)
        self._index.pop(remote.path.strip("/"), None)
        self._available.discard(name)
        self._due.pop(name, None)
        self._tasks.pop(name).cancel()
        self._ways.forget(remote)
        self.active = bool(self._remotes)
        self.generation += 1

    def _follow_services(self) -> None:
        if len(self._stops) > 1:
            return
        for prefix in (SERVICES, SLICES):
            self._stops.append(self._store.watch(prefix, self._store.revision, self._moved))

    def _moved(self, changes: Sequence[Change]) -> None:
        for change in changes:
            namespace = change.key.split("/")[2]
            held = change.value or (change.previous.value if change.previous else b"")
            for name, remote in self._remotes.items():
                if remote.namespace == namespace and remote.service.encode() in held:
                    self._due[name].set()

    # ------------------------------------------------------------ looking

    async def _watch_over(self, remote: Remote) -> None:
        """Look, tell, and look again in time or when something has changed; for ever."""
        due, pause = self._due[remote.name], FIRST
        while True:
            due.clear()
            try:
                told = await self._look(remote)
                await self._tell(remote, told)
            except CloudError as error:
                log.warning("%s: %s", remote.name, error.message)
                told = ("Unknown", "", "")
            pause = AGAIN if told[0] == "True" else min(LATEST, pause * 2)
            try:
                async with asyncio.timeout(pause):
                    await due.wait()
                    pause = FIRST
            except TimeoutError:
                pass

    async def _look(self, remote: Remote) -> Told:
        stored = self._store.get(f"{SERVICES}{remote.namespace}/{remote.service}")
        service = orjson.loads(stored.value) if stored else None
        slices = slices_of(self._store, remote.namespace, remote.service)
        against = examined(remote, service, slices)
        if against is not None:
            return against
        url = ""
        try:
            url = self._ways.url(remote) + remote.path
            code, legacy = await self._fetch(remote, remote.path, "application/json")
        except CloudError as error:
            return "False", "FailedDiscoveryCheck", error.message
        except (OSError, TimeoutError, ValueError, CallFailed) as error:
            says = f'failing or missing response from {url}: Get "{url}": {why_not(error, url)}'
            return "False", "FailedDiscoveryCheck", says
        if not 200 <= code < 300:
            says = f"failing or missing response from {url}: bad status from {url}: {code}"
            return "False", "FailedDiscoveryCheck", says
        await self._learn(remote, legacy)
        return PASSED

    async def _learn(self, remote: Remote, legacy: Any) -> None:
        """What the server serves, and where its schemas are; not to know them makes it no less there."""
        found: Object | None = None
        listed: Object | None = None
        place = remote.path.strip("/")
        try:
            code, whole = await self._fetch(remote, "/apis", WHOLE)
            if code == 200:
                found = documents.of_whole(whole, remote)
            code, index = await self._fetch(remote, "/openapi/v3", "application/json")
            listed = documents.of_index(index, place)
        except (OSError, TimeoutError, ValueError, CallFailed, CloudError) as error:
            log.info("%s tells no more about itself: %s", remote.name, error)
        if found is None:
            found = documents.of_legacy(legacy, remote)
        if self._known.get(remote.place) != found or self._index.get(place) != listed:
            self._known[remote.place] = found
            self._index.pop(place, None)
            if listed:
                self._index[place] = listed
            self.generation += 1

    async def _fetch(self, remote: Remote, path: str, accept: str) -> tuple[int, Any]:
        headers = [("Accept", accept), *headers_of(SELF)]
        async with asyncio.timeout(PATIENCE):
            url = self._ways.url(remote) + path
            response = await self._ways.pool(remote).request("GET", url, headers, timeout=None)
            data = await response.read(LARGEST)
        try:
            return response.status, orjson.loads(data)
        except orjson.JSONDecodeError:
            return response.status, None

    async def _tell(self, remote: Remote, told: Told) -> None:
        stored = self._store.get(f"{PREFIX}/{remote.name}")
        if stored is None:
            return
        obj = orjson.loads(stored.value)
        held = available(obj) or {}
        if (held.get("status"), held.get("reason"), held.get("message")) == told:
            return
        status = {"status": {"conditions": with_condition(obj, told, now())}}
        await self._client.patch(Ref(API_SERVICE, "", remote.name), status, "status")

    # ------------------------------------------------------------ handing on

    def find(self, path: str) -> Remote | None:
        """The server behind this one that a path is about."""
        parts = path.split("/", 6)
        if path.startswith("/openapi/v3/"):
            parts = ["", *parts[3:]]
        if len(parts) > 3 and parts[1] == "apis":
            return self._places.get((parts[2], parts[3]))
        return None

    async def answer(self, remote: Remote, request: Request, user: User) -> Answer:
        if not request.path.startswith("/openapi/"):
            watching = flag(request.query, "watch")
            self._access.check(user, asked_of(request.method, request.path, watching))
        if remote.name not in self._available:
            return Response(503, b"service unavailable\n", TEXT)
        for name in [name for name in request.headers if name.startswith(HEADERS)]:
            del request.headers[name]
        extra = [*headers_of(user), ("X-Forwarded-For", request.peer.address.rpartition(":")[0])]
        url = ""
        try:
            url = self._ways.url(remote) + request.raw_path
            return await forwarding.forward(self._ways.pool(remote), request, url, extra)
        except CloudError:
            says = "service unavailable\n"
        except (OSError, TimeoutError, ValueError, CallFailed) as error:
            says = f"error trying to reach service: {why_not(error, url)}\n"
        if (due := self._due.get(remote.name)) is not None:
            due.set()
        return Response(503, says.encode(), TEXT)

    async def read(self, path: str) -> Object:
        """What a server behind this one has at a path, for those in this process. Raises CloudError."""
        remote = self.find(path)
        if remote is None:
            raise NotFound("the server could not find the requested resource")
        try:
            code, told = await self._fetch(remote, path, "application/json")
        except (OSError, TimeoutError, ValueError, CallFailed) as error:
            raise Unavailable(f"error trying to reach service: {error}") from None
        if code != 200 or not isinstance(told, dict):
            says = told.get("message") if isinstance(told, dict) else None
            raise Unavailable(str(says or f"the server behind {remote.name} answered {code}"))
        return told

    # ------------------------------------------------------------ documents

    def groups(self, local: Sequence[Object]) -> list[Object]:
        return documents.groups(local, self._remotes.values())

    def aggregated(self, local: Sequence[Object]) -> list[Object]:
        current = {r.place for r in self._remotes.values() if r.name in self._available}
        return documents.aggregated(local, self._remotes.values(), self._known, current)

    def group(self, name: str, local: Object | None) -> Object | None:
        held = documents.by_group(self._remotes.values()).get(name)
        return documents.group_of(name, held, local) if held else local

    def index(self) -> dict[str, Object]:
        return self._index
