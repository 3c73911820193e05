"""Rules of the kinds that hold a pod template."""

from __future__ import annotations

from collections.abc import Sequence

from jindou.control.api.rules import pods
from jindou.control.api.rules.names import invalid, required, unsupported
from jindou.objects import selectors
from jindou.objects.errors import CloudError, Fault
from jindou.objects.kinds import Object


def counted(spec: Object, *fields: str) -> list[Fault]:
    return [
        invalid(f"spec.{name}", spec[name], "must be greater than or equal to 0")
        for name in fields
        if isinstance(spec.get(name), int) and spec[name] < 0
    ]


def selected(spec: Object) -> list[Fault]:
    """The selector has to be there, be right, and match the template's labels."""
    held = spec.get("selector")
    if held is None:
        return [required("spec.selector")]
    if not held.get("matchLabels") and not held.get("matchExpressions"):
        return [invalid("spec.selector", held, "empty selector is invalid for deployment")]
    found: list[Fault] = []
    for n, expression in enumerate(held.get("matchExpressions") or ()):
        if expression.get("operator") not in selectors.OPERATORS:
            found.append(
                unsupported(
                    f"spec.selector.matchExpressions[{n}].operator",
                    expression.get("operator", ""),
                    ("In", "NotIn", "Exists", "DoesNotExist"),
                )
            )
    if found:
        return found
    try:
        selector = selectors.from_object(held)
    except (CloudError, KeyError):
        return [invalid("spec.selector", held, "invalid label selector")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if selector is not None and not selector.matches(labels):
        found.append(
            invalid(
                "spec.template.metadata.labels",
                labels,
                "`selector` does not match template `labels`",
            )
        )
    return found


def restart_policy(
    spec: Object, allowed: Sequence[str], at: str = "spec.template.spec"
) -> list[Fault]:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "Always")
    return [] if policy in allowed else [unsupported(f"{at}.restartPolicy", policy, allowed)]


def replica_set(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    return [
        *counted(spec, "replicas", "minReadySeconds"), *selected(spec), *pods.template(spec.get("template"), "spec.template"),
        *restart_policy(spec, ("Always",)),
    ]  # fmt: skip


def deployment(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    found = [*replica_set(obj), *counted(spec, "revisionHistoryLimit")]
    strategy = spec.get("strategy") or {}
    kind = strategy.get("type", "RollingUpdate")
    if kind not in ("Recreate", "RollingUpdate"):
        found.append(unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate")))
    if kind == "Recreate" and strategy.get("rollingUpdate") is not None:
        found.append(
            Fault(
                "FieldValueForbidden",
                "Forbidden: may not be specified when strategy `type` is 'Recreate'",
                "spec.strategy.rollingUpdate",
            )
        )
    rolling = strategy.get("rollingUpdate") or {}
    if kind == "RollingUpdate":
        for name in ("maxUnavailable", "maxSurge"):
            found += amount(rolling.get(name), f"spec.strategy.rollingUpdate.{name}")
        if str(rolling.get("maxUnavailable", "25%")) in ("0", "0%") and str(
            rolling.get("maxSurge", "25%")
        ) in ("0", "0%"):
            found.append(
                invalid(
                    "spec.strategy.rollingUpdate.maxUnavailable",
                    rolling.get("maxUnavailable"),
                    "may not be 0 when `maxSurge` is 0",
                )
            )
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        found.append(
            invalid(
                "spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"
            )
        )
    return found


def amount(value: object, at: str) -> list[Fault]:
    if isinstance(value, int):
        return [] if value >= 0 else [invalid(at, value, "must be greater than or equal to 0")]
    if isinstance(value, str) and not (value.endswith("%") and value[:-1].isdigit()):
        return [
            invalid(
                at,
                value,
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            )
        ]
    return []


def stateful_set(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    found = replica_set(obj)
    if spec.get("podManagementPolicy", "OrderedReady") not in ("OrderedReady", "Parallel"):
        found.append(
            unsupported(
                "spec.podManagementPolicy",
                spec["podManagementPolicy"],
                ("OrderedReady", "Parallel"),
            )
        )
    return found


def daemon_set(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    return [
        *selected(spec),
        *pods.template(spec.get("template"), "spec.template"),
        *restart_policy(spec, ("Always",)),
    ]


def job(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    found = counted(
        spec,
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    )
    found += pods.template(spec.get("template"), "spec.template")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        found.append(
            unsupported("spec.template.spec.restartPolicy", policy or "", ("Never", "OnFailure"))
            if policy != "Always"
            else Fault(
                "FieldValueRequired",
                'Required value: valid values: "OnFailure", "Never"',
                "spec.template.spec.restartPolicy",
            )
        )
    return found


def cron_job(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    schedule = spec.get("schedule") or ""
    found = [] if schedule else [required("spec.schedule")]
    words = schedule.split()
    if words and not schedule.startswith("@") and len(words) != 5:
        says = f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]"
        found.append(invalid("spec.schedule", schedule, says))
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    found += pods.template(inner.get("template"), "spec.jobTemplate.spec.template")
    if spec.get("concurrencyPolicy", "Allow") not in ("Allow", "Forbid", "Replace"):
        found.append(
            unsupported(
                "spec.concurrencyPolicy", spec["concurrencyPolicy"], ("Allow", "Forbid", "Replace")
            )
        )
    return found
