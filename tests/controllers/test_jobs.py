"""Jobs: what is decided, and what becomes of them with the real API and a played node."""

from __future__ import annotations

from typing import Any

import pytest

from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.scheduling.scheduler import Scheduler
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.workloads.jobs import indexes, job_plans, job_pods
from jindou.control.controllers.workloads.jobs.finished_jobs import FinishedJobs
from jindou.control.controllers.workloads.jobs.jobs import Jobs
from jindou.objects.kinds import EVENT, JOB, POD, Ref, ref_of
from tests.controllers.world import in_world, kinds_of, with_node

JOB_REF = Ref(JOB, "default", "work")


def controllers(server: Any) -> list[Any]:
    kinds = lambda: kinds_of(server)  # noqa: E731
    return [
        ServiceAccounts(), Jobs(), FinishedJobs(), Scheduler(),
        GarbageCollector(kinds, server.registry.on_change),
    ]  # fmt: skip


def job_object(name: str = "work", **spec: Any) -> dict[str, Any]:
    policy = spec.pop("restartPolicy", "Never")
    containers = [{"name": "main", "image": "work:1"}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": {"spec": {"restartPolicy": policy, "containers": containers}}, **spec},
    }


# ---------------------------------------------------------------- decisions


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([0], "0"),
        ([0, 1], "0,1"),
        ([0, 1, 2], "0-2"),
        ([7, 1, 3, 4, 5], "1,3-5,7"),
    ],
)
def test_indexes_are_written_short(numbers: list[int], text: str) -> None:
    assert indexes.text(indexes.of(numbers)) == text
    assert indexes.parse(text, 100) == indexes.of(numbers)
    assert [n for n in range(10) if indexes.has(indexes.of(numbers), n)] == sorted(numbers)
    assert list(indexes.missing(indexes.of(numbers), 9)) == [
        n for n in range(9) if n not in numbers
    ]


def test_indexes_beyond_the_completions_are_left_out() -> None:
    assert indexes.parse("0,2-9,x", 5) == [(0, 0), (2, 4)]
    assert indexes.common([(0, 3), (6, 9)], [(2, 7)]) == 4


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 10), (2, 20), (4, 80), (7, 600), (50, 600)]
)
def test_back_off_doubles_up_to_ten_minutes(failures: int, seconds: float) -> None:
    assert job_pods.wait_after(failures, 1000.0, 1000.0) == seconds
    assert job_pods.wait_after(failures, 1000.0, 1000.0 + seconds + 1) == 0


def pod(phase: str, **more: Any) -> dict[str, Any]:
    meta = {"name": more.pop("name", "p"), "namespace": "default", "uid": more.pop("uid", "u")}
    meta |= {"finalizers": [job_pods.FINALIZER], "creationTimestamp": "2026-01-01T00:00:00Z"}
    code, index = more.pop("code", 1), more.pop("index", None)
    if index is not None:
        meta["annotations"] = {job_pods.INDEX: str(index)}
    ended = {"exitCode": code, "finishedAt": "2026-01-01T00:00:10Z"}
    status = {
        "phase": phase,
        "containerStatuses": [{"name": "main", "state": {"terminated": ended}}],
    }
    return {"metadata": meta | more.pop("meta", {}), "spec": {}, "status": status | more}


def planned(**spec: Any) -> dict[str, Any]:
    made = job_object(**spec)
    defaults = {"parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed"}
    made["spec"] = {**defaults, **made["spec"]}
    made["metadata"]["uid"] = "job"
    return made


RULES = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [7]}},
        {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}},
    ]
}


@pytest.mark.parametrize(
    ("code", "action", "message"),
    [
        (42, "FailJob", "Container main for pod default/p failed with exit code 42 matching FailJob rule at index 1"),
        (7, "FailIndex", ""), (3, "Count", ""), (1, "", ""),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_speaks(code: int, action: str, message: str) -> None:
    verdict = job_pods.judge(planned(podFailurePolicy=RULES), pod("Failed", code=code))
    assert (verdict.action, verdict.message) == (action, message)


def test_a_failure_that_is_ignored_counts_nowhere() -> None:
    disrupted = pod("Failed", conditions=[{"type": "DisruptionTarget", "status": "True"}])
    look = job_plans.look_at(planned(podFailurePolicy=RULES, backoffLimit=0), [disrupted], 0.0)
    assert look.failed == 0
    assert job_plans.plan_end(look) is None


@pytest.mark.parametrize(("policy", "failed"), [("TerminatingOrFailed", True), ("Failed", False)])
def test_a_pod_on_its_way_out_is_a_failure_unless_only_failed_ones_are_replaced(
    policy: str, failed: bool
) -> None:
    leaving = pod("Running", meta={"deletionTimestamp": "2026-01-01T00:01:00Z"})
    job = planned(podReplacementPolicy=policy)
    look = job_plans.look_at(job, [leaving], times.parse("2026-01-02T00:00:00Z"))
    assert (look.failed, look.terminating, look.active) == (int(failed), 1, 0)
    assert job_plans.plan_pods(look).create == ([-1] if failed else [])


def test_success_policy() -> None:
    rules = {"rules": [{"succeededIndexes": "0,2-3", "succeededCount": 2}, {"succeededCount": 4}]}
    job = planned(successPolicy=rules, completions=7, completionMode="Indexed")
    assert job_pods.success(job, indexes.of([0, 1])) == ""
    assert job_pods.success(job, indexes.of([0, 3])) == "Matched rules at index 0"
    assert job_pods.success(job, indexes.of([1, 4, 5, 6])) == "Matched rules at index 1"


def test_doubles_of_an_index_go_and_the_best_stays() -> None:
    held = [
        pod("Pending", name="a", uid="a", index=0),
        pod("Running", name="b", uid="b", index=0),
        pod("Running", name="c", uid="c", index=9),
        pod("Running", name="d", uid="d", index=1),
    ]
    look = job_plans.look_at(
        planned(completions=3, parallelism=3, completionMode="Indexed"), held, 0.0
    )
    names = {one["metadata"]["name"] for one in job_plans.plan_pods(look).delete}
    assert names == {"a", "c"}


def test_what_was_entered_is_counted_once_the_finalizer_is_gone() -> None:
    status = {"succeeded": 1, "uncountedTerminatedPods": {"succeeded": ["a", "b"], "failed": ["c"]}}
    uncounted = job_plans.uncounted_in(status)
    found = job_plans.count(status, uncounted, ["b"])
    assert (found["succeeded"], found["failed"]) == (2, 1)
    assert found["uncountedTerminatedPods"] == {"succeeded": ["b"]}


# ---------------------------------------------------------------- with the API


async def finish(world: Any, pod: dict[str, Any], phase: str = "Succeeded", code: int = 0) -> None:
    ended = {"exitCode": code, "finishedAt": times.text(), "startedAt": times.text()}
    container = {
        "name": "main", "image": "work:1", "imageID": "", "ready": False, "restartCount": 0,
        "state": {"terminated": ended},
    }  # fmt: skip
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": times.text()}
    status = {"phase": phase, "containerStatuses": [container], "conditions": [ready]}
    await world.client.patch(ref_of(POD, pod), {"status": status}, "status")


async def running(world: Any, count: int) -> list[dict[str, Any]]:
    async def there() -> Any:
        pods = [
            one
            for one in await world.find(POD)
            if one.get("status", {}).get("phase") == "Running"
            and not one["metadata"].get("deletionTimestamp")
        ]
        return pods if len(pods) == count else None

    return await world.until(there)


async def with_status(world: Any, test: Any) -> dict[str, Any]:
    async def there() -> Any:
        job = await world.client.get(JOB_REF)
        return job if test(job.get("status") or {}) else None

    return await world.until(there)


def ended(job: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["type"], one.get("reason", "")) for one in job["status"]["conditions"]]


def play(scenario: Any) -> None:
    async def world_of(world: Any) -> None:
        await with_node(world, lambda node: scenario(world))

    in_world(controllers, world_of)


def test_a_job_completes_and_its_objects_are_those_of_the_original() -> None:
    async def scenario(world: Any) -> None:
        made = await world.client.create(JOB, job_object(completions=3, parallelism=2))
        uid = made["metadata"]["uid"]
        assert made["spec"]["selector"] == {
            "matchLabels": {"batch.kubernetes.io/controller-uid": uid}
        }
        labels = {
            "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "work",
            "controller-uid": uid, "job-name": "work",
        }  # fmt: skip
        assert made["metadata"]["labels"] == labels
        first = await running(world, 2)
        for one in first:
            assert one["metadata"]["labels"] == labels
            assert one["metadata"]["finalizers"] == [job_pods.FINALIZER]
            assert one["metadata"]["generateName"] == "work-"
        job = await with_status(world, lambda s: s.get("ready") == 2)
        assert (job["status"]["active"], job["status"]["terminating"]) == (2, 0)
        for one in first:
            await finish(world, one)
        (last,) = await running(world, 1)
        await finish(world, last)
        job = await with_status(world, lambda s: s.get("completionTime"))
        assert ended(job) == [
            ("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached"),
        ]  # fmt: skip
        assert job["status"]["succeeded"] == 3
        assert job["status"]["uncountedTerminatedPods"] == {}
        assert "active" not in job["status"]
        pods = await world.find(POD)
        assert len(pods) == 3
        assert not any(one["metadata"].get("finalizers") for one in pods)

        async def told() -> Any:
            found = {(e["reason"], e["message"]) for e in await world.find(EVENT)}
            return ("Completed", "Job completed") in found

        await world.until(told)

    play(scenario)


def test_a_failed_job_waits_before_the_next_try_and_gives_up_at_its_limit() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(JOB, job_object(backoffLimit=1))
        (one,) = await running(world, 1)
        await finish(world, one, "Failed", 1)
        await with_status(world, lambda s: s.get("failed") == 1)
        await world.settled()
        assert len(await world.find(POD)) == 1  # ten seconds have to pass
        earlier = times.text(times.now() - 60)
        state = {"terminated": {"exitCode": 1, "finishedAt": earlier, "startedAt": earlier}}
        container = {
            "name": "main", "image": "work:1", "imageID": "", "ready": False, "restartCount": 0,
            "state": state,
        }  # fmt: skip
        status = {"containerStatuses": [container]}
        await world.client.patch(ref_of(POD, one), {"status": status}, "status")
        (two,) = await running(world, 1)
        await finish(world, two, "Failed", 1)
        job = await with_status(world, lambda s: len(s.get("conditions") or ()) == 2)
        reason = "BackoffLimitExceeded"
        assert ended(job) == [("FailureTarget", reason), ("Failed", reason)]
        assert job["status"]["failed"] == 2

    play(scenario)


def test_an_indexed_job() -> None:
    async def scenario(world: Any) -> None:
        wish = job_object(
            completions=3, parallelism=3, completionMode="Indexed", backoffLimitPerIndex=0
        )
        made = await world.client.create(JOB, wish)
        assert made["spec"]["backoffLimit"] == 2**31 - 1
        pods = {job_pods.index_of(one): one for one in await running(world, 3)}
        assert sorted(pods) == [0, 1, 2]
        first = pods[0]
        assert first["metadata"]["labels"][job_pods.INDEX] == "0"
        assert first["metadata"]["annotations"][job_pods.FAILURES] == "0"
        assert first["metadata"]["generateName"] == "work-0-"
        assert first["spec"]["hostname"] == "work-0"
        field = {"apiVersion": "v1", "fieldPath": f"metadata.labels['{job_pods.INDEX}']"}
        assert first["spec"]["containers"][0]["env"] == [
            {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": field}}
        ]
        await finish(world, pods[0])
        await finish(world, pods[2])
        job = await with_status(world, lambda s: s.get("succeeded") == 2)
        assert job["status"]["completedIndexes"] == "0,2"
        assert job["status"]["failedIndexes"] == ""
        await finish(world, pods[1], "Failed", 1)
        job = await with_status(
            world, lambda s: any(c["type"] == "Failed" for c in s.get("conditions") or ())
        )
        assert ended(job)[-1] == ("Failed", "FailedIndexes")
        assert job["status"]["failedIndexes"] == "1"

    play(scenario)


def test_suspending_takes_the_pods_and_the_clock() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(JOB, job_object(parallelism=2, completions=2))
        await running(world, 2)
        await world.client.patch(JOB_REF, {"spec": {"suspend": True}})

        async def none() -> Any:
            return not await world.find(POD)

        await world.until(none)
        job = await with_status(world, lambda s: "startTime" not in s and s.get("terminating") == 0)
        assert ended(job) == [("Suspended", "JobSuspended")]
        assert "failed" not in job["status"]
        await world.client.patch(JOB_REF, {"spec": {"suspend": False}})
        await running(world, 2)
        job = await with_status(world, lambda s: s.get("startTime"))
        assert ended(job) == [("Suspended", "JobResumed")]

    play(scenario)


def test_pods_of_a_job_that_is_deleted_go_with_it() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(JOB, job_object(parallelism=2, completions=2))
        await running(world, 2)
        await world.client.delete(JOB_REF, propagation="Background")

        async def none() -> Any:
            return not await world.find(POD)

        await world.until(none)

    play(scenario)


@pytest.mark.slow
def test_a_deadline_and_a_life_after_the_end() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(
            JOB, job_object(activeDeadlineSeconds=1, ttlSecondsAfterFinished=1)
        )
        await running(world, 1)
        job = await with_status(
            world, lambda s: any(c["type"] == "Failed" for c in s.get("conditions") or ())
        )
        assert ended(job)[-1] == ("Failed", "DeadlineExceeded")
        await world.until(lambda: world.gone(JOB_REF))

    play(scenario)


def test_a_job_of_another_manager_is_left_alone() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(JOB, job_object(managedBy="example.com/queue"))
        await world.settled()
        assert not await world.find(POD)
        assert not (await world.client.get(JOB_REF)).get("status")

    play(scenario)


def test_a_pod_that_is_deleted_counts_for_the_back_off() -> None:
    async def scenario(world: Any) -> None:
        await world.client.create(JOB, job_object())
        (one,) = await running(world, 1)
        await world.client.delete(ref_of(POD, one), grace=0)
        await with_status(world, lambda s: s.get("failed") == 1)
        await world.settled()
        assert await world.find(POD) == []  # ten seconds have to pass

    play(scenario)


def test_what_runs_when_enough_have_succeeded_has_not_failed() -> None:
    async def scenario(world: Any) -> None:
        policy = {"rules": [{"succeededIndexes": "0"}]}
        wish = job_object(
            completions=3, parallelism=3, completionMode="Indexed", successPolicy=policy
        )
        await world.client.create(JOB, wish)
        pods = {job_pods.index_of(one): one for one in await running(world, 3)}
        await finish(world, pods[0])
        job = await with_status(world, lambda s: s.get("completionTime"))
        assert ended(job) == [
            ("SuccessCriteriaMet", "SuccessPolicy"),
            ("Complete", "SuccessPolicy"),
        ]
        assert (job["status"]["succeeded"], job["status"].get("failed")) == (1, None)

    play(scenario)
