"""What store and watch promise, one test for each promise that no other file proves.

Most of it in one process and, where minutes have to pass, in virtual time.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from jindou.control.api.access.tokens import Tokens
from jindou.control.api.server import ApiServer
from jindou.control.api.wire.streams import BOOKMARKS
from jindou.control.store.memory import MemoryStore
from jindou.control.store.sqlite import SqliteStore
from jindou.control.store.table import Window
from jindou.settings import Settings
from jindou.transport import Peer
from tests.control.apis import Api, Lines, on_api
from tests.faults.simloop import SimLoop, simulated

MAPS = "/api/v1/namespaces/default/configmaps"
SEEDS = range(8)


def revision_of(obj: Any) -> int:
    return int(obj["metadata"]["resourceVersion"])


async def put(api: Api, name: str, value: str) -> Any:
    """Created or replaced."""
    document = {"metadata": {"name": name}, "data": {"n": value}}
    reply = await api.ask("PUT", f"{MAPS}/{name}", document)
    if reply.status == 404:
        reply = await api.ask("POST", MAPS, document)
    assert reply.status in (200, 201), reply
    return reply.json


async def change(api: Api, chance: random.Random, names: int = 12) -> int:
    """Something is made, replaced or taken away; at which revision."""
    name = f"m{chance.randrange(names):02}"
    if chance.random() < 0.3:
        await api.ask("DELETE", f"{MAPS}/{name}")
        return int(api.store.revision)
    return revision_of(await put(api, name, str(chance.random())))


def contents(listing: Any) -> dict[str, tuple[int, Any]]:
    return {
        item["metadata"]["name"]: (revision_of(item), item.get("data")) for item in listing["items"]
    }


# ------------------------------------------------------------ reads


@pytest.mark.guarantee(8)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pages_are_of_the_revision_of_the_first_while_writes_go_on(seed):
    async def scenario(api: Api) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            await change(api, chance)
        whole = (await api.ask("GET", MAPS)).json
        path, pages = f"{MAPS}?limit=3", []
        while True:
            pages.append((await api.ask("GET", path)).json)
            assert revision_of(pages[-1]) == revision_of(whole)
            if not (token := pages[-1]["metadata"].get("continue")):
                break
            for _ in range(5):
                await change(api, chance)
            path = f"{MAPS}?limit=3&continue={token}"
        together = {"items": [item for page in pages for item in page["items"]]}
        assert contents(together) == contents(whole)
        assert len(pages) > 2
        assert contents((await api.ask("GET", MAPS)).json) != contents(whole), "nothing changed"

    on_api(scenario)


@pytest.mark.guarantee(9)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_read_at_a_revision_is_what_a_replay_of_the_log_gives(seed):
    async def scenario(api: Api) -> None:
        chance = random.Random(seed)
        states, log = {}, api.watch(f"{MAPS}?watch=true&resourceVersion={api.store.revision}")
        for _ in range(60):
            states[await change(api, chance)] = None
        for revision in states:
            state: dict[str, tuple[int, Any]] = {}
            for event in log.events:
                obj = event["object"]
                if revision_of(obj) <= revision:
                    state[obj["metadata"]["name"]] = (revision_of(obj), obj.get("data"))
                    if event["type"] == "DELETED":
                        del state[obj["metadata"]["name"]]
            path = f"{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact"
            reply = await api.ask("GET", path)
            if reply.status == 410:
                assert revision < api.store.forgotten
                continue
            assert contents(reply.json) == state
        oldest = min(states)
        reply = await api.ask("GET", f"{MAPS}?resourceVersion={oldest}&resourceVersionMatch=Exact")
        assert (reply.status, reply.json["reason"]) == (410, "Expired")
        log.close()

    on_api(scenario, MemoryStore(Window(changes=25)))


@pytest.mark.guarantee(6)
def test_the_life_of_an_object_and_the_next_of_its_name():
    async def scenario(api: Api) -> None:
        first = await put(api, "a", "1")
        again = await api.ask("POST", MAPS, {"metadata": {"name": "a"}})
        assert (again.status, again.json["reason"]) == (409, "AlreadyExists")
        held = (await api.ask("GET", f"{MAPS}/a")).json
        assert held == first
        second = await put(api, "a", "2")
        for field in ("uid", "creationTimestamp"):
            assert second["metadata"][field] == first["metadata"][field]
        assert revision_of(second) > revision_of(first)
        assert (await api.ask("DELETE", f"{MAPS}/a")).status == 200
        assert (await api.ask("DELETE", f"{MAPS}/a")).status == 404
        third = await put(api, "a", "3")
        assert third["metadata"]["uid"] != first["metadata"]["uid"]
        stale = {**second, "data": {"n": "4"}}
        reply = await api.ask("PUT", f"{MAPS}/a", stale)
        assert reply.status == 409
        assert (await api.ask("GET", f"{MAPS}/a")).json == third

    on_api(scenario)


@pytest.mark.guarantee(5)
def test_a_refused_write_costs_no_revision_and_of_many_one_wins(tmp_path):
    async def scenario(api: Api) -> None:
        made = await put(api, "a", "0")
        bodies = [{**made, "data": {"n": str(n)}} for n in range(1, 31)]
        replies = await asyncio.gather(*(api.ask("PUT", f"{MAPS}/a", body) for body in bodies))
        assert sorted(reply.status for reply in replies) == [200] + [409] * 29
        (won,) = [reply.json for reply in replies if reply.status == 200]
        assert (await api.ask("GET", f"{MAPS}/a")).json == won
        assert api.store.revision == revision_of(won) == revision_of(made) + 1

    on_api(scenario, lambda: SqliteStore.open(tmp_path / "s.db"))


# ------------------------------------------------------------ watches


def minimal(revision: int) -> bytes:
    return b'{"metadata":{"name":"a","namespace":"default","resourceVersion":"%d"}}' % revision


@pytest.mark.guarantee(16)
def test_what_was_stored_together_is_told_together(tmp_path):
    """One write of the disk is one call for each watcher of the store, and one piece on the wire."""

    class Pieces(Lines):
        def __init__(self) -> None:
            super().__init__()
            self.pieces: list[int] = []

        def write(self, data: bytes) -> None:
            self.pieces.append(data.count(b"\n"))
            super().write(data)

    async def scenario(api: Api) -> None:
        told: list[int] = []
        api.store.watch("", api.store.revision, lambda changes: told.append(len(changes)))
        sink, path = Pieces(), f"{MAPS}?watch=true&resourceVersion={api.store.revision}"
        api._send("GET", path, None, Peer("", "kubernetes-admin", ("system:masters",)), {}).start(
            sink
        )
        for count in (1, 7, 30):
            told.clear()
            sink.pieces.clear()
            keys = [f"core/configmaps/default/{count}-{n}" for n in range(count)]
            await asyncio.gather(*(api.store.commit(key, minimal) for key in keys))
            assert told == [count]
            assert sink.pieces == [count]
        sink.close()

    on_api(scenario, lambda: SqliteStore.open(tmp_path / "s.db"))


def in_minutes(seed: int, scenario: Any) -> None:
    """With a server in virtual time."""

    async def main(loop: SimLoop) -> None:
        store = MemoryStore()
        server = ApiServer(store, Settings(), Tokens(Path("/nonexistent"), "cluster.local"))
        await server.start()
        random.seed(seed)
        await scenario(Api(server, store), loop)
        server.close()

    simulated(seed, main)


def follow_bookmarks(events: list[Any], start: int) -> int:
    """How many there are; none goes back, and nothing up to it comes after it."""
    told, last, count = start, start, 0
    for event in events:
        revision = revision_of(event["object"])
        if event["type"] == "BOOKMARK":
            assert revision >= last, "a bookmark before what was told already"
            told, count = revision, count + 1
        assert revision > told or event["type"] == "BOOKMARK", "told again after its bookmark"
        last = max(last, revision)
    return count


@pytest.mark.guarantee(14, 19, 25)
def test_bookmarks_never_go_back_and_nothing_older_follows_them():
    async def scenario(api: Api, loop: SimLoop) -> None:
        start = api.store.revision
        watch = api.watch(f"{MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={start}")
        other = "/api/v1/namespaces/default/secrets"
        for turn in range(300):
            await asyncio.sleep(loop.chance.random() * 10)
            await change(api, loop.chance)
            await api.ask("POST", other, {"metadata": {"name": f"s{turn}"}})
        count = follow_bookmarks(watch.events, start)
        assert count >= loop.time() / (1.2 * BOOKMARKS), "longer silent than it says"
        watch.close()

    for seed in SEEDS:
        in_minutes(seed, scenario)


@pytest.mark.guarantee(22)
def test_a_watch_from_the_future_is_told_nothing_of_before():
    async def scenario(api: Api, loop: SimLoop) -> None:
        start = api.store.revision + 10
        path = f"{MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={start}"
        watch = api.watch(path)
        for n in range(8):
            await put(api, f"m{n}", "1")
            await asyncio.sleep(BOOKMARKS)
        assert api.store.revision == start - 2
        assert watch.events == [], "told of what was before its start"
        for n in range(8):
            await put(api, f"m{n}", "2")
        await asyncio.sleep(2 * BOOKMARKS)
        told = [e for e in watch.events if e["type"] != "BOOKMARK"]
        assert [revision_of(e["object"]) for e in told] == list(range(start + 1, start + 7))
        assert follow_bookmarks(watch.events, start)
        watch.close()

    in_minutes(1, scenario)


READER = Peer("127.0.0.1:3", "reader", ("system:authenticated",))


@pytest.mark.guarantee(20)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_watcher_is_told_what_it_may_see_and_selects_and_nothing_else(seed):
    """Against the present after each change: leaving the selection is a deletion."""

    async def scenario(api: Api) -> None:
        chance = random.Random(seed)
        await allow(api, "reader", "default")
        query = "watch=true&labelSelector=colour%3Dred"
        refused = [
            "/api/v1/configmaps?" + query,
            "/api/v1/namespaces/kube-system/configmaps?" + query,
            "/api/v1/namespaces/default/secrets?" + query,
        ]
        for path in refused:
            reply = await api.ask("GET", path, peer=READER)
            assert reply.status == 403, path
        watch = api.watch(f"{MAPS}?{query}", READER)
        everything = api.watch("/api/v1/configmaps?watch=true")
        there: dict[str, int] = {}
        taken = 0
        for _ in range(150):
            namespace = chance.choice(["default", "default", "kube-system"])
            await coloured(api, namespace, chance)
            for event in watch.events[taken:]:
                meta = event["object"]["metadata"]
                assert meta["namespace"] == "default"
                assert (event["type"] == "ADDED") == (meta["name"] not in there)
                there[meta["name"]] = revision_of(event["object"])
                if event["type"] == "DELETED":
                    del there[meta["name"]]
            taken = len(watch.events)
            listing = await api.ask("GET", f"{MAPS}?labelSelector=colour%3Dred", peer=READER)
            now = {item["metadata"]["name"]: revision_of(item) for item in listing.json["items"]}
            assert there == now
        assert len(everything.events) > taken > 20
        watch.close()
        everything.close()

    on_api(scenario)


async def coloured(api: Api, namespace: str, chance: random.Random) -> None:
    path, name = f"/api/v1/namespaces/{namespace}/configmaps", f"m{chance.randrange(5)}"
    if chance.random() < 0.2:
        await api.ask("DELETE", f"{path}/{name}")
        return
    labels = {"colour": chance.choice(["red", "blue"])}
    body = {"metadata": {"name": name, "labels": labels}, "data": {"n": str(chance.random())}}
    if (await api.ask("PUT", f"{path}/{name}", body)).status == 404:
        assert (await api.ask("POST", path, body)).status == 201


async def allow(api: Api, user: str, namespace: str) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}]
    role = {"metadata": {"name": user}, "rules": rules}
    binding = {
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
    }
    for plural, body in (("roles", role), ("rolebindings", binding)):
        reply = await api.ask("POST", f"{path}/{plural}", body)
        assert reply.status == 201, reply
