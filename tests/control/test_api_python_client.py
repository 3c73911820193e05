"""The official Python client, unmodified: typed and dynamic, in a thread beside the server."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.control.apis import on_kubectl

pytestmark = pytest.mark.slow


def test_typed_and_dynamic_calls_and_a_watch(tmp_path):
    kubernetes = pytest.importorskip("kubernetes")
    config = str(tmp_path / "kubeconfig")

    def use():
        api = kubernetes.config.new_client_from_config(config)
        core, apps = kubernetes.client.CoreV1Api(api), kubernetes.client.AppsV1Api(api)
        body = kubernetes.client.V1ConfigMap(
            metadata={"name": "a", "labels": {"x": "y"}}, data={"k": "v"}
        )
        made = core.create_namespaced_config_map("default", body)
        assert made.metadata.uid
        made.data["k"] = "w"
        assert core.replace_namespaced_config_map("a", "default", made).data == {"k": "w"}
        core.patch_namespaced_config_map("a", "default", {"data": {"l": "m"}})
        listed = core.list_namespaced_config_map("default", label_selector="x=y")
        assert listed.items[0].data == {"k": "w", "l": "m"}
        with pytest.raises(kubernetes.client.ApiException) as caught:
            core.create_namespaced_config_map("default", body)
        assert (caught.value.status, caught.value.reason) == (409, "Conflict")

        told = []
        changed = threading.Timer(0.3, lambda: core.delete_namespaced_config_map("a", "default"))
        changed.start()
        watch = kubernetes.watch.Watch()
        for event in watch.stream(core.list_namespaced_config_map, "default", timeout_seconds=20):
            told.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                watch.stop()
        changed.join()
        assert told == [("ADDED", "a"), ("DELETED", "a")]

        template = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 2}
        apps.create_namespaced_deployment("default", {"metadata": {"name": "d"}, "spec": spec})
        scale = apps.read_namespaced_deployment_scale("d", "default")
        assert scale.spec.replicas == 2
        apps.patch_namespaced_deployment_scale("d", "default", {"spec": {"replicas": 4}})
        assert apps.read_namespaced_deployment("d", "default").spec.replicas == 4

        dynamic = kubernetes.dynamic.DynamicClient(api)
        deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
        assert deployments.get(name="d", namespace="default").spec.replicas == 4
        applied = {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s", "namespace": "default"}, "data": {"a": "b"},
        }  # fmt: skip
        maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
        assert maps.server_side_apply(body=applied, field_manager="me").data.a == "b"
        versions = kubernetes.client.VersionApi(api).get_code()
        assert versions.major == "1"
        api.close()

    async def scenario(kubectl, api):
        await asyncio.to_thread(use)

    on_kubectl(tmp_path, scenario)
