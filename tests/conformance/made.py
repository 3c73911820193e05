"""Pods, Deployments and paths that tests of several files need."""

from __future__ import annotations

from typing import Any

from tests.conformance.wire import STRATEGIC, Api

LABELS = {"app": "a"}
Json = dict[str, Any]


def core(ns: str, plural: str = "pods") -> str:
    return f"/api/v1/namespaces/{ns}/{plural}"


def apps(ns: str, plural: str = "deployments") -> str:
    return f"/apis/apps/v1/namespaces/{ns}/{plural}"


def pod(name: str = "p", **spec: Any) -> Json:
    """One that no scheduler takes."""
    held = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "i"}], **spec}
    return {"metadata": {"name": name, "labels": LABELS}, "spec": held}


def running(api: Api, ns: str, name: str, ready: bool = True, node: str = "elsewhere") -> None:
    """A Pod on a node that is not there, said to run."""
    api.make(core(ns), pod(name))
    target = {"target": {"kind": "Node", "name": node}, "metadata": {"name": name}}
    api.make(f"{core(ns)}/{name}/binding", target)
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    status = {"phase": "Running", "conditions": [condition], "podIP": "10.9.9.9", "podIPs": [{"ip": "10.9.9.9"}]}  # fmt: skip
    path = f"{core(ns)}/{name}/status"
    api.good("PATCH", path, {"status": status}, kind=STRATEGIC)


def service(name: str = "s", **spec: Any) -> Json:
    held = {"ports": [{"port": 80, "name": "http"}], "selector": LABELS, **spec}
    return {"metadata": {"name": name}, "spec": held}


def deployment(name: str = "d", image: str = "i", **spec: Any) -> Json:
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": image}]},
    }
    held = {"selector": {"matchLabels": LABELS}, "template": template, **spec}
    return {"metadata": {"name": name}, "spec": held}
