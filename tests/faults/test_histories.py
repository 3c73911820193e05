"""What many clients are told at once is true, whatever becomes of the server meanwhile.

The histories of clients and watchers are checked against the log; that the check itself finds each
kind of untruth is tested with histories that were spoiled on purpose.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.cloud import Cloud, settings_for
from tests.faults.histories import Event, Log, Op, Seen, broken, broken_watch
from tests.faults.load import Load
from tests.faults.loops import disk, own_mounts

# ------------------------------------------------------------ the check, checked


def history(seed: int, steps: int = 40) -> tuple[list[Op], list[Event]]:
    """A true one: requests that overlap, each with its effect at one moment between its ends."""
    chance = random.Random(seed)
    state: dict[str, Event] = {}
    ops, events, revision = [], [], 10
    for turn in range(steps):
        key, now = f"k{chance.randrange(3)}", float(turn)
        op = Op("", key, now - chance.random() * 2, now + chance.random() * 2)
        held = state.get(key)
        what = chance.choice(["create", "update", "delete", "get", "list"])
        lost = what != "list" and chance.random() < 0.1
        if what == "list":
            listed = tuple((e.key, e.value, e.revision) for e in state.values())
            op = op._replace(code=200, revision=revision, listed=listed)
        elif what == "get":
            op = op._replace(code=404)
            if held:
                op = op._replace(code=200, revision=held.revision, value=held.value)
        elif what == "create" and held:
            op = op._replace(code=409, value=f"v{turn}")
        elif what in ("update", "delete") and not held:
            op = op._replace(code=404, value=f"v{turn}", expected=1)
        else:
            revision += 1
            if what == "delete":
                event = Event(revision, "DELETED", key, held.value, held.uid)
                op = op._replace(code=200, uid=held.uid)
            else:
                uid = held.uid if held else f"u{turn}"
                named = {"create": "ADDED", "update": "MODIFIED"}[what]
                event = Event(revision, named, key, f"v{turn}", uid)
                expected = held.revision if held else 0
                op = op._replace(code=201, value=f"v{turn}", revision=revision, expected=expected)
            events.append(event)
            state.pop(key, None) if what == "delete" else state.update({key: event})
        op = op._replace(what=what)
        if lost:
            op = op._replace(code=0, end=float("inf"), revision=0, uid="")
        ops.append(op)
    return ops, events


@given(some.integers(0, 10_000))
def test_a_true_history_is_believed(seed):
    ops, events = history(seed)
    assert broken(ops, Log(events)) == []
    assert broken_watch(Seen(9, events), Log(events)) == []


def lose_an_acknowledged_write(ops, events):
    op = next(op for op in ops if op.done and op.what in ("create", "update"))
    return ops, [e for e in events if e.value != op.value]


def read_what_is_long_gone(ops, events):
    first, second = next((a, b) for a, b in itertools.pairwise(events) if b.key == a.key)
    stale = Op("get", first.key, 1e3, 1e3 + 1, 200, first.value, first.revision)
    fresh = Op("get", second.key, 900, 901, 200, second.value, second.revision)
    return [*ops, fresh, stale], events


def write_without_being_asked(ops, events):
    return ops, [*events, Event(10_000, "MODIFIED", "k0", "nobody's")]


def refuse_and_do_it(ops, events):
    op = next(op for op in ops if op.done and op.what in ("create", "update"))
    return [op._replace(code=409) if one is op else one for one in ops], events


def replace_another_revision(ops, events):
    op = next(op for op in ops if op.done and op.what == "update")
    spoiled = op._replace(expected=op.expected - 1)
    return [spoiled if one is op else one for one in ops], events


def list_half_of_it(ops, events):
    op = next(op for op in ops if op.what == "list" and op.listed)
    return [op._replace(listed=op.listed[1:]) if one is op else one for one in ops], events


def answer_before_it_was_asked(ops, events):
    late = next(op for op in reversed(ops) if op.done and op.what in ("create", "update"))
    spoiled = late._replace(call=-500.0, end=-499.0)
    early = next(op for op in ops if op.done and op.what in ("create", "update"))
    assert early is not late
    return [spoiled if one is late else one for one in ops], events


UNTRUTHS = [
    lose_an_acknowledged_write, read_what_is_long_gone, write_without_being_asked, refuse_and_do_it,
    replace_another_revision, list_half_of_it, answer_before_it_was_asked,
]  # fmt: skip


@pytest.mark.parametrize("spoil", UNTRUTHS)
def test_each_untruth_is_found(spoil: Callable):
    for seed in range(20):
        ops, events = history(seed, 120)
        ops, events = spoil(ops, events)
        assert broken(ops, Log(events)), f"seed {seed}"


@pytest.mark.parametrize(
    "spoil",
    [lambda e: [*e[:3], *e[4:]], lambda e: [*e[:3], e[2], *e[3:]], lambda e: [e[1], e[0], *e[2:]]],
    ids=["missed", "twice", "out of order"],
)
def test_each_fault_of_a_watch_is_found(spoil: Callable):
    _, events = history(1)
    assert broken_watch(Seen(9, spoil(events)), Log(events))


# ------------------------------------------------------------ the real server


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Cloud]:
    cloud = Cloud(settings_for(folder))
    try:
        cloud.start("server")
        cloud.wait_until_listening()
        yield cloud
    finally:
        for process in cloud.processes.values():
            process.send_signal(signal.SIGCONT)
        cloud.end()


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jif") as name:
        yield Path(name)


def kill(cloud: Cloud, chance: random.Random) -> None:
    cloud.kill("server")
    cloud.start("server")
    cloud.wait_until_listening()


def freeze(cloud: Cloud, chance: random.Random) -> None:
    """Longer than clients wait, or shorter."""
    server = cloud.processes["server"]
    server.send_signal(signal.SIGSTOP)
    time.sleep(chance.choice([0.3, 3.5]))
    server.send_signal(signal.SIGCONT)


def part(cloud: Cloud, chance: random.Random) -> None:
    """Packets reach nobody, in one direction or both: what was asked may have happened."""
    port, table = cloud.settings.api_port, f"{cloud.settings.name}-parted"
    lines = [f"tcp dport {port} counter drop", f"tcp sport {port} counter drop"]
    lines = chance.choice([lines, lines[:1], lines[1:]])
    rules = f"table inet {table} {{ chain parted {{ type filter hook input priority -300;\n"
    rules += "\n".join(lines) + "\n}\n}"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        time.sleep(chance.choice([0.5, 3.5]))
        told = subprocess.run(["nft", "list", "table", "inet", table], capture_output=True)
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)
    assert any(b"packets 0 " not in line for line in told.stdout.splitlines() if b"packets" in line)


@pytest.mark.guarantee(3, 4, 5, 7, 14, 15, 17, 18, 25)
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "seed"),
    [([kill] * 5, 1), ([freeze] * 2, 2), ([part] * 3, 3), ([kill, part, freeze, kill], 4)],
    ids=["kill", "freeze", "part", "all"],
)
def test_what_clients_are_told_is_true(short, faults, seed):
    chance = random.Random(seed)
    with serving(short) as cloud, Load(cloud.kubeconfig, seed) as load:
        load.rest()
        for fault in faults:
            time.sleep(chance.random() * 0.4)
            fault(cloud, chance)
            load.rest(5)
        load.rest()
    assert any(not op.code for op in load.ops), "no fault was felt"
    assert load.broken() == []


@pytest.mark.guarantee(1, 3, 4, 7)
@pytest.mark.root
@pytest.mark.slow
@own_mounts
def test_what_clients_are_told_is_true_though_the_power_goes():
    with disk(128) as (folder, place), serving(folder) as cloud:
        with Load(cloud.kubeconfig, 5) as load:
            for _ in range(3):
                load.rest()
                cloud.processes["server"].send_signal(signal.SIGSTOP)
                place.cut()
                cloud.kill("server")
                place.remount()
                cloud.start("server")
                cloud.wait_until_listening()
            load.rest()
        cloud.stop()
        assert load.broken() == []
