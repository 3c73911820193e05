"""Many writers, many watchers, and a server that is killed and comes back."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cloud import Cloud, settings_for
from tests.conformance.wire import APPLY, MERGE, Api

pytestmark = pytest.mark.slow

SECRETS = "/api/v1/namespaces/default/secrets"


def at(ns: str, plural: str) -> str:
    return f"/api/v1/namespaces/{ns}/{plural}"


def many(kubeconfig: str, count: int, work: Any) -> list[Any]:
    """`work(api, n)` in threads, each with a connection of its own."""

    def one(n: int) -> Any:
        api = Api.of_kubeconfig(kubeconfig)
        try:
            return work(api, n)
        finally:
            api.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.guarantee(5)
def test_83_of_many_updates_of_one_revision_one_is_taken(
    api: Api, ns: str, kubeconfig: str
) -> None:
    made = api.make(at(ns, "configmaps"), {"metadata": {"name": "a"}})
    path = f"{at(ns, 'configmaps')}/a"
    answers = many(
        kubeconfig, 8, lambda other, n: other.ask("PUT", path, {**made, "data": {"by": str(n)}})
    )
    assert sorted(answer.code for answer in answers) == [200] + [409] * 7
    assert {answer.reason for answer in answers if answer.code == 409} == {"Conflict"}
    (won,) = [answer.json for answer in answers if answer.code == 200]
    assert api.get(path) == won


def test_83_no_patch_is_lost(api: Api, ns: str, kubeconfig: str) -> None:
    path = f"{at(ns, 'configmaps')}/a"
    api.make(at(ns, "configmaps"), {"metadata": {"name": "a"}})

    def patch(other: Api, n: int) -> None:
        for turn in range(5):
            other.good("PATCH", path, {"data": {f"{n}-{turn}": "x"}}, kind=MERGE)

    many(kubeconfig, 4, patch)
    assert len(api.get(path)["data"]) == 20


def test_83_read_modify_write_counts_right(api: Api, ns: str, kubeconfig: str) -> None:
    path = f"{at(ns, 'configmaps')}/a"
    api.make(at(ns, "configmaps"), {"metadata": {"name": "a"}, "data": {"n": "0"}})

    def count(other: Api, n: int) -> None:
        for _ in range(5):
            while True:
                held = other.get(path)
                held["data"]["n"] = str(int(held["data"]["n"]) + 1)
                answer = other.ask("PUT", path, held)
                if answer.code == 200:
                    break
                assert answer.reason == "Conflict"

    many(kubeconfig, 4, count)
    assert api.get(path)["data"]["n"] == "20"


@pytest.mark.guarantee(6)
def test_83_of_many_creates_of_one_name_one_is_taken(api: Api, ns: str, kubeconfig: str) -> None:
    body = {"metadata": {"name": "a"}}
    answers = many(kubeconfig, 8, lambda other, n: other.ask("POST", at(ns, "configmaps"), body))
    assert sorted(answer.code for answer in answers) == [201] + [409] * 7
    assert {answer.reason for answer in answers if answer.code == 409} == {"AlreadyExists"}


@pytest.mark.guarantee(23)
def test_83_two_watchers_see_the_same(api: Api, ns: str, kubeconfig: str) -> None:
    path = at(ns, "secrets")
    start = api.get(path)["metadata"]["resourceVersion"]

    def write(other: Api, n: int) -> None:
        other.make(path, {"metadata": {"name": f"s{n}"}})
        meta = {"name": f"s{n}", "labels": {"n": str(n)}}
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": meta}
        other.good("PATCH", f"{path}/s{n}", manifest, kind=APPLY, fieldManager="m", force="true")
        other.good("DELETE", f"{path}/s{n}")

    with (
        api.watch(path, resourceVersion=start) as first,
        api.watch(path, resourceVersion=start) as second,
    ):
        many(kubeconfig, 6, write)
        seen = [watch.take(18) for watch in (first, second)]
    assert seen[0] == seen[1]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen[0]]
    assert revisions == sorted(set(revisions))
    with api.watch(path, resourceVersion=start) as third:
        assert third.take(18) == seen[0]


@pytest.fixture
def cloud(whole: None) -> Iterator[Cloud]:
    """One that may be killed."""
    folder = Path(tempfile.mkdtemp(prefix="jin"))
    made = Cloud(settings_for(folder, pretend=True))
    try:
        made.start("server")
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


def answering(cloud: Cloud) -> Api:
    """As its administrator, once it answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            api = Api.of_kubeconfig(cloud.kubeconfig)
            if api.ask("GET", "/readyz").code == 200:
                return api
        except OSError:
            pass
        assert time.monotonic() < deadline, cloud.last_words()
        time.sleep(0.05)


@pytest.mark.guarantee(1, 18, 26)
@pytest.mark.slow
def test_83_a_kill_loses_nothing_and_watches_go_on(cloud: Cloud) -> None:
    api = answering(cloud)
    first = api.make(SECRETS, {"metadata": {"name": "a"}})
    start = first["metadata"]["resourceVersion"]
    with api.watch(SECRETS, resourceVersion=start) as watch:
        kept = api.make(SECRETS, {"metadata": {"name": "b"}})
        assert watch.next()["object"] == kept
        last = api.good("PATCH", f"{SECRETS}/a", {"data": {"x": "eA=="}}, kind=MERGE)
        api.good("DELETE", f"{SECRETS}/b")
        cloud.kill("server")
    api.close()
    cloud.start("server")
    api = answering(cloud)
    assert api.get(f"{SECRETS}/a") == last
    listing = api.get(SECRETS)
    now = int(listing["metadata"]["resourceVersion"])
    assert now >= int(last["metadata"]["resourceVersion"])
    after = api.make(SECRETS, {"metadata": {"name": "c"}})
    assert int(after["metadata"]["resourceVersion"]) > now
    with api.watch(SECRETS, resourceVersion=start) as watch:
        events = watch.take(4)
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("DELETED", "b"),
        ("ADDED", "c"),
    ]
    assert [events[0]["object"], events[1]["object"], events[3]["object"]] == [kept, last, after]
    api.close()


@pytest.mark.slow
def test_80_an_end_in_order_ends_watches_in_order(cloud: Cloud) -> None:
    api = answering(cloud)
    with api.watch(
        SECRETS, resourceVersion=api.get(SECRETS)["metadata"]["resourceVersion"]
    ) as watch:
        api.make(SECRETS, {"metadata": {"name": "a"}})
        assert watch.next()["object"]["metadata"]["name"] == "a"
        cloud.stop("server")
        assert watch.next() is None  # a last chunk, not a broken connection
    api.close()
