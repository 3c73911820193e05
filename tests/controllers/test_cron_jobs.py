"""CronJobs: what is decided, and what becomes of them with the real API and a clock that is told."""

from __future__ import annotations

from typing import Any

import pytest

from jindou.control.controllers.garbage_collector import GarbageCollector
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.workloads.jobs import cron_plans
from jindou.control.controllers.workloads.jobs.cron_jobs import CronJobs
from jindou.objects.kinds import CRON_JOB, EVENT, JOB, Ref, ref_of
from jindou.objects.schedules import Unclear, parse, zone_of
from tests.controllers.test_jobs import job_object
from tests.controllers.world import in_world, kinds_of

CRON = Ref(CRON_JOB, "default", "tick")


class Clock:
    def __init__(self, text: str = "") -> None:
        self.time = times.parse(text) if text else times.now()

    def __call__(self) -> float:
        return self.time


def cron_object(schedule: str = "* * * * *", **spec: Any) -> dict[str, Any]:
    inner = {"metadata": {"labels": {"cron": "tick"}}, "spec": job_object()["spec"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick", "namespace": "default"},
        "spec": {"schedule": schedule, "jobTemplate": inner, **spec},
    }


# ---------------------------------------------------------------- decisions


def decided(now: str, created: str = "2026-01-01T00:00:30Z", **more: Any) -> cron_plans.Decision:
    status = more.pop("status", {})
    owner = cron_object(more.pop("schedule", "*/10 * * * *"), **more)
    owner["metadata"] |= {"creationTimestamp": created, "uid": "u"}
    schedule = parse(owner["spec"]["schedule"])
    return cron_plans.plan_start(owner, schedule, status, times.parse(now))


def started(decision: cron_plans.Decision) -> str | None:
    return None if decision.start is None else times.text(decision.start)


RUNNING = {"active": [{"name": "tick-1", "namespace": "default", "uid": "a"}]}


@pytest.mark.parametrize(
    ("now", "more", "start", "reasons"),
    [
        ("2026-01-01T00:05:00Z", {}, None, []),
        ("2026-01-01T00:10:00Z", {}, "2026-01-01T00:10:00Z", []),
        ("2026-01-01T00:39:59Z", {}, "2026-01-01T00:30:00Z", []),
        ("2026-01-01T00:10:05Z", {"status": {"lastScheduleTime": "2026-01-01T00:10:00Z"}}, None, []),
        ("2026-01-01T00:15:00Z", {"startingDeadlineSeconds": 60}, None, []),
        ("2026-01-01T00:10:30Z", {"startingDeadlineSeconds": 60}, "2026-01-01T00:10:00Z", []),
        ("2026-01-01T00:10:00Z", {"concurrencyPolicy": "Forbid", "status": RUNNING}, None, ["JobAlreadyActive"]),
        ("2026-01-01T00:10:00Z", {"concurrencyPolicy": "Allow", "status": RUNNING}, "2026-01-01T00:10:00Z", []),
        ("2026-01-02T00:00:00Z", {"status": {}}, "2026-01-02T00:00:00Z", ["TooManyMissedTimes"]),
        ("2026-01-02T00:00:00Z", {"startingDeadlineSeconds": 200}, "2026-01-02T00:00:00Z", []),
    ],
)  # fmt: skip
def test_which_time_is_started(now: str, more: Any, start: str | None, reasons: list[str]) -> None:
    decision = decided(now, **more)
    assert started(decision) == start
    assert [reason for reason, _, _ in decision.events] == reasons


def test_it_sleeps_until_the_next_time() -> None:
    decision = decided("2026-01-01T00:05:00Z")
    assert decision.wait == pytest.approx(300.1)
    assert decided("2026-01-01T00:10:00Z").wait == pytest.approx(600.1)


def test_names_and_annotations_tell_the_time() -> None:
    owner = cron_object("0 9 * * *", timeZone="Europe/Berlin")
    owner["metadata"]["uid"] = "u"
    schedule = cron_plans.schedule_of(owner)
    moment = schedule.next(times.parse("2026-01-01T00:00:00Z"))
    assert moment is not None
    job = cron_plans.job_of(owner, schedule, moment)
    assert job["metadata"]["name"] == f"tick-{int(moment) // 60}"
    assert job["metadata"]["annotations"] == {cron_plans.SCHEDULED: "2026-01-01T09:00:00+01:00"}
    assert job["metadata"]["labels"] == {"cron": "tick"}


# ---------------------------------------------------------------- with the API


def play(scenario: Any, clock: Clock) -> None:
    def controllers(server: Any) -> list[Any]:
        kinds = lambda: kinds_of(server)  # noqa: E731
        collector = GarbageCollector(kinds, server.registry.on_change)
        return [ServiceAccounts(), CronJobs(clock), collector]

    in_world(controllers, scenario)


async def look(world: Any) -> None:
    """A change that wakes the controller, as its timer would."""
    meta = {"annotations": {"looked": str(times.now())}}
    await world.client.patch(CRON, {"metadata": meta})


async def jobs(world: Any, count: int) -> list[Any]:
    async def there() -> Any:
        found = [j for j in await world.find(JOB) if not j["metadata"].get("deletionTimestamp")]
        return found if len(found) == count else None

    found = await world.until(there)
    return sorted(found or [], key=lambda job: job["metadata"]["name"])


async def end(world: Any, job: Any, type: str = "Complete") -> None:
    live = await world.client.get(ref_of(JOB, job))
    now = times.text()
    before = "SuccessCriteriaMet" if type == "Complete" else "FailureTarget"
    condition = {"status": "True", "lastProbeTime": now, "lastTransitionTime": now}
    status = {"startTime": now, "conditions": [{**condition, "type": t} for t in (before, type)]}
    if type == "Complete":
        status["completionTime"] = now
    await world.client.update(JOB, {**live, "status": status}, "status")


async def with_status(world: Any, test: Any) -> Any:
    async def there() -> Any:
        held = (await world.client.get(CRON)).get("status") or {}
        return held if test(held) else None

    return await world.until(there)


def test_a_job_each_minute_and_the_history_of_them() -> None:
    clock = Clock()

    async def scenario(world: Any) -> None:
        await world.client.create(CRON_JOB, cron_object(successfulJobsHistoryLimit=1))
        await world.settled()
        first_minute = int(clock.time) // 60 + 1
        for n in range(3):
            clock.time = (first_minute + n) * 60 + 0.1
            await look(world)
            status = await with_status(
                world, lambda s: s.get("lastScheduleTime") == times.text(int(clock.time))
            )
            (reference,) = status["active"]
            assert reference["name"] == f"tick-{first_minute + n}"
            job = await world.client.get(Ref(JOB, "default", reference["name"]))
            assert job["metadata"]["ownerReferences"][0]["name"] == "tick"
            await end(world, job)
            await with_status(world, lambda s: not s.get("active") and s.get("lastSuccessfulTime"))
        (last,) = await jobs(world, 1)
        assert last["metadata"]["name"] == f"tick-{first_minute + 2}"

        async def told() -> Any:
            found = {event["reason"] for event in await world.find(EVENT)}
            return found >= {"SuccessfulCreate", "SawCompletedJob", "SuccessfulDelete"}

        await world.until(told)

    play(scenario, clock)


def test_a_clock_that_jumps_makes_up_for_the_last_time_only() -> None:
    clock = Clock()

    async def scenario(world: Any) -> None:
        await world.client.create(CRON_JOB, cron_object())
        clock.time += 3600
        await look(world)
        (job,) = await jobs(world, 1)
        assert job["metadata"]["name"] == f"tick-{int(clock.time) // 60}"
        await with_status(world, lambda s: s.get("lastScheduleTime"))
        clock.time -= 1800
        await look(world)
        await world.settled()
        assert len(await jobs(world, 1)) == 1

    play(scenario, clock)


def test_replacing_what_still_runs() -> None:
    clock = Clock()

    async def scenario(world: Any) -> None:
        await world.client.create(CRON_JOB, cron_object(concurrencyPolicy="Replace"))
        names = []
        for _ in range(2):
            clock.time += 60
            await look(world)
            status = await with_status(
                world,
                lambda s: s.get("lastScheduleTime") == times.text(int(clock.time) // 60 * 60),
            )
            names.append([one["name"] for one in status["active"]])
        (job,) = await jobs(world, 1)
        assert names[-1] == [job["metadata"]["name"]]
        assert names[0] != names[1]

    play(scenario, clock)


def test_a_suspended_one_makes_nothing() -> None:
    clock = Clock()

    async def scenario(world: Any) -> None:
        await world.client.create(CRON_JOB, cron_object(suspend=True))
        clock.time += 600
        await look(world)
        await world.settled()
        assert not await world.find(JOB)

    play(scenario, clock)


def test_a_job_made_before_a_kill_is_found_again() -> None:
    """It is there, but the status does not know of it."""
    clock = Clock()

    async def scenario(world: Any) -> None:
        made = await world.client.create(CRON_JOB, cron_object(suspend=True))
        clock.time += 120
        moment = float(int(clock.time) // 60 * 60)
        job = await world.client.create(JOB, cron_plans.job_of(made, parse("* * * * *"), moment))
        await world.client.patch(CRON, {"spec": {"suspend": False}})
        status = await with_status(world, lambda s: s.get("active"))
        assert [one["uid"] for one in status["active"]] == [job["metadata"]["uid"]]
        assert status["lastScheduleTime"] == times.text(moment)
        assert len(await jobs(world, 1)) == 1

    play(scenario, clock)


def test_another_job_of_the_same_name_is_not_taken_for_the_one_that_ran() -> None:
    clock = Clock()

    async def scenario(world: Any) -> None:
        await world.client.create(CRON_JOB, cron_object(concurrencyPolicy="Replace"))
        clock.time += 60
        await look(world)
        status = await with_status(world, lambda s: s.get("active"))
        (reference,) = status["active"]
        place = Ref(JOB, "default", reference["name"])
        await world.client.delete(place, propagation="Background")
        await world.until(lambda: world.gone(place))
        other = job_object()
        other["metadata"] = {"name": reference["name"], "namespace": "default"}
        other = await world.client.create(JOB, other)
        clock.time += 60
        await look(world)
        await with_status(world, lambda s: [a["name"] for a in s.get("active", ())] not in ([], [reference["name"]]))  # fmt: skip
        held = await world.client.get(place)
        assert held["metadata"]["uid"] == other["metadata"]["uid"]
        assert "deletionTimestamp" not in held["metadata"]

    play(scenario, clock)


@pytest.mark.parametrize(
    "text", [f"@every {'9' * 400}h", "@every 9223372037s", f"{'9' * 5000} * * * *"]
)
def test_numbers_beyond_all_measure_are_unclear(text: str) -> None:
    with pytest.raises(Unclear):
        parse(text)


@pytest.mark.parametrize("text", [", * * * *", "* , * * *", "* * , * ,", "* * * , *"])
def test_fields_that_name_nothing_never_come(text: str) -> None:
    assert parse(text).next(times.parse("2026-01-01T00:00:00Z")) is None


@pytest.mark.parametrize(
    ("after", "following"),
    [
        ("0001-01-01T00:00:00Z", "1970-01-01T00:10:00Z"),
        ("9999-12-30T23:00:00Z", None),
        ("9998-11-30T23:00:00Z", "9998-11-30T23:10:00Z"),
    ],
)
def test_the_first_and_last_times_that_can_be_told(after: str, following: str | None) -> None:
    for zone in (None, zone_of("America/New_York"), zone_of("Asia/Tokyo")):
        found = parse("*/10 * * * *", zone).next(times.parse(after))
        assert (None if found is None else times.text(found)) == following
