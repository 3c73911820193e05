"""Rules of Jobs and CronJobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jindou.control.api.resources.schema import copy
from jindou.control.api.rules.names import (
    duplicate,
    invalid,
    label,
    required,
    too_long,
    unsupported,
)
from jindou.control.api.rules.pods import specs as pods
from jindou.control.api.rules.workloads.templates import counted, selected
from jindou.objects import schedules, selectors
from jindou.objects.errors import CloudError, Fault
from jindou.objects.kinds import Object

ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
MOST_AT_ONCE = 100_000
INDEXED_ONLY = "requires indexed completion mode"


def job(obj: Object) -> list[Fault]:
    meta, spec = obj["metadata"], obj.get("spec") or {}
    found = [*_generated(obj), *job_spec(spec, "spec"), *selected(spec, "job")]
    completions = spec.get("completions") or 0
    if spec.get("completionMode") == "Indexed" and completions > 0:
        host = f"{meta.get('name', '')}-{completions - 1}"
        if label(host):
            says = f"will not able to create pod with invalid DNS label: {host}"
            found.append(invalid("metadata.name", meta.get("name", ""), says))
    return found


def _generated(obj: Object) -> Iterator[Fault]:
    """A generated selector has to find the labels that were generated with it."""
    spec, meta = obj.get("spec") or {}, obj["metadata"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    wanted: dict[str, str] = {}
    for prefix in ("", "batch.kubernetes.io/"):
        wanted |= {
            f"{prefix}controller-uid": meta["uid"],
            f"{prefix}job-name": meta.get("name", ""),
        }
    for name, value in wanted.items():
        at = "spec.template.metadata.labels"
        if name not in labels:
            yield required(at, f"must be '{value}'")
        elif labels[name] != value:
            yield invalid(at, labels, f"must be '{value}'")
    try:
        selector = selectors.from_object(spec["selector"])
    except (CloudError, KeyError):
        return  # told by another rule
    if selector is None or not selector.matches(wanted):
        yield invalid("spec.selector", spec["selector"], "`selector` not auto-generated")


def job_spec(spec: Object, at: str) -> list[Fault]:
    found = counted(spec, *COUNTS, at=at)
    indexed = spec.get("completionMode") == "Indexed"
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        found.append(required(f"{at}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("completionMode", "NonIndexed") not in ("NonIndexed", "Indexed"):
        known = ("NonIndexed", "Indexed")
        place = f"{at}.completionMode"
        found.append(unsupported(place, spec["completionMode"], known, ordered=False))
    found += _indexed(spec, at) if indexed else _plain(spec, at)
    if len(spec.get("managedBy") or "") > 63:
        found.append(too_long(f"{at}.managedBy", 63))
    found += _failure_policy(spec, at)
    if indexed and spec.get("successPolicy") is not None:
        found += _success_policy(spec, f"{at}.successPolicy")
    replacement = spec.get("podReplacementPolicy")
    policies = ["Failed"] if spec.get("podFailurePolicy") else ["Failed", "TerminatingOrFailed"]
    if replacement is not None and replacement not in policies:
        found.append(unsupported(f"{at}.podReplacementPolicy", replacement, policies))
    found += pods.template(spec.get("template"), f"{at}.template")
    return [*found, *_restart_policy(spec, f"{at}.template.spec.restartPolicy")]


def _restart_policy(spec: Object, at: str) -> Iterator[Fault]:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "Always")
    if policy == "Always":
        yield required(at, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield unsupported(at, policy, ("OnFailure", "Never"), ordered=False)
    elif spec.get("podFailurePolicy") and policy != "Never":
        says = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid(at, policy, says)


def _plain(spec: Object, at: str) -> Iterator[Fault]:
    for name in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
        if spec.get(name) is not None:
            yield invalid(f"{at}.{name}", spec[name], INDEXED_ONLY)


def _indexed(spec: Object, at: str) -> Iterator[Fault]:
    completions, lost = spec.get("completions"), spec.get("maxFailedIndexes")
    if completions is None:
        yield required(f"{at}.completions", "when completion mode is Indexed")
    if (spec.get("parallelism") or 0) > MOST_AT_ONCE:
        says = f"must be less than or equal to {MOST_AT_ONCE} when completion mode is Indexed"
        yield invalid(f"{at}.parallelism", spec["parallelism"], says)
    if completions is not None and lost is not None and lost > completions:
        yield invalid(f"{at}.maxFailedIndexes", lost, "must be less than or equal to completions")
    if lost is not None and lost > MOST_AT_ONCE:
        yield invalid(
            f"{at}.maxFailedIndexes", lost, f"must be less than or equal to {MOST_AT_ONCE}"
        )


def _failure_policy(spec: Object, at: str) -> Iterator[Fault]:
    rules = (spec.get("podFailurePolicy") or {}).get("rules") or ()
    held = (spec.get("template") or {}).get("spec") or {}
    names = {
        one.get("name") for part in ("containers", "initContainers") for one in held.get(part) or ()
    }
    for n, rule in enumerate(rules):
        place = f"{at}.podFailurePolicy.rules[{n}]"
        action = rule.get("action") or ""
        if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            says = "requires the backoffLimitPerIndex to be set"
            yield invalid(f"{place}.action", action, says)
        elif not action:
            listed = " ".join(f'"{one}"' for one in ACTIONS)
            yield required(f"{place}.action", f"valid values: [{listed}]")
        elif action not in ACTIONS:
            yield unsupported(f"{place}.action", action, ACTIONS)
        codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None:
            yield from _exit_codes(codes, f"{place}.onExitCodes", names)
        if bool(codes is not None) == bool(patterns):
            word = "both" if patterns else "one of"
            verb = "is not supported" if patterns else "is required"
            says = f"Invalid value: specifying {word} OnExitCodes and OnPodConditions {verb}"
            yield Fault("FieldValueInvalid", says, place)


def _exit_codes(wish: Object, at: str, names: set[Any]) -> Iterator[Fault]:
    operator, values = wish.get("operator") or "", wish.get("values") or []
    if operator not in ("In", "NotIn"):
        yield unsupported(f"{at}.operator", operator, ("In", "NotIn"))
    if wish.get("containerName") is not None and wish["containerName"] not in names:
        says = "must be one of the container or initContainer names in the pod template"
        yield invalid(f"{at}.containerName", wish["containerName"], says)
    if not values:
        yield invalid(f"{at}.values", values, "at least one value is required")
    for n, value in enumerate(values):
        if operator == "In" and value == 0:
            yield invalid(f"{at}.values[{n}]", value, "must not be 0 for the In operator")
        if value in values[:n]:
            yield duplicate(f"{at}.values[{n}]", value)
    if values != sorted(values):
        yield invalid(f"{at}.values", values, "must be ordered")


def _success_policy(spec: Object, at: str) -> Iterator[Fault]:
    rules, completions = spec["successPolicy"].get("rules") or (), spec.get("completions") or 0
    if not rules:
        says = "at least one rules must be specified when the successPolicy is specified"
        yield required(f"{at}.rules", says)
    for n, rule in enumerate(rules):
        count = rule.get("succeededCount")
        if count is None and rule.get("succeededIndexes") is None:
            says = "at least one of succeededCount or succeededIndexes must be specified"
            yield required(f"{at}.rules[{n}]", says)
        if count is not None and count > completions:
            says = (
                f"must be less than or equal to {completions} (the number of specified completions)"
            )
            yield invalid(f"{at}.rules[{n}].succeededCount", count, says)


# ---------------------------------------------------------------- changes

IMMUTABLE = (
    "selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy",
    "successPolicy",
)  # fmt: skip
WHILE_SUSPENDED = ("nodeSelector", "tolerations", "schedulingGates")


def job_update(obj: Object, old: Object) -> list[Fault]:
    """Where and with how much its Pods run may change while it is suspended and has none."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    found = []
    if spec.get("completions") != before.get("completions") and not _elastic(spec, before):
        found.append(invalid("spec.completions", spec.get("completions"), "field is immutable"))
    for name in IMMUTABLE:
        was = before.get(name)
        if name == "template" and _is_at_rest(old):
            was = _as_it_may_be(spec.get("template") or {}, was or {})
        if spec.get(name) != was:
            found.append(invalid(f"spec.{name}", spec.get(name), "field is immutable"))
    return found


def _elastic(spec: Object, before: Object) -> bool:
    """Completions of an Indexed Job go together with its parallelism."""
    return (
        spec.get("completionMode") == "Indexed"
        and before.get("completions") is not None
        and spec.get("completions") is not None
        and spec.get("completions") == spec.get("parallelism")
    )


def _is_at_rest(job: Object) -> bool:
    status = job.get("status") or {}
    told = any(
        (one.get("type"), one.get("status")) == ("Suspended", "True")
        for one in status.get("conditions") or ()
    )
    at_rest = "startTime" not in status or told
    return bool((job.get("spec") or {}).get("suspend") and at_rest and not status.get("active"))


def _as_it_may_be(template: Object, before: Object) -> Object:
    """The template of before, with what may differ taken from that of now."""
    found: Object = copy(before)
    meta, spec = found.setdefault("metadata", {}), found.setdefault("spec", {})
    now = template.get("spec") or {}
    for name in ("labels", "annotations"):
        _take(meta, template.get("metadata") or {}, name)
    for name in WHILE_SUSPENDED:
        _take(spec, now, name)
    affinity = dict(spec.get("affinity") or {})
    _take(affinity, now.get("affinity") or {}, "nodeAffinity")
    if affinity or "affinity" in now:
        spec["affinity"] = affinity
    else:
        spec.pop("affinity", None)
    for part in ("containers", "initContainers"):
        for held, one in zip(spec.get(part) or (), now.get(part) or (), strict=False):
            if held.get("name") == one.get("name"):
                _take(held, one, "resources")
    return found


def _take(held: Object, other: Object, name: str) -> None:
    if name in other:
        held[name] = other[name]
    else:
        held.pop(name, None)


# ---------------------------------------------------------------- CronJobs


def cron_job(obj: Object) -> list[Fault]:
    meta, spec = obj["metadata"], obj.get("spec") or {}
    found = [*_schedule(spec), *counted(spec, "startingDeadlineSeconds"), *_zone(spec)]
    if spec.get("concurrencyPolicy", "Allow") not in ("Allow", "Forbid", "Replace"):
        known = ("Allow", "Forbid", "Replace")
        found.append(unsupported("spec.concurrencyPolicy", spec["concurrencyPolicy"], known))
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    found += job_spec(inner, "spec.jobTemplate.spec")
    if inner.get("manualSelector"):
        at = "spec.jobTemplate.spec.manualSelector"
        found.append(unsupported(at, "true", ("nil", "false")))
    found += counted(spec, "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    if not spec.get("schedule"):
        found.append(required("spec.schedule"))
    if len(meta.get("name", "")) > 52:
        found.append(invalid("metadata.name", meta["name"], "must be no more than 52 characters"))
    return found


def _schedule(spec: Object) -> Iterator[Fault]:
    text = spec.get("schedule")
    if not text:
        return
    if "TZ" in text:
        says = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield invalid("spec.schedule", text, says)
    else:
        try:
            schedules.parse(text)
        except schedules.Unclear as error:
            yield invalid("spec.schedule", text, str(error))


def _zone(spec: Object) -> Iterator[Fault]:
    zone = spec.get("timeZone")
    if zone is None:
        return
    if not zone:
        yield invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")
        return
    if zone.lower() == "local":
        yield invalid("spec.timeZone", zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")  # fmt: skip
    try:
        schedules.zone_of(zone)
    except schedules.Unclear as error:
        yield invalid("spec.timeZone", zone, str(error))
