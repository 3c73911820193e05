"""The store contract: every store passes every test here, or it is not a store."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jindou.control.store import Change, Forgotten, Stale, Store
from jindou.control.store.memory import MemoryStore
from jindou.control.store.sqlite import SqliteStore
from jindou.control.store.table import Window


class Bench:
    """Runs one scenario over a fresh store of the kind under test."""

    def __init__(self, kind, folder):
        self.kind, self.folder, self.count = kind, folder, 0

    def run(self, scenario, window=None):
        async def main():
            store = self.make(window)
            try:
                await scenario(store)
            finally:
                if isinstance(store, SqliteStore):
                    await store.close()

        asyncio.run(main())

    def make(self, window) -> Store:
        if self.kind == "memory":
            return MemoryStore(window)
        self.count += 1
        return SqliteStore.open(self.folder / f"{self.count}.db", window=window)


@pytest.fixture(params=["memory", "sqlite"])
def bench(request, tmp_path):
    return Bench(request.param, tmp_path)


def text(value):
    return lambda revision: f"{value}@{revision}".encode()


def facts(changes):
    return [(c.key, c.revision, c.value, c.previous and c.previous.revision) for c in changes]


@pytest.mark.guarantee(5, 6)
@pytest.mark.parametrize(
    ("before", "expect", "works"),
    [
        pytest.param(False, 0, True, id="create"),
        pytest.param(True, 0, False, id="create-twice"),
        pytest.param(True, 1, True, id="replace"),
        pytest.param(True, 7, False, id="replace-stale"),
        pytest.param(True, None, True, id="overwrite"),
        pytest.param(False, 3, False, id="replace-nothing"),
    ],
)
def test_commit_expects(bench, before, expect, works):
    async def scenario(store):
        if before:
            await store.commit("core/pods/d/a", text("old"))
        if not works:
            with pytest.raises(Stale) as stale:
                await store.commit("core/pods/d/a", text("new"), expect=expect)
            assert stale.value.found == (1 if before else 0)
            assert store.revision == (1 if before else 0)
            return
        stored = await store.commit("core/pods/d/a", text("new"), expect=expect)
        assert stored == store.get("core/pods/d/a")
        assert stored.value == f"new@{stored.revision}".encode()

    bench.run(scenario)


@pytest.mark.guarantee(6)
def test_delete_returns_what_was_there_at_a_new_revision(bench):
    async def scenario(store):
        await store.commit("core/pods/d/a", text("x"))
        gone = await store.commit("core/pods/d/a", None, expect=1)
        assert (gone.revision, gone.value) == (2, b"x@1")
        assert store.get("core/pods/d/a") is None
        with pytest.raises(Stale):
            await store.commit("core/pods/d/a", None)

    bench.run(scenario)


def test_scan_is_ordered_bounded_and_paged(bench):
    async def scenario(store):
        for key in (
            "core/pods/b/2",
            "core/pods/a/1",
            "core/pods/b/1",
            "core/pods/ab/1",
            "core/podsets/a/1",
            "apps/deployments/a/1",
        ):
            await store.commit(key, text("x"))

        def keys(*args, **options):
            return [stored.key for stored in store.scan(*args, **options).items]

        assert keys("core/pods/") == [
            "core/pods/a/1",
            "core/pods/ab/1",
            "core/pods/b/1",
            "core/pods/b/2",
        ]
        assert keys("core/pods/a/") == ["core/pods/a/1"]
        assert keys("core/pods/c/") == []
        assert keys("core/pods/", limit=2) == ["core/pods/a/1", "core/pods/ab/1"]
        assert keys("core/pods/", after="core/pods/ab/1", limit=1) == ["core/pods/b/1"]
        assert keys("") == sorted(keys(""))
        assert len(keys("")) == 6
        assert store.scan("core/").revision == 6

    bench.run(scenario)


@pytest.mark.guarantee(5)
def test_concurrent_commits_of_one_key_are_decided_in_order(bench):
    async def scenario(store):
        results = await asyncio.gather(
            *(store.commit("core/pods/d/a", text(n), expect=0) for n in range(5)),
            return_exceptions=True,
        )
        assert [isinstance(r, Stale) for r in results] == [False, True, True, True, True]
        first = store.commit("core/pods/d/a", text("second"), expect=1)
        second = store.commit("core/pods/d/a", text("third"), expect=2)
        await asyncio.gather(first, second)
        assert store.get("core/pods/d/a").value == b"third@3"
        await asyncio.gather(
            store.commit("core/pods/d/a", None, expect=3),
            store.commit("core/pods/d/a", text("again"), expect=0),
        )
        assert store.get("core/pods/d/a").value == b"again@5"

    bench.run(scenario)


@pytest.mark.guarantee(14, 17, 21)
def test_watch_replays_and_goes_on_without_gap(bench):
    async def scenario(store):
        await store.commit("core/pods/d/a", text("1"))
        start = store.scan("core/pods/").revision
        await store.commit("core/pods/d/b", text("2"))
        seen: list[Change] = []
        stop = store.watch("core/pods/", start, seen.extend)
        await store.commit("core/nodes//n", text("3"))
        await store.commit("core/pods/d/a", None)
        assert facts(seen) == [
            ("core/pods/d/b", 2, b"2@2", None),
            ("core/pods/d/a", 4, None, 1),
        ]
        stop()
        stop()
        await store.commit("core/pods/d/c", text("4"))
        assert len(seen) == 2

    bench.run(scenario)


@pytest.mark.guarantee(18)
def test_watch_from_a_forgotten_revision_is_refused(bench):
    async def scenario(store):
        for n in range(5):
            await store.commit("core/pods/d/a", text(n))
        with pytest.raises(Forgotten) as refused:
            store.watch("", 1, lambda changes: None)
        assert refused.value.oldest == 3
        seen: list[Change] = []
        store.watch("", 3, seen.extend)
        assert [c.revision for c in seen] == [4, 5]

    bench.run(scenario, Window(changes=2))


def test_a_lazy_change_is_seen_at_once_and_in_order(bench):
    async def scenario(store):
        await store.commit("coordination.k8s.io/leases/n/a", text("held"))
        seen: list[Change] = []
        store.watch("", 1, seen.extend)
        results = await asyncio.gather(
            store.commit("core/pods/d/a", text("x")),
            store.commit("coordination.k8s.io/leases/n/a", text("renewed"), expect=1, lazy=True),
            store.commit("coordination.k8s.io/leases/n/a", text("again"), expect=3, lazy=True),
        )
        assert [r.revision for r in results] == [2, 3, 4]
        await store.commit("coordination.k8s.io/leases/n/a", text("idle"), lazy=True)
        assert [c.revision for c in seen] == [2, 3, 4, 5]
        assert store.get("coordination.k8s.io/leases/n/a").value == b"idle@5"

    bench.run(scenario)


def test_a_watcher_may_stop_while_it_is_told(bench):
    async def scenario(store):
        told: list[str] = []
        stops = []

        def first(changes):
            told.append("first")
            stops[1]()

        stops.append(store.watch("", 0, first))
        stops.append(store.watch("", 0, lambda changes: told.append("second")))
        await store.commit("core/pods/d/a", text("x"))
        await store.commit("core/pods/d/b", text("x"))
        assert told.count("first") == 2
        assert told.count("second") <= 1

    bench.run(scenario)


keys = st.sampled_from(
    [f"core/pods/{ns}/{name}" for ns in "ab" for name in "xy"] + ["core/nodes//n"]
)
steps = st.lists(st.tuples(keys, st.booleans(), st.booleans(), st.integers(0, 3)), max_size=40)


@pytest.mark.guarantee(15, 17, 18, 21, 23)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps, window=st.integers(1, 50))
def test_any_history_read_then_watched_equals_the_present(bench, steps, window):
    """Whatever is written, in whatever groups: reading at any moment and watching from there leads
    to the same objects as reading now, with revisions that only grow."""

    async def scenario(store):
        snapshots = []
        tasks = []
        for key, delete, lazy, wait in steps:
            tasks.append(
                asyncio.ensure_future(store.commit(key, None if delete else text("v"), lazy=lazy))
            )
            if wait == 0:
                await asyncio.gather(*tasks, return_exceptions=True)
            listing = store.scan("")
            snapshots.append(({s.key: s for s in listing.items}, listing.revision))
        await asyncio.gather(*tasks, return_exceptions=True)
        final = {s.key: s.value for s in store.scan("").items}
        for objects, revision in snapshots:
            seen: list[Change] = []
            if revision < store.forgotten:
                with pytest.raises(Forgotten):
                    store.watch("", revision, seen.extend)
                continue
            store.watch("", revision, seen.extend)
            state = {key: (s.revision, s.value) for key, s in objects.items()}
            last = revision
            for change in seen:
                assert change.revision > last
                last = change.revision
                assert state.get(change.key, (0, None))[0] == (
                    change.previous.revision if change.previous else 0
                )
                if change.value is None:
                    del state[change.key]
                else:
                    state[change.key] = (change.revision, change.value)
            assert {k: v for k, (_, v) in state.items()} == final

    bench.run(scenario, Window(changes=window))
