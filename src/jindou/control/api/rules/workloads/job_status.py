"""What the status of a Job may become: a Job that has ended stays ended, and its counts make sense.

A field that breaks a rule may stay as it was: only what a write changes is judged, for a controller
mends a status step by step. Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#managedby
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jindou.control.api.rules.names import duplicate, invalid, quoted, required
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

AT = "status"
CONDITIONS = f"{AT}.conditions"
COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
LASTING = ("Failed", "Complete", "FailureTarget")
NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


class Seen(NamedTuple):
    """One state of a Job."""

    status: Mapping[str, Any]
    true: frozenset[str]  # conditions

    @classmethod
    def of(cls, job: Object) -> Seen:
        status = job.get("status") or {}
        held = status.get("conditions") or ()
        return cls(status, frozenset(c.get("type") for c in held if c.get("status") == "True"))

    @property
    def finished(self) -> bool:
        return bool(self.true & {"Complete", "Failed"})

    def count(self, name: str) -> int:
        return int(self.status.get(name) or 0)

    @property
    def uncounted(self) -> Mapping[str, Sequence[str]]:
        return self.status.get("uncountedTerminatedPods") or {}


def faults(job: Object, before: Object) -> list[Fault]:
    new, old, spec = Seen.of(job), Seen.of(before), job.get("spec") or {}
    return [
        *_values(new),
        *_ends(new, old),
        *_finished(new, old, spec),
        *_indexes(new, old, spec),
        *_together(new, old, spec),
        *_changes(new, old, spec),
    ]


def _no(says: str, field: str = CONDITIONS) -> Fault:
    return Fault("FieldValueInvalid", f"Invalid value: {says}", field)


def _values(new: Seen) -> Iterator[Fault]:
    for name in COUNTS:
        if (value := new.count(name)) < 0:
            yield invalid(f"{AT}.{name}", value, "must be greater than or equal to 0")
    seen: set[str] = set()
    for part in ("succeeded", "failed"):
        for n, uid in enumerate(new.uncounted.get(part) or ()):
            at = f"{AT}.uncountedTerminatedPods.{part}[{n}]"
            if not uid:
                yield invalid(at, uid, "must not be empty")
            elif uid in seen:
                yield duplicate(at, uid)
            seen.add(uid)


def _ends(new: Seen, old: Seen) -> Iterator[Fault]:
    """How an end is told, and when."""
    changed = new.true ^ old.true
    ended, began = new.status.get("completionTime"), new.status.get("startTime")
    ended_anew = ended != old.status.get("completionTime")
    complete = "Complete" in new.true
    if complete and "Failed" in new.true and changed & {"Complete", "Failed"}:
        yield _no("cannot set Complete=True and Failed=true conditions")
    if complete and "FailureTarget" in new.true and changed & {"Complete", "FailureTarget"}:
        yield _no("cannot set Complete=True and FailureTarget=true conditions")
    if ended_anew or "Complete" in changed:
        if ended and not complete:
            says = "cannot set completionTime when there is no Complete=True condition"
            yield invalid(f"{AT}.completionTime", ended, says)
        if complete and not ended:
            yield required(f"{AT}.completionTime", "completionTime is required for Complete jobs")
    began_anew = began != old.status.get("startTime")
    if ended and began and ended < began and (ended_anew or began_anew):
        yield invalid(f"{AT}.completionTime", ended, "must be equal to or after `startTime`")
    failed_indexes = new.status.get("failedIndexes") != old.status.get("failedIndexes")
    if "Failed" in new.true and "FailureTarget" not in new.true:  # noqa: SIM102
        if "Failed" in changed or failed_indexes:
            yield _no("cannot set Failed=True condition without the FailureTarget=true condition")
    if complete and "SuccessCriteriaMet" not in new.true:  # noqa: SIM102
        if changed & {"Complete", "SuccessCriteriaMet"}:
            yield _no(
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
            )


def _finished(new: Seen, old: Seen, spec: Object) -> Iterator[Fault]:
    """Of a Job that has ended, nothing is left."""
    if not new.finished:
        return
    anew = not old.finished

    def told(name: str) -> bool:
        return anew or new.status.get(name) != old.status.get(name)

    if new.count("active") > 0 and (anew or new.count("active") != old.count("active")):
        says = "active>0 is invalid for finished job"
        yield invalid(f"{AT}.active", new.count("active"), says)
    never_ran = spec.get("suspend") is True and spec.get("completions") == 0
    if not new.status.get("startTime") and told("startTime") and not never_ran:
        yield required(f"{AT}.startTime", "startTime is required for finished job")
    held = new.uncounted
    if (held.get("failed") or held.get("succeeded")) and told("uncountedTerminatedPods"):
        shown = {"Succeeded": held.get("succeeded"), "Failed": held.get("failed")}
        yield invalid(f"{AT}.uncountedTerminatedPods", shown, "must be empty for finished job")


def _indexes(new: Seen, old: Seen, spec: Object) -> Iterator[Fault]:
    done, failed = new.status.get("completedIndexes") or "", new.status.get("failedIndexes")
    done_anew = done != (old.status.get("completedIndexes") or "")
    failed_anew = failed != old.status.get("failedIndexes")
    most, limit = spec.get("completions"), spec.get("backoffLimitPerIndex")
    if done_anew and most is not None and (wrong := misformed(done, most)):
        yield invalid(f"{AT}.completedIndexes", done, f"error parsing completedIndexes: {wrong}")
    if failed_anew and most is not None and limit is not None and failed is not None:  # noqa: SIM102
        if wrong := misformed(failed, most):
            yield invalid(f"{AT}.failedIndexes", failed, f"error parsing failedIndexes: {wrong}")
    if done_anew and done and spec.get("completionMode", "NonIndexed") != "Indexed":
        says = "cannot set non-empty completedIndexes when non-indexed completion mode"
        yield invalid(f"{AT}.completedIndexes", done, says)
    if failed_anew and limit is None and failed is not None:
        says = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        yield invalid(f"{AT}.failedIndexes", failed, says)
    if (failed_anew or done_anew) and most is not None and failed and done:
        both = overlap(intervals(done, most), intervals(failed, most))
        if both is not None:
            says = f"failedIndexes and completedIndexes overlap at index: {both}"
            yield invalid(f"{AT}.failedIndexes", failed, says)


def _together(new: Seen, old: Seen, spec: Object) -> Iterator[Fault]:
    left = new.count("terminating")
    if left > 0 and new.finished and (not old.finished or left != old.count("terminating")):
        yield invalid(f"{AT}.terminating", left, "terminating>0 is invalid for finished job")
    ready, active = new.count("ready"), new.count("active")
    told = new.status.get("ready") is not None
    if told and ready > active and (ready, active) != (old.count("ready"), old.count("active")):
        yield invalid(f"{AT}.ready", ready, "cannot set more ready pods than active")
    met = "SuccessCriteriaMet" in new.true
    if met and "Failed" in new.true:
        yield _no("cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if met and "FailureTarget" in new.true:
        yield _no("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if spec.get("successPolicy") is not None and not met and "Complete" in new.true:
        yield _no(
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        )


def _changes(new: Seen, old: Seen, spec: Object) -> Iterator[Fault]:
    """What is never taken back."""
    for kind in LASTING:
        if kind in old.true - new.true:
            yield _no(f"cannot disable the terminal {kind}=True condition")
    elastic = spec.get("completionMode") == "Indexed" and (
        spec.get("completions") == spec.get("parallelism")
    )
    for name, free in (("failed", False), ("succeeded", elastic)):
        if new.count(name) < old.count(name) and not free:
            says = f"cannot decrease the {name} counter"
            yield invalid(f"{AT}.{name}", new.count(name), says)
    ended, before = new.status.get("completionTime"), old.status.get("completionTime")
    if ended and before and ended != before:
        yield invalid(f"{AT}.completionTime", ended, "field is immutable")
    began, before = new.status.get("startTime"), old.status.get("startTime")
    resumed = "Suspended" in old.true and any(
        c.get("type") == "Suspended" and c.get("status") == "False"
        for c in new.status.get("conditions") or ()
    )
    if before and began != before and not spec.get("suspend") and not resumed:
        says = "field is immutable for unsuspended job once set"
        yield invalid(f"{AT}.startTime", began, says)
    if "SuccessCriteriaMet" in old.true - new.true:
        yield _no("cannot disable the SuccessCriteriaMet=True condition")
    if "Complete" in old.true and "SuccessCriteriaMet" in new.true - old.true:
        yield _no("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")


# ---------------------------------------------------------------- indexes


class Misformed(ValueError):
    pass


def interval(text: str, most: int) -> tuple[int, int]:
    """Of "3" or "3-5". Raises Misformed."""
    ends = text.split("-")
    if len(ends) > 2:
        raise Misformed(
            f"the fragment {quoted(text)} violates the requirement that an index interval can have at most two parts separated by '-'"
        )
    found = []
    for end in ends:
        if not NUMBER.fullmatch(end):
            raise Misformed(f"cannot convert string to integer for index: {quoted(end)}")
        if int(end) >= most:
            raise Misformed(f"too large index: {quoted(end)}")
        found.append(int(end))
    if len(found) > 1 and found[0] >= found[1]:
        raise Misformed(_falling(*found))
    return found[0], found[-1]


def _falling(previous: int, current: int) -> str:
    return f"non-increasing order, previous: {previous}, current: {current}"


def misformed(text: str, most: int) -> str:
    """What is wrong with a list of indexes, "" where nothing is."""
    last = None
    try:
        for part in text.split(",") if text else ():
            first, end = interval(part, most)
            if last is not None and last >= first:
                return _falling(last, first)
            last = end
    except Misformed as error:
        return str(error)
    return ""


def intervals(text: str, most: int) -> list[tuple[int, int]]:
    """Those that can be read: of the others, the format tells."""
    found = []
    for part in text.split(","):
        try:
            found.append(interval(part, most))
        except Misformed:
            continue
    return found


def overlap(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> int | None:
    """The first index that is in both, going through both lists in their order."""
    a = b = 0
    while a < len(one) and b < len(other):
        (start, end), (from_, to) = one[a], other[b]
        if start <= to and from_ <= end:
            return max(start, from_)
        if start <= from_:
            a += 1
        else:
            b += 1
    return None
