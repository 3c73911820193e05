"""The objects and requests of the bench: the same for us and for whom we are compared with."""

from __future__ import annotations

from typing import Any

from bench.api.clients import Asked

NAMESPACE = "/api/v1/namespaces/default"
PODS, MAPS = f"{NAMESPACE}/pods", f"{NAMESPACE}/configmaps"
FAN = "/api/v1/namespaces/fan/configmaps"
PLACES = 500  # objects that updates and patches go round
WATCHED = 16  # objects that are changed while they are watched, by as many writers


def pod(name: str, value: str = "value", **meta: Any) -> dict[str, Any]:
    """`value` makes its spec unlike others."""
    named = {"name": name} if name else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**named, "labels": {"app": "bench", "tier": "web"}, **meta},
        "spec": {
            "schedulerName": "nobody",
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example/web:1.2.3",
                    "ports": [{"containerPort": 8080}],
                    "env": [{"name": f"KEY_{n}", "value": value} for n in range(5)],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
                }
            ],
        },
    }


def config_map(name: str, text: str, size: int = 1200) -> dict[str, Any]:
    data = {"text": "x" * size, "n": text}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


GET = Asked("GET", f"{PODS}/one")
CREATE_SEEN = Asked("POST", PODS, pod("p-NUMBER"))
CREATE_NEW = Asked("POST", PODS, pod("q-NUMBER", "value-NUMBER"))
CREATE_MAP = Asked("POST", MAPS, config_map("d-NUMBER", "text"))
UPDATE = Asked("PUT", f"{MAPS}/c-NUMBER", config_map("c-PLACE", "NUMBER"), places=PLACES)
PATCH = Asked(
    "PATCH", f"{MAPS}/c-NUMBER", {"data": {"n": "NUMBER"}}, "application/merge-patch+json", PLACES
)
CHANGE = Asked("PUT", f"{FAN}/f-NUMBER", config_map("f-PLACE", "NUMBER"), places=WATCHED)
WATCH = f"{FAN}?watch=true&resourceVersion=0"
