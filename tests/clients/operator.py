"""An operator on kopf, as people write them: a Website becomes a ConfigMap and a Deployment.

Run with `kopf run`; it is a program for `test_kopf.py`, and none of our code is in it.
"""

from __future__ import annotations

from typing import Any

import kopf
import kubernetes

GROUP = "kopf.example.com"


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.persistence.finalizer = f"{GROUP}/finalizer"


@kopf.on.create(GROUP, "v1", "websites")
def created(
    body: kopf.Body, spec: kopf.Spec, name: str, namespace: str, patch: kopf.Patch, **_: Any
) -> dict[str, Any]:
    children: list[dict[str, Any]] = [page(name, spec), deployment(name, spec)]
    kopf.adopt(children)
    kubernetes.config.load_kube_config()
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, children[0])
    kubernetes.client.AppsV1Api().create_namespaced_deployment(namespace, children[1])
    kopf.info(body, reason="Made", message="page and deployment")
    patch.status["phase"] = "Made"
    return {"page": name}


@kopf.on.update(GROUP, "v1", "websites", field="spec.text")
def changed(old: str, new: str, name: str, namespace: str, patch: kopf.Patch, **_: Any) -> None:
    kubernetes.client.CoreV1Api().patch_namespaced_config_map(
        name, namespace, {"data": {"index.html": new}}
    )
    patch.status["phase"] = f"Changed from {old}"


@kopf.on.delete(GROUP, "v1", "websites")
def deleted(name: str, namespace: str, retry: int, **_: Any) -> None:
    if retry == 0:
        raise kopf.TemporaryError("not at the first time", delay=0.1)
    body = {"metadata": {"name": f"{name}-was-here"}}
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, body)


@kopf.on.event("", "v1", "pods", labels={"website": kopf.PRESENT})
def seen(type: str, name: str, namespace: str, logger: Any, **_: Any) -> None:
    logger.info(f"pod event {type} of {name}")


def page(name: str, spec: kopf.Spec) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"index.html": spec["text"]}}  # fmt: skip


def deployment(name: str, spec: kopf.Spec) -> dict[str, Any]:
    labels = {"website": name}
    container = {"name": "web", "image": "web:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": spec.get("replicas", 1),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
