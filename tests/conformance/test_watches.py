"""Watches: every change once and in order, selectors, bookmarks, forms, and how they end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.conformance.wire import MERGE, Api, Watch

META = "g=meta.k8s.io;v=v1"
TABLE = f"application/json;as=Table;{META}"
PARTIAL = f"application/json;as=PartialObjectMetadata;{META}"
WATCH_LIST = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}


def secrets(ns: str) -> str:
    return f"/api/v1/namespaces/{ns}/secrets"


def make(api: Api, ns: str, name: str, **labels: str) -> Any:
    return api.make(secrets(ns), {"metadata": {"name": name, "labels": labels}})


def label(api: Api, ns: str, name: str, **labels: str | None) -> Any:
    return api.good("PATCH", f"{secrets(ns)}/{name}", {"metadata": {"labels": labels}}, kind=MERGE)


def remove(api: Api, ns: str, name: str) -> None:
    api.good("DELETE", f"{secrets(ns)}/{name}")


def revision(obj: Any) -> int:
    return int(obj["metadata"]["resourceVersion"])


def told(event: Any) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def rest(watch: Watch) -> list[Any]:
    found = []
    while (event := watch.next()) is not None:
        found.append(event)
    return found


@pytest.mark.guarantee(14, 17)
def test_08_every_change_after_a_revision_in_order_and_once(api: Api, ns: str) -> None:
    first = make(api, ns, "a")
    with api.watch(secrets(ns), resourceVersion=revision(first)) as watch:
        second = make(api, ns, "b")
        third = label(api, ns, "a", x="1")
        remove(api, ns, "b")
        make(api, ns, "c")
        events = watch.take(4)
    assert [told(e) for e in events] == [
        ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b"), ("ADDED", "c"),
    ]  # fmt: skip
    assert events[0]["object"] == second
    assert events[1]["object"] == third
    revisions = [revision(e["object"]) for e in events]
    assert revisions == sorted(set(revisions))


def test_08_the_past_is_told_as_well(api: Api, ns: str) -> None:
    first = make(api, ns, "a")
    label(api, ns, "a", x="1")
    label(api, ns, "a", x="2")
    remove(api, ns, "a")
    with api.watch(secrets(ns), resourceVersion=revision(first)) as watch:
        events = watch.take(3)
    assert [e["type"] for e in events] == ["MODIFIED", "MODIFIED", "DELETED"]
    assert [e["object"]["metadata"]["labels"]["x"] for e in events] == ["1", "2", "2"]


@pytest.mark.parametrize("start", ["", "0"])
def test_08_without_a_revision_what_there_is_comes_first(api: Api, ns: str, start: str) -> None:
    made = make(api, ns, "a")
    make(api, ns, "b")
    api.get(secrets(ns))  # the cache has seen both by now
    with api.watch(secrets(ns), resourceVersion=start or None) as watch:
        begin = watch.take(2)
        make(api, ns, "c")
        last = watch.next()
    assert sorted(told(e) for e in begin) == [("ADDED", "a"), ("ADDED", "b")]
    assert made in [e["object"] for e in begin]
    assert told(last) == ("ADDED", "c")


def test_08_events_of_other_namespaces_and_kinds_stay_away(api: Api, ns: str) -> None:
    with api.watch(secrets(ns), resourceVersion=revision(api.get(secrets(ns)))) as watch:
        api.make("/api/v1/namespaces/default/secrets", {"metadata": {"name": f"{ns}-away"}})
        api.make(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "away"}})
        make(api, ns, "a")
        assert told(watch.next()) == ("ADDED", "a")
    api.good("DELETE", f"/api/v1/namespaces/default/secrets/{ns}-away")


def test_08_a_watch_of_all_namespaces(api: Api, ns: str) -> None:
    at = revision(api.get("/api/v1/secrets"))
    with api.watch("/api/v1/secrets", resourceVersion=at) as watch:
        make(api, ns, "a")
        mine = watch.until(lambda e: e["object"]["metadata"]["namespace"] == ns)
    assert told(mine) == ("ADDED", "a")


@pytest.mark.guarantee(20)
def test_10_entering_and_leaving_a_label_selector(api: Api, ns: str) -> None:
    at = revision(make(api, ns, "a", x="no"))
    with api.watch(secrets(ns), resourceVersion=at, labelSelector="x=yes") as watch:
        entered = label(api, ns, "a", x="yes")
        label(api, ns, "a", more="1")
        left = label(api, ns, "a", x="no")
        label(api, ns, "a", more="2")
        again = label(api, ns, "a", x="yes")
        events = watch.take(4)
    assert [e["type"] for e in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
    assert events[0]["object"] == entered
    gone = events[2]["object"]
    assert revision(gone) == revision(left)
    assert gone["metadata"]["labels"] == {"x": "yes", "more": "1"}
    assert events[3]["object"] == again


@pytest.mark.guarantee(20)
def test_10_entering_and_leaving_a_field_selector(api: Api, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/events"
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": ns},
        "reason": "Before",
    }
    made = api.make(path, event)
    with api.watch(path, resourceVersion=revision(made), fieldSelector="reason=Now") as watch:
        api.good("PATCH", f"{path}/e", {"reason": "Now"}, kind=MERGE)
        api.good("PATCH", f"{path}/e", {"reason": "After"}, kind=MERGE)
        events = watch.take(2)
    assert [e["type"] for e in events] == ["ADDED", "DELETED"]
    assert [e["object"]["reason"] for e in events] == ["Now", "Now"]
    assert revision(events[1]["object"]) > revision(events[0]["object"])


@pytest.mark.guarantee(21)
def test_11_a_deletion_has_the_last_state_and_a_revision_of_its_own(api: Api, ns: str) -> None:
    made = make(api, ns, "a", x="y")
    with api.watch(secrets(ns), resourceVersion=revision(made)) as watch:
        remove(api, ns, "a")
        gone = watch.next()
    assert gone["type"] == "DELETED"
    assert revision(gone["object"]) > revision(made)
    assert gone["object"]["metadata"]["uid"] == made["metadata"]["uid"]
    assert gone["object"]["metadata"]["labels"] == {"x": "y"}
    after = api.get(secrets(ns))
    assert revision(after) >= revision(gone["object"])


def test_11_a_deletion_that_waited_for_a_finalizer(api: Api, ns: str) -> None:
    made = api.make(secrets(ns), {"metadata": {"name": "a", "finalizers": ["example.org/wait"]}})
    with api.watch(secrets(ns), resourceVersion=revision(made)) as watch:
        remove(api, ns, "a")
        marked = watch.next()
        api.good("PATCH", f"{secrets(ns)}/a", {"metadata": {"finalizers": None}}, kind=MERGE)
        gone = watch.next()
    assert (marked["type"], gone["type"]) == ("MODIFIED", "DELETED")
    assert marked["object"]["metadata"]["deletionTimestamp"]
    last = {**marked["object"]["metadata"], "resourceVersion": str(revision(gone["object"]))}
    assert gone["object"]["metadata"] == last  # what was kept last, not what the last write wished


@pytest.mark.slow
def test_12_nobody_gets_a_bookmark_who_does_not_ask(api: Api, ns: str) -> None:
    with api.watch(secrets(ns), timeoutSeconds=1) as watch:
        make(api, ns, "a")
        assert [e["type"] for e in rest(watch)] == ["ADDED"]


@pytest.mark.guarantee(19)
def test_12_a_bookmark_has_a_revision_and_nothing_else(api: Api, ns: str) -> None:
    make(api, ns, "a")
    with api.watch(secrets(ns), **WATCH_LIST, allowWatchBookmarks="true") as watch:
        mark = watch.until(lambda e: e["type"] == "BOOKMARK")["object"]
    assert (mark["kind"], mark["apiVersion"]) == ("Secret", "v1")
    held = {k: v for k, v in mark["metadata"].items() if v is not None}
    assert set(held) == {"resourceVersion", "annotations"}
    assert set(mark) == {"kind", "apiVersion", "metadata"}


@pytest.mark.guarantee(23)
def test_13_what_there_is_a_mark_and_what_happens_then(api: Api, ns: str) -> None:
    for name in ("a", "b"):
        made = make(api, ns, name)
    with api.watch(secrets(ns), **WATCH_LIST, allowWatchBookmarks="true") as watch:
        begin = watch.take(3)
        make(api, ns, "c")
        live = watch.until(lambda e: e["type"] != "BOOKMARK")
    assert sorted(told(e) for e in begin[:2]) == [("ADDED", "a"), ("ADDED", "b")]
    mark = begin[2]
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert revision(mark["object"]) >= revision(made)
    assert told(live) == ("ADDED", "c")


def test_13_an_empty_collection_is_marked_at_once(api: Api, ns: str) -> None:
    query = {**WATCH_LIST, "allowWatchBookmarks": "true", "labelSelector": "no=one"}
    with api.watch(secrets(ns), **query) as watch:
        mark = watch.next()
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.slow
def test_13_a_revision_of_the_future_ends_in_an_error(api: Api, ns: str) -> None:
    future = revision(api.get(secrets(ns))) + 100_000
    query = {**WATCH_LIST, "allowWatchBookmarks": "true", "resourceVersion": future}
    with api.watch(secrets(ns), **query) as watch:
        error = watch.next()
        end = watch.next()
    assert error["type"] == "ERROR"
    assert (error["object"]["code"], error["object"]["reason"]) == (504, "Timeout")
    assert error["object"]["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert end is None


@pytest.mark.slow
def test_14_the_stream_ends_in_time_and_in_order(api: Api, ns: str) -> None:
    began = time.monotonic()
    with api.watch(secrets(ns), timeoutSeconds=1) as watch:
        make(api, ns, "a")
        events = rest(watch)
        took = time.monotonic() - began
        assert watch.code == 200
        assert watch.headers["Transfer-Encoding"] == "chunked"
        assert watch.headers["Content-Type"] == "application/json"
    assert [told(e) for e in events] == [("ADDED", "a")]
    assert 0.5 < took < 10


def test_14_a_time_that_is_none(api: Api, ns: str) -> None:
    answer = api.ask("GET", secrets(ns), watch="1", timeoutSeconds="soon")
    assert (answer.code, answer.reason) == (400, "BadRequest")


def test_15_one_object_by_a_field(api: Api, ns: str) -> None:
    at = revision(make(api, ns, "a"))
    with api.watch(secrets(ns), resourceVersion=at, fieldSelector="metadata.name=b") as watch:
        label(api, ns, "a", x="1")
        make(api, ns, "b")
        remove(api, ns, "b")
        assert [told(e) for e in watch.take(2)] == [("ADDED", "b"), ("DELETED", "b")]


def test_15_by_the_old_paths(api: Api, ns: str) -> None:
    at = revision(make(api, ns, "a"))
    for path in (
        f"/api/v1/watch/namespaces/{ns}/secrets/b",
        f"/api/v1/watch/namespaces/{ns}/secrets",
    ):
        with api.watch(path, resourceVersion=at) as watch:
            make(api, ns, "b")
            assert told(watch.next()) == ("ADDED", "b")
        remove(api, ns, "b")
        at = revision(api.get(secrets(ns)))
    assert api.ask("GET", f"/api/v1/watch/namespaces/{ns}/nothing").code == 404
    assert api.ask("POST", f"/api/v1/watch/namespaces/{ns}/secrets", {}).code == 405


def test_15_a_get_of_one_object_is_a_get(api: Api, ns: str) -> None:
    made = make(api, ns, "a")
    assert api.get(f"{secrets(ns)}/a", watch="true") == made


def test_16_tables_with_columns_once(api: Api, ns: str) -> None:
    make(api, ns, "a")
    with api.watch(secrets(ns), accept=TABLE) as watch:
        first = watch.next()
        make(api, ns, "b")
        second = watch.next()
    assert [e["type"] for e in (first, second)] == ["ADDED", "ADDED"]
    assert first["object"]["kind"] == "Table"
    columns = [c["name"] for c in first["object"]["columnDefinitions"]]
    assert columns == ["Name", "Type", "Data", "Age"]
    assert second["object"]["columnDefinitions"] is None
    row = second["object"]["rows"][0]
    assert row["cells"][:3] == ["b", "Opaque", 0]
    assert row["object"]["kind"] == "PartialObjectMetadata"


def test_16_metadata_alone(api: Api, ns: str) -> None:
    made = make(api, ns, "a", x="y")
    with api.watch(secrets(ns), accept=PARTIAL) as watch:
        event = watch.next()
    assert event["object"]["kind"] == "PartialObjectMetadata"
    assert event["object"]["metadata"] == made["metadata"]
    assert set(event["object"]) == {"kind", "apiVersion", "metadata"}


def test_16_no_stream_of_yaml(api: Api, ns: str) -> None:
    answer = api.ask("GET", secrets(ns), watch="1", accept="application/yaml", timeoutSeconds=1)
    assert answer.code == 406
