"""StatefulSets, DaemonSets, Jobs and CronJobs: what the API makes of them, and what comes of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.wire import JSON_PATCH, MERGE, STRATEGIC, Api

BATCH = "/apis/batch/v1/namespaces/{}"
APPS = "/apis/apps/v1/namespaces/{}"
PODS = "/api/v1/namespaces/{}/pods"
INDEX = "batch.kubernetes.io/job-completion-index"


def template(**annotations: str) -> dict[str, Any]:
    """Of Pods that run as their annotations say, on a pretended machine."""
    held = {f"pretend/{name.replace('_', '-')}": value for name, value in annotations.items()}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]}
    return {"metadata": {"labels": {"app": "a"}, "annotations": held}, "spec": spec}


def job(name: str = "j", ends: str = "0", **spec: Any) -> dict[str, Any]:
    held = template(exit_code=ends, run_for="10ms")
    del held["metadata"]["labels"]
    held["spec"]["restartPolicy"] = "Never"
    return {"metadata": {"name": name}, "spec": {"template": held, **spec}}


def workload(name: str, **spec: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app": "a"}}
    return {
        "metadata": {"name": name},
        "spec": {"selector": selector, "template": template(), **spec},
    }


def pods_of(api: Api, ns: str) -> list[Any]:
    found: list[Any] = api.get(PODS.format(ns))["items"]
    return sorted(found, key=lambda pod: pod["metadata"]["name"])


# ---------------------------------------------------------------- what the API makes of them


def test_66_a_job_begins_with_a_selector_of_its_own(api: Api, ns: str) -> None:
    made = api.make(f"{BATCH.format(ns)}/jobs", job(suspend=True))
    meta, spec = made["metadata"], made["spec"]
    labels = {
        "batch.kubernetes.io/controller-uid": meta["uid"], "batch.kubernetes.io/job-name": "j",
        "controller-uid": meta["uid"], "job-name": "j",
    }  # fmt: skip
    assert spec["template"]["metadata"]["labels"] == labels
    assert meta["labels"] == labels
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": meta["uid"]}}
    kept = (
        "backoffLimit", "completionMode", "completions", "manualSelector", "parallelism",
        "podReplacementPolicy", "suspend",
    )  # fmt: skip
    assert {name: spec[name] for name in kept} == {
        "backoffLimit": 6, "completionMode": "NonIndexed", "completions": 1, "manualSelector": False,
        "parallelism": 1, "podReplacementPolicy": "TerminatingOrFailed", "suspend": True,
    }  # fmt: skip


def test_66_a_job_that_gives_up_by_index_has_no_other_limit(api: Api, ns: str) -> None:
    wish = job(completions=2, completionMode="Indexed", backoffLimitPerIndex=1, suspend=True)
    assert api.make(f"{BATCH.format(ns)}/jobs", wish)["spec"]["backoffLimit"] == 2**31 - 1


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"completionMode": "Indexed", "parallelism": 1}, "spec.completions",
         "Required value: when completion mode is Indexed"),
        ({"backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex",
         "Invalid value: 1: requires indexed completion mode"),
        ({"parallelism": -1}, "spec.parallelism",
         "Invalid value: -1: must be greater than or equal to 0"),
        ({"completionMode": "Odd"}, "spec.completionMode",
         'Unsupported value: "Odd": supported values: "NonIndexed", "Indexed"'),
        ({"podFailurePolicy": {"rules": [{"action": "FailJob"}]}}, "spec.podFailurePolicy.rules[0]",
         "Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
        ({"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [0]}}]}},
         "spec.podFailurePolicy.rules[0].onExitCodes.values[0]",
         "Invalid value: 0: must not be 0 for the In operator"),
    ],
)  # fmt: skip
def test_66_a_wrong_job_is_told_why(api: Api, ns: str, spec: Any, field: str, message: str) -> None:
    answer = api.ask("POST", f"{BATCH.format(ns)}/jobs", job(**spec))
    assert answer.code == 422
    causes = answer.json["details"]["causes"]
    assert [(cause["field"], cause["message"]) for cause in causes] == [(field, message)]


BROKEN = {"spec": {"restartPolicy": "Never", "containers": []}}
COUNTS = dict.fromkeys(("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"), -1)  # fmt: skip
IN_ORDER = {
    "apps/v1/deployments": (
        {**COUNTS, "strategy": {"type": "x"}, "selector": {}, "template": BROKEN},
        "replicas selector template.spec.containers template.spec.restartPolicy strategy minReadySeconds "
        "revisionHistoryLimit progressDeadlineSeconds progressDeadlineSeconds",
    ),
    "apps/v1/daemonsets": (
        {"minReadySeconds": -1, "revisionHistoryLimit": -1, "updateStrategy": {"type": "x"}, "selector": {}, "template": BROKEN},
        "selector template.spec.containers template.spec.restartPolicy minReadySeconds updateStrategy revisionHistoryLimit",
    ),
    "batch/v1/cronjobs": (
        {
            "schedule": "", "concurrencyPolicy": "x", "startingDeadlineSeconds": -1, "successfulJobsHistoryLimit": -1,
            "failedJobsHistoryLimit": -1, "timeZone": "", "jobTemplate": {"spec": {"parallelism": -1, "template": BROKEN}},
        },
        "startingDeadlineSeconds timeZone concurrencyPolicy jobTemplate.spec.parallelism jobTemplate.spec.template.spec.containers "
        "successfulJobsHistoryLimit failedJobsHistoryLimit schedule",
    ),
}  # fmt: skip


@pytest.mark.parametrize("place", IN_ORDER)
def test_66_what_is_wrong_is_told_in_one_order(api: Api, ns: str, place: str) -> None:
    spec, fields = IN_ORDER[place]
    group, version, plural = place.split("/")
    path = f"/apis/{group}/{version}/namespaces/{ns}/{plural}"
    answer = api.ask("POST", path, {"metadata": {"name": "a"}, "spec": spec})
    assert answer.code == 422
    assert [field for _, field in answer.causes] == [f"spec.{name}" for name in fields.split()]


NOON, LATER = "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"
INDEXED = {"completionMode": "Indexed", "completions": 5, "parallelism": 2}


def held(*kinds: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": NOON} for kind in kinds]}  # fmt: skip


COMPLETE = {**held("SuccessCriteriaMet", "Complete"), "startTime": NOON, "completionTime": LATER}
FAILED = {**held("FailureTarget", "Failed"), "startTime": NOON}


@pytest.mark.parametrize(
    ("spec", "before", "after", "causes"),
    [
        ({}, {}, COMPLETE, []),
        ({}, {}, FAILED, []),
        ({}, {}, {"active": -1}, ["status.active"]),
        ({}, {}, {"active": 1, "ready": 2}, ["status.ready"]),
        ({}, {}, {**COMPLETE, "completionTime": None}, ["status.completionTime"]),
        ({}, {}, {**COMPLETE, "startTime": None}, ["status.startTime"]),
        ({}, {}, {**COMPLETE, "startTime": LATER, "completionTime": NOON}, ["status.completionTime"]),
        ({}, {}, {"completionTime": LATER}, ["status.completionTime"]),
        ({}, {}, {**COMPLETE, **held("Complete")}, ["status.conditions"]),
        ({}, {}, {**FAILED, **held("Failed")}, ["status.conditions"]),
        ({}, {}, {**FAILED, "active": 1}, ["status.active"]),
        ({}, {}, {**FAILED, "terminating": 1}, ["status.terminating"]),
        ({}, {}, {**FAILED, "uncountedTerminatedPods": {"failed": ["a"]}}, ["status.uncountedTerminatedPods"]),
        ({}, {}, {"uncountedTerminatedPods": {"failed": ["a", ""], "succeeded": ["a"]}}, ["status.uncountedTerminatedPods.failed[0]", "status.uncountedTerminatedPods.failed[1]"]),
        ({}, {}, {"failedIndexes": "1"}, ["status.failedIndexes"]),
        (INDEXED, {}, {"completedIndexes": "1,3-4"}, []),
        (INDEXED, {}, {"completedIndexes": "3,1"}, ["status.completedIndexes"]),
        (INDEXED, {}, {"completedIndexes": "1-7"}, ["status.completedIndexes"]),
        ({**INDEXED, "backoffLimitPerIndex": 1}, {}, {"completedIndexes": "1-2", "failedIndexes": "2"}, ["status.failedIndexes"]),
        ({}, {"failed": 2}, {"failed": 1}, ["status.failed"]),
        ({}, {"succeeded": 2}, {"succeeded": 1}, ["status.succeeded"]),
        ({}, COMPLETE, {"completionTime": NOON}, ["status.completionTime"]),
        ({}, held("SuccessCriteriaMet"), {"conditions": []}, ["status.conditions"]),
        ({}, COMPLETE, {"succeeded": 1}, []),
    ],
)  # fmt: skip
def test_66_what_the_status_of_a_job_may_become(
    api: Api, ns: str, spec: Any, before: Any, after: Any, causes: list[str]
) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    path = f"/apis/batch/v1/namespaces/{ns}/jobs"
    managed = {"suspend": True, "managedBy": "example.com/somebody", "template": template, **spec}
    api.make(path, {"metadata": {"name": "a"}, "spec": managed})
    if before:
        api.good("PATCH", f"{path}/a/status", {"status": before}, kind=MERGE)
    answer = api.ask("PATCH", f"{path}/a/status", {"status": after}, kind=MERGE)
    assert answer.code == (422 if causes else 200), answer.body
    assert [field for _, field in answer.causes] == causes


def test_66_a_job_needs_a_restart_policy(api: Api, ns: str) -> None:
    wish = job()
    del wish["spec"]["template"]["spec"]["restartPolicy"]
    answer = api.ask("POST", f"{BATCH.format(ns)}/jobs", wish)
    assert answer.code == 422
    (cause,) = answer.json["details"]["causes"]
    assert cause["field"] == "spec.template.spec.restartPolicy"
    assert cause["message"] == 'Required value: valid values: "OnFailure", "Never"'


def test_66_the_template_of_a_job_may_change_where_it_runs_while_it_is_suspended(
    api: Api, ns: str
) -> None:
    path = f"{BATCH.format(ns)}/jobs/j"
    api.make(f"{BATCH.format(ns)}/jobs", job(suspend=True))
    node = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}}
    api.good("PATCH", path, node, kind=MERGE)
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "other"}]
    answer = api.ask("PATCH", path, image, kind=JSON_PATCH)
    assert answer.code == 422
    assert "field is immutable" in answer.message
    more = api.ask("PATCH", path, {"spec": {"completions": 2}}, kind=MERGE)
    assert more.causes == [("FieldValueInvalid", "spec.completions")]


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"schedule": "* * * *"}, "spec.schedule",
         'Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]'),
        ({"schedule": "61 * * * *"}, "spec.schedule",
         'Invalid value: "61 * * * *": end of range (61) above maximum (59): 61'),
        ({"schedule": "* * * * *", "timeZone": "Mars/Olympus"}, "spec.timeZone",
         'Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'),
        ({"schedule": "TZ=UTC * * * * *"}, "spec.schedule",
         'Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead'),
        ({"schedule": "* * * * *", "concurrencyPolicy": "Odd"}, "spec.concurrencyPolicy",
         'Unsupported value: "Odd": supported values: "Allow", "Forbid", "Replace"'),
    ],
)  # fmt: skip
def test_66_a_wrong_cron_job_is_told_why(
    api: Api, ns: str, spec: Any, field: str, message: str
) -> None:
    wish = {"metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": job()["spec"]}, **spec}}
    answer = api.ask("POST", f"{BATCH.format(ns)}/cronjobs", wish)
    assert answer.code == 422
    causes = answer.json["details"]["causes"]
    assert [(cause["field"], cause["message"]) for cause in causes] == [(field, message)]


def test_66_a_stateful_set_is_filled_in(api: Api, ns: str) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    wish = workload("s", replicas=0, serviceName="s", volumeClaimTemplates=[claim])
    mount = {"name": "data", "mountPath": "/data"}
    wish["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [mount]
    spec = api.make(f"{APPS.format(ns)}/statefulsets", wish)["spec"]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "partition": 0},
    }  # fmt: skip
    retained = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert spec["persistentVolumeClaimRetentionPolicy"] == retained
    (made,) = spec["volumeClaimTemplates"]
    assert (made["kind"], made["spec"]["volumeMode"]) == ("PersistentVolumeClaim", "Filesystem")
    changed = [{"op": "replace", "path": "/spec/serviceName", "value": "other"}]
    answer = api.ask("PATCH", f"{APPS.format(ns)}/statefulsets/s", changed, kind=JSON_PATCH)
    assert answer.causes == [("FieldValueInvalid", "spec.serviceName")]


def test_66_a_daemon_set_counts_its_templates(api: Api, ns: str) -> None:
    path = f"{APPS.format(ns)}/daemonsets"
    wish = workload("d")
    wish["spec"]["template"]["spec"]["nodeSelector"] = {"nowhere": "yes"}
    made = api.make(path, wish)
    generation = "deprecated.daemonset.template.generation"
    assert made["metadata"]["annotations"] == {generation: "1"}
    assert made["spec"]["updateStrategy"] == {
        "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }  # fmt: skip
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "other"}]
    changed = api.good("PATCH", f"{path}/d", image, kind=JSON_PATCH)
    assert changed["metadata"]["annotations"][generation] == "2"


def test_66_claims_and_volumes_are_protected(api: Api, ns: str) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "none-such",
        },
    }  # fmt: skip
    made = api.make(f"/api/v1/namespaces/{ns}/persistentvolumeclaims", claim)
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]


# ---------------------------------------------------------------- what comes of them


@pytest.mark.usefixtures("whole")
def test_66_a_job_counts_what_succeeds_and_says_so(api: Api, ns: str) -> None:
    path = f"{BATCH.format(ns)}/jobs"
    api.make(path, job(completions=3, parallelism=2))
    done = api.until(f"{path}/j", lambda held: (held.get("status") or {}).get("completionTime"))
    status = done["status"]
    assert [one["type"] for one in status["conditions"]] == ["SuccessCriteriaMet", "Complete"]
    assert (status["succeeded"], status["ready"], status["terminating"]) == (3, 0, 0)
    assert status["uncountedTerminatedPods"] == {}
    assert not any(pod["metadata"].get("finalizers") for pod in pods_of(api, ns))


@pytest.mark.usefixtures("whole")
def test_66_an_indexed_job_names_its_indexes(api: Api, ns: str) -> None:
    path = f"{BATCH.format(ns)}/jobs"
    api.make(path, job(completions=3, parallelism=3, completionMode="Indexed"))
    done = api.until(f"{path}/j", lambda held: (held.get("status") or {}).get("completionTime"))
    assert done["status"]["completedIndexes"] == "0-2"
    pods = pods_of(api, ns)
    assert [pod["metadata"]["annotations"][INDEX] for pod in pods] == ["0", "1", "2"]
    assert [pod["spec"]["hostname"] for pod in pods] == ["j-0", "j-1", "j-2"]


@pytest.mark.usefixtures("whole")
def test_66_a_job_gives_up_at_its_limit(api: Api, ns: str) -> None:
    path = f"{BATCH.format(ns)}/jobs"
    api.make(path, job(ends="3", backoffLimit=0, ttlSecondsAfterFinished=0))
    with api.watch(path) as watch:
        failed = watch.until(
            lambda event: "Failed" in [
                one["type"] for one in event["object"].get("status", {}).get("conditions", ())
            ]
        )  # fmt: skip
    conditions = failed["object"]["status"]["conditions"]
    assert [(one["type"], one["reason"]) for one in conditions] == [
        ("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded"),
    ]  # fmt: skip
    api.until_gone(f"{path}/j")  # its time after the end is over


@pytest.mark.usefixtures("whole")
def test_66_a_suspended_job_has_no_pods_until_it_goes_on(api: Api, ns: str) -> None:
    path = f"{BATCH.format(ns)}/jobs"
    api.make(path, job(suspend=True))
    held = api.until(f"{path}/j", lambda held: (held.get("status") or {}).get("conditions"))
    (condition,) = held["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Suspended", "True")
    assert "startTime" not in held["status"]
    assert pods_of(api, ns) == []
    api.good("PATCH", f"{path}/j", {"spec": {"suspend": False}}, kind=MERGE)
    api.until(f"{path}/j", lambda held: held["status"].get("completionTime"))


@pytest.mark.usefixtures("whole")
def test_66_a_stateful_set_numbers_its_pods_and_goes_back(api: Api, ns: str) -> None:
    path = f"{APPS.format(ns)}/statefulsets"

    def settled(held: Any) -> bool:
        status = held.get("status") or {}
        new = status.get("observedGeneration") == held["metadata"]["generation"]
        counts = {status.get(name) for name in ("replicas", "readyReplicas", "updatedReplicas")}
        return new and counts == {2} and status["currentRevision"] == status["updateRevision"]

    api.make(path, workload("s", replicas=2, serviceName="s"))
    before = api.until(f"{path}/s", settled)["status"]["currentRevision"]
    pods = pods_of(api, ns)
    assert [pod["metadata"]["name"] for pod in pods] == ["s-0", "s-1"]
    assert pods[1]["metadata"]["labels"] == {
        "app": "a", "apps.kubernetes.io/pod-index": "1", "controller-revision-hash": before,
        "statefulset.kubernetes.io/pod-name": "s-1",
    }  # fmt: skip
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "other"}]
    api.good("PATCH", f"{path}/s", image, kind=JSON_PATCH)
    after = api.until(f"{path}/s", settled)["status"]["currentRevision"]
    assert after != before
    past = api.get(f"{APPS.format(ns)}/controllerrevisions/{before}")
    api.good("PATCH", f"{path}/s", past["data"], kind=STRATEGIC)
    assert api.until(f"{path}/s", settled)["status"]["currentRevision"] == before
    revisions = api.get(f"{APPS.format(ns)}/controllerrevisions")["items"]
    assert {one["metadata"]["name"]: one["revision"] for one in revisions} == {before: 3, after: 2}


@pytest.mark.usefixtures("whole")
def test_66_a_claim_of_a_stateful_set_outlives_its_pods(api: Api, ns: str) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    path = f"{APPS.format(ns)}/statefulsets"
    api.make(path, workload("s", replicas=1, serviceName="s", volumeClaimTemplates=[claim]))
    api.until(f"{path}/s", lambda held: (held.get("status") or {}).get("readyReplicas") == 1)
    claims = f"/api/v1/namespaces/{ns}/persistentvolumeclaims"
    held = api.until(f"{claims}/data-s-0", lambda one: one["status"]["phase"] == "Bound")
    api.good("DELETE", f"{path}/s")
    api.until_gone(f"{PODS.format(ns)}/s-0")
    assert api.get(f"{claims}/data-s-0")["spec"]["volumeName"] == held["spec"]["volumeName"]
    api.good("DELETE", f"{claims}/data-s-0")
    api.until_gone(f"/api/v1/persistentvolumes/{held['spec']['volumeName']}")


@pytest.mark.usefixtures("whole")
def test_66_a_daemon_set_runs_on_each_node(api: Api, ns: str) -> None:
    path = f"{APPS.format(ns)}/daemonsets"
    api.make(path, workload("d"))
    held = api.until(f"{path}/d", lambda one: (one.get("status") or {}).get("numberAvailable") == 1)
    assert held["status"]["desiredNumberScheduled"] == 1
    (pod,) = pods_of(api, ns)
    terms = pod["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    match = {"key": "metadata.name", "operator": "In", "values": [pod["spec"]["nodeName"]]}
    assert terms == {"nodeSelectorTerms": [{"matchFields": [match]}]}
    keys = {one["key"].removeprefix("node.kubernetes.io/") for one in pod["spec"]["tolerations"]}
    assert keys == {
        "not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure",
        "unschedulable",
    }  # fmt: skip
