"""What controllers owe to people: garbage collection, rollouts, placement, accounts and rights."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from tests.end_to_end.test_features_kubectl import User
from tests.end_to_end.test_features_pods import wait_for
from tests.end_to_end.test_pods import pod

pytestmark = [pytest.mark.root, pytest.mark.slow]

PATIENT = 'trap "exit 0" TERM; while :; do sleep 0.1; done'


@pytest.fixture
def user(cloud, namespace) -> User:
    return User(cloud, namespace)


def deployment(
    name: str, replicas: int, template: dict[str, Any] | None = None, **spec: Any
) -> str:
    made = json.loads(pod(name, PATIENT))
    made["spec"] |= template or {}
    return json.dumps({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": made["spec"]}, **spec,
        },
    })  # fmt: skip


def test_a_namespace_waits_for_finalizers_and_says_so(cloud):
    name = "waits-for-finalizer"
    cloud.kubectl("create", "namespace", name)
    user = User(cloud, name)
    user("create", "configmap", "held")
    user("patch", "configmap", "held", "-p", '{"metadata":{"finalizers":["example.com/wait"]}}')
    user("create", "configmap", "free")
    cloud.kubectl("delete", "namespace", name, "--wait=false")
    wait_for(lambda: user("get", "configmaps", "-o", "name"), "configmap/held\n")
    refused = user.fails("create", "configmap", "new")
    assert f'configmaps "new" is forbidden: unable to create new content in namespace {name} because it is being terminated' in refused  # fmt: skip
    said = wait_for(lambda: cloud.kubectl("get", "namespace", name, "-o", "json"), "NamespaceFinalizersRemaining")  # fmt: skip
    conditions = {c["type"]: c for c in json.loads(said)["status"]["conditions"]}
    assert conditions["NamespaceFinalizersRemaining"]["reason"] == "SomeFinalizersRemain"
    assert "Some content in the namespace has finalizers remaining: example.com/wait in 1 resource instances" in conditions["NamespaceFinalizersRemaining"]["message"]  # fmt: skip
    assert json.loads(said)["status"]["phase"] == "Terminating"
    wait_for(lambda: user("get", "configmaps", "-o", "name") + "!", "configmap/held\n!")
    user("patch", "configmap", "held", "-p", '{"metadata":{"finalizers":null}}')
    cloud.kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=20s")


def test_three_ways_to_delete_with_dependents(user):
    for name in ("background", "foreground", "orphan"):
        user("apply", "-f", "-", stdin=deployment(name, 1))
        user("rollout", "status", f"deployment/{name}", "--timeout=30s")
    user("delete", "deployment", "background")
    wait_for(lambda: user("get", "rs,pods", "-l", "app=background", "-o", "name") + "!", "!")
    user("delete", "deployment", "foreground", "--cascade=foreground", "--timeout=20s")
    assert user("get", "rs", "-l", "app=foreground", "-o", "name") == ""
    held = user.read("replicasets -l app=orphan", ".items[0].metadata.name")
    running = user.read("pods -l app=orphan", ".items[0].metadata.uid")
    user("delete", "deployment", "orphan", "--cascade=orphan")
    assert user.read(f"replicaset {held}", ".metadata.ownerReferences") == ""
    # adopted again by one with the same selector
    user("apply", "-f", "-", stdin=deployment("orphan", 1))
    user("rollout", "status", "deployment/orphan", "--timeout=30s")
    assert user.read(f"replicaset {held}", ".metadata.ownerReferences[0].name") == "orphan"
    assert user.read("pods -l app=orphan", ".items[*].metadata.uid") == running
    # a Pod that is relabelled is let go of, and replaced
    one = user.read("pods -l app=orphan", ".items[0].metadata.name")
    user("label", "pod", one, "app=free", "--overwrite")
    wait_for(lambda: user.read(f"pod {one}", ".metadata.ownerReferences") + "!", "!")
    user("rollout", "status", "deployment/orphan", "--timeout=30s")
    assert user.read(f"pod {one}", ".status.phase") == "Running"


def test_recreate_pause_and_a_deadline(user):
    user("apply", "-f", "-", stdin=deployment("again", 2, strategy={"type": "Recreate"}))
    user("rollout", "status", "deployment/again", "--timeout=30s")
    user("set", "env", "deployment/again", "A=b")
    user("rollout", "status", "deployment/again", "--timeout=30s")
    assert len(user.read("pods -l app=again", ".items[*].metadata.name").split()) == 2
    assert user.read("replicasets -l app=again", ".items[*].spec.replicas").split().count("2") == 1
    stuck = deployment("stuck", 1, progressDeadlineSeconds=1).replace('"image": "busybox"', '"image": "127.0.0.1:1/no:1"')  # fmt: skip
    user("apply", "-f", "-", stdin=stuck)
    failed = user.fails("rollout", "status", "deployment/stuck", "--timeout=20s")
    assert 'deployment "stuck" exceeded its progress deadline' in failed
    conditions = user.read("deployment stuck", ".status.conditions[?(@.type=='Progressing')].reason")  # fmt: skip
    assert conditions == "ProgressDeadlineExceeded"


def test_why_a_pod_has_no_place(cloud, namespace, user):
    term = {"labelSelector": {"matchLabels": {"app": "loner"}}, "topologyKey": "kubernetes.io/hostname"}  # fmt: skip
    alone = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}  # fmt: skip
    near = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{**term, "labelSelector": {"matchLabels": {"app": "nobody"}}}]}}}  # fmt: skip
    spread = {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]}  # fmt: skip
    user("apply", "-f", "-", stdin=pod("loner", "sleep 1000", **alone))
    cloud.wait("-n", namespace, "--for=condition=PodScheduled", "pod/loner")
    second = json.loads(pod("second", "sleep 1000", **alone))
    second["metadata"]["labels"] = {"app": "loner"}
    why = {
        "big": (pod("big", "x", container={"resources": {"requests": {"cpu": "1000"}}}), "Insufficient cpu"),
        "fat": (pod("fat", "x", container={"resources": {"requests": {"memory": "900Ti"}}}), "Insufficient memory"),
        "choosy": (pod("choosy", "x", nodeSelector={"disk": "ssd"}), "node(s) didn't match Pod's node affinity/selector"),
        "second": (json.dumps(second), "node(s) didn't match pod anti-affinity rules"),
        "near": (pod("near", "x", **near), "node(s) didn't match pod affinity rules"),
        "even": (pod("even", "x", **spread), "node(s) didn't match pod topology spread constraints (missing required label)"),
    }  # fmt: skip
    user("apply", "-f", "-", stdin="\n".join(document for document, _ in why.values()))
    for name, (_, said) in why.items():
        described = wait_for(lambda name=name: user("describe", "pod", name), "FailedScheduling")
        assert f"0/1 nodes are available: 1 {said}." in described, name
        held = json.loads(user("get", "pod", name, "-o", "json"))["status"]
        (condition,) = held["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")  # fmt: skip
        assert user("get", "pod", name, "--no-headers").split()[2] == "Pending"
    # ... and is placed when there is one
    cloud.kubectl("label", "node", "here", "disk=ssd")
    cloud.wait("-n", namespace, "--for=condition=PodScheduled", "pod/choosy")
    cloud.kubectl("label", "node", "here", "disk-")


def test_cordon_drain_and_taints(cloud, namespace, user):
    user("apply", "-f", "-", stdin=deployment("gone", 1))
    user("apply", "-f", "-", stdin=pod("bare", PATIENT))
    user("rollout", "status", "deployment/gone", "--timeout=30s")
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/bare")
    try:
        assert cloud.kubectl("cordon", "here") == "node/here cordoned\n"
        assert "SchedulingDisabled" in cloud.kubectl("get", "nodes")
        refused = cloud.run("drain", "here", "--pod-selector=app in (gone,bare)")
        assert "cannot delete Pods that declare no controller" in refused.stderr
        drained = cloud.kubectl("drain", "here", "--force", "--pod-selector=app in (gone,bare)", "--timeout=30s")  # fmt: skip
        assert f"evicting pod {namespace}/bare" in drained
        assert "node/here drained" in drained
        described = wait_for(lambda: user("describe", "pods", "-l", "app=gone"), "FailedScheduling")
        assert "0/1 nodes are available: 1 node(s) were unschedulable." in described
    finally:
        cloud.kubectl("uncordon", "here")
    user("rollout", "status", "deployment/gone", "--timeout=30s")
    try:
        cloud.kubectl("taint", "node", "here", "test=x:NoSchedule")
        user("apply", "-f", "-", stdin=pod("plain", "sleep 1000"))
        user("apply", "-f", "-", stdin=pod("used-to", "sleep 1000", tolerations=[{"key": "test", "operator": "Exists"}]))  # fmt: skip
        cloud.wait("-n", namespace, "--for=condition=Ready", "pod/used-to")
        described = wait_for(lambda: user("describe", "pod", "plain"), "FailedScheduling")
        assert "1 node(s) had untolerated taint {test: x}." in described or "1 node(s) had untolerated taint(s)." in described  # fmt: skip
        cloud.kubectl("taint", "node", "here", "test=x:NoExecute")
        wait_for(lambda: user("get", "pods", "-l", "app in (used-to,gone)", "--no-headers"), "Pending")  # fmt: skip
        assert "Running" in user("get", "pod", "used-to")
        wait_for(lambda: user("get", "events"), "TaintManagerEviction")
    finally:
        cloud.kubectl("taint", "node", "here", "test-")
    user("rollout", "status", "deployment/gone", "--timeout=30s")


def test_rights_tokens_and_accounts(cloud, namespace, user):
    user("create", "serviceaccount", "robot")
    user("create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log")
    user("create", "role", "named", "--verb=update", "--resource=configmaps", "--resource-name=only")  # fmt: skip
    user("create", "rolebinding", "r", "--role=reader", f"--serviceaccount={namespace}:robot")
    user("create", "rolebinding", "n", "--role=named", f"--serviceaccount={namespace}:robot")
    robot = User(cloud, namespace, f"--as=system:serviceaccount:{namespace}:robot")
    assert robot("get", "pods", "-o", "name") == ""
    refused = robot.fails("get", "secrets")
    assert f'secrets is forbidden: User "system:serviceaccount:{namespace}:robot" cannot list resource "secrets" in API group "" in the namespace "{namespace}"' in refused  # fmt: skip
    listed = robot("auth", "can-i", "--list")
    assert "pods/log" in listed
    assert "[only]" in listed
    assert "selfsubjectaccessreviews.authorization.k8s.io" in listed
    assert "/healthz" in listed
    assert robot("auth", "can-i", "get", "pods/log") == "yes\n"
    assert robot.fails("auth", "can-i", "create", "pods") == "no\n"
    # nobody gives away what he has not got
    user("create", "role", "maker", "--verb=create", "--resource=roles,rolebindings")
    user("create", "rolebinding", "m", "--role=maker", f"--serviceaccount={namespace}:robot")
    refused = robot.fails("create", "role", "all", "--verb=*", "--resource=secrets")
    assert f'roles.rbac.authorization.k8s.io "all" is forbidden: user "system:serviceaccount:{namespace}:robot"' in refused  # fmt: skip
    assert 'is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["*"]}' in refused  # fmt: skip
    refused = robot.fails("create", "rolebinding", "top", "--clusterrole=cluster-admin", "--user=x")
    assert "is attempting to grant RBAC permissions not currently held" in refused
    robot("create", "role", "less", "--verb=list", "--resource=pods")
    robot("create", "rolebinding", "less", "--role=less", "--user=x")

    token = user("create", "token", "robot", "--duration=10m")
    bare = ("--kubeconfig=/dev/null", "--server", f"https://127.0.0.1:{cloud.settings.api_port}", "--insecure-skip-tls-verify", "-n", namespace)  # fmt: skip
    assert cloud.run(*bare, "--token", token, "get", "pods").returncode == 0
    assert "Unauthorized" in cloud.run(*bare, "--token", token[:-4] + "abcd", "get", "pods").stderr
    who = cloud.run(*bare, "--token", token, "auth", "whoami", "-o", "json").stdout
    assert f"system:serviceaccounts:{namespace}" in json.loads(who)["status"]["userInfo"]["groups"]

    secret = {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "robot-token", "annotations": {"kubernetes.io/service-account.name": "robot"}},
    }  # fmt: skip
    user("apply", "-f", "-", stdin=json.dumps(secret))
    wait_for(lambda: user("get", "secret", "robot-token", "-o", "json"), '"token"')
    kept = base64.b64decode(user.read("secret robot-token", ".data.token")).decode()
    assert cloud.run(*bare, "--token", kept, "get", "pods").returncode == 0
    user("delete", "serviceaccount", "robot")
    deadline = time.monotonic() + 10
    while cloud.run(*bare, "--token", kept, "get", "pods").returncode == 0:
        assert time.monotonic() < deadline
    assert "Unauthorized" in cloud.run(*bare, "--token", token, "get", "pods").stderr
    wait_for(lambda: cloud.run("-n", namespace, "get", "secret", "robot-token").stderr, "not found")


def test_priority_orders_who_waits(cloud, namespace, user):
    cloud.kubectl("create", "priorityclass", "urgent", "--value=1000")
    try:
        cloud.kubectl("cordon", "here")
        user("apply", "-f", "-", stdin=pod("low", "sleep 1000"))
        user("apply", "-f", "-", stdin=pod("high", "sleep 1000", priorityClassName="urgent"))
        assert user.read("pod high", ".spec.priority") == "1000"
        wait_for(lambda: user("describe", "pod", "high"), "FailedScheduling")
    finally:
        cloud.kubectl("uncordon", "here")
        cloud.kubectl("delete", "priorityclass", "urgent")
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/high", "pod/low")
    refused = user.fails("apply", "-f", "-", stdin=pod("none", "true", priorityClassName="no-such"))
    assert "no PriorityClass with name no-such was found" in refused
