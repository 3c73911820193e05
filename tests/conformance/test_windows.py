"""What is told of revisions that are forgotten. The window is made small here, in a server in this
process: no client can make another server forget. The words are those of a kube-apiserver whose
etcd was compacted."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from jindou.control.store.memory import MemoryStore
from jindou.control.store.table import Window
from tests.control.apis import Api, on_api

pytestmark = pytest.mark.slow

SECRETS = "/api/v1/namespaces/default/secrets"
TOO_OLD = "The resourceVersion for the provided list is too old."
INCONSISTENT = (
    "The provided continue parameter is too old to display a consistent list result. You can start a "
    "new list without the continue parameter, or use the continue token in this response to retrieve "
    "the remainder of the results. Continuing with the provided token results in an inconsistent list "
    "- objects that were created, modified, or deleted between the time the first chunk was returned "
    "and now may show up in the list."
)


def forgetting(scenario: Any) -> None:
    """With a store that remembers four changes."""
    on_api(scenario, MemoryStore(Window(changes=4)))


async def make(api: Api, *names: str) -> None:
    for name in names:
        reply = await api.ask("POST", SECRETS, {"metadata": {"name": name}})
        assert reply.status == 201


async def listed(api: Api, query: str) -> Any:
    return (await api.ask("GET", f"{SECRETS}?{query}")).json


def names(listing: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listing["items"]]


@pytest.mark.guarantee(9)
def test_05_a_list_at_a_forgotten_revision() -> None:
    async def scenario(api: Api) -> None:
        await make(api, "a")
        old = api.store.revision
        await make(api, "b", "c", "d", "e", "f")
        for query in (
            f"resourceVersion={old}&resourceVersionMatch=Exact",
            f"resourceVersion={old}&limit=5",
        ):
            reply = await api.ask("GET", f"{SECRETS}?{query}")
            assert (reply.status, reply.json["reason"], reply.json["code"]) == (410, "Expired", 410)
            assert reply.json["message"] == TOO_OLD
            assert reply.json["metadata"] == {}
        kept = await listed(
            api, f"resourceVersion={api.store.revision - 1}&resourceVersionMatch=Exact"
        )
        assert names(kept) == ["a", "b", "c", "d", "e"]
        newer = await listed(api, f"resourceVersion={old}&resourceVersionMatch=NotOlderThan")
        assert names(newer) == ["a", "b", "c", "d", "e", "f"]

    forgetting(scenario)


@pytest.mark.guarantee(8)
def test_06_a_stale_token_gets_one_that_goes_on() -> None:
    async def scenario(api: Api) -> None:
        await make(api, "a", "b", "c")
        first = await listed(api, "limit=1")
        await make(api, "d", "e", "f", "bb", "h")
        reply = await api.ask("GET", f"{SECRETS}?limit=2&continue={first['metadata']['continue']}")
        assert (reply.status, reply.json["reason"]) == (410, "Expired")
        assert reply.json["message"] == INCONSISTENT
        fresh = reply.json["metadata"]["continue"]
        held = json.loads(base64.urlsafe_b64decode(fresh + "=" * (-len(fresh) % 4)))
        assert (held["v"], held["rv"]) == ("meta.k8s.io/v1", -1)
        second = await listed(api, f"limit=2&continue={fresh}")
        assert names(second) == ["b", "bb"]
        assert second["metadata"]["resourceVersion"] == str(api.store.revision)
        await make(api, "g")
        third = await listed(api, f"limit=9&continue={second['metadata']['continue']}")
        assert names(third) == ["c", "d", "e", "f", "h"]
        assert third["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]

    forgetting(scenario)


@pytest.mark.guarantee(18)
def test_09_a_watch_from_a_forgotten_revision() -> None:
    async def scenario(api: Api) -> None:
        await make(api, "a", "b", "c", "d", "e", "f")
        watch = api.watch(f"{SECRETS}?watch=true&resourceVersion=1")
        assert watch.closed
        (event,) = watch.events
        status = event["object"]
        assert (event["type"], status["kind"]) == ("ERROR", "Status")
        assert (status["status"], status["reason"], status["code"]) == ("Failure", "Expired", 410)
        oldest = api.store.revision - 4
        assert status["message"] == f"too old resource version: 1 ({oldest})"
        assert "details" not in status
        near = api.watch(f"{SECRETS}?watch=true&resourceVersion={oldest}")
        assert [e["object"]["metadata"]["name"] for e in near.events] == ["c", "d", "e", "f"]
        near.close()

    forgetting(scenario)


def test_09_a_watch_goes_on_though_its_start_is_forgotten() -> None:
    async def scenario(api: Api) -> None:
        watch = api.watch(f"{SECRETS}?watch=true&resourceVersion={api.store.revision}")
        await make(api, "a", "b", "c", "d", "e", "f")
        assert [e["object"]["metadata"]["name"] for e in watch.events] == list("abcdef")
        watch.close()

    forgetting(scenario)
