"""What people do with kubectl all day, word by word, against a real cloud."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request

import pytest

from tests.cloud import KUBECTL
from tests.end_to_end.test_features_pods import wait_for
from tests.end_to_end.test_pods import pod
from tests.end_to_end.test_services import web

pytestmark = [pytest.mark.root, pytest.mark.slow]

APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, labels: {app: app}}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: app, image: busybox, command: [sleep, "1000"]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: app, labels: {app: app}}
data: {colour: red}
"""


class User:
    """kubectl in one namespace."""

    def __init__(self, cloud, namespace: str, *flags: str) -> None:
        self.cloud, self.base = cloud, ("-n", namespace, *flags)

    def __call__(self, *words: str, stdin: str = "") -> str:
        return self.cloud.kubectl(*self.base, *words, stdin=stdin)

    def fails(self, *words: str, stdin: str = "", code: int = 1) -> str:
        done = self.cloud.run(*self.base, *words, stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr or done.stdout

    def read(self, what: str, path: str) -> str:
        return self("get", *what.split(), "-o", f"jsonpath={{{path}}}")


@pytest.fixture
def user(cloud, namespace) -> User:
    return User(cloud, namespace)


def test_apply_diff_edit_replace_and_prune(cloud, namespace, user, tmp_path):
    assert user("apply", "-f", "-", stdin=APP) == "deployment.apps/app created\nconfigmap/app created\n"  # fmt: skip
    assert user("apply", "-f", "-", stdin=APP) == "deployment.apps/app unchanged\nconfigmap/app unchanged\n"  # fmt: skip
    assert user("diff", "-f", "-", stdin=APP) == ""
    changed = APP.replace("red", "blue").replace("replicas: 1", "replicas: 2")
    different = user.fails("diff", "-f", "-", stdin=changed)
    assert "-  colour: red\n+  colour: blue" in different
    assert "-  replicas: 1\n+  replicas: 2" in different
    assert "configmap/app configured" in user("apply", "-f", "-", stdin=changed)

    # a field of another owner
    user("apply", "--server-side", "--field-manager=first", "-f", "-", stdin=pod("mine", "sleep 1000"))  # fmt: skip
    other = pod("mine", "sleep 1000").replace('"labels": {"app": "mine"}', '"labels": {"app": "his"}')  # fmt: skip
    refused = user.fails("apply", "--server-side", "--field-manager=second", "-f", "-", stdin=other)
    assert 'Apply failed with 1 conflict: conflict with "first": .metadata.labels.app' in refused
    user("apply", "--server-side", "--field-manager=second", "--force-conflicts", "-f", "-", stdin=other)  # fmt: skip
    assert user.read("pod mine", ".metadata.labels.app") == "his"
    managers = user.read("pod mine --show-managed-fields", ".metadata.managedFields[*].manager")
    assert {"first", "second"} <= set(managers.split())
    assert user.read("pod mine", ".metadata.managedFields") != ""

    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i s/blue/green/ $1\n")
    editor.chmod(0o755)
    done = subprocess.run(
        [KUBECTL, "--kubeconfig", cloud.kubeconfig, "-n", namespace, "edit", "configmap", "app"],
        env=os.environ | {"EDITOR": str(editor)}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == "configmap/app edited\n", done.stderr
    assert user.read("configmap app", ".data.colour") == "green"

    uid = user.read("pod mine", ".metadata.uid")
    refused = user.fails("replace", "-f", "-", stdin=pod("mine", "sleep 2000"))
    assert "pod updates may not change fields other than" in refused
    assert "replaced" in user("replace", "--force", "-f", "-", stdin=pod("mine", "sleep 2000"))
    assert user.read("pod mine", ".metadata.uid") != uid
    assert user.fails("replace", "-f", "-", stdin=APP.split("---")[1].replace("name: app,", "name: none,"))  # fmt: skip

    only = APP.split("---")[1]
    pruned = user(
        "apply", "--prune", "-l", "app=app", "--prune-allowlist=apps/v1/Deployment", "-f", "-",
        stdin=only,
    )  # fmt: skip
    assert "deployment.apps/app pruned" in pruned
    assert user("delete", "-f", "-", stdin=only).startswith('configmap "app" deleted')
    assert 'configmaps "app" not found' in user.fails("delete", "-f", "-", stdin=only)
    assert user("delete", "-f", "-", "--ignore-not-found", stdin=only) == ""


def test_patches_labels_and_annotations(user):
    user("create", "configmap", "c", "--from-literal=a=1", "--from-literal=b=2")
    user("patch", "configmap", "c", "-p", '{"data":{"a":null,"c":"3"}}')
    user("patch", "configmap", "c", "--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}')
    user("patch", "configmap", "c", "--type=json", "-p", '[{"op":"test","path":"/data/b","value":"2"},{"op":"replace","path":"/data/b","value":"4"}]')  # fmt: skip
    assert json.loads(user.read("configmap c", ".data")) == {"b": "4", "c": "3"}
    refused = user.fails("patch", "configmap", "c", "--type=json", "-p", '[{"op":"test","path":"/data/b","value":"x"}]')  # fmt: skip
    assert "the server rejected our request due to an error in our request" in refused
    assert "no change" in user("patch", "configmap", "c", "-p", '{"data":{"c":"3"}}')

    assert user("label", "configmap", "c", "tier=front") == "configmap/c labeled\n"
    refused = user.fails("label", "configmap", "c", "tier=back")
    assert "'tier' already has a value (front), and --overwrite is false" in refused
    user("label", "configmap", "c", "tier=back", "--overwrite")
    assert user("get", "configmaps", "-l", "tier in (back)", "-o", "name") == "configmap/c\n"
    assert user("get", "configmaps", "-l", "tier notin (back),x", "-o", "name") == ""
    assert user("label", "configmap", "c", "tier-") == "configmap/c unlabeled\n"
    user("annotate", "configmap", "c", "note=some words")
    user("annotate", "configmap", "c", "note-")
    assert "a valid label must be an empty string or" in user.fails("label", "configmap", "c", "bad=not valid!")  # fmt: skip
    assert user("get", "configmap", "c", "-L", "x", "--no-headers").split()[-1] == "y"
    assert "x=y" in user("get", "configmaps", "--show-labels")


def test_every_form_of_get(cloud, namespace, user):
    user("apply", "-f", "-", stdin="\n".join(pod(name, "sleep 1000") for name in ("b", "a", "c")))
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod", "--all")
    assert user("get", "pods", "-o", "name", "--chunk-size=1").split() == ["pod/a", "pod/b", "pod/c"]  # fmt: skip
    by_age = user("get", "pods", "--sort-by=.metadata.creationTimestamp", "-o", "name").split()
    assert len(by_age) == 3
    by_name = user("get", "pods", "--sort-by={.metadata.name}", "--no-headers").splitlines()
    assert [line.split()[0] for line in by_name] == ["a", "b", "c"]
    wide = user("get", "pods", "-o", "wide").splitlines()
    assert wide[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED", "NODE", "READINESS", "GATES"]  # fmt: skip
    columns = user(
        "get", "pods", "-o", "custom-columns=N:.metadata.name,I:.spec.containers[*].image"
    )
    assert columns.splitlines()[1].split() == ["a", "busybox"]
    assert user("get", "pods", "-o", "go-template={{range .items}}{{.metadata.name}},{{end}}") == "a,b,c,"  # fmt: skip
    assert "kind: List" in user("get", "pods", "-o", "yaml")
    fields = "spec.nodeName=here,status.phase!=Failed,metadata.name!=b"
    assert user("get", "pods", "--field-selector", fields, "-o", "name").split() == ["pod/a", "pod/c"]  # fmt: skip
    assert 'field label not supported: spec.bad' in user.fails("get", "pods", "--field-selector", "spec.bad=1")  # fmt: skip
    assert "No resources found in" in cloud.run("-n", namespace, "get", "pods", "-l", "no=such").stderr  # fmt: skip
    assert 'pods "none" not found' in user.fails("get", "pod", "none")
    assert user("get", "pod", "none", "--ignore-not-found") == ""
    assert "the server doesn't have a resource type" in user.fails("get", "nonsense")
    assert user("get", "po/a", "pods/b", "-o", "name").split() == ["pod/a", "pod/b"]
    assert "pod/a" in user("get", "all", "-o", "name")
    raw = json.loads(user("get", "--raw", f"/api/v1/namespaces/{namespace}/pods?limit=2"))
    assert len(raw["items"]) == 2
    assert raw["metadata"]["remainingItemCount"] == 1

    watch = subprocess.Popen(
        [KUBECTL, "--kubeconfig", cloud.kubeconfig, "-n", namespace, "get", "pods", "-w", "--output-watch-events"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watch.stdout is not None
    try:
        assert [watch.stdout.readline().split()[:2] for _ in range(4)][1:] == [["ADDED", n] for n in "abc"]  # fmt: skip
        user("label", "pod", "b", "new=label")
        assert watch.stdout.readline().split()[:2] == ["MODIFIED", "b"]
        user("delete", "pod", "c", "--wait=false")
        for line in watch.stdout:
            if line.split()[:2] == ["DELETED", "c"]:
                break
    finally:
        watch.kill()
        watch.wait()
        watch.stdout.close()
    user("wait", "--for=delete", "pod/c", "--timeout=10s")
    assert "timed out waiting for the condition" in user.fails("wait", "--for=condition=Odd", "pod/a", "--timeout=1s")  # fmt: skip


def test_all_the_verbs_of_a_deployment(cloud, namespace, user):
    quick = 'trap "exit 0" TERM; while :; do sleep 0.1; done'
    user("create", "deployment", "d", "--image=busybox", "--replicas=2", "--port=80", "--", "sh", "-c", quick)  # fmt: skip
    user("patch", "deployment", "d", "-p", '{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":0}}}}')  # fmt: skip
    user("rollout", "status", "deployment/d", "--timeout=30s")
    assert user("expose", "deployment", "d", "--port=80") == "service/d exposed\n"
    user("autoscale", "deployment", "d", "--min=1", "--max=4", "--cpu-percent=70")
    assert user.read("hpa d", ".spec.maxReplicas") == "4"
    user("rollout", "pause", "deployment/d")
    user("set", "image", "deployment/d", "busybox=busybox:latest")
    user("set", "env", "deployment/d", "A=b")
    user("set", "resources", "deployment/d", "--limits=memory=64Mi")
    assert "paused" in user.fails("rollout", "restart", "deployment/d")
    assert user("set", "env", "deployment/d", "--list") == "# Deployment d, container busybox\nA=b\n"  # fmt: skip
    before = user.read("replicasets", ".items[*].metadata.name").split()
    user("rollout", "resume", "deployment/d")
    user("rollout", "status", "deployment/d", "--timeout=30s")
    assert len(user.read("replicasets", ".items[*].metadata.name").split()) == len(before) + 1
    user("annotate", "deployment/d", "kubernetes.io/change-cause=why not")
    assert "why not" in user("rollout", "history", "deployment/d")
    assert "A:\tb" in user("rollout", "history", "deployment/d", "--revision=3")
    user("rollout", "undo", "deployment/d", "--to-revision=2")
    user("rollout", "restart", "deployment/d")
    user("rollout", "status", "deployment/d", "--timeout=30s")
    assert user("scale", "deployment/d", "--replicas=1", "--current-replicas=2") == "deployment.apps/d scaled\n"  # fmt: skip
    assert "Expected replicas to be 5, was 1" in user.fails("scale", "deployment/d", "--replicas=1", "--current-replicas=5")  # fmt: skip
    user("patch", "deployment", "d", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":0}}')  # fmt: skip
    scale = json.loads(user("get", "deployment", "d", "--subresource=scale", "-o", "json"))
    assert (scale["kind"], scale["spec"].get("replicas", 0)) == ("Scale", 0)
    described = user("describe", "deployment", "d")
    assert "NewReplicaSetAvailable" in described or "MinimumReplicasAvailable" in described
    assert "Scaled down replica set" in described


def test_what_kubectl_makes(cloud, namespace, user, tmp_path):
    key, cert = tmp_path / "k", tmp_path / "c"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=x"],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "file.env").write_text("A=1\nB=2\n")
    for words in (
        "configmap c1 --from-env-file={}/file.env",
        "configmap c2 --from-file={}/file.env",
        "secret generic s1 --from-literal=a=b",
        "secret tls s2 --cert={}/c --key={}/k",
        "secret docker-registry s3 --docker-server=r --docker-username=u --docker-password=p",
        "serviceaccount robot", "quota q --hard=pods=9", "role r --verb=get,list --resource=pods",
        "rolebinding rb --role=r --serviceaccount=default:default",
        "service clusterip sc --tcp=80:8080", "service nodeport sn --tcp=80", "service externalname se --external-name=example.com",
        "service loadbalancer sl --tcp=80", "job j --image=busybox -- true", "cronjob cj --image=busybox --schedule=*/5_*_*_*_* -- true",
        "ingress i --rule=example.com/path*=svc:80", "poddisruptionbudget p --selector=a=b --min-available=1",
        "deployment d --image=busybox -- sleep 9",
    ):  # fmt: skip
        made = [word.replace("_", " ").replace("{}", str(tmp_path)) for word in words.split()]
        assert "created" in user("create", *made), words
        refused = user.fails("create", *made)
        assert "already exists" in refused
    assert json.loads(user.read("configmap c1", ".data")) == {"A": "1", "B": "2"}
    assert user.read("secret s2", ".type") == "kubernetes.io/tls"
    shown = user("get", "cm,secret,sa,quota,role,rolebinding,svc,job,cj,ing,pdb,deploy")
    assert "kubernetes.io/dockerconfigjson" in shown
    assert "*/5 * * * *" in shown
    for kind in ("configmap/c1", "secret/s1", "quota/q", "role/r", "svc/sn", "job/j", "cj/cj", "ing/i", "pdb/p", "sa/robot"):  # fmt: skip
        assert user("describe", kind).startswith("Name:"), kind
    dry = user("create", "deployment", "x", "--image=busybox", "--dry-run=server", "-o", "yaml")
    assert "uid: " in dry
    assert user.fails("get", "deployment", "x")
    odd = pod("odd", "true").replace('"spec"', '"spce"')
    assert 'unknown field "spce"' in user.fails("create", "-f", "-", stdin=odd)
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in user.fails("apply", "-f", "-", stdin=APP.replace("replicas: 1", "replicas: -1"))  # fmt: skip


def test_what_a_cluster_says_about_itself(cloud, user):
    assert "GROUP:      apps" in user("explain", "deployment.spec.strategy")
    assert "terminationGracePeriodSeconds\t<integer>" in user("explain", "pod", "--recursive")
    assert "apps/v1" in user("api-versions").split()
    resources = user("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    assert {"pods", "deployments.apps", "ingresses.networking.k8s.io"} <= set(resources)
    assert "Kubernetes control plane" in user("cluster-info")
    assert "Server Version: v1." in user("version")
    assert user("get", "--raw", "/readyz") == "ok"
    assert user("top", "nodes").split()[-5].startswith("here")
    assert "system:masters" in user("auth", "whoami")
    assert user("auth", "can-i", "delete", "nodes") == "yes\n"
    node = user("describe", "node", "here")
    for words in ("Ready", "Allocated resources:", "PodCIDR:", "Container Runtime Version:"):
        assert words in node
    server = json.loads(user("version", "-o", "json"))["serverVersion"]["gitVersion"]
    kubelet = user.read("node here", ".status.nodeInfo.kubeletVersion")
    assert kubelet == server
    runtime = user.read("node here", ".status.nodeInfo.containerRuntimeVersion")
    name, _, version = runtime.partition("://")
    assert name in ("crun", "runc")
    assert version.count(".") >= 1
    proxy = subprocess.Popen(
        [KUBECTL, "--kubeconfig", cloud.kubeconfig, "proxy", "--port=0"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert proxy.stdout is not None
    try:
        port = proxy.stdout.readline().strip().rpartition(":")[2]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/api/v1/namespaces/default", timeout=10) as answer:  # fmt: skip
            assert json.load(answer)["kind"] == "Namespace"
    finally:
        proxy.kill()
        proxy.wait()
        proxy.stdout.close()


def test_a_service_and_a_pod_through_the_api_servers_proxy(cloud, namespace, user):
    user("apply", "-f", "-", stdin=web("web", 1))
    user("rollout", "status", "deployment/web", "--timeout=30s")
    name = user.read("pods", ".items[0].metadata.name")
    base = f"/api/v1/namespaces/{namespace}"
    wait_for(lambda: cloud.run("get", "--raw", f"{base}/services/web:http/proxy/").stdout, name)
    assert user("get", "--raw", f"{base}/pods/{name}:8080/proxy/index.html") == f"{name}\n"
