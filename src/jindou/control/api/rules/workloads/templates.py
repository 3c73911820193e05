"""Rules of the kinds that hold a pod template."""

from __future__ import annotations

from collections.abc import Sequence

from jindou.control.api.rules.names import invalid, label, required, unsupported
from jindou.control.api.rules.placement import label_selector
from jindou.control.api.rules.pods import specs as pods
from jindou.control.api.rules.storage.claims import claim_spec
from jindou.objects import selectors
from jindou.objects.errors import CloudError, Fault
from jindou.objects.kinds import Object


def counted(spec: Object, *fields: str, at: str = "spec") -> list[Fault]:
    return [
        invalid(f"{at}.{name}", spec[name], "must be greater than or equal to 0")
        for name in fields
        if isinstance(spec.get(name), int) and spec[name] < 0
    ]


def selected(spec: Object, kind: str = "deployment") -> list[Fault]:
    """The selector has to be there, be right, and match the template's labels."""
    held = spec.get("selector")
    if held is None:
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
        says = "`selector` does not match template `labels`"
        unmatched = invalid("spec.template.metadata.labels", labels or None, says)
        return [required("spec.selector"), unmatched] if kind != "daemonset" else [unmatched]
    if kind != "job" and not held.get("matchLabels") and not held.get("matchExpressions"):
        return [invalid("spec.selector", held, f"empty selector is invalid for {kind}")]
    found = list(label_selector(held, "spec.selector"))
    if found:
        return [*found, invalid("spec.selector", held, "invalid label selector")]
    try:
        selector = selectors.from_object(held)
    except (CloudError, KeyError):
        return [invalid("spec.selector", held, "invalid label selector")]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if selector is not None and not selector.matches(labels):
        found.append(
            invalid(
                "spec.template.metadata.labels",
                labels or None,
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
    found = [
        *counted(spec, "replicas"), *selected(spec), *pods.template(spec.get("template"), "spec.template"),
        *restart_policy(spec, ("Always",)),
    ]  # fmt: skip
    strategy = spec.get("strategy") or {}
    kind = strategy.get("type", "RollingUpdate")
    if kind not in ("Recreate", "RollingUpdate"):
        shown = {"Type": kind, "RollingUpdate": strategy.get("rollingUpdate")}
        found.append(unsupported("spec.strategy", shown, ("Recreate", "RollingUpdate")))
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
        most = rolling.get("maxUnavailable")
        found += share(most, "spec.strategy.rollingUpdate.maxUnavailable")
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
    found += counted(spec, "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
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
    if isinstance(value, str) and not (
        value.endswith("%") and value[:-1].isascii() and value[:-1].isdigit()
    ):
        return [
            invalid(
                at,
                value,
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            )
        ]
    return []


def share(value: object, at: str) -> list[Fault]:
    """A percentage is at most the whole."""
    number = value[:-1] if isinstance(value, str) and value.endswith("%") else ""
    if not (number.isascii() and number.isdigit() and int(number) > 100):
        return []
    return [invalid(at, value, "must not be greater than 100%")]


def stateful_set(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    found = counted(spec, "replicas", "minReadySeconds")
    found += [*selected(spec, "statefulset"), *restart_policy(spec, ("Always",))]
    found += pods.template(_with_claims(spec), "spec.template")
    management = spec.get("podManagementPolicy", "OrderedReady")
    if management not in ("OrderedReady", "Parallel"):
        says = "must be 'OrderedReady' or 'Parallel'"
        found.append(invalid("spec.podManagementPolicy", management, says))
    strategy = spec.get("updateStrategy") or {}
    kind, rolling = strategy.get("type", "RollingUpdate"), strategy.get("rollingUpdate")
    if kind not in ("RollingUpdate", "OnDelete"):
        says, held = (
            "must be 'RollingUpdate' or 'OnDelete'",
            {"Type": kind, "RollingUpdate": rolling},
        )
        found.append(invalid("spec.updateStrategy", held, says))
    elif kind == "OnDelete" and rolling is not None:
        says = "only allowed for updateStrategy 'RollingUpdate'"
        found.append(invalid("spec.updateStrategy.rollingUpdate", rolling, says))
    found += counted(rolling or {}, "partition", at="spec.updateStrategy.rollingUpdate")
    most = (rolling or {}).get("maxUnavailable")
    place = "spec.updateStrategy.rollingUpdate.maxUnavailable"
    found += [invalid(place, most, "cannot be 0")] if most in (0, "0%") else amount(most, place)
    found += share(most, place)
    found += counted(spec.get("ordinals") or {}, "start", at="spec.ordinals")
    for name, policy in (spec.get("persistentVolumeClaimRetentionPolicy") or {}).items():
        if policy not in ("Retain", "Delete"):
            at = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            found.append(unsupported(at, policy, ("Retain", "Delete"), ordered=False))
    if spec.get("serviceName") and (wrong := label(spec["serviceName"])):
        found.append(invalid("spec.serviceName", spec["serviceName"], wrong))
    return found


def new_stateful_set(obj: Object) -> list[Fault]:
    """What is not judged again: claims can't change, and old revisions are kept as they are."""
    spec = obj.get("spec") or {}
    found = counted(spec, "revisionHistoryLimit")
    for n, held in enumerate(spec.get("volumeClaimTemplates") or ()):
        found += claim_spec(held.get("spec") or {}, f"spec.volumeClaimTemplates[{n}].spec")
    return found


def _with_claims(spec: Object) -> Object:
    """The template with the volumes that the claims will be."""
    template = spec.get("template") or {}
    claims = [c["metadata"].get("name", "") for c in spec.get("volumeClaimTemplates") or ()]
    if not claims:
        return template
    held = template.get("spec") or {}
    volumes = [
        {"name": n, "persistentVolumeClaim": {"claimName": n}} for n in dict.fromkeys(claims)
    ]
    volumes += [one for one in held.get("volumes") or () if one.get("name") not in claims]
    return {**template, "spec": {**held, "volumes": volumes}}


def daemon_set(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    return [
        *selected(spec, "daemonset"),
        *pods.template(spec.get("template"), "spec.template"),
        *restart_policy(spec, ("Always",)),
        *counted(spec, "minReadySeconds"),
        *_daemon_strategy(spec.get("updateStrategy") or {}),
        *counted(spec, "revisionHistoryLimit"),
    ]


def _daemon_strategy(strategy: Object) -> list[Fault]:
    at, kind = "spec.updateStrategy", strategy.get("type", "RollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        held = {"Type": kind, "RollingUpdate": strategy.get("rollingUpdate")}
        return [unsupported(at, held, ("RollingUpdate", "OnDelete"), ordered=False)]
    rolling = strategy.get("rollingUpdate") or {}
    away, surge = rolling.get("maxUnavailable", 1), rolling.get("maxSurge", 0)
    found = [
        *amount(away, f"{at}.rollingUpdate.maxUnavailable"),
        *share(away, f"{at}.rollingUpdate.maxUnavailable"),
        *amount(surge, f"{at}.rollingUpdate.maxSurge"),
        *share(surge, f"{at}.rollingUpdate.maxSurge"),
    ]
    nothing = (0, "0", "0%")
    if away not in nothing and surge not in nothing:
        says = "may not be set when maxUnavailable is non-zero"
        found.append(invalid(f"{at}.rollingUpdate.maxSurge", surge, says))
    elif away in nothing and surge in nothing:
        says = "cannot be 0 when maxSurge is 0"
        found.append(required(f"{at}.rollingUpdate.maxUnavailable", says))
    return found


def replication_controller(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    found = counted(spec, "replicas", "minReadySeconds")
    selector, template = spec.get("selector"), spec.get("template")
    if not selector:
        found.append(required("spec.selector"))
    if template is None:
        return [*found, required("spec.template")]
    labels = (template.get("metadata") or {}).get("labels")
    if selector and not selector.items() <= (labels or {}).items():
        says = "`selector` does not match template `labels`"
        found.append(invalid("spec.template.metadata.labels", labels, says))
    return [*found, *pods.template(template, "spec.template"), *restart_policy(spec, ("Always",))]


def pod_template(obj: Object) -> list[Fault]:
    return pods.template(obj.get("template"), "template")


def controller_revision(obj: Object) -> list[Fault]:
    found = []
    if obj.get("data") is None:
        found.append(required("data", "data is mandatory"))
    elif not isinstance(obj["data"], dict):
        found.append(required("data", "data must be a valid JSON object"))
    if (revision := obj.get("revision", 0)) < 0:
        found.append(invalid("revision", revision, "must be greater than or equal to 0"))
    return found
