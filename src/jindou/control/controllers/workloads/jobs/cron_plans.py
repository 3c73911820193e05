"""When a CronJob makes its next Job, under which name, and what goes: decisions only.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from jindou.control.controllers.groundwork import owners, times
from jindou.control.controllers.workloads.jobs.job_plans import COMPLETE, FAILED, finished
from jindou.objects import schedules
from jindou.objects.kinds import CRON_JOB, JOB, Object
from jindou.objects.schedules import Schedule

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MANY = 100
SLACK = 0.1  # seconds after the time, so that it has come for sure
Event = tuple[str, str, str]  # reason, message, type


def schedule_of(owner: Object) -> Schedule:
    """Raises Unclear."""
    spec = owner["spec"]
    zone = spec.get("timeZone")
    return schedules.parse(spec["schedule"], None if zone is None else schedules.zone_of(zone))


def name_of(owner: Object, moment: float) -> str:
    return f"{owner['metadata']['name']}-{int(moment) // 60}"


def job_of(owner: Object, schedule: Schedule, moment: float) -> Object:
    template = owner["spec"]["jobTemplate"]
    meta = template.get("metadata") or {}
    at = datetime.fromtimestamp(moment, schedule.zone or UTC).isoformat().replace("+00:00", "Z")
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {
            "name": name_of(owner, moment),
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": {**(meta.get("annotations") or {}), SCHEDULED: at},
            "ownerReferences": [owners.reference_to(CRON_JOB, owner)],
        },
        "spec": template["spec"],
    }


def plan_surplus(owner: Object, jobs: Sequence[Object]) -> list[Object]:
    """Finished Jobs beyond the limits of history, the oldest."""
    found = []
    limits = ((COMPLETE, "successfulJobsHistoryLimit"), (FAILED, "failedJobsHistoryLimit"))
    for type, name in limits:
        limit = owner["spec"].get(name)
        if limit is None:
            continue
        ended = [job for job in jobs if finished(job) == type]
        ended.sort(key=_started)
        found += ended[: max(len(ended) - int(limit), 0)]
    return found


def _started(job: Object) -> tuple[bool, str, str]:
    started = (job.get("status") or {}).get("startTime")
    return started is None, started or "", job["metadata"]["name"]


class Known(NamedTuple):
    """The status as the Jobs show it; `gone`: named as active, but not to be seen."""

    status: Object
    events: list[Event]
    gone: list[Object]


def plan_known(owner: Object, jobs: Sequence[Object]) -> Known:
    status = dict(owner.get("status") or {})
    active = {one["uid"]: one for one in status.get("active") or ()}
    events: list[Event] = []
    for job in jobs:
        meta, end = job["metadata"], finished(job)
        if not end:
            if meta["uid"] not in active:
                text = f"Saw a job that the controller did not create or forgot: {meta['name']}"
                events.append(("UnexpectedJob", text, "Warning"))
            continue
        if active.pop(meta["uid"], None) is not None:
            text = f"Saw completed job: {meta['name']}, condition: {end}"
            events.append(("SawCompletedJob", text, "Normal"))
        done = job["status"].get("completionTime")
        if end == COMPLETE and times.parse(done) > times.parse(status.get("lastSuccessfulTime")):
            status["lastSuccessfulTime"] = done
    seen = {job["metadata"]["uid"] for job in jobs}
    status["active"] = list(active.values())
    return Known(status, events, [one for uid, one in active.items() if uid not in seen])


class Decision(NamedTuple):
    """`start`: make the Job of this time; `replace`: Jobs that go before; `wait`: seconds until the
    next look, None where only a change can help."""

    start: float | None = None
    replace: Sequence[Object] = ()
    wait: float | None = None
    events: Sequence[Event] = ()


def plan_start(owner: Object, schedule: Schedule, status: Object, now: float) -> Decision:
    spec, active = owner["spec"], status.get("active") or []
    deadline = spec.get("startingDeadlineSeconds")
    earliest = _earliest(owner, status)
    wait = time_to_next(owner, schedule, status, now)
    if deadline is not None:
        earliest = max(earliest, now - float(deadline))
    missed = schedules.missed(schedule, earliest, now)
    moment = missed.latest
    if moment is None:
        return Decision(wait=wait)
    events: list[Event] = []
    if missed.count > MANY:
        text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        events.append(("TooManyMissedTimes", text, "Warning"))
    if deadline is not None and moment + float(deadline) < now:
        at = datetime.fromtimestamp(moment, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        events.append(("MissSchedule", f"Missed scheduled time to start a job: {at}", "Warning"))
        return Decision(wait=wait, events=events)
    name = name_of(owner, moment)
    if any(one["name"] == name for one in active) or (
        times.parse(status.get("lastScheduleTime")) == moment
    ):
        return Decision(wait=wait, events=events)
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and active:
        text = (
            "Not starting job because prior execution is running and concurrency policy is Forbid"
        )
        events.append(("JobAlreadyActive", text, "Normal"))
        return Decision(wait=wait, events=events)
    return Decision(moment, active if policy == "Replace" else (), wait, events)


def _earliest(owner: Object, status: Object) -> float:
    """Times up to then have been seen to."""
    last = status.get("lastScheduleTime")
    return times.parse(last or owner["metadata"].get("creationTimestamp"))


def time_to_next(owner: Object, schedule: Schedule, status: Object, now: float) -> float | None:
    following = schedule.next(max(now, _earliest(owner, status)))
    return None if following is None else following + SLACK - now
