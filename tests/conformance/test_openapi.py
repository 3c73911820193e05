"""The OpenAPI documents: every path of a kind, under the names that generated clients are made from."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.wire import Api

SEVERAL = "/apis/apps/v1/namespaces/{namespace}/deployments"
DEPLOYMENTS = {
    ("/apis/apps/v1/deployments", "get"): "listAppsV1DeploymentForAllNamespaces",
    (SEVERAL, "get"): "listAppsV1NamespacedDeployment",
    (SEVERAL, "post"): "createAppsV1NamespacedDeployment",
    (SEVERAL, "delete"): "deleteAppsV1CollectionNamespacedDeployment",
    (SEVERAL + "/{name}", "get"): "readAppsV1NamespacedDeployment",
    (SEVERAL + "/{name}", "put"): "replaceAppsV1NamespacedDeployment",
    (SEVERAL + "/{name}", "patch"): "patchAppsV1NamespacedDeployment",
    (SEVERAL + "/{name}", "delete"): "deleteAppsV1NamespacedDeployment",
    (SEVERAL + "/{name}/scale", "get"): "readAppsV1NamespacedDeploymentScale",
    (SEVERAL + "/{name}/scale", "put"): "replaceAppsV1NamespacedDeploymentScale",
    (SEVERAL + "/{name}/scale", "patch"): "patchAppsV1NamespacedDeploymentScale",
    (SEVERAL + "/{name}/status", "get"): "readAppsV1NamespacedDeploymentStatus",
    (SEVERAL + "/{name}/status", "put"): "replaceAppsV1NamespacedDeploymentStatus",
    (SEVERAL + "/{name}/status", "patch"): "patchAppsV1NamespacedDeploymentStatus",
    ("/apis/apps/v1/watch/deployments", "get"): "watchAppsV1DeploymentListForAllNamespaces",
    (SEVERAL.replace("v1/", "v1/watch/"), "get"): "watchAppsV1NamespacedDeploymentList",
    (SEVERAL.replace("v1/", "v1/watch/") + "/{name}", "get"): "watchAppsV1NamespacedDeployment",
}
POD = "/api/v1/namespaces/{namespace}/pods/{name}"
BODIES = [
    ("apis/apps/v1", SEVERAL, "post", ".apps.v1.Deployment", ".apps.v1.Deployment"),
    ("apis/apps/v1", SEVERAL, "get", "", ".apps.v1.DeploymentList"),
    ("apis/apps/v1", SEVERAL, "delete", ".meta.v1.DeleteOptions", ".meta.v1.Status"),
    ("apis/apps/v1", SEVERAL + "/{name}/scale", "put", ".autoscaling.v1.Scale", ".autoscaling.v1.Scale"),
    ("apis/apps/v1", "/apis/apps/v1/watch/deployments", "get", "", ".meta.v1.WatchEvent"),
    ("api/v1", POD, "delete", ".meta.v1.DeleteOptions", ".core.v1.Pod"),
    ("api/v1", POD + "/eviction", "post", ".policy.v1.Eviction", ".policy.v1.Eviction"),
    ("api/v1", POD + "/binding", "post", ".core.v1.Binding", ".core.v1.Binding"),
    ("api/v1", "/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", "post", ".TokenRequest", ".TokenRequest"),
]  # fmt: skip


def operations(document: Any, part: str) -> dict[tuple[str, str], str]:
    return {
        (path, method): held["operationId"]
        for path, item in document["paths"].items()
        if f"/{part}/" in f"{path}/"
        for method, held in item.items()
        if method != "parameters"
    }


def names(listed: Any) -> set[str]:
    return {parameter["name"] for parameter in listed or ()}


def test_80_every_path_of_a_kind_is_described(api: Api) -> None:
    assert operations(api.get("/openapi/v3/apis/apps/v1"), "deployments") == DEPLOYMENTS
    assert operations(api.get("/openapi/v2"), "deployments").items() >= DEPLOYMENTS.items()


def test_80_what_goes_with_a_path(api: Api) -> None:
    paths = api.get("/openapi/v3/apis/apps/v1")["paths"]
    item = paths[SEVERAL + "/{name}"]
    assert names(item["parameters"]) == {"name", "namespace", "pretty"}
    assert names(item["patch"]["parameters"]) == {"dryRun", "fieldManager", "fieldValidation", "force"}  # fmt: skip
    assert {"gracePeriodSeconds", "propagationPolicy"} <= names(item["delete"]["parameters"])
    assert {"200", "201", "401"} == {*item["patch"]["responses"]}
    assert {*item["patch"]["requestBody"]["content"]} == {
        "application/apply-patch+yaml", "application/json-patch+json",
        "application/merge-patch+json", "application/strategic-merge-patch+json",
    }  # fmt: skip
    assert {"watch", "limit", "continue", "labelSelector", "fieldSelector"} <= names(
        paths["/apis/apps/v1/deployments"]["parameters"]
    )
    scale = paths[SEVERAL + "/{name}/scale"]["get"]["x-kubernetes-group-version-kind"]
    assert scale == {"group": "autoscaling", "version": "v1", "kind": "Scale"}


@pytest.mark.parametrize(("place", "path", "method", "body", "answer"), BODIES)
def test_80_bodies_have_schemas(
    api: Api, place: str, path: str, method: str, body: str, answer: str
) -> None:
    document = api.get(f"/openapi/v3/{place}")
    held = document["paths"][path][method]
    sent = held.get("requestBody", {}).get("content", {}).get("*/*", {}).get("schema", {})
    told = held["responses"]["200"]["content"]["application/json"]["schema"]
    for link, end in ((sent, body), (told, answer)):
        assert link.get("$ref", "").endswith(end)
        if end:
            assert link["$ref"].rpartition("/")[2] in document["components"]["schemas"]


def test_80_connections_are_described(api: Api) -> None:
    paths = api.get("/openapi/v3/api/v1")["paths"]
    held = paths[POD + "/exec"]
    assert {*held} == {"get", "post", "parameters"}
    assert {"command", "container", "stdin", "tty"} <= names(held["parameters"])
    assert held["post"]["operationId"] == "connectCoreV1PostNamespacedPodExec"
    behind = paths["/api/v1/namespaces/{namespace}/services/{name}/proxy/{path}"]
    assert behind["head"]["operationId"] == "connectCoreV1HeadNamespacedServiceProxyWithPath"
    assert {"tailLines", "follow"} <= names(paths[POD + "/log"]["parameters"])


def test_80_nothing_that_is_named_is_missing(api: Api) -> None:
    for place in ("api/v1", "apis/apps/v1", "apis/authorization.k8s.io/v1", "apis/policy/v1"):
        text = api.ask("GET", f"/openapi/v3/{place}").body.decode()
        linked = {rest.partition('"')[0] for rest in text.split("#/components/schemas/")[1:]}
        known = api.get(f"/openapi/v3/{place}")["components"]["schemas"]
        assert linked <= {*known}
        ids = text.split('"operationId":"')[1:]
        assert len({held.partition('"')[0] for held in ids}) == len(ids)
