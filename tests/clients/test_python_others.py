"""Four more Python clients that share no code with the official one, or only its models."""

from __future__ import annotations

import asyncio

import pytest
import yaml

pytestmark = [
    pytest.mark.slow,
    # they leave sockets to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"app": "p"}},
    "spec": {"containers": [{"name": "main", "image": "web:1", "command": ["echo", "a line"]}]},
}


def test_kubernetes_asyncio(pretended, namespace):
    kubernetes = pytest.importorskip("kubernetes_asyncio")

    async def scenario() -> None:
        await kubernetes.config.load_kube_config(config_file=pretended.kubeconfig)
        async with kubernetes.client.ApiClient() as api:
            core = kubernetes.client.CoreV1Api(api)
            seen, running = [], asyncio.Event()

            async def follow() -> None:
                async with kubernetes.watch.Watch() as watch:
                    async for event in watch.stream(
                        core.list_namespaced_pod, namespace, timeout_seconds=30
                    ):
                        seen.append((event["type"], event["object"].status.phase))
                        if seen[-1] == ("MODIFIED", "Running"):
                            running.set()
                        if event["type"] == "DELETED":
                            return

            following = asyncio.create_task(follow())
            await core.create_namespaced_pod(namespace, POD)
            await asyncio.wait_for(running.wait(), 30)
            await core.delete_namespaced_pod("p", namespace, grace_period_seconds=0)
            await asyncio.wait_for(following, 30)
            assert seen[0] == ("ADDED", "Pending")
            listed = await core.list_namespace(label_selector=f"kubernetes.io/metadata.name={namespace}")  # fmt: skip
            assert [item.metadata.name for item in listed.items] == [namespace]
            dynamic = await kubernetes.dynamic.DynamicClient(api)
            maps = await dynamic.resources.get(api_version="v1", kind="ConfigMap")
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}}  # fmt: skip
            applied = await maps.server_side_apply(
                body=body, name="m", namespace=namespace, field_manager="me"
            )
            assert applied.data.a == "b"

    asyncio.run(scenario())


@pytest.mark.filterwarnings("ignore:Kubernetes version")
def test_kr8s(pretended, namespace):
    kr8s = pytest.importorskip("kr8s")
    objects = pytest.importorskip("kr8s.objects")
    api = kr8s.api(kubeconfig=pretended.kubeconfig, namespace=namespace)
    assert api.version()["minor"] == "37"
    pod = objects.Pod({**POD, "metadata": {**POD["metadata"], "namespace": namespace}}, api=api)
    pod.create()
    pod.wait("condition=Ready", timeout=30)
    assert [found.name for found in kr8s.get("pods", namespace=namespace, label_selector={"app": "p"}, api=api)] == ["p"]  # fmt: skip
    assert "a line" in "\n".join(pod.logs())
    pod.label({"colour": "red"})
    pod.annotate({"note": "x"})
    pod.refresh()
    assert (pod.labels["colour"], pod.annotations["note"]) == ("red", "x")
    pod.patch({"metadata": {"labels": {"colour": None}}})
    assert "colour" not in pod.labels
    assert pod.exists()
    pod.delete(grace_period=0)
    pod.wait("delete", timeout=30)
    assert not pod.exists()
    kinds = {resource["kind"] for resource in api.api_resources()}
    assert {"Pod", "Deployment", "CustomResourceDefinition"} <= kinds


def test_lightkube(pretended, namespace):
    lightkube = pytest.importorskip("lightkube")
    from lightkube.core.exceptions import ApiError
    from lightkube.models.core_v1 import Container, PodSpec
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap, Pod
    from lightkube.types import PatchType

    client = lightkube.Client(
        lightkube.KubeConfig.from_file(pretended.kubeconfig),
        namespace=namespace,
        field_manager="me",
    )
    pod = Pod(
        metadata=ObjectMeta(name="p"), spec=PodSpec(containers=[Container("main", image="web:1")])
    )
    created = client.create(pod)
    assert created.spec.restartPolicy == "Always"
    ready = client.wait(Pod, "p", for_conditions=["Ready"])
    assert ready.status.phase == "Running"
    for number in range(3):
        client.apply(ConfigMap(metadata=ObjectMeta(name=f"m{number}"), data={"n": str(number)}))
    names = [found.metadata.name for found in client.list(ConfigMap, chunk_size=1)]
    assert [name for name in names if len(name) == 2] == ["m0", "m1", "m2"]
    patched = client.patch(ConfigMap, "m0", [{"op": "add", "path": "/data/k", "value": "v"}], patch_type=PatchType.JSON)  # fmt: skip
    assert patched.data == {"n": "0", "k": "v"}
    watching = client.watch(ConfigMap, resource_version=patched.metadata.resourceVersion, server_timeout=30)  # fmt: skip
    client.delete(ConfigMap, "m1")
    assert next(iter(watching))[0] == "DELETED"
    with pytest.raises(ApiError) as missing:
        client.get(ConfigMap, "m1")
    assert (missing.value.status.code, missing.value.status.reason) == (404, "NotFound")
    client.deletecollection(ConfigMap)


@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_pykube(pretended, namespace):
    pykube = pytest.importorskip("pykube")
    from pathlib import Path

    document = yaml.safe_load(Path(pretended.kubeconfig).read_text())
    api = pykube.HTTPClient(pykube.KubeConfig(document))
    body = {**POD, "metadata": {**POD["metadata"], "namespace": namespace}}
    pykube.Pod(api, body).create()
    pods = pykube.Pod.objects(api).filter(namespace=namespace, selector={"app": "p"})
    assert [pod.name for pod in pods] == ["p"]
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": namespace},
    }
    pykube.ConfigMap(api, held).create()
    settings = pykube.ConfigMap.objects(api).filter(namespace=namespace).get(name="c")
    settings.labels["colour"] = "red"
    settings.update()  # with its version: of a Pod, the node would write the status in between
    assert (
        pykube.ConfigMap.objects(api, namespace=namespace).get(name="c").labels["colour"] == "red"
    )
    Deployment = pykube.object_factory(api, "apps/v1", "Deployment")
    assert list(Deployment.objects(api).filter(namespace=namespace)) == []
    pods.get(name="p").delete(propagation_policy="Foreground")
    api.session.close()
