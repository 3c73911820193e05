"""`jindou why`: each way in which a Pod can be in trouble, and what leads to Pods."""

from __future__ import annotations

import json

import pytest

from tests.cli.canned import container, items, pod, stamp

PODS = "/api/v1/namespaces/default/pods"
READY = {"type": "Ready", "status": "True"}
UNREADY = {"type": "Ready", "status": "False", "message": "containers with unready status: [c]"}
SERVICE = {
    "metadata": {"name": "web", "namespace": "default", "creationTimestamp": stamp(60), "uid": "s"},
    "spec": {"clusterIP": "10.211.0.9", "selector": {"app": "web"}},
}


def event(reason: str, message: str, times: int = 1) -> dict:
    return {
        "type": "Warning", "reason": reason, "message": message, "count": times,
        "lastTimestamp": stamp(5), "metadata": {"creationTimestamp": stamp(5)},
    }  # fmt: skip


def last(code: int, reason: str = "Error", **more: object) -> dict:
    return {
        "lastState": {"terminated": {"exitCode": code, "reason": reason, **more}},
        "restartCount": 7,
    }


def waiting(reason: str, message: str = "") -> dict:
    return container(waiting={"reason": reason, "message": message})


def ask(shell, one: dict, *events: dict, log: str = "", services: tuple = (), extra: tuple = ()):
    name = one["metadata"]["name"]
    answers = {
        f"{PODS}/{name}": one,
        "/api/v1/namespaces/default/events": items(*events),
        "/api/v1/namespaces/default/services": items(*services),
        "/api/v1/nodes": items({"metadata": {"name": "atlas"}, "status": {"images": [{"names": ["docker.io/library/web:1.1"]}]}}),
    }  # fmt: skip
    if log:
        answers[f"{PODS}/{name}/log"] = log
    with shell.server(answers):
        return shell("why", f"pod/{name}", *extra)


GOLDEN = """\
pod/web in namespace default is broken.

  ok    created     10m 00s ago by statefulset/web
  ok    scheduled   on atlas
  ok    volumes     0 mounted
  FAIL  image       web:1.2 can't be had
  wait  containers
  wait  ready
  wait  reachable   not by service/web

because   nothing here is called web:1.2; the nearest that is here is web:1.1
known     from the container's state
do        one of:
            jindou image import FILE   takes a docker or OCI archive
            jindou image list
"""


def test_an_image_that_is_not_here(shell):
    one = pod("web", phase="Pending", containerStatuses=[waiting("ErrImagePull", "nothing here is called web:1.2")])  # fmt: skip
    one["metadata"]["ownerReferences"] = [
        {"kind": "StatefulSet", "name": "web", "controller": True}
    ]
    assert ask(shell, one, services=(SERVICE,)) == (1, GOLDEN, "")


def test_short_and_json(shell):
    one = pod("web", phase="Pending", containerStatuses=[waiting("ErrImagePull", "none")])
    code, out, _ = ask(shell, one, extra=("-o", "short"))
    assert (code, out.splitlines()[0]) == (1, "pod/web in namespace default is broken.")
    assert "created" not in out
    code, out, _ = ask(shell, one, extra=("-o", "json"))
    told = json.loads(out)
    assert (code, told["v"], told["verdict"]) == (1, 1, "is broken")
    assert [link["state"] for link in told["links"]] == ["ok", "ok", "ok", "FAIL", "wait", "wait"]
    assert ask(shell, one, extra=("-q",)) == (1, "", "")


CASES = {
    "no room": (
        {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient memory."}]},
        (), "", "FAIL  scheduled", "1 Insufficient memory", "kubectl --context golden describe nodes",
    ),
    "a ConfigMap that is not there": (
        {"phase": "Pending", "containerStatuses": [waiting("CreateContainerConfigError", 'configmap "settings" not found')]},
        (), "", "FAIL  containers", 'configmap "settings" not found',
        "kubectl --context golden create configmap settings --from-literal=KEY=VALUE",
    ),
    "a Secret to mount that is not there": (
        {"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]},
        (event("FailedMount", 'MountVolume.SetUp failed for volume "v" : secret "keys" not found', 9),), "",
        "FAIL  volumes", "known     from event FailedMount, 9 times",
        "kubectl --context golden create secret generic keys --from-literal=KEY=VALUE",
    ),
    "it ends by itself": (
        {"containerStatuses": [{**waiting("CrashLoopBackOff", "back-off 5m0s"), **last(3)}]},
        (), "reading settings\nno such table\n", "FAIL  containers  c ended with 3 (Error), 7 restarts",
        "said      | reading settings\n          | no such table",
        "kubectl --context golden logs web -c c --previous",
    ),
    "more memory than its limit": (
        {"containerStatuses": [{**waiting("CrashLoopBackOff"), **last(137, "OOMKilled")}]},
        (), "", "OOMKilled", "more memory than its limit of 64Mi", "get pod web -o yaml",
    ),
    "a command that is not there": (
        {"containerStatuses": [{**waiting("CrashLoopBackOff"), **last(128, "StartError", message='exec: "/x": not found')}]},
        (), "", "StartError", 'because   exec: "/x": not found', "describe pod web",
    ),
    "a liveness probe that fails": (
        {"containerStatuses": [{**waiting("CrashLoopBackOff"), **last(137)}]},
        (event("Unhealthy", "Liveness probe failed: HTTP 500"),), "", "FAIL  containers",
        "it was ended, for its liveness probe failed: http 500", "logs web -c c --previous",
    ),
    "a readiness probe that fails": (
        {"conditions": [UNREADY], "containerStatuses": [container(running={})]},
        (event("Unhealthy", "Readiness probe failed: ", 4),), "", "FAIL  ready",
        "Readiness probe failed, and said nothing", "logs web",
    ),
    "not ready and nobody knows why": (
        {"conditions": [UNREADY], "containerStatuses": [container(running={})]},
        (), "", "wait  ready", "containers with unready status: [c]", "describe pod web",
    ),
    "a Job's Pod that failed": (
        {"phase": "Failed", "containerStatuses": [container(terminated={"exitCode": 127, "reason": "Error"})]},
        (), "", "c ended with 127 (Error)\n", "its command can't be run, or was not found", "logs web -c c\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_pod_in_trouble(shell, name):
    status, events, log, *wanted = CASES[name]
    one = pod("web", **status)
    one["spec"]["containers"][0]["resources"] = {"limits": {"memory": "64Mi"}}
    if "PodScheduled" in str(status):
        del one["spec"]["nodeName"]
    code, out, err = ask(shell, one, *events, log=log)
    assert (code, err) == (1, "")
    for text in wanted:
        assert " ".join(text.split()) in " ".join(out.split())
    told = [line for line in out.splitlines() if "kubectl" not in line]  # commands are not wrapped
    assert max(map(len, told)) <= 80


def test_a_pod_that_is_fine(shell):
    one = pod(
        "web", conditions=[READY], podIP="10.210.0.2", containerStatuses=[container(running={})]
    )
    code, out, _ = ask(shell, one, services=(SERVICE,))
    assert code == 0
    assert out.startswith("pod/web in namespace default is fine.\n\n")
    assert "  ok    reachable   by service/web\n" in out
    assert "because" not in out


def test_a_limit_is_raised_at_the_deployment(shell):
    one = pod("web-6dc5cd68db-5vncc", containerStatuses=[{**waiting("CrashLoopBackOff"), **last(137, "OOMKilled")}])  # fmt: skip
    one["spec"]["containers"][0]["resources"] = {"limits": {"memory": "64Mi"}}
    one["metadata"]["labels"]["pod-template-hash"] = "6dc5cd68db"
    one["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web-6dc5cd68db", "controller": True}]  # fmt: skip
    _, out, _ = ask(shell, one)
    assert "set resources deployment/web -c c --limits=memory=128Mi" in out


def deployment(**status: object) -> dict:
    return {
        "metadata": {"name": "web", "namespace": "default", "creationTimestamp": stamp(60), "uid": "d"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}},
        "status": status,
    }  # fmt: skip


def test_a_deployment_tells_the_cause_of_its_pods(shell):
    crashing = pod("web", containerStatuses=[{**waiting("CrashLoopBackOff"), **last(3)}])
    with shell.server({
        "/apis/apps/v1/namespaces/default/deployments/web": deployment(readyReplicas=1, updatedReplicas=2),
        f"{PODS}?labelSelector=app%3Dweb": items(crashing),
        "/api/v1/namespaces/default/events": items(),
    }):  # fmt: skip
        code, out, _ = shell("why", "deploy/web")
    assert code == 1
    assert "FAIL  pods         1 of 2 ready" in out
    assert "because   pod web: c ended with 3 (Error), 7 restarts: its process ended by" in out
    assert "do        jindou why pod/web\n" in out


def test_a_deployment_that_may_make_no_pods(shell):
    refused = {"type": "ReplicaFailure", "reason": "FailedCreate", "message": "exceeded quota"}
    with shell.server({
        "/apis/apps/v1/namespaces/default/deployments/web": deployment(conditions=[refused]),
    }):  # fmt: skip
        code, out, _ = shell("why", "deployment.apps/web")
    assert code == 1
    assert "FAIL  replica set  FailedCreate" in out
    assert "because   exceeded quota" in out


@pytest.mark.parametrize(
    ("service", "pods", "wanted"),
    [
        (SERVICE, (), "no Pod has the labels app=web"),
        (SERVICE, (pod("web", conditions=[UNREADY]),), "FAIL  endpoints  0 of 1 ready"),
        ({**SERVICE, "spec": {"clusterIP": "10.211.0.9"}}, (), "none, and no selector"),
        (
            {**SERVICE, "spec": {"type": "ExternalName", "externalName": "x.org"}},
            (),
            "leads to x.org",
        ),
    ],
)
def test_a_service(shell, service, pods, wanted):
    with shell.server({
        "/api/v1/namespaces/default/services/web": service,
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices": items(),
        PODS: items(*pods),
        "/api/v1/namespaces/default/events": items(),
    }):  # fmt: skip
        code, out, _ = shell("why", "svc/web")
    assert wanted in out
    assert code == (0 if "x.org" in wanted else 1)


def test_what_is_not_there(shell):
    with shell.server({}):
        code, out, err = shell("why", "pod/nope", "-n", "other")
        assert (code, out) == (5, "")
        assert err.startswith("error: there is no pod nope in namespace other")
        assert shell("why", "node/nope")[2].startswith("error: there is no node nope  ")
    for words in (("why", "x"), ("why", "pod"), ("why", "pod/"), ("why", "JD-NET-999")):
        assert shell(*words)[0] == 5
    assert "JD-NET-1" in shell("why", "JD-NET-199")[2]
