"""The real kubectl, unmodified, against the API over TLS with a client certificate."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from jindou.control.store.sqlite import SqliteStore
from tests.control.apis import on_kubectl

pytestmark = pytest.mark.slow
GUESTBOOK = str(Path(__file__).parents[2] / "examples/guestbook/guestbook.yaml")
ALL = "-n=guestbook"


def test_an_application_is_applied_changed_compared_and_deleted(tmp_path):
    async def scenario(kubectl, api):
        assert "deployment.apps/web created" in await kubectl("apply", "-f", GUESTBOOK)
        assert "created" not in await kubectl("apply", "-f", GUESTBOOK)
        assert (await kubectl.run("diff", "-f", GUESTBOOK))[0] == 0
        listed = await kubectl("get", "all", ALL)
        assert "deployment.apps/web" in listed
        assert "service/front" in listed
        await kubectl("scale", ALL, "deploy/web", "--replicas=5")
        code, out, _ = await kubectl.run("diff", "-f", GUESTBOOK)
        assert code == 1
        assert "replicas: 5" in out
        await kubectl("label", ALL, "svc/web", "tier=middle")
        await kubectl("annotate", ALL, "svc/web", "note=x")
        assert "web" in await kubectl("get", "svc", ALL, "-l", "tier=middle", "-o", "name")
        patch = '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"other"}]}}}}'
        await kubectl("patch", ALL, "deploy/web", "-p", patch)
        await kubectl("set", "image", ALL, "deploy/web", "web=third")
        deployment = json.loads(await kubectl("get", "deploy", ALL, "web", "-o", "json"))
        containers = deployment["spec"]["template"]["spec"]["containers"]
        assert [c["image"] for c in containers] == ["third"]
        assert len(containers[0]["env"]) == 5
        assert deployment["metadata"]["generation"] == 4
        described = await kubectl("describe", ALL, "deploy/web")
        assert "RollingUpdateStrategy" in described
        await kubectl("delete", ALL, "deploy/web", "svc/web")
        assert (await kubectl.run("get", ALL, "deploy/web"))[0] == 1

    on_kubectl(tmp_path, scenario)


def test_server_side_apply_from_the_start(tmp_path):
    async def scenario(kubectl, api):
        first = await kubectl("apply", "--server-side", "-f", GUESTBOOK)
        assert first.count("serverside-applied") == 10
        await kubectl("apply", "--server-side", "-f", GUESTBOOK)  # what had no owner gets one
        revision = api.store.revision
        await kubectl("apply", "--server-side", "-f", GUESTBOOK)
        assert api.store.revision == revision
        await kubectl("scale", ALL, "deploy/web", "--replicas=5")
        code, _, err = await kubectl.run("apply", "--server-side", "-f", GUESTBOOK)
        assert code == 1
        assert 'conflict with "kubectl"' in err
        await kubectl("apply", "--server-side", "--force-conflicts", "-f", GUESTBOOK)

    on_kubectl(tmp_path, scenario)


def test_what_kubectl_sends_in_protobuf_and_what_it_asks_only_to_see(tmp_path):
    async def scenario(kubectl, api):
        await kubectl("create", "namespace", "x")
        await kubectl("create", "-n=x", "configmap", "c", "--from-literal=a=b")
        await kubectl("create", "-n=x", "secret", "generic", "s", "--from-literal=a=b")
        await kubectl("create", "-n=x", "deployment", "d", "--image=i", "--replicas=2")
        await kubectl("create", "-n=x", "job", "j", "--image=i")
        await kubectl("create", "-n=x", "serviceaccount", "default")
        await kubectl("run", "-n=x", "p", "--image=busybox", "--port=80", "--expose")
        await kubectl("expose", "-n=x", "deploy/d", "--port=8080")
        await kubectl("autoscale", "-n=x", "deploy/d", "--max=3", "--cpu-percent=50")
        shown = await kubectl(
            "get",
            "-n=x",
            "hpa",
            "d",
            "-o",
            "jsonpath={.spec.metrics[0].resource.target.averageUtilization}",
        )
        assert shown == "50"
        dry = await kubectl(
            "create", "configmap", "n", "--from-literal=a=b", "--dry-run=server", "-o", "yaml"
        )
        assert "uid:" in dry
        assert (await kubectl.run("get", "configmap", "n"))[0] == 1
        assert await kubectl("auth", "can-i", "create", "pods") == "yes\n"
        assert "kubernetes-admin" in await kubectl("auth", "whoami")
        token = await kubectl("create", "token", "-n=x", "default")
        assert token.count(".") == 2
        assert "GROUP" in await kubectl("explain", "deployment.spec.strategy")
        names = await kubectl("api-resources", "--namespaced=true", "-o", "name")
        assert "deployments.apps" in names.splitlines()
        await kubectl(
            "replace", "-f", "-", stdin=await kubectl("get", "-n=x", "cm", "c", "-o", "json")
        )
        await kubectl("delete", "-n=x", "all", "--all")
        await kubectl("delete", "-n=x", "cm", "c")

    on_kubectl(tmp_path, scenario)


def test_watching_and_waiting(tmp_path):
    async def scenario(kubectl, api):
        watch = await kubectl.start("get", "configmaps", "-w", "-o", "name")
        assert watch.stdout is not None
        waited = await kubectl.start("wait", "--for=create", "configmap/late", "--timeout=20s")
        await kubectl("create", "configmap", "late")
        assert await asyncio.wait_for(watch.stdout.readline(), 20) == b"configmap/late\n"
        assert await asyncio.wait_for(waited.wait(), 20) == 0
        going = await kubectl.start("wait", "--for=delete", "configmap/late", "--timeout=20s")
        await kubectl("delete", "configmap", "late")
        assert await asyncio.wait_for(going.wait(), 20) == 0
        watch.terminate()
        for process in (watch, waited, going):
            await process.communicate()

    on_kubectl(tmp_path, scenario)


DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing, shortNames: [th]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.count, statusReplicasPath: .status.count}}
    additionalPrinterColumns: [{name: Count, type: integer, jsonPath: .spec.count}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              count: {type: integer, minimum: 1, default: 3}
              size: {type: string, enum: [small, large]}
          status: {type: object, properties: {count: {type: integer}}}
"""
THING = """
apiVersion: example.com/v1
kind: Thing
metadata: {name: one}
spec: {size: small}
"""


def test_custom_resources(tmp_path):
    async def scenario(kubectl, api):
        await kubectl("apply", "-f", "-", stdin=DEFINITION)
        await kubectl(
            "wait", "--for=condition=Established", "crd/things.example.com", "--timeout=10s"
        )
        await kubectl("apply", "-f", "-", stdin=THING)
        assert (await kubectl("get", "th")).split() == ["NAME", "COUNT", "one", "3"]
        await kubectl("scale", "th/one", "--replicas=7")
        assert await kubectl("get", "th/one", "-o", "jsonpath={.spec.count}") == "7"
        code, _, err = await kubectl.run("apply", "-f", "-", stdin=THING.replace("small", "huge"))
        assert code == 1
        assert 'spec.size: Unsupported value: "huge": supported values: "small", "large"' in err
        _, _, err = await kubectl.run("apply", "-f", "-", stdin=THING.replace("size", "sise"))
        assert 'unknown field "spec.sise"' in err
        await kubectl(
            "patch",
            "th/one",
            "--type=merge",
            "--subresource=status",
            "-p",
            '{"status":{"count":2}}',
        )
        assert "count" in await kubectl("explain", "thing.spec")
        finalizer = '{"metadata":{"finalizers":["example.com/x"]}}'
        await kubectl("patch", "th/one", "--type=merge", "-p", finalizer)
        await kubectl("delete", "crd", "things.example.com", "--wait=false")
        _, _, err = await kubectl.run("create", "-f", "-", stdin=THING.replace("one", "two"))
        assert "custom resource definition is terminating" in err
        await kubectl("patch", "th/one", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        await kubectl("wait", "--for=delete", "crd/things.example.com", "--timeout=10s")
        assert api.store.scan("example.com/things/").items == []

    on_kubectl(tmp_path, scenario)


def test_a_restart_keeps_everything(tmp_path):
    kept = {}

    def store():
        return SqliteStore.open(tmp_path / "state.db")

    async def before(kubectl, api):
        await kubectl("apply", "-f", GUESTBOOK)
        await kubectl("apply", "-f", "-", stdin=DEFINITION)
        await kubectl("apply", "-f", "-", stdin=THING)
        kept["yaml"] = await kubectl("get", "all,cm,secrets", ALL, "-o", "yaml")
        kept["revision"] = api.store.revision

    async def after(kubectl, api):
        assert api.store.revision >= kept["revision"]
        assert await kubectl("get", "all,cm,secrets", ALL, "-o", "yaml") == kept["yaml"]
        assert "small" in await kubectl("get", "things", "-o", "yaml")
        taken = {
            s["spec"]["clusterIP"]
            for s in json.loads(await kubectl("get", "svc", "-A", "-o", "json"))["items"]
        }
        await kubectl("create", "service", "clusterip", "new", "--tcp=80")
        assert await kubectl("get", "svc", "new", "-o", "jsonpath={.spec.clusterIP}") not in taken

    on_kubectl(tmp_path, before, store)
    on_kubectl(tmp_path, after, store)
