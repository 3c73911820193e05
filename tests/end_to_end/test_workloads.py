"""Jobs, stateful sets with claims, and daemon sets, with real containers and an unmodified kubectl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jindou.control.controllers.groundwork import times

pytestmark = [pytest.mark.root, pytest.mark.slow]


def apply(cloud: Any, namespace: str, *objects: dict[str, Any]) -> None:
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin="\n".join(map(json.dumps, objects)))


def shell(script: str) -> dict[str, Any]:
    return {"name": "main", "image": "busybox", "command": ["sh", "-c", script]}


def job(name: str, script: str, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [shell(script)]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def workload(kind: str, name: str, script: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    containers = [{**shell(script), **spec.pop("container", {})}]
    pod = {"terminationGracePeriodSeconds": 1, "containers": containers}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
    }


def pods_of(cloud: Any, namespace: str, selector: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.get("-n", namespace, "pods", "-l", selector)["items"]
    return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])


def test_a_job_that_fails_waits_tries_again_and_gives_up(cloud, namespace):
    apply(cloud, namespace, job("fails", "exit 3", backoffLimit=1))
    cloud.kubectl("-n", namespace, "wait", "--for=condition=Failed", "job/fails", "--timeout=60s")
    held = cloud.get("-n", namespace, "job", "fails")
    assert held["status"]["failed"] == 2
    assert held["status"]["conditions"][-1]["reason"] == "BackoffLimitExceeded"
    first, second = pods_of(cloud, namespace, "job-name=fails")
    ended = first["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 3
    created = times.parse(second["metadata"]["creationTimestamp"])
    assert created - times.parse(ended["finishedAt"]) >= 9
    assert not any(pod["metadata"].get("finalizers") for pod in (first, second))


def test_an_indexed_job_tells_each_pod_its_index(cloud, namespace):
    script = 'echo "$JOB_COMPLETION_INDEX $(hostname)"; test "$JOB_COMPLETION_INDEX" != 1'
    spec = {
        "completions": 3,
        "parallelism": 3,
        "completionMode": "Indexed",
        "backoffLimitPerIndex": 0,
    }
    apply(cloud, namespace, job("each", script, **spec))
    cloud.kubectl("-n", namespace, "wait", "--for=condition=Failed", "job/each", "--timeout=60s")
    status = cloud.get("-n", namespace, "job", "each")["status"]
    assert (status["completedIndexes"], status["failedIndexes"]) == ("0,2", "1")
    said = cloud.kubectl("-n", namespace, "logs", "-l", "job-name=each", "--tail=-1")
    assert sorted(said.splitlines()) == ["0 each-0", "1 each-1", "2 each-2"]


def test_a_stateful_set_finds_its_data_again_after_its_pod_is_gone(cloud, namespace):
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"},
        "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 80}]},
    }  # fmt: skip
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    container = {
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": {"runAsUser": 1000},
    }
    # A shell that is the first process ends on TERM only where it says so.
    script = "trap 'exit 0' TERM; while true; do sleep 0.1; done"
    held = workload(
        "StatefulSet", "db", script, container=container,
        replicas=2, serviceName="db", volumeClaimTemplates=[claim],
    )  # fmt: skip
    apply(cloud, namespace, service, held)
    run = ("-n", namespace)
    cloud.kubectl(*run, "rollout", "status", "statefulset/db", "--timeout=60s")
    cloud.kubectl(*run, "exec", "db-0", "--", "sh", "-c", "echo kept > /data/file")
    before = cloud.get(*run, "pod", "db-0")["metadata"]["uid"]
    cloud.kubectl(*run, "delete", "pod", "db-0", "--timeout=30s")
    cloud.kubectl(*run, "rollout", "status", "statefulset/db", "--timeout=60s")
    assert cloud.get(*run, "pod", "db-0")["metadata"]["uid"] != before
    assert cloud.kubectl(*run, "exec", "db-0", "--", "cat", "/data/file").strip() == "kept"
    assert cloud.kubectl(*run, "exec", "db-1", "--", "ls", "/data").strip() == ""
    cloud.kubectl(*run, "exec", "db-1", "--", "nslookup", f"db-0.db.{namespace}.svc.cluster.local")

    cloud.kubectl(*run, "set", "env", "statefulset/db", "STEP=two")
    cloud.kubectl(*run, "rollout", "status", "statefulset/db", "--timeout=60s")
    assert cloud.kubectl(*run, "exec", "db-1", "--", "sh", "-c", "echo $STEP").strip() == "two"
    cloud.kubectl(*run, "rollout", "undo", "statefulset/db")
    cloud.kubectl(*run, "rollout", "status", "statefulset/db", "--timeout=60s")
    assert cloud.kubectl(*run, "exec", "db-0", "--", "sh", "-c", "echo $STEP").strip() == ""
    assert cloud.kubectl(*run, "exec", "db-0", "--", "cat", "/data/file").strip() == "kept"

    folders = [
        Path(cloud.get("pv", one["spec"]["volumeName"])["spec"]["hostPath"]["path"])
        for one in cloud.get(*run, "pvc")["items"]
    ]
    assert len(folders) == 2
    assert all(folder.is_dir() for folder in folders)
    cloud.kubectl(*run, "delete", "statefulset/db", "--timeout=60s")
    cloud.kubectl(*run, "wait", "--for=delete", "pod", "-l", "app=db", "--timeout=30s")
    volumes = [one["spec"]["volumeName"] for one in cloud.get(*run, "pvc")["items"]]
    cloud.kubectl(*run, "delete", "pvc", "--all", "--timeout=30s")
    for name in volumes:
        cloud.kubectl("wait", "--for=delete", f"pv/{name}", "--timeout=30s")
    assert not any(folder.exists() for folder in folders)


def test_a_daemon_set_runs_here_and_goes_back_to_what_it_was(cloud, namespace):
    script = "trap 'exit 0' TERM; while true; do sleep 0.1; done"
    run = ("-n", namespace)
    apply(cloud, namespace, workload("DaemonSet", "agent", script))
    cloud.kubectl(*run, "rollout", "status", "daemonset/agent", "--timeout=60s")
    (pod,) = pods_of(cloud, namespace, "app=agent")
    assert pod["spec"]["nodeName"] == "here"
    cloud.kubectl(*run, "set", "env", "daemonset/agent", "STEP=two")
    cloud.kubectl(*run, "rollout", "status", "daemonset/agent", "--timeout=60s")
    said = cloud.kubectl(*run, "rollout", "history", "daemonset/agent")
    assert [line.split()[0] for line in said.splitlines() if line[:1].isdigit()] == ["1", "2"]
    cloud.kubectl(*run, "rollout", "undo", "daemonset/agent", "--to-revision=1")
    cloud.kubectl(*run, "rollout", "status", "daemonset/agent", "--timeout=60s")
    (pod,) = [
        one for one in pods_of(cloud, namespace, "app=agent")
        if not one["metadata"].get("deletionTimestamp")
    ]  # fmt: skip
    assert "env" not in pod["spec"]["containers"][0]
