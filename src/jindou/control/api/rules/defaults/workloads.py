"""Defaults of whatever makes Pods from a template: as in `defaults`, in place and idempotent."""

from __future__ import annotations

from jindou.control.api.rules.defaults.pods import fill, template
from jindou.objects.kinds import Object

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def begin_job(job: Object) -> None:
    """A selector of its own, unless it brings one, and the labels that go with it."""
    meta, spec = job["metadata"], job["spec"]
    template = spec.setdefault("template", {})
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    if not spec["manualSelector"]:
        for prefix in ("", "batch.kubernetes.io/"):
            labels.setdefault(f"{prefix}job-name", meta.get("name", ""))
            labels.setdefault(f"{prefix}controller-uid", meta["uid"])
        held = spec.setdefault("selector", {}).setdefault("matchLabels", {})
        held.setdefault("batch.kubernetes.io/controller-uid", meta["uid"])
    if not meta.get("labels") and labels:
        meta["labels"] = dict(labels)
    if not labels:
        del template["metadata"]["labels"]


def count_templates(obj: Object, old: Object) -> None:
    """Of a DaemonSet: how many templates it has had."""
    before = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    number = int(before) if before.isdigit() else 0
    changed = obj["spec"].get("template") != old["spec"].get("template")
    annotations = obj["metadata"].setdefault("annotations", {})
    annotations[TEMPLATE_GENERATION] = str(number + changed)


def deployment(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec.setdefault("strategy", {})
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")
    template(spec)


def replica_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, replicas=1)
    template(spec)


def replication_controller(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, replicas=1)
    labels = (spec.get("template") or {}).get("metadata", {}).get("labels")
    if labels and not spec.get("selector"):
        spec["selector"] = dict(labels)
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)
    template(spec)


def stateful_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        fill(strategy["rollingUpdate"], maxUnavailable=1, partition=0)
    fill(
        spec.setdefault("persistentVolumeClaimRetentionPolicy", {}),
        whenDeleted="Retain",
        whenScaled="Retain",
    )
    for claim in spec.get("volumeClaimTemplates") or ():
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        if not (claim.get("status") or {}).get("phase"):
            claim["status"] = {**(claim.get("status") or {}), "phase": "Pending"}
        fill(claim.setdefault("spec", {}), volumeMode="Filesystem")
    template(spec)


def daemon_set(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, revisionHistoryLimit=10)
    strategy = spec.setdefault("updateStrategy", {})
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable=1, maxSurge=0)
    template(spec)


def job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    job_spec(spec)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels and "resourceVersion" in obj["metadata"] and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def job_spec(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        fill(spec, completions=1, parallelism=1)
    most = 6 if spec.get("backoffLimitPerIndex") is None else 2**31 - 1
    fill(spec, parallelism=1, backoffLimit=most, completionMode="NonIndexed", suspend=False)
    policy = spec.get("podFailurePolicy")
    fill(spec, podReplacementPolicy="Failed" if policy else "TerminatingOrFailed")
    fill(spec, manualSelector=False)
    for rule in (policy or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            fill(pattern, status="True")
    template(spec)


def cron_job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(
        spec,
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )
    held = spec.setdefault("jobTemplate", {})
    held.setdefault("metadata", {})
    template(held.setdefault("spec", {}))
