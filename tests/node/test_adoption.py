"""What a new process makes of what an earlier one left, and when a Pod has to end: tables."""

from __future__ import annotations

import pytest

from jindou.machine.runtimes import State
from jindou.node.pods.adoption import adopt
from jindou.node.state.ending import judge, time_to_stop
from jindou.node.state.progress import Failing, Progress, progress_of
from jindou.node.state.records import Record, Records
from jindou.settings import Settings

UID = "bb33185a-b08b-42ac-8b44-f3cfef49d1f9"


def pod(status=None, **spec):
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": UID},
        "spec": {"containers": [{"name": "a"}], **spec},
        "status": status or {},
    }


def kept(phase, attempt=0, **more):
    return {
        "attempt": attempt,
        "phase": phase,
        "unit": f"{UID}-a-{attempt}",
        "restarts": attempt,
        **more,
    }


def taken(record=None, state=None, status=None, rebooted=False, **spec):
    whole = pod(status, **spec)
    progress = progress_of(whole)
    held = Record(UID, "n", "p", {"a": record}, not rebooted, rebooted, 5.0) if record else None
    states = {state.id: state} if state else {}
    return progress["a"], adopt(whole, progress, held, states, 100.0)


def ran(phase, **more):
    return State(f"{UID}-a-0", phase, **more)


def test_what_runs_is_not_touched():
    one, found = taken(kept("running"), ran("running", pid=7, started=3.0))
    assert (one.phase, one.process, one.began) == ("running", 7, 3.0)
    assert (found.begun, found.exits, found.leftovers) == (True, (), ())


def test_a_start_that_came_through():
    assert taken(kept("starting"), ran("running", pid=7))[0].phase == "running"


def test_a_start_that_never_was():
    one, found = taken(kept("starting"))
    assert (one.phase, one.attempt, one.restarts) == ("waiting", -1, 0)
    one, _ = taken(kept("starting", 3, last={"exitCode": 2}))
    assert (one.phase, one.attempt, one.restarts, one.code) == ("exited", 2, 2, 2)
    assert found.leftovers == ()


def test_an_end_that_nobody_saw():
    one, found = taken(kept("running"), ran("exited", code=7))
    assert one.phase == "running"
    assert [state.code for state in found.exits] == [7]


def test_what_was_lost():
    one, found = taken(kept("running"))
    assert (one.phase, one.code, one.terminated["reason"]) == (
        "exited",
        137,
        "ContainerStatusUnknown",
    )
    assert found.leftovers == (f"{UID}-a-0",)


def test_after_a_reboot():
    one, found = taken(kept("running", 2), rebooted=True)
    assert (one.phase, one.code, one.terminated["reason"]) == ("exited", 255, "Unknown")
    assert one.restarts == 2
    assert not found.begun


def test_the_api_stands_in_for_a_lost_record():
    told = {
        "name": "a",
        "containerID": f"jindou://{UID}-a-4",
        "restartCount": 4,
        "state": {"running": {}},
    }
    one, _ = taken(status={"containerStatuses": [told]})
    assert (one.attempt, one.restarts, one.phase, one.code) == (4, 4, "exited", 255)
    ended = {**told, "state": {"terminated": {"exitCode": 3}}}
    assert taken(status={"containerStatuses": [ended]})[0].code == 3


def test_records_are_read_back_even_torn(tmp_path):
    settings = Settings(data=str(tmp_path / "d"), run=str(tmp_path / "r"))
    records, held = Records(settings), Progress("a", "main")
    held.attempt, held.phase, held.unit = 1, "running", f"{UID}-a-1"
    records.write(pod(), {"a": held}, True, 9.0)
    for path in tmp_path.rglob("*.jsonl"):
        with path.open("ab") as file:
            file.write(b'{"uid": "half of a li')
    found = Records(settings).all()[UID]
    assert (found.containers["a"]["unit"], found.begun, found.rebooted) == (held.unit, True, False)
    for path in (tmp_path / "r").rglob("*.jsonl"):
        path.unlink()
    found = Records(settings).all()[UID]
    assert (found.containers["a"]["attempt"], found.begun, found.rebooted) == (1, False, True)
    for _ in range(2000):
        records.write(pod(), {"a": held}, True, 9.0)
    assert max(path.stat().st_size for path in tmp_path.rglob("*.jsonl")) < 70_000
    records.remove(UID)
    assert Records(settings).all() == {}


# ---------------------------------------------------------------- ends


def deleted(grace, at="1970-01-01T00:02:10Z"):
    whole = pod(terminationGracePeriodSeconds=30)
    whole["metadata"] |= {"deletionTimestamp": at, "deletionGracePeriodSeconds": grace}
    return whole


@pytest.mark.parametrize(
    ("whole", "more", "expected"),
    [
        (pod(), {}, ("", 0.0)),
        (deleted(7), {}, ("deletion", 7.0)),
        (deleted(30), {"adopted": True}, ("deletion", 30.0)),
        (deleted(30, "1970-01-01T00:01:45Z"), {"adopted": True}, ("deletion", 6.0)),
        (deleted(30, "1970-01-01T00:00:45Z"), {"adopted": True}, ("deletion", 0.0)),
        (pod(terminationGracePeriodSeconds=9), {"gone": True}, ("deletion", 9.0)),
        (pod(terminationGracePeriodSeconds=9), {"halted": True}, ("halt", 9.0)),
        (pod({"phase": "Failed", "reason": "x"}), {}, ("eviction", 0.0)),
        (pod(activeDeadlineSeconds=40), {}, ("deadline", 0.0)),
    ],
)
def test_why_a_pod_ends(whole, more, expected):
    found = judge(whole, 50.0, 100.0, **more)
    assert (found.why, found.grace) == expected
    assert judge(pod(activeDeadlineSeconds=60), 50.0, 100.0).left == 10.0


def test_time_to_stop():
    one, whole = Progress("a", "main"), pod(terminationGracePeriodSeconds=9)
    assert time_to_stop(one, whole, 4.0) == (4.0, "Stopping container a")
    assert time_to_stop(one, whole, None) == (9.0, "Stopping container a")
    one.failing = Failing("it failed", 2)
    assert time_to_stop(one, whole, None) == (2.0, "it failed")
    one.failing = Failing("it failed", None)
    assert time_to_stop(one, whole, None) == (9.0, "it failed")
