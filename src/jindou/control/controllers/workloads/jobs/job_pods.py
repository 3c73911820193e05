"""What a Pod says to its Job: which index it worked on, whether it failed, when it ended, and what
the Job's rules make of that. Decisions only.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jindou.control.controllers.groundwork import conditions, times
from jindou.control.controllers.workloads.jobs import indexes
from jindou.objects.kinds import Object

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
FIRST_WAIT, LONGEST_WAIT = 10.0, 600.0


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def per_index(job: Object) -> bool:
    return is_indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def only_failed_are_replaced(job: Object) -> bool:
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or spec.get("podFailurePolicy") is not None


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def deleting(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_active(pod: Object) -> bool:
    return phase(pod) not in ("Succeeded", "Failed") and not deleting(pod)


def is_terminating(pod: Object) -> bool:
    return phase(pod) not in ("Succeeded", "Failed") and deleting(pod)


def is_failed(pod: Object, job: Object) -> bool:
    """One that is deleted before it ended has failed too, unless only real failures count."""
    if phase(pod) == "Failed":
        return True
    return not only_failed_are_replaced(job) and is_terminating(pod)


def tracked(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def _number(pod: Object, annotation: str, absent: int) -> int:
    value = (pod["metadata"].get("annotations") or {}).get(annotation, "")
    return int(value) if value.isdigit() else absent


def index_of(pod: Object) -> int:
    """-1: it has none."""
    return _number(pod, INDEX, -1)


def failures_of(pod: Object) -> int:
    """How often its index had failed before, as far as it counts."""
    return _number(pod, FAILURES, 0)


def all_failures_of(pod: Object) -> int:
    return failures_of(pod) + _number(pod, IGNORED_FAILURES, 0)


# ---------------------------------------------------------------- the policy of failures


class Verdict(NamedTuple):
    """`message`: why the whole Job fails; `action` is "" where no rule matches."""

    action: str
    message: str = ""

    @property
    def counts(self) -> bool:
        return self.action != "Ignore"


def judge(job: Object, pod: Object) -> Verdict:
    """The first rule that matches a failed Pod speaks."""
    meta = pod["metadata"]
    for n, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        action = rule["action"]
        if rule.get("onExitCodes"):
            container = _by_exit_code(pod, rule["onExitCodes"])
            if container is not None:
                code = container["state"]["terminated"]["exitCode"]
                text = f"Container {container['name']} for pod {meta['namespace']}/{meta['name']} failed with exit code {code} matching {action} rule at index {n}"
                return Verdict(action, text if action == "FailJob" else "")
        elif rule.get("onPodConditions"):
            type = _by_condition(pod, rule["onPodConditions"])
            if type:
                text = f"Pod {meta['namespace']}/{meta['name']} has condition {type} matching {action} rule at index {n}"
                return Verdict(action, text if action == "FailJob" else "")
    return Verdict("")


def _by_exit_code(pod: Object, wish: Mapping[str, Any]) -> Object | None:
    status = pod.get("status") or {}
    for part in ("containerStatuses", "initContainerStatuses"):
        for container in status.get(part) or ():
            code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
            if not code or wish.get("containerName", container["name"]) != container["name"]:
                continue
            if (code in (wish.get("values") or ())) == (wish["operator"] == "In"):
                found: Object = container
                return found
    return None


def _by_condition(pod: Object, patterns: Iterable[Mapping[str, Any]]) -> str:
    wanted = {(one["type"], one.get("status") or "True") for one in patterns}
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if (condition["type"], condition["status"]) in wanted:
            return str(condition["type"])
    return ""


def index_failed(job: Object, pod: Object) -> bool:
    """Has the index of this Pod failed for good?"""
    if not is_failed(pod, job):
        return False
    verdict = judge(job, pod)
    if verdict.action == "FailIndex":
        return True
    return verdict.counts and failures_of(pod) >= int(job["spec"]["backoffLimitPerIndex"])


def failure_annotations(job: Object, before: Object | None) -> dict[str, str]:
    """What the next Pod of an index says of those before it."""
    counted, ignored = 0, 0
    if before is not None:
        counts = judge(job, before).counts
        counted = failures_of(before) + counts
        ignored = all_failures_of(before) - failures_of(before) + (not counts)
    return {FAILURES: str(counted)} | ({IGNORED_FAILURES: str(ignored)} if ignored else {})


# ---------------------------------------------------------------- the policy of success


def success(job: Object, succeeded: indexes.Intervals) -> str:
    """Which rule of the success policy holds, in words; "" for none."""
    rules = (job["spec"].get("successPolicy") or {}).get("rules") or ()
    for n, rule in enumerate(rules if succeeded else ()):
        count = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            wanted = indexes.parse(rule["succeededIndexes"], int(job["spec"]["completions"]))
            reached = indexes.common(wanted, succeeded)
            met = wanted and (
                reached == indexes.total(wanted) or (count is not None and reached >= count)
            )
        else:
            met = count is not None and indexes.total(succeeded) >= count
        if met:
            return f"Matched rules at index {n}"
    return ""


# ---------------------------------------------------------------- back-off


def ended(pod: Object) -> float:
    """When it ended: its last container, or the moment that it was not ready or was deleted."""
    meta, status = pod["metadata"], pod.get("status") or {}
    finished = [
        ((container.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for container in status.get("containerStatuses") or ()
    ]
    if finished and all(finished):
        return max(times.parse(one) for one in finished)
    ready = conditions.find(pod, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return times.parse(ready["lastTransitionTime"])
    if meta.get("deletionTimestamp"):
        return times.parse(meta["deletionTimestamp"]) - (
            meta.get("deletionGracePeriodSeconds") or 0
        )
    return times.parse(meta.get("creationTimestamp"))


def wait_after(failures: int, last: float, now: float) -> float:
    """Seconds to wait after so many failures in a row, the last of which was then."""
    if not failures:
        return 0.0
    pause = min(FIRST_WAIT * 2.0 ** min(failures - 1, 30), LONGEST_WAIT)
    return max(last + pause - now, 0.0)


def failures_in(job: Object, pods: Sequence[Object]) -> dict[str, float]:
    """When the failed ones ended, by uid."""
    return {
        pod["metadata"]["uid"]: ended(pod)
        for pod in pods
        if is_failed(pod, job)
        and (phase(pod) == "Failed" or tracked(pod))  # else it was taken away, and did not fail
    }


def wait_of_job(
    job: Object, pods: Sequence[Object], gone: Mapping[str, float], now: float
) -> float:
    """By the failures since the last success, read off the Pods, which stay as long as the Job;
    `gone` has the ends of those that were deleted."""
    success = max((ended(pod) for pod in pods if phase(pod) == "Succeeded"), default=0.0)
    failed = [at for at in {**gone, **failures_in(job, pods)}.values() if at > success]
    return wait_after(len(failed), max(failed, default=0.0), now)


def wait_of_index(before: Object | None, now: float) -> float:
    if before is None:
        return 0.0
    return wait_after(all_failures_of(before) + 1, ended(before), now)
