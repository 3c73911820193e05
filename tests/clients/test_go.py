"""client-go and controller-runtime, in programs of our own, and Helm with a chart of our own.

They are built from their Go modules where Go is there; what is built is kept by Go's own cache and
in the folder of the toolchains.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jindou.control.api.access import certificates
from tests.clients.toolchains import folder, left_out, need
from tests.cloud import Cloud, free_port

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
BUILDING = 1500  # seconds, at most


def built(client: str, module: Path, package: str) -> str:
    """Where a program is after it was built; Go looks itself whether there is anything to do."""
    (go,) = need(client, "go")
    place = folder("go") / package.rpartition("/")[2]
    done = subprocess.run(
        [go, "build", "-o", str(place), package], cwd=module, capture_output=True, text=True,
        timeout=BUILDING,
    )  # fmt: skip
    if "dial tcp" in done.stderr or "requires go" in done.stderr:
        raise left_out(client, done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return str(place)


# ------------------------------------------------------------ client-go

WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.clients.example.com"},
    "spec": {
        "group": "clients.example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer"}, "color": {"type": "string"},
                    }},
                    "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
                }}},
            }
        ],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def widgets(pretended: Cloud) -> None:
    pretended.apply(json.dumps(WIDGETS))
    pretended.wait("--for=condition=Established", "crd/widgets.clients.example.com")


def test_client_go(pretended, namespace, widgets):
    program = built("client-go", HERE / "go", "./clientgo")
    done = subprocess.run(
        [program, "-kubeconfig", pretended.kubeconfig, "-namespace", namespace],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    steps = ["typed", "applied", "paged", "informed", "dynamic", "resumed", "led"]
    assert done.stdout.split() == steps


# ------------------------------------------------------------ controller-runtime


def hook(kind: str, name: str, path: str, port: int, authority: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": "widgets"},
        "webhooks": [
            {
                "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": f"https://127.0.0.1:{port}{path}",
                    "caBundle": base64.b64encode(authority).decode(),
                },
                "rules": [{
                    "apiGroups": ["clients.example.com"], "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"], "resources": ["widgets"],
                }],
            }
        ],
    }  # fmt: skip


@pytest.fixture
def manager(pretended: Cloud, widgets: None, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Started, leading, and its webhooks asked."""
    program = built("controller-runtime", HERE / "go", "./manager")
    certificates.ensure(tmp_path, [certificates.Leaf("tls", "tls", (), ("127.0.0.1",))])
    authority = (tmp_path / "ca.crt").read_bytes()
    port = free_port()
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [program, "-certificates", str(tmp_path), "-port", str(port)],
            env={**os.environ, "KUBECONFIG": pretended.kubeconfig}, stdout=log, stderr=log,
        )  # fmt: skip
    hooks = [
        hook(
            "Mutating",
            "defaults.example.com",
            "/mutate-clients-example-com-v1-widget",
            port,
            authority,
        ),
        hook(
            "Validating",
            "rules.example.com",
            "/validate-clients-example-com-v1-widget",
            port,
            authority,
        ),
    ]
    try:
        pretended.wait("--for=create", "-n", "default", "lease/widgets")
        pretended.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": hooks}))
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (tmp_path / "log").read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        for one in hooks:
            pretended.run("delete", one["kind"].lower(), "widgets")


def widget(name: str, size: int) -> str:
    return json.dumps({
        "apiVersion": "clients.example.com/v1", "kind": "Widget",
        "metadata": {"name": name}, "spec": {"size": size},
    })  # fmt: skip


def test_a_manager_of_controller_runtime(pretended, namespace, manager):
    cloud, inside = pretended, ("-n", namespace)
    cloud.kubectl(*inside, "create", "-f", "-", stdin=widget("w", 3))
    cloud.wait(*inside, "--for=jsonpath={.status.phase}=Ready", "widget/w")
    made = cloud.get(*inside, "widget", "w")
    assert made["spec"] == {"size": 3, "color": "blue"}
    assert made["metadata"]["finalizers"] == ["clients.example.com/cleanup"]
    owned = cloud.get(*inside, "configmap", "w")
    assert owned["data"] == {"size": "3", "color": "blue"}
    assert owned["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]

    cloud.kubectl(*inside, "patch", "widget", "w", "--type=merge", "-p", '{"spec":{"size":4}}')
    cloud.wait(*inside, "--for=jsonpath={.data.size}=4", "configmap/w")
    cloud.kubectl(*inside, "delete", "configmap", "w")
    cloud.wait(*inside, "--for=create", "configmap/w")

    refused = cloud.run(*inside, "create", "-f", "-", stdin=widget("large", 11))
    assert refused.returncode == 1
    assert 'admission webhook "rules.example.com" denied the request' in refused.stderr
    assert "a size of 11 is too much" in refused.stderr
    warned = cloud.run(*inside, "create", "-f", "-", stdin=widget("ten", 10))
    assert warned.returncode == 0
    assert "Warning: that is large" in warned.stderr

    cloud.kubectl(*inside, "delete", "widget", "w", "--timeout=20s")
    assert cloud.get(*inside, "configmap", "w-gone")
    cloud.kubectl(*inside, "wait", "--for=delete", "configmap/w", "--timeout=20s")


# ------------------------------------------------------------ Helm


class Helm:
    def __init__(self, cloud: Cloud, namespace: str, home: Path) -> None:
        self.program = built("Helm", HERE / "helm", "helm.sh/helm/v4/cmd/helm")
        self._words = ["--kubeconfig", cloud.kubeconfig, "--namespace", namespace]
        self._environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "HELM_CACHE_HOME": str(home / "cache"),
            "HELM_CONFIG_HOME": str(home / "config"), "HELM_DATA_HOME": str(home / "data"),
        }  # fmt: skip

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *words, *self._words], env=self._environment, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip

    def __call__(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"helm {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout


@pytest.fixture
def helm(pretended: Cloud, namespace: str, tmp_path: Path) -> Helm:
    return Helm(pretended, namespace, tmp_path)


def test_helm_from_install_to_uninstall(pretended, namespace, helm):
    """A chart with a custom kind, hooks, and a Deployment that has to be ready."""
    cloud, inside, chart = pretended, ("-n", namespace), str(HERE / "helm" / "shop")
    assert "NAME: shop" in helm("install", "shop", chart, "--wait", "--timeout=60s")
    assert cloud.get(*inside, "deployment", "shop")["status"]["availableReplicas"] == 1
    assert cloud.get(*inside, "shelf", "shop")["spec"] == {"books": 3}
    hooks = cloud.get(*inside, "configmap", "-l", "hook")["items"]
    assert {one["metadata"]["name"] for one in hooks} == {"shop-pre-install", "shop-post-install"}

    helm(
        "upgrade",
        "shop",
        chart,
        "--wait",
        "--timeout=60s",
        "--set",
        "replicas=2",
        "--set",
        "books=5",
    )
    assert cloud.get(*inside, "deployment", "shop")["status"]["availableReplicas"] == 2
    assert cloud.get(*inside, "shelf", "shop")["spec"] == {"books": 5}
    history = json.loads(helm("history", "shop", "-o", "json"))
    assert [one["status"] for one in history] == ["superseded", "deployed"]

    refused = helm.run(
        "upgrade", "shop", chart, "--set", "books=-1", "--rollback-on-failure", "--timeout=60s"
    )
    assert refused.returncode == 1
    assert "should be greater than or equal to 0" in refused.stderr
    assert cloud.get(*inside, "shelf", "shop")["spec"] == {"books": 5}

    helm("rollback", "shop", "1", "--wait", "--timeout=60s")
    assert cloud.get(*inside, "deployment", "shop")["spec"]["replicas"] == 1
    assert cloud.get(*inside, "shelf", "shop")["spec"] == {"books": 3}
    assert "books: 5" in helm("get", "values", "shop", "--revision", "2")
    listed = json.loads(helm("list", "-o", "json"))
    assert [(one["name"], one["status"]) for one in listed] == [("shop", "deployed")]
    assert "Succeeded" in helm("test", "shop", "--timeout=60s")

    helm("uninstall", "shop", "--wait", "--timeout=60s")
    assert cloud.get(*inside, "deployments,shelves")["items"] == []
    assert cloud.get("crd", "shelves.shop.example.com"), "kinds stay"
