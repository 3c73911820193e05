"""Plans and statuses from the progress of containers: tables, no machine."""

from __future__ import annotations

import pytest

from jindou.node.state import status
from jindou.node.state.failures import duration
from jindou.node.state.plan import Plan, plan
from jindou.node.state.progress import Failing, Progress, Waiting, progress_of
from jindou.node.state.status import Outcome, Seen
from jindou.node.state.termination import message, tail


def ended(code):
    return {"exitCode": code, "reason": "Completed" if not code else "Error"}


def held(name, role="main", phase="running", code=None, policy="Always", **more):
    found = Progress(name, role, policy)
    found.phase = phase
    found.attempt = -1 if phase == "waiting" else 0
    if phase == "running":
        found.started = found.ready = True
    if code is not None:
        found.phase, found.terminated = "exited", ended(code)
    for key, value in more.items():
        setattr(found, key, value)
    return found


def many(*some):
    return {one.name: one for one in some}


def seen(*some, **more):
    spec = {"containers": [{"name": one.name, "image": "i"} for one in some]}
    pod = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {**spec, **more.pop("spec", {})},
    }
    pod["status"] = more.pop("told", {})
    given = {
        "sandbox": True,
        "addresses": ["10.1.1.2"],
        "host_addresses": ["10.1.0.1"],
        "start_time": 0,
    }
    return Seen(pod, many(*some), **{**given, **more})


NEVER, FAILURE = {"policy": "Never"}, {"policy": "OnFailure"}


@pytest.mark.parametrize(
    ("some", "more", "phase"),
    [
        ([held("a", phase="waiting")], {}, "Pending"),
        ([held("a", phase="starting")], {}, "Pending"),
        ([held("a")], {"begun": True}, "Running"),
        ([held("a"), held("b", phase="waiting")], {"begun": True}, "Pending"),
        ([held("a", code=0)], {"begun": True}, "Running"),
        ([held("a", code=0, **NEVER)], {"begun": True}, "Succeeded"),
        ([held("a", code=1, **NEVER)], {"begun": True}, "Failed"),
        ([held("a", code=0, **FAILURE)], {"begun": True}, "Succeeded"),
        ([held("a", code=1, **FAILURE)], {"begun": True}, "Running"),
        ([held("a", code=0, **NEVER), held("b")], {"begun": True}, "Running"),
        ([held("i", "init", code=1, **NEVER), held("a", phase="waiting")], {}, "Failed"),
        ([held("i", "init", code=1, **FAILURE), held("a", phase="waiting")], {}, "Pending"),
        ([held("i", "init"), held("a", phase="waiting")], {}, "Pending"),
        ([held("a", phase="exited", last=ended(1), code=1)], {"begun": True, "ending": True}, "Failed"),
        ([held("a", code=0)], {"begun": True, "ending": True}, "Succeeded"),
        ([held("a", phase="waiting")], {"ending": True}, "Failed"),
        ([held("a", phase="exited", code=1)], {"outcome": Outcome("Failed", "Evicted", "x")}, "Failed"),
        ([held("a", phase="exited")], {"outcome": Outcome("Failed", "Evicted", "x")}, "Failed"),
        ([held("a")], {"outcome": Outcome("Failed", "Evicted", "x")}, "Running"),
    ],
)  # fmt: skip
def test_phase(some, more, phase):
    assert status.phase(seen(*some, **more)) == phase


def said(found):
    return {
        condition["type"]: (condition["status"], condition.get("reason"))
        for condition in found["conditions"]
    }


def test_conditions_of_a_pod_on_its_way():
    one = seen(held("i", "init"), held("a", phase="waiting"))
    found = status.status(one, {}, 0)
    assert said(found) == {
        "PodReadyToStartContainers": ("True", None),
        "Initialized": ("False", "ContainersNotInitialized"),
        "Ready": ("False", "ContainersNotReady"),
        "ContainersReady": ("False", "ContainersNotReady"),
        "PodScheduled": ("True", None),
    }
    assert found["conditions"][1]["message"] == "containers with incomplete status: [i]"
    assert found["conditions"][2]["message"] == "containers with unready status: [a]"
    done = status.status(seen(held("a", code=0, **NEVER), begun=True, sandbox=False), {}, 0)
    assert said(done)["Ready"] == ("False", "PodCompleted")
    assert said(done)["Initialized"] == ("True", "PodCompleted")


def test_times_change_with_the_condition_only():
    before = status.status(seen(held("a"), begun=True), {}, 100)
    after = status.status(seen(held("a", ready=False), begun=True), before, 200)
    times = {c["type"]: c["lastTransitionTime"] for c in after["conditions"]}
    assert times["Initialized"] == "1970-01-01T00:01:40Z"
    assert times["Ready"] == "1970-01-01T00:03:20Z"


@pytest.mark.parametrize(
    ("one", "state", "last"),
    [
        (held("a", phase="waiting"), {"waiting": {"reason": "ContainerCreating"}}, {}),
        (held("a", phase="waiting", waiting=Waiting("ErrImagePull", "no")), {"waiting": {"reason": "ErrImagePull", "message": "no"}}, {}),
        (held("a", code=1), {"terminated": ended(1)}, {}),
        (held("a", code=1, waiting=Waiting("CrashLoopBackOff", "b")), {"waiting": {"reason": "CrashLoopBackOff", "message": "b"}}, {"terminated": ended(1)}),
        (held("a", code=1, policy="Never", waiting=Waiting("RunContainerError", "b")), {"terminated": ended(1)}, {}),
        (held("a", last=ended(2), began=0), {"running": {"startedAt": "1970-01-01T00:00:00Z"}}, {"terminated": ended(2)}),
    ],
)  # fmt: skip
def test_states(one, state, last):
    found = status.container_status(one, seen(one), "i")
    assert (found["state"], found["lastState"]) == (state, last)


def test_only_changes_are_written():
    before = status.status(seen(held("a"), begun=True), {}, 100)
    assert status.changes(before, status.status(seen(held("a"), begun=True), before, 200)) == {}
    after = status.status(seen(held("a", restarts=1), begun=True), before, 200)
    assert set(status.changes(before, after)) == {"containerStatuses"}
    gone = status.changes({"reason": "x", "phase": "Running"}, {"reason": None, "phase": "Running"})
    assert gone == {"reason": None}


# ---------------------------------------------------------------- plans


@pytest.mark.parametrize(
    ("some", "options", "expected"),
    [
        ([held("a", phase="waiting")], {}, Plan("a")),
        ([held("a"), held("b", phase="waiting")], {"begun": True}, Plan("b")),
        ([held("i", "init", phase="waiting"), held("a", phase="waiting")], {}, Plan("i")),
        ([held("i", "init"), held("a", phase="waiting")], {}, Plan()),
        ([held("i", "init", code=0), held("a", phase="waiting")], {}, Plan("a")),
        ([held("i", "init", code=1, retry_at=20.0), held("a", phase="waiting")], {}, Plan(wake=20.0)),
        ([held("i", "init", code=1, **NEVER), held("a", phase="waiting")], {}, Plan(over=True, finished=True)),
        ([held("s", "sidecar", started=False), held("a", phase="waiting")], {}, Plan()),
        ([held("s", "sidecar"), held("a", phase="waiting")], {}, Plan("a")),
        ([held("s", "sidecar", code=1), held("i", "init"), held("a", phase="waiting")], {}, Plan("s")),
        ([held("s", "sidecar", code=1), held("a")], {"begun": True}, Plan("s")),
        ([held("a", code=1, retry_at=30.0), held("b", phase="waiting")], {"begun": True}, Plan("b", wake=30.0)),
        ([held("a", failing=Failing("x", None))], {"begun": True}, Plan(stop=("a",))),
        ([held("a", code=0, **NEVER), held("s", "sidecar")], {"begun": True}, Plan(stop=("s",), over=True)),
        ([held("a"), held("b")], {"begun": True, "ending": True}, Plan(stop=("a", "b"), over=True)),
        ([held("s", "sidecar"), held("t", "sidecar"), held("a")], {"begun": True, "ending": True}, Plan(stop=("a",), over=True)),
        ([held("s", "sidecar"), held("t", "sidecar"), held("a", code=1)], {"begun": True, "ending": True}, Plan(stop=("t",), over=True)),
        ([held("a", phase="starting")], {"ending": True}, Plan(over=True)),
        ([held("a", phase="waiting")], {"ending": True}, Plan(over=True, finished=True)),
        ([held("a"), held("e", "ephemeral", phase="waiting", policy="Never")], {"begun": True}, Plan("e")),
        ([held("a"), held("e", "ephemeral", code=1, policy="Never")], {"begun": True}, Plan()),
        ([held("a", code=0, later=Waiting("x"), settle_at=12.0, retry_at=20.0)], {"begun": True}, Plan(wake=20.0)),
    ],
)  # fmt: skip
def test_plan(some, options, expected):
    found = plan(many(*some), 10.0, **{"begun": False, "ending": False, **options})
    if some[0].later:
        found = found._replace(wake=20.0) if found.wake == 12.0 else found
    assert found == expected


def test_a_probe_that_failed_counts_as_failure_whatever_the_exit_code():
    assert not held("a", code=0, policy="OnFailure", ending="probe").done
    assert held("a", code=0, policy="OnFailure").done


def test_containers_of_a_pod_have_roles():
    spec = {
        "restartPolicy": "Always",
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}],
        "ephemeralContainers": [{"name": "e"}],
    }
    found = progress_of({"spec": spec})
    assert [(one.name, one.role, one.policy) for one in found.values()] == [
        ("i", "init", "OnFailure"), ("s", "sidecar", "Always"), ("a", "main", "Always"),
        ("e", "ephemeral", "Never"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"), [(10, "10s"), (80, "1m20s"), (160, "2m40s"), (300, "5m0s")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


# ---------------------------------------------------------------- last words


def test_last_words(tmp_path):
    file, log = tmp_path / "message", tmp_path / "0.log"
    log.write_text("T stdout F one\nT stderr P tw\nT stderr F o\n")
    assert tail(log) == "one\ntwo\n"
    file.write_text("")
    assert message(file, log, "File", True, 1) == ""
    assert message(file, log, "FallbackToLogsOnError", False, 1) == ""
    assert message(file, log, "FallbackToLogsOnError", True, 1) == "one\ntwo\n"
    file.write_text("x" * 9000)
    assert message(file, log, "FallbackToLogsOnError", True, 1) == "x" * 4096
    assert len(message(file, log, "File", True, 6)) == 2048
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert message(file, log, "File", True, 1) == ""
