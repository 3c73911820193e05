"""The official Python client: typed and dynamic, watches, informers, leader election, streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import kubernetes
import pytest
from kubernetes import client, dynamic, informer, stream, utils, watch
from kubernetes.leaderelection import electionconfig
from kubernetes.leaderelection import leaderelection as election
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

pytestmark = [
    pytest.mark.slow,
    # it leaves sockets to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.python.example.com"},
    "spec": {
        "group": "python.example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def until(true: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
    return found


@pytest.fixture
def api(pretended):
    with kubernetes.config.new_client_from_config(pretended.kubeconfig) as made:
        yield made


@pytest.fixture
def real_api(real):
    with kubernetes.config.new_client_from_config(real.kubeconfig) as made:
        yield made


def map_named(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def test_typed_calls(api, namespace):
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    container = client.V1Container(
        name="web", image="web:1", ports=[client.V1ContainerPort(container_port=80)]
    )
    labels = {"app": "web"}
    made = apps.create_namespaced_deployment(
        namespace,
        client.V1Deployment(
            metadata=client.V1ObjectMeta(name="web"),
            spec=client.V1DeploymentSpec(
                replicas=2,
                selector=client.V1LabelSelector(match_labels=labels),
                template=client.V1PodTemplateSpec(
                    metadata=client.V1ObjectMeta(labels=labels),
                    spec=client.V1PodSpec(containers=[container]),
                ),
            ),
        ),
    )
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    until(lambda: apps.read_namespaced_deployment_status("web", namespace).status.ready_replicas == 2)  # fmt: skip
    pods = core.list_namespaced_pod(namespace, label_selector="app=web").items
    assert {pod.status.phase for pod in pods} == {"Running"}
    assert pods[0].metadata.owner_references[0].kind == "ReplicaSet"
    scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 0}})
    assert scale.spec.replicas in (0, None)
    until(lambda: not core.list_namespaced_pod(namespace, label_selector="app=web").items)

    first = core.create_namespaced_config_map(namespace, map_named("a", k="v"))
    core.replace_namespaced_config_map("a", namespace, map_named("a", k="w"))
    with pytest.raises(client.ApiException) as late:
        core.replace_namespaced_config_map("a", namespace, first)
    assert (late.value.status, late.value.reason) == (409, "Conflict")
    with pytest.raises(client.ApiException) as wrong:
        core.create_namespaced_config_map(namespace, map_named("Not A Name"))
    assert wrong.value.status == 422
    pages, token = [], None
    for name in ("b", "c"):
        core.create_namespaced_config_map(namespace, map_named(name))
    while True:
        page = core.list_namespaced_config_map(namespace, limit=1, _continue=token)
        pages += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert [name for name in pages if len(name) == 1] == ["a", "b", "c"]
    dry = core.create_namespaced_config_map(namespace, map_named("dry"), dry_run="All")
    assert dry.metadata.uid
    deleted = core.delete_collection_namespaced_config_map(namespace, label_selector="!none")
    assert deleted.status in ("Success", None)
    logs = core.list_namespaced_event(namespace, field_selector="reason=Started").items
    assert {event.involved_object.kind for event in logs} <= {"Pod"}


def test_yaml_and_dynamic_calls(api, namespace):
    custom = client.CustomObjectsApi(api)
    extensions = client.ApiextensionsV1Api(api)
    utils.create_from_dict(api, WIDGETS)
    try:
        until(
            lambda: {"Established"} <= {
                c.type
                for c in extensions.read_custom_resource_definition(
                    WIDGETS["metadata"]["name"]
                ).status.conditions or []
                if c.status == "True"
            }
        )  # fmt: skip
        place = ("python.example.com", "v1", namespace, "widgets")
        body = {"apiVersion": "python.example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
        custom.create_namespaced_custom_object(*place, body | {"spec": {"size": 1}})
        known = dynamic.DynamicClient(api)
        widgets = known.resources.get(api_version="python.example.com/v1", kind="Widget")
        changed = widgets.patch(
            name="w", namespace=namespace, body={"spec": {"size": 2}},
            content_type="application/merge-patch+json",
        )  # fmt: skip
        assert (changed.spec.size, changed.metadata.generation) == (2, 2)
        reported = widgets.status.patch(
            name="w", namespace=namespace, body={"status": {"seen": True}},
            content_type="application/merge-patch+json",
        )  # fmt: skip
        assert (reported.status.seen, reported.metadata.generation) == (True, 2)
        assert [w.metadata.name for w in widgets.get(namespace=namespace).items] == ["w"]
        applied = widgets.server_side_apply(
            body={**body, "spec": {"colour": "red"}}, name="w", namespace=namespace,
            field_manager="me",
        )  # fmt: skip
        assert (applied.spec.colour, applied.spec.size) == ("red", 2)
        pods = known.resources.get(api_version="v1", kind="Pod")
        assert (pods.namespaced, pods.name, "po" in pods.short_names) == (True, "pods", True)
        custom.delete_namespaced_custom_object(*place, "w")
        with pytest.raises(dynamic.exceptions.NotFoundError):
            widgets.get(name="w", namespace=namespace)
    finally:
        extensions.delete_custom_resource_definition(WIDGETS["metadata"]["name"])


def test_a_watch_goes_on_where_another_ended(api, namespace):
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map(namespace, map_named("a"))
    since = core.list_namespaced_config_map(namespace).metadata.resource_version

    def change(*names: str) -> None:
        for name in names:
            core.create_namespaced_config_map(namespace, map_named(name))

    change("b", "c")
    first = watch.Watch()
    for event in first.stream(core.list_namespaced_config_map, namespace, resource_version=since):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "b")
        first.stop()
    change("d")
    core.delete_namespaced_config_map("a", namespace)
    second, seen = watch.Watch(), []
    for event in second.stream(
        core.list_namespaced_config_map, namespace, resource_version=first.resource_version,
        timeout_seconds=20,
    ):  # fmt: skip
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            second.stop()
    assert seen == [("ADDED", "c"), ("ADDED", "d"), ("DELETED", "a")]
    began = time.monotonic()
    assert list(watch.Watch().stream(core.list_namespaced_secret, namespace, timeout_seconds=1)) == []  # fmt: skip
    assert 0.9 < time.monotonic() - began < 10


def test_two_informers_hold_the_same(api, namespace):
    core = client.CoreV1Api(api)
    told: list[list[tuple[str, str]]] = [[], []]
    informers = [
        informer.SharedInformer(core.list_namespaced_config_map, namespace, label_selector="x=y")
        for _ in told
    ]
    for log, made in zip(told, informers):
        for kind in (informer.ADDED, informer.MODIFIED, informer.DELETED):
            made.add_event_handler(
                kind, lambda obj, log=log, kind=kind: log.append((kind, obj.metadata.name))
            )
        made.start()
    try:
        names = [f"n{i}" for i in range(20)]
        for name in names:
            body = map_named(name)
            body.metadata.labels = {"x": "y"}
            core.create_namespaced_config_map(namespace, body)
        core.patch_namespaced_config_map("n3", namespace, {"data": {"k": "v"}})
        core.patch_namespaced_config_map("n4", namespace, {"metadata": {"labels": {"x": None}}})
        core.delete_namespaced_config_map("n5", namespace)
        until(lambda: all(("DELETED", "n5") in log for log in told))
        left = {f"{namespace}/{name}" for name in names if name not in ("n4", "n5")}
        assert [set(made.cache.list_keys()) for made in informers] == [left, left]
        assert sorted(told[0]) == sorted(told[1])
        assert told[0][-3:] == [("MODIFIED", "n3"), ("DELETED", "n4"), ("DELETED", "n5")]
    finally:
        for made in informers:
            made.stop()


@pytest.mark.parametrize("lock", [LeaseLock, ConfigMapLock])
def test_one_leader_at_a_time_and_then_the_other(pretended, namespace, lock):
    kubernetes.config.load_kube_config(config_file=pretended.kubeconfig)
    led: list[str] = []
    leading, enough = threading.Event(), threading.Event()

    def candidate(name: str) -> threading.Thread:
        def lead() -> None:
            led.append(name)
            leading.set()
            enough.wait(30)
            raise RuntimeError("gives up")  # how this client stops leading

        config = electionconfig.Config(
            lock("election", namespace, name), lease_duration=3, renew_deadline=2,
            retry_period=1.1, onstarted_leading=lead, onstopped_leading=lambda: None,
        )  # fmt: skip
        thread = threading.Thread(target=election.LeaderElection(config).run, daemon=True)
        thread.start()
        return thread

    first = candidate("first")
    assert leading.wait(20)
    second = candidate("second")
    first.join(1.5)
    assert led == ["first"]
    leading.clear()
    enough.set()
    assert leading.wait(20)
    assert led == ["first", "second"]
    first.join(20)
    second.join(20)
    assert not first.is_alive()
    assert not second.is_alive()


@pytest.mark.root
def test_exec_logs_and_a_forwarded_port(real_api, real_namespace):
    core = client.CoreV1Api(real_api)
    command = (
        "echo started; mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www"
    )
    container = {"name": "web", "image": "busybox", "command": ["sh", "-c", command]}
    pod = {"metadata": {"name": "web"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}  # fmt: skip
    core.create_namespaced_pod(real_namespace, pod)
    until(lambda: core.read_namespaced_pod("web", real_namespace).status.phase == "Running")
    until(lambda: core.read_namespaced_pod_log("web", real_namespace) == "started\n")
    connect = core.connect_get_namespaced_pod_exec
    options = {"stdout": True, "stderr": True, "stdin": False, "tty": False}
    said = stream.stream(connect, "web", real_namespace, command=["cat", "/www/index.html"], **options)  # fmt: skip
    assert said == "hello\n"
    open_ = stream.stream(
        connect, "web", real_namespace, command=["sh", "-c", "read x; echo $x; echo bad >&2; exit 7"],
        _preload_content=False, **options | {"stdin": True},
    )  # fmt: skip
    open_.write_stdin("words\n")
    open_.run_forever(timeout=20)
    assert (open_.read_stdout(), open_.read_stderr(), open_.returncode) == ("words\n", "bad\n", 7)

    forwarded = stream.portforward(core.connect_get_namespaced_pod_portforward, "web", real_namespace, ports="8080")  # fmt: skip
    connection = forwarded.socket(8080)
    connection.settimeout(20)
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while part := connection.recv(4096):
        answer += part
    connection.close()
    assert answer.endswith(b"hello\n")
    assert forwarded.error(8080) is None
    core.delete_namespaced_pod("web", real_namespace, grace_period_seconds=0)
