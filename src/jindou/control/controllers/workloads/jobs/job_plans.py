"""What a Job does next, and what its status says: decisions only.

A look counts first (`Look`), then asks whether the Job has to end (`plan_end`), else which Pods to
make or take away (`plan_pods`). Finished Pods are entered in the status as uncounted before their
finalizer is taken, and counted after it: so none is lost, and none counted twice.
Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any, NamedTuple

from jindou.control.controllers.groundwork import conditions, times
from jindou.control.controllers.groundwork.pod_facts import facts_of
from jindou.control.controllers.workloads.jobs import indexes, job_pods
from jindou.control.controllers.workloads.jobs.job_pods import index_of
from jindou.control.controllers.workloads.pods import deletion_rank
from jindou.objects.kinds import Object

AT_ONCE = 500  # Pods made, deleted or counted in one look
COMPLETE, FAILED = "Complete", "Failed"
CRITERIA_MET, FAILURE_TARGET = "SuccessCriteriaMet", "FailureTarget"


class End(NamedTuple):
    """How a Job ends: `type` is SuccessCriteriaMet or FailureTarget until its Pods are gone."""

    type: str
    reason: str
    message: str

    @property
    def failed(self) -> bool:
        return self.type in (FAILURE_TARGET, FAILED)


def finished(job: Object) -> str:
    """Complete, Failed or ""."""
    return next((type for type in (COMPLETE, FAILED) if conditions.is_true(job, type)), "")


@dataclass
class Look:
    """A Job and its Pods, counted. The counts change as Pods are made and deleted."""

    job: Object
    pods: list[Object]
    now: float
    active: int = 0
    ready: int = 0
    terminating: int = 0
    succeeded: int = 0
    failed: int = 0
    done: list[indexes.Interval] = field(default_factory=list)  # indexes that have succeeded
    done_before: list[indexes.Interval] = field(default_factory=list)  # as the status says
    given_up: list[indexes.Interval] | None = None  # indexes that have failed
    last_failed: dict[int, Object] = field(default_factory=dict)  # by index: waits for its next
    gone: Mapping[str, float] = field(
        default_factory=dict
    )  # when failed Pods ended that are no more

    @property
    def spec(self) -> Object:
        found: Object = self.job["spec"]
        return found

    @property
    def completions(self) -> int | None:
        return self.spec.get("completions")

    def running(self) -> list[Object]:
        return [pod for pod in self.pods if job_pods.is_active(pod)]

    def valid(self, pod: Object) -> bool:
        """Not of an Indexed Job, or with an index of it."""
        return not job_pods.is_indexed(self.job) or 0 <= index_of(pod) < (self.completions or 0)


def uncounted_in(status: Object) -> dict[str, list[str]]:
    """The uids of Pods that have ended and are not in the counts yet."""
    held = status.get("uncountedTerminatedPods") or {}
    return {name: list(held.get(name) or ()) for name in ("succeeded", "failed")}


def look_at(
    job: Object, pods: Sequence[Object], now: float, gone: Mapping[str, float] = {}
) -> Look:
    look = Look(job, sorted(pods, key=index_of), now, gone=gone)
    status = job.get("status") or {}
    uncounted = uncounted_in(status)
    running = look.running()
    look.active = len(running)
    look.ready = sum(conditions.is_true(pod, "Ready") for pod in running)
    look.terminating = sum(job_pods.is_terminating(pod) for pod in pods)
    fresh = [pod for pod in look.pods if job_pods.tracked(pod) and look.valid(pod)]
    new = [p for p in fresh if p["metadata"]["uid"] not in uncounted["succeeded"]]
    look.succeeded = status.get("succeeded", 0) + len(uncounted["succeeded"])
    look.succeeded += sum(job_pods.phase(pod) == "Succeeded" for pod in new)
    look.failed = status.get("failed", 0) + len(uncounted["failed"])
    look.failed += sum(
        job_pods.is_failed(pod, job) and job_pods.judge(job, pod).counts
        for pod in fresh
        if pod["metadata"]["uid"] not in uncounted["failed"]
    )
    if job_pods.is_indexed(job):
        _look_at_indexes(look, fresh)
    return look


def _look_at_indexes(look: Look, fresh: list[Object]) -> None:
    job, status = look.job, look.job.get("status") or {}
    completions = look.completions or 0
    look.done_before = indexes.parse(status.get("completedIndexes") or "", completions)
    new = {index_of(pod) for pod in fresh if job_pods.phase(pod) == "Succeeded"}
    look.done = indexes.merge(look.done_before, indexes.of(new))
    look.succeeded = indexes.total(look.done)
    if not job_pods.per_index(job):
        return
    before = indexes.parse(status.get("failedIndexes") or "", completions)
    lost = {index_of(pod) for pod in fresh if job_pods.index_failed(job, pod)}
    look.given_up = indexes.merge(before, indexes.of(lost))
    settled = indexes.merge(look.done, look.given_up, indexes.of(map(index_of, look.running())))
    for pod in fresh:
        index = index_of(pod)
        if not job_pods.is_failed(pod, job) or indexes.has(settled, index):
            continue
        held = look.last_failed.get(index)
        if held is None or _later(pod) >= _later(held):
            look.last_failed[index] = pod


def _later(pod: Object) -> tuple[int, float]:
    return job_pods.all_failures_of(pod), job_pods.ended(pod)


# ---------------------------------------------------------------- the end


def plan_end(look: Look) -> End | None:
    """Why the Job has to end now, whatever runs: what was decided before, then failures, then success."""
    job, spec = look.job, look.spec
    for type in (CRITERIA_MET, FAILURE_TARGET):
        held = conditions.find(job, type)
        if held is not None and held["status"] == "True":
            return End(type, held.get("reason", ""), held.get("message", ""))
    for pod in look.pods if spec.get("podFailurePolicy") else ():
        message = job_pods.is_failed(pod, job) and job_pods.judge(job, pod).message
        if message:
            return End(FAILURE_TARGET, "PodFailurePolicy", message)
    if look.failed > spec["backoffLimit"] or _restarted_too_often(look):
        text = "Job has reached the specified backoff limit"
        return End(FAILURE_TARGET, "BackoffLimitExceeded", text)
    left = time_left(look)
    if left is not None and left <= 0:
        text = "Job was active longer than specified deadline"
        return End(FAILURE_TARGET, "DeadlineExceeded", text)
    return _end_of_indexes(look)


def _end_of_indexes(look: Look) -> End | None:
    if look.given_up is not None:
        lost, most = indexes.total(look.given_up), look.spec.get("maxFailedIndexes")
        if most is not None and lost > most:
            text = "Job has exceeded the specified maximal number of failed indexes"
            return End(FAILURE_TARGET, "MaxFailedIndexesExceeded", text)
        if lost and lost + indexes.total(look.done) >= (look.completions or 0):
            return End(FAILURE_TARGET, "FailedIndexes", "Job has failed indexes")
    if job_pods.is_indexed(look.job) and (met := job_pods.success(look.job, look.done)):
        return End(CRITERIA_MET, "SuccessPolicy", met)
    return None


def _restarted_too_often(look: Look) -> bool:
    if look.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        container.get("restartCount", 0)
        for pod in look.pods
        if job_pods.phase(pod) in ("Running", "Pending")
        for part in ("initContainerStatuses", "containerStatuses")
        for container in (pod.get("status") or {}).get(part) or ()
    )
    return bool(restarts and restarts >= look.spec["backoffLimit"])


def time_left(look: Look) -> float | None:
    """Seconds until the deadline of an active Job; None where it has none."""
    deadline = look.spec.get("activeDeadlineSeconds")
    started = (look.job.get("status") or {}).get("startTime")
    if deadline is None or started is None or job_pods.suspended(look.job):
        return None
    return times.parse(started) + float(deadline) - look.now


def is_complete(look: Look) -> bool:
    if look.completions is None:
        return look.succeeded > 0 and not look.active
    return look.succeeded >= look.completions and not look.active


REACHED = End(CRITERIA_MET, "CompletionsReached", "Reached expected number of succeeded pods")


# ---------------------------------------------------------------- Pods


class Changes(NamedTuple):
    delete: list[Object]
    create: list[int]  # the index of each Pod to be made; -1 for none
    wait: float | None = None  # seconds until Pods may be made again


def plan_pods(look: Look) -> Changes:
    """Pods are made or taken away, never both in one look."""
    running = look.running()
    if job_pods.suspended(look.job):
        return Changes(running[:AT_ONCE], [])
    wanted = _wanted(look)
    surplus = _surplus(look, running, max(len(running) - wanted, 0))
    if surplus:
        return Changes(surplus[:AT_ONCE], [])
    held = look.terminating if job_pods.only_failed_are_replaced(look.job) else 0
    count = min(wanted - held - len(running), AT_ONCE)
    if count <= 0:
        return Changes([], [])
    if not job_pods.per_index(look.job):
        wait = job_pods.wait_of_job(look.job, look.pods, look.gone, look.now)
        if wait > 0:
            return Changes([], [], wait)
    if not job_pods.is_indexed(look.job):
        return Changes([], [-1] * count)
    return _pending(look, running, count)


def _wanted(look: Look) -> int:
    parallelism = int(look.spec["parallelism"])
    if look.completions is None:
        return look.active if look.succeeded else parallelism
    return max(min(look.completions - look.succeeded, parallelism), 0)


def _pending(look: Look, running: list[Object], count: int) -> Changes:
    """The first indexes that nobody works on, and whose back-off is over."""
    taken = [index_of(pod) for pod in running]
    if job_pods.only_failed_are_replaced(look.job):
        taken += [index_of(pod) for pod in look.pods if job_pods.is_terminating(pod)]
    settled = indexes.merge(look.done, look.given_up or (), indexes.of(n for n in taken if n >= 0))
    first = list(islice(indexes.missing(settled, look.completions or 0), count))
    waits = {n: job_pods.wait_of_index(look.last_failed.get(n), look.now) for n in first}
    ready = [n for n in first if not waits[n]]
    return Changes([], ready, None if ready or not waits else min(waits.values()))


def _surplus(look: Look, running: list[Object], least: int) -> list[Object]:
    """Doubles and Pods with a wrong index, then those that are least far."""
    surplus: list[Object] = []
    left = running
    if job_pods.is_indexed(look.job):
        left = []
        for index, pods in groupby(sorted(running, key=index_of), key=index_of):
            ranked = sorted(pods, key=lambda pod: _rank(pod, look.now))
            keep = 1 if 0 <= index < (look.completions or 0) else 0
            surplus += ranked[: len(ranked) - keep]
            left += ranked[len(ranked) - keep :]
    more = max(least - len(surplus), 0)
    return surplus + sorted(left, key=lambda pod: _rank(pod, look.now))[:more]


def _rank(pod: Object, now: float) -> tuple[Any, ...]:
    return deletion_rank(facts_of(pod), 0, now)


# ---------------------------------------------------------------- status


class Tracking(NamedTuple):
    status: Object  # to be written before any finalizer is taken
    settled: list[Object]  # Pods whose finalizer goes
    end: End | None  # Complete or Failed, once all is counted
    whole: bool  # all Pods were looked at


def plan_tracking(look: Look, status: Object, end: End | None) -> Tracking:
    """`status` has all but the counts of Pods that ended."""
    uncounted = uncounted_in(status)
    standing = {pod["metadata"]["uid"] for pod in look.pods if job_pods.tracked(pod)}
    status = count(status, uncounted, standing)
    new: list[int] = []
    settled: list[Object] = []
    whole = True
    for pod in look.pods:
        if not job_pods.tracked(pod) or not _may_go(look, pod, end):
            continue
        settled.append(pod)
        _enter(look, pod, end, uncounted, new)
        if len(new) + sum(map(len, uncounted.values())) >= AT_ONCE:
            whole = False
            break
    status["uncountedTerminatedPods"] = {name: uids for name, uids in uncounted.items() if uids}
    if job_pods.is_indexed(look.job):
        done = indexes.merge(look.done_before, indexes.of(new))
        status["succeeded"] = indexes.total(done)
        status["completedIndexes"] = indexes.text(done)
        if look.given_up is not None:
            status["failedIndexes"] = indexes.text(look.given_up)
    held = status.get("conditions") or []
    if end is not None and conditions.among(held, end.type) is None:
        status["conditions"] = [*held, condition(end, look.now)]
    if end is not None:
        end = end._replace(type=FAILED if end.failed else COMPLETE)
    return Tracking(status, settled, end, whole)


def _may_go(look: Look, pod: Object, end: End | None) -> bool:
    if look.job["metadata"].get("deletionTimestamp") or end is not None:
        return True
    if job_pods.phase(pod) == "Succeeded":
        return True
    if not job_pods.is_failed(pod, look.job):
        return False
    waiting = look.last_failed.get(index_of(pod))
    return waiting is None or waiting["metadata"]["uid"] != pod["metadata"]["uid"]


def _enter(
    look: Look, pod: Object, end: End | None, uncounted: dict[str, list[str]], new: list[int]
) -> None:
    uid, index = pod["metadata"]["uid"], index_of(pod)
    failed = job_pods.is_failed(pod, look.job)
    if job_pods.phase(pod) == "Succeeded" and uid not in uncounted["failed"]:
        if not job_pods.is_indexed(look.job):
            if uid not in uncounted["succeeded"]:
                uncounted["succeeded"].append(uid)
        elif look.valid(pod) and not indexes.has(look.done_before, index):
            new.append(index)
    elif failed or (end is not None and end.failed):
        counts = not look.spec.get("podFailurePolicy") or job_pods.judge(look.job, pod).counts
        if uid not in uncounted["failed"] and look.valid(pod) and counts:
            uncounted["failed"].append(uid)


def count(status: Object, uncounted: dict[str, list[str]], standing: Iterable[str]) -> Object:
    """Those in `uncounted` that have no finalizer any more are counted; `uncounted` in place."""
    status, standing = dict(status), set(standing)
    for name, uids in uncounted.items():
        left = [uid for uid in uids if uid in standing]
        if len(left) < len(uids):
            status[name] = status.get(name, 0) + len(uids) - len(left)
        uncounted[name] = left
    status["uncountedTerminatedPods"] = {name: uids for name, uids in uncounted.items() if uids}
    return status


def plan_finish(status: Object, tracking: Tracking, terminating: int, now: float) -> Object:
    """The last condition, when everything is counted and no Pod is on its way out."""
    if tracking.end is None or not tracking.whole or terminating:
        return status
    if status["uncountedTerminatedPods"]:
        return status
    status = {**status, "conditions": [*status["conditions"], condition(tracking.end, now)]}
    if tracking.end.type == COMPLETE:
        status["completionTime"] = times.text(now)
    return status


def condition(end: End, now: float) -> Object:
    moment = times.text(now)
    when = {"lastProbeTime": moment, "lastTransitionTime": moment}
    return {**end._asdict(), "status": "True", **when}


def plan_suspension(look: Look, status: Object) -> tuple[Object, str]:
    """The status with the Suspended condition, and the reason of the event to be told, or ""."""
    held = status.get("conditions") or []
    old = conditions.among(held, "Suspended")
    wanted = "True" if job_pods.suspended(look.job) else "False"
    if (old or {"status": "False"})["status"] == wanted:
        return status, ""
    word = "suspended" if wanted == "True" else "resumed"
    new = condition(End("Suspended", f"Job{word.capitalize()}", f"Job {word}"), look.now)
    new["status"] = wanted
    replaced = [new if one["type"] == "Suspended" else one for one in held]
    status = {**status, "conditions": replaced if old else [*held, new]}
    if wanted == "True":
        status.pop("startTime", None)
    else:
        status["startTime"] = times.text(look.now)
    return status, word.capitalize()


def tidy(status: Object) -> Object:
    """As it is written: no zeros but those of `ready` and `terminating`."""
    kept = ("ready", "terminating", "uncountedTerminatedPods", "failedIndexes")
    return {name: value for name, value in status.items() if value or name in kept}
