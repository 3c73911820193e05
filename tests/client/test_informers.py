"""Informers over a scripted API: order, gaps, restarts, and what is held."""

from __future__ import annotations

import asyncio

import pytest

from jindou.client import Event, Listing
from jindou.client.informers import Informer, Informers, only_metadata, without_managed_fields
from jindou.objects.errors import Expired, Timeout, Unavailable
from jindou.objects.kinds import CONFIG_MAP, POD


def obj(name, revision, namespace="default", uid="", **more):
    meta = {
        "name": name,
        "namespace": namespace,
        "uid": uid or name,
        "resourceVersion": str(revision),
    }
    return {"metadata": meta, **more}


class Script:
    """A client that plays lists and watches in turn. A watch is a list of events and errors; after
    its last event it stays silent."""

    def __init__(self, lists, watches):
        self.lists = list(lists)
        self.watches = list(watches)
        self.calls = []
        self.silent = asyncio.Event()

    async def find(self, kind, namespace="", *, labels="", fields=""):
        self.calls.append("list")
        found = self.lists.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def watch(self, kind, namespace="", *, labels="", fields="", after=""):
        self.calls.append(f"watch {after}")
        if self.watches:
            for step in self.watches.pop(0):
                if isinstance(step, Exception):
                    raise step
                yield step
            if self.watches:
                return
        self.silent.set()
        await asyncio.Event().wait()


def follow(lists, watches, use=lambda informer: None, **options):
    """What the handler was told, as (old revision, new revision), when the script is over."""
    told = []

    async def main():
        script = Script(lists, watches)
        informer = Informer(script, POD, **options)
        use(informer)

        def handler(old, new):
            revisions = [one["metadata"]["resourceVersion"] if one else None for one in (old, new)]
            told.append(((old or new)["metadata"]["name"], *revisions))

        informer.on_change(handler)
        running = asyncio.create_task(informer.run())
        await asyncio.wait_for(script.silent.wait(), 5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return told, script.calls, informer

    return asyncio.run(main())


def test_a_list_then_changes_in_order():
    told, calls, informer = follow(
        [Listing([obj("a", 1), obj("b", 2)], "2")],
        [[Event("MODIFIED", obj("a", 3)), Event("DELETED", obj("b", 4)), Event("ADDED", obj("c", 5))]],
    )  # fmt: skip
    assert told == [
        ("a", None, "1"),
        ("b", None, "2"),
        ("a", "1", "3"),
        ("b", "4", None),
        ("c", None, "5"),
    ]
    assert calls == ["list", "watch 2"]
    assert sorted(one["metadata"]["name"] for one in informer.all()) == ["a", "c"]
    assert informer.get("default", "b") is None
    assert informer.get("default", "a")["kind"] == "Pod"
    assert informer.revision == "5"


@pytest.mark.guarantee(18, 23)
def test_after_a_gap_the_relist_tells_what_was_missed():
    told, calls, _ = follow(
        [Listing([obj("a", 1), obj("b", 2), obj("c", 2)], "2"), Listing([obj("a", 1), obj("b", 8), obj("d", 9)], "9")],
        [[Expired("too old")], []],
    )  # fmt: skip
    assert told[3:] == [("b", "2", "8"), ("d", None, "9"), ("c", "2", None)]
    assert calls == ["list", "watch 2", "list", "watch 9"]


@pytest.mark.guarantee(18, 25)
def test_a_lost_server_is_asked_again_from_the_last_revision():
    told, calls, _ = follow(
        [Unavailable("down"), Listing([obj("a", 1)], "1")],
        [[Event("BOOKMARK", {"metadata": {"resourceVersion": "7"}}), Unavailable("gone")], [Event("MODIFIED", obj("a", 8))]],
    )  # fmt: skip
    assert calls == ["list", "list", "watch 1", "watch 7"]
    assert told == [("a", None, "1"), ("a", "1", "8")]


def test_nonsense_from_the_server_is_logged_and_followed_by_a_relist(caplog):
    told, calls, _ = follow(
        [Listing([obj("a", 1)], "1"), Listing([obj("a", 4)], "4")],
        [[Event("ADDED", {"metadata": {}})], []],
    )
    assert told == [("a", None, "1"), ("a", "1", "4")]
    assert calls == ["list", "watch 1", "list", "watch 4"]
    assert "following pods failed" in caplog.text


def test_the_same_name_with_another_uid_is_a_deletion_and_a_creation():
    told, _, _ = follow(
        [Listing([obj("a", 1, uid="x")], "1")], [[Event("MODIFIED", obj("a", 5, uid="y"))]]
    )
    assert told == [("a", None, "1"), ("a", "1", None), ("a", None, "5")]


def test_indexes_follow_changes_and_are_filled_late():
    def use(informer):
        informer.index("node", lambda pod: [pod["node"]] if pod.get("node") else [])

    _, _, informer = follow(
        [Listing([obj("a", 1, node="x"), obj("b", 2)], "2")],
        [[Event("MODIFIED", obj("a", 3, node="y")), Event("ADDED", obj("c", 4, node="y")), Event("DELETED", obj("c", 5))]],
        use,
    )  # fmt: skip
    assert informer.by("node", "x") == []
    assert informer.names_by("node", "y") == [("default", "a")]
    informer.index("late", lambda pod: [pod["metadata"]["uid"]])
    assert informer.names_by("late", "b") == [("default", "b")]
    assert len(informer) == 2


def test_an_object_that_an_index_does_not_understand_holds_up_nobody(caplog):
    told, calls, informer = follow(
        [Listing([obj("a", 1), obj("b", 2, node="x")], "2")],
        [[Event("MODIFIED", obj("b", 3, node="y"))]],
        lambda informer: informer.index("node", lambda pod: [pod["node"]]),
    )
    assert informer.names_by("node", "y") == [("default", "b")]
    assert [name for name, *_ in told] == ["a", "b", "b"]
    assert calls == ["list", "watch 2"]
    assert "pods are not found by node" in caplog.text


def test_a_projection_is_what_is_held_and_told():
    _, _, informer = follow(
        [Listing([obj("a", 1, spec={"big": 1})], "1")], [[]], keep=only_metadata
    )
    (held,) = informer.all()
    assert set(held) == {"apiVersion", "kind", "metadata"}
    slim = without_managed_fields({"metadata": {"name": "a", "managedFields": [1]}})
    assert slim == {"metadata": {"name": "a"}}


def test_a_failing_handler_does_not_stop_the_others(caplog):
    def use(informer):
        informer.on_change(lambda old, new: 1 / 0)

    told, _, _ = follow([Listing([obj("a", 1)], "1")], [[]], use)
    assert told == [("a", None, "1")]
    assert "a handler of pods failed" in caplog.text


def test_waiting_for_our_own_write():
    async def main():
        script = Script([Listing([], "1")], [[Event("ADDED", obj("a", 3))]])
        informer = Informer(script, POD)
        running = asyncio.create_task(informer.run())
        assert await informer.caught_up("3", 5)
        assert informer.get("default", "a")
        assert await informer.caught_up("")
        assert not await informer.caught_up("4", 0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_informers_are_shared_and_late_ones_are_started():
    async def main():
        script = Script([Listing([obj("a", 1)], "1"), Listing([obj("b", 1)], "1")], [])
        informers = Informers(script)
        pods = informers.of(POD)
        assert informers.of(POD) is pods
        assert informers.metadata_of(POD) is pods
        running = asyncio.create_task(informers.run())
        await informers.wait_until_synced()
        maps = informers.metadata_of(CONFIG_MAP)
        await asyncio.wait_for(maps.synced.wait(), 5)
        assert maps.has("default", "b")
        informers.forget(CONFIG_MAP)
        assert informers.all() == [pods]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.parametrize("count", [2000])
def test_what_is_held_is_bytes(count):
    pods = [obj(f"p{n}", n, spec={"containers": [{"image": "x" * 100}] * 5}) for n in range(count)]
    _, _, informer = follow([Listing(pods, str(count))], [[]])
    held = sum(len(one.data) for one in informer._held.values())
    assert held < count * 1200


@pytest.mark.guarantee(26)
@pytest.mark.parametrize("refusal", [Timeout("Too large resource version: 7, current: 3"), None])
def test_a_server_that_is_behind_is_listed_again(refusal):
    mark = Event("BOOKMARK", {"metadata": {"resourceVersion": "3"}})
    told, calls, informer = follow(
        [Listing([obj("a", 7)], "7"), Listing([obj("b", 2)], "3")],
        [[refusal or mark], []],
    )
    assert calls == ["list", "watch 7", "list", "watch 3"]
    assert told == [("a", None, "7"), ("b", None, "2"), ("a", "7", None)]
    assert informer.revision == "3"
