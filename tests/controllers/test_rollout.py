"""Tables of what a Deployment does next."""

from __future__ import annotations

import pytest

from jindou.control.controllers.workloads.deployments import rollout
from jindou.control.controllers.workloads.deployments.rollout_status import (
    plan_paused,
    plan_progress,
    plan_status,
)
from jindou.control.controllers.workloads.hashing import fnv1a, safe_encode, template_hash


def deployment(replicas=10, surge="25%", unavailable="25%", **more):
    return {
        "metadata": {"name": "web", "namespace": "default", "generation": 2, **more.pop("metadata", {})},
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
            "strategy": more.pop(
                "strategy",
                {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            ),
            **more,
        },
        "status": {},
    }  # fmt: skip


def replica_set(name, replicas, available=None, **more):
    available = replicas if available is None else available
    status = {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
    meta = {
        "name": name,
        "creationTimestamp": more.pop("created", f"2026-01-01T00:00:{ord(name[0]) % 60:02}Z"),
    }
    return {
        "metadata": {**meta, **more},
        "spec": {"replicas": replicas, "template": {}},
        "status": status,
    }  # fmt: skip


def sizes(plan):
    return {resize.replica_set["metadata"]["name"]: resize.replicas for resize in plan}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (4, "25%", "25%", (1, 1)),
        (3, 0, "0%", (0, 1)),
        (2, 5, 5, (5, 2)),
        (0, "25%", "25%", (0, 0)),
    ],
)
def test_surge_is_rounded_up_and_unavailability_down(replicas, surge, unavailable, expected):
    assert rollout.limits(deployment(replicas, surge, unavailable)) == expected


@pytest.mark.parametrize(
    ("held", "others", "expected"),
    [
        pytest.param(0, [], {"n": 10}, id="nothing-there"),
        pytest.param(0, [10], {"n": 3}, id="as-far-as-surge-allows"),
        pytest.param(3, [10], {}, id="no-room"),
        pytest.param(3, [8], {"n": 5}, id="room-made"),
        pytest.param(12, [], {"n": 10}, id="too-large"),
        pytest.param(10, [], {}, id="done"),
    ],
)
def test_the_new_replica_set_grows_into_the_room_there_is(held, others, expected):
    new = replica_set("n", held)
    old = [replica_set(f"o{n}", size) for n, size in enumerate(others)]
    assert sizes(rollout.plan_new(deployment(), new, [*old, new])) == expected


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        pytest.param((3, 0), [(10, 10)], {"a": 8}, id="down-to-the-least"),
        pytest.param((3, 3), [(10, 10)], {"a": 5}, id="what-is-available-counts"),
        pytest.param((3, 0), [(8, 8)], {}, id="nothing-to-spare"),
        pytest.param((3, 0), [(10, 2)], {"a": 8}, id="unhealthy-go-first"),
        pytest.param((5, 0), [(4, 0), (4, 4)], {"a": 4, "b": 4}, id="none-spare"),
        pytest.param((10, 10), [(2, 2)], {"a": 0}, id="last-step"),
    ],
)
def test_old_replica_sets_shrink_while_enough_stay_available(new, old, expected):
    sets = [replica_set(name, *sizes) for name, sizes in zip("ab", old)]
    plan = rollout.plan_old(deployment(), replica_set("n", *new), sets)
    held = {one["metadata"]["name"]: rollout.size(one) for one in sets}
    assert sizes(plan) == {n: s for n, s in expected.items() if s != held[n]}


def annotated(name, replicas, most=13):
    notes = {rollout.DESIRED: "10", rollout.MOST: str(most)}
    return replica_set(name, replicas, annotations=notes)


@pytest.mark.parametrize(
    ("replicas", "new", "old", "expected"),
    [
        pytest.param(20, 3, [10], {"n": 6, "a": 19}, id="up-in-proportion"),
        pytest.param(5, 3, [10], {"n": 2, "a": 5}, id="down-in-proportion"),
        pytest.param(0, 3, [10], {"n": 0, "a": 0}, id="to-nothing"),
        pytest.param(7, 0, [10], {"a": 7}, id="one-active"),
    ],
)
def test_a_new_size_in_mid_rollout_is_shared_out(replicas, new, old, expected):
    sets = [annotated(name, size) for name, size in zip("ab", old)]
    plan = rollout.plan_scale(deployment(replicas), annotated("n", new), sets)
    assert sizes(plan) == expected
    total = sum(expected.values())
    assert total <= replicas + rollout.limits(deployment(replicas)).surge


def test_the_new_one_is_found_by_its_template_without_the_hash():
    wanted = deployment()
    same = {
        "metadata": {"labels": {"app": "web", rollout.HASH: "x"}, "creationTimestamp": None},
        "spec": {"containers": []},
    }
    other = {"metadata": {"labels": {"app": "other"}}, "spec": {"containers": []}}
    a, b = replica_set("a", 1), replica_set("b", 1)
    a["spec"]["template"], b["spec"]["template"] = other, same
    assert rollout.find_new(wanted, [a, b]) is b
    a["spec"]["template"] = same
    assert rollout.find_new(wanted, [b, a]) is a


def test_rolling_back_gives_the_old_replica_set_a_new_revision_and_keeps_its_history():
    old = replica_set("a", 0, annotations={rollout.REVISION: "1", rollout.REVISION_HISTORY: ""})
    held = rollout.annotations_for(deployment(metadata={"annotations": {"note": "x"}}), old, "3")
    assert held == {rollout.REVISION: "3", rollout.REVISION_HISTORY: "1", "note": "x"}


def test_history_keeps_the_youngest_and_what_still_has_pods():
    sets = [
        replica_set(name, size, annotations={rollout.REVISION: str(n)})
        for n, (name, size) in enumerate([("a", 0), ("b", 1), ("c", 0), ("d", 0)])
    ]
    plan = rollout.plan_history(deployment(revisionHistoryLimit=1), sets)
    assert [one["metadata"]["name"] for one in plan] == ["a", "c"]


def condition(status, type):
    return next(
        ((c["status"], c["reason"]) for c in status["conditions"] if c["type"] == type), None
    )


def progress(held, new, seconds):
    d = deployment(progressDeadlineSeconds=10)
    d["status"] = held
    status = plan_status(d, new, [new], None)
    return plan_progress(d, status, new, [new], 1_000_000 + seconds)


def test_progress_is_told_until_it_is_done_or_stuck():
    since = {"lastUpdateTime": "1970-01-12T13:46:40Z", "lastTransitionTime": "1970-01-12T13:46:40Z"}
    started = {
        "type": "Progressing",
        "status": "True",
        "reason": "NewReplicaSetCreated",
        "message": "",
        **since,
    }
    none = progress({"conditions": [started]}, replica_set("n", 10, 0) | {"status": {}}, 5)
    assert condition(none, "Progressing") == ("True", "NewReplicaSetCreated")
    stuck = progress({"conditions": [started]}, replica_set("n", 10, 0) | {"status": {}}, 11)
    assert condition(stuck, "Progressing") == ("False", "ProgressDeadlineExceeded")
    moving = progress({"conditions": [started]}, replica_set("n", 10, 4), 11)
    assert condition(moving, "Progressing") == ("True", "ReplicaSetUpdated")
    assert condition(moving, "Available") == ("False", "MinimumReplicasUnavailable")
    done = replica_set("n", 10)
    d = deployment(progressDeadlineSeconds=10)
    status = plan_progress(d, plan_status(d, done, [done], None), done, [done], 1_000_000)
    assert condition(status, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert condition(status, "Available") == ("True", "MinimumReplicasAvailable")


def test_pausing_and_resuming_are_told_once():
    d = deployment(progressDeadlineSeconds=600, paused=True)
    assert plan_paused(d) == ("Unknown", "DeploymentPaused", "Deployment is paused")
    d["status"] = {
        "conditions": [{"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused"}]
    }
    assert plan_paused(d) is None
    d["spec"]["paused"] = False
    assert plan_paused(d) == ("Unknown", "DeploymentResumed", "Deployment is resumed")
    assert plan_paused(deployment(paused=True)) is None


def test_hashes_are_fnv1a_in_letters_that_spell_no_words():
    assert fnv1a(b"") == 0x811C9DC5
    assert fnv1a(b"a") == 0xE40C292C
    assert fnv1a(b"foobar") == 0xBF9CF968
    assert safe_encode("0123456789") == "456789bcdf"
    one = template_hash({"spec": {"a": 1, "b": 2}})
    assert one == template_hash({"spec": {"b": 2, "a": 1}})
    assert one != template_hash({"spec": {"b": 2, "a": 1}}, 1)
