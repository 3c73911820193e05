"""The store against a dict: whatever is written, in whatever groups, with crashes, power cuts, full
disks, backups and clean ends in between, it is always what the dict says, or what it said at one
moment since the last acknowledged write.

A crash takes what a disk could hold after any prefix of the operations: all that was synced, and of
the rest nothing, all, a part, or torn sectors; also after a prefix of those of the recovery itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jindou.control.store import Forgotten, Stale, StoreFull
from jindou.control.store.sqlite import Refused, SqliteStore, restore
from jindou.control.store.table import Window
from tests.faults.disks import Disk, Step, apply, survivors
from tests.faults.test_store_power import noisy

KEYS = [f"core/pods/d/{name}" for name in "abc"] + ["core/leases//x"]
NAMES = itertools.count()
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # nothing here needs a disk
State = dict[str, tuple[int, bytes]]


class Write(NamedTuple):
    key: str
    how: str  # put, lazy or delete
    guess: str  # right, wrong or none: the revision that it expects

    @property
    def delete(self) -> bool:
        return self.how == "delete"

    @property
    def lazy(self) -> bool:
        return self.how == "lazy"


guesses = some.sampled_from(["right", "right", "none", "wrong"])
write = some.builds(
    Write, some.sampled_from(KEYS), some.sampled_from(["put", "lazy", "delete"]), guesses
)
writes = some.lists(write, min_size=1, max_size=6)
hows = some.sampled_from(["none", "all", "some", "torn"])


class Model:
    """What was asked for, in order; and what must have come of it."""

    def __init__(self) -> None:
        self.state: State = {}
        self.last = 0  # the highest revision ever given
        self.past: list[tuple[int, State]] = [(0, {})]  # the state after each change, in order
        self.kept = 0  # the last revision that may not be lost

    def write(self, write: Write, revision: int, value: bytes) -> None:
        self.state = dict(self.state)
        if write.delete:
            del self.state[write.key]
        else:
            self.state[write.key] = (revision, value)
        self.past.append((revision, self.state))

    def at(self, revision: int) -> State:
        return next(state for when, state in reversed(self.past) if when <= revision)

    def possible(self) -> list[tuple[int, State]]:
        """What may be there after a crash."""
        return [(when, state) for when, state in self.past if when >= self.kept] or [self.past[-1]]

    def fall_back(self, when: int, last: int) -> None:
        self.past = [(at, state) for at, state in self.past if at <= when]
        self.state = self.past[-1][1]
        self.last, self.kept = last, when


class Recorded(SqliteStore):
    """Reading needs no record, and SQLite's lock of a file that may only be read fails: unnoticed
    there, as an error here."""

    def _connect(self, flags: int = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE) -> Any:
        vfs, self._vfs = self._vfs, "" if flags & apsw.SQLITE_OPEN_READONLY else self._vfs
        try:
            return super()._connect(flags)
        finally:
            self._vfs = vfs


class StoreMachine(RuleBasedStateMachine):
    @initialize(window=some.integers(1, 30))
    def begin(self, window: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.disk = Disk(name := f"model{next(NAMES)}")
        self.vfs, self.window = name, Window(changes=window)
        self.root = Path(tempfile.mkdtemp(prefix="jim", dir=MEMORY))
        self.base: dict[str, bytes] = {}
        self.model = Model()
        self.backed: tuple[Path, int] | None = None
        self.turn = 0
        self.settle({})

    def teardown(self) -> None:
        if hasattr(self, "store"):
            with contextlib.suppress(Exception):
                self.run(self.store.close())
            self.disk.unregister()
            self.loop.close()
            shutil.rmtree(self.root)

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    # ------------------------------------------------------------ the disk

    def settle(self, files: dict[str, bytes]) -> None:
        """Open a store from what the platters hold, in a folder of its own."""
        self.turn += 1
        self.folder = self.root / str(self.turn)
        self.folder.mkdir()
        self.base = {name: data for name, data in files.items() if not name.endswith("-shm")}
        for name, data in self.base.items():
            (self.folder / name).write_bytes(data)
        self.disk.log = []
        self.open()

    def open(self) -> None:
        async def opened() -> SqliteStore:
            return Recorded.open(self.folder / "s.db", vfs=self.vfs, window=self.window)

        self.store = self.run(opened())
        self.seen: list[Any] = []
        self.since = self.store.revision
        self.store.watch("", self.since, self.seen.extend)

    def platters(self, steps: int, how: str, seed: int) -> dict[str, bytes]:
        """After so many operations."""
        synced = {name: bytearray(data) for name, data in self.base.items()}
        loose: dict[str, list[Step]] = {}
        for step in self.disk.log[:steps]:
            if step.what == "delete":
                synced.pop(step.file, None)
                loose.pop(step.file, None)
            elif step.what == "sync":
                held = synced.setdefault(step.file, bytearray())
                for one in loose.pop(step.file, []):
                    apply(held, one)
            else:
                loose.setdefault(step.file, []).append(step)
        return survivors(synced, loose, how, random.Random(seed))

    def lose(self, steps: int, how: str, seed: int, during_recovery: float) -> None:
        files = self.platters(steps, how, seed)
        self.run(self.store.close())
        self.settle(files)
        if during_recovery < 1:
            files = self.platters(int(len(self.disk.log) * during_recovery), how, seed)
            self.run(self.store.close())
            self.settle(files)
        found = self.present()
        fitting = [when for when, state in self.model.possible() if state == found]
        assert fitting, f"{found} was never so since {self.model.possible()}"
        assert self.store.revision >= self.model.last, "a revision could be given twice"
        self.model.fall_back(fitting[0], self.store.revision)

    def present(self) -> State:
        return {s.key: (s.revision, s.value) for s in self.store.scan("").items}

    # ------------------------------------------------------------ writing

    def ask(self, many: list[Write], fails: bool = False) -> list[tuple[Any, Any]]:
        """(what to await, what has to come of it). The model is of the same opinion beforehand."""
        model, asked, queued = self.model, [], False
        pending = dict(model.state)  # what the writes before leave, those that fail included
        for write in many:
            found = pending.get(write.key, (0, b""))[0]
            expect = {"right": found, "none": None, "wrong": found + 7}[write.guess]

            def encode(revision: int, key: str = write.key) -> bytes:
                return f"{key}@{revision}".encode() * 40

            call = self.store.commit(
                write.key, None if write.delete else encode, expect=expect, lazy=write.lazy
            )
            if write.guess == "wrong" or (write.delete and not found):
                asked.append((call, Stale))
                continue
            model.last += 1
            queued = queued or not write.lazy
            if write.delete:
                del pending[write.key]
            else:
                pending[write.key] = (model.last, encode(model.last))
            if queued and fails:
                asked.append((call, StoreFull))
                continue
            model.write(write, model.last, encode(model.last))
            asked.append((call, model.last))
        return asked

    async def told(self, asked: list[tuple[Any, Any]]) -> None:
        results = await asyncio.gather(*(call for call, _ in asked), return_exceptions=True)
        for result, (_, due) in zip(results, asked):
            if isinstance(due, int):
                assert not isinstance(result, BaseException), result
                assert result.revision == due
            else:
                assert type(result) is due

    @rule(many=writes)
    def write(self, many: list[Write]) -> None:
        asked = self.ask(many)
        self.run(self.told(asked))
        durable = [due for (_, due), w in zip(asked, many) if isinstance(due, int) and not w.lazy]
        if durable:
            self.model.kept = max(durable)

    @rule(many=writes)
    def find_no_room(self, many: list[Write]) -> None:
        self.disk.error, self.disk.for_good = apsw.FullError, True
        asked = self.ask(many, fails=True)
        self.disk.fail_at = self.disk.count + 1
        try:
            self.run(self.told(asked))
        finally:
            self.disk.fail_at = 0

    # ------------------------------------------------------------ ends

    @rule(how=hows, seed=some.integers(0, 99), again=some.floats(0, 2))
    def crash(self, how: str, seed: int, again: float) -> None:
        self.lose(len(self.disk.log), how, seed, again)

    @rule(many=writes, how=hows, seed=some.integers(0, 99), part=some.floats(0, 1))
    def crash_while_writing(self, many: list[Write], how: str, seed: int, part: float) -> None:
        before = len(self.disk.log)
        self.run(self.told(self.ask(many)))
        steps = before + int((len(self.disk.log) - before) * part)
        self.lose(steps, how, seed, 1)

    @rule()
    def end_in_order(self) -> None:
        shown = self.store.revision
        self.run(self.store.close())
        self.open()
        assert self.store.revision == shown or not shown
        self.model.last = self.store.revision
        self.model.kept = self.model.past[-1][0]

    @rule()
    def back_up(self) -> None:
        target = self.folder / "backup.db"
        revision = self.run(self.store.backup(target))
        self.backed = (target, revision)

    @precondition(lambda self: self.backed is not None)
    @rule()
    def restore(self) -> None:
        assert self.backed
        target, kept = self.backed
        self.run(self.store.close())
        restore(target, self.folder / "s.db")
        self.open()
        assert self.present() == self.model.at(kept)
        assert self.store.revision > self.model.last
        with pytest.raises(Forgotten):
            self.store.watch("", self.model.last, self.seen.extend)
        self.model.fall_back(kept, self.store.revision)
        self.disk.log, self.base = [], {
            path.name: path.read_bytes() for path in self.folder.glob("s.db*")
        }  # fmt: skip
        self.backed = None

    # ------------------------------------------------------------ always

    @invariant()
    def it_is_what_the_dict_says(self) -> None:
        if hasattr(self, "store"):
            assert self.present() == self.model.state
            assert self.store.revision <= self.model.last

    @invariant()
    def who_watched_saw_it_all_in_order(self) -> None:
        if hasattr(self, "store"):
            assert self.replayed(self.model.at(self.since), self.since, self.seen)

    @rule(back=some.integers(0, 12))
    def watch_from_the_past(self, back: int) -> None:
        when = self.model.past[max(0, len(self.model.past) - 1 - back)][0]
        told: list[Any] = []
        if when < self.store.forgotten:
            with pytest.raises(Forgotten):
                self.store.watch("", when, told.extend)
        else:
            self.store.watch("", when, told.extend)()
            assert self.replayed(self.model.at(when), when, told)

    def replayed(self, start: State, after: int, told: list[Any]) -> bool:
        state = dict(start)
        for change in told:
            assert change.revision > after
            after = change.revision
            previous = change.previous
            if told is self.seen:  # a crash may have lost what was between two lazy ones
                assert (previous and (previous.revision, previous.value)) == state.get(change.key)
            if change.value is None:
                del state[change.key]
            else:
                state[change.key] = (change.revision, change.value)
        return state == self.model.state


def often(examples: int) -> settings:
    """Print what is needed to see a failure again; without shrinking, a failing run ends soon."""
    return settings(
        max_examples=examples, stateful_step_count=25, deadline=None, print_blob=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.guarantee(1, 2, 4, 5, 10, 12, 13, 15, 17, 18, 21)
@noisy
def test_the_store_is_what_a_dict_says():
    run_state_machine_as_test(StoreMachine, settings=often(60))


class Careless(StoreMachine):
    def open(self) -> None:
        super().open()
        self.store._db.execute("PRAGMA synchronous=OFF")


@pytest.mark.slow
@noisy
def test_the_control_does_not_sync_and_is_found_out():
    with pytest.raises((AssertionError, Refused)):
        run_state_machine_as_test(Careless, settings=often(100))
