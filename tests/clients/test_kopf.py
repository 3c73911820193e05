"""An operator on kopf, run as a process of its own: handlers, finalizers, status, events."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.kubectl import Kubectl
from tests.clients.toolchains import kubectl

pytestmark = pytest.mark.slow
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: websites.kopf.example.com}
spec:
  group: kopf.example.com
  scope: Namespaced
  names: {plural: websites, singular: website, kind: Website, shortNames: [ws]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Phase, type: string, jsonPath: .status.phase}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [text]
            properties:
              text: {type: string}
              replicas: {type: integer, minimum: 1, default: 2}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
SITE = """
apiVersion: kopf.example.com/v1
kind: Website
metadata: {name: site}
spec: {text: hello}
"""


@pytest.fixture
def user(pretended, namespace, tmp_path):
    user = Kubectl(kubectl("installed"), pretended, namespace, tmp_path)
    user("apply", "-f", "-", stdin=DEFINITION)
    user("wait", "--for=condition=Established", "crd/websites.kopf.example.com", "--timeout=20s")
    yield user
    user("delete", "crd", "websites.kopf.example.com", "--timeout=60s")


@pytest.fixture
def operator(user, tmp_path):
    log = tmp_path / "operator.log"
    program = Path(__file__).with_name("operator.py")
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kopf", "run", "--standalone", "-n", user.namespace, str(program)],
            env=user.environment | {"PATH": os.environ["PATH"]},
            stdout=out, stderr=out, cwd=tmp_path,
        )  # fmt: skip
    yield log
    process.terminate()
    assert process.wait(30) == 0, log.read_text()


def test_an_operator_makes_changes_and_cleans_up(user, operator):
    def waits(path: str, value: str) -> None:
        done = user.run("wait", f"--for=jsonpath={{{path}}}={value}", "website/site", "--timeout=30s")  # fmt: skip
        assert done.returncode == 0, done.stderr + operator.read_text()

    user("apply", "-f", "-", stdin=SITE)
    waits(".status.phase", "Made")
    assert user("get", "ws", "--no-headers").split()[:2] == ["site", "Made"]
    site = user.read("website", "site")
    assert site["spec"]["replicas"] == 2
    assert site["metadata"]["finalizers"] == ["kopf.example.com/finalizer"]
    assert site["status"]["created"] == {"page": "site"}
    user("rollout", "status", "deployment/site", "--timeout=30s")
    owner = user.read("configmap", "site")["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Website", site["metadata"]["uid"])
    assert "pod event ADDED of site-" in operator.read_text()

    user("apply", "-f", "-", stdin=SITE.replace("hello", "goodbye"))
    waits(".status.phase", "Changed from hello")
    assert user.read("configmap", "site")["data"]["index.html"] == "goodbye"
    refused = user.run("apply", "-f", "-", stdin=SITE.replace("hello", "hello, replicas: 0"))
    assert "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1" in refused.stderr  # fmt: skip

    user("delete", "website", "site", "--timeout=60s")
    assert user.read("configmap", "site-was-here")
    user("wait", "--for=delete", "configmap/site", "deployment/site", "--timeout=30s")
    made = [event for event in user.read("events")["items"] if event["reason"] == "Made"]
    assert [event["involvedObject"]["uid"] for event in made] == [site["metadata"]["uid"]]
