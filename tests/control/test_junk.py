"""Whatever is sent, the answer is a refusal or a success, never a failure of the server."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from jindou.control.api.access.guard import User
from jindou.objects.kinds import SERVICE_ACCOUNT
from tests.control.apis import Api, on_api
from tests.control.test_apply import full_pod
from tests.control.test_custom import DEFINITIONS, OBJECTS, crontab, definition

JUNK: list[Any] = [
    None, True, False, 0, -1, 1.5, "", "x", "a/b", "50%", [], {}, [1], ["x"], [{}], [{"name": "x"}], {"a": 1},
    {"type": "string"}, {"type": "array"},
]  # fmt: skip
RARE = ("items", "properties", "additionalProperties", "default", "enum", "anyOf", "not", "x-kubernetes-list-type")  # fmt: skip
RBAC, NAMESPACE = "/apis/rbac.authorization.k8s.io/v1", "/api/v1/namespaces/default"
PULLS = {"limits": {"cpu": "1"}, "requests": {"memory": "1Gi"}}


def cases() -> list[tuple[str, str, Any]]:
    pod = full_pod()
    pod["metadata"] = {"name": "p", "namespace": "default"}
    pod["spec"] |= {"runtimeClassName": "vm", "priorityClassName": "p"}
    pod["spec"]["containers"][0]["resources"] = PULLS
    custom = crontab(ports=[{"port": 1}], tags=["a"], free={"a": {}}, when="x", map={"a": 1})
    selector = {"matchLabels": {"a": "b"}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": full_pod()["spec"]}
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "finalizers": ["x/y"]},
        "spec": {"replicas": 1, "selector": selector, "template": template},
    }  # fmt: skip
    attributes = {"verb": "get", "resource": "pods", "namespace": "d", "subresource": "log"}
    access = {"spec": {"user": "x", "extra": {"a": ["b"]}, "resourceAttributes": attributes}}
    expressions = [{"key": "a", "operator": "In", "values": ["b"]}]
    role = {
        "metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        "aggregationRule": {"clusterRoleSelectors": [{**selector, "matchExpressions": expressions}]},
    }  # fmt: skip
    binding = {
        "metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "bob"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
    }  # fmt: skip
    limit = {"type": "Container", "default": {"cpu": "1"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}}  # fmt: skip
    runtime = {
        "metadata": {"name": "vm"}, "handler": "x", "overhead": {"podFixed": {"cpu": "1"}},
        "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "x"}]},
    }  # fmt: skip
    return [
        ("PATCH", f"/apis/apps/v1{NAMESPACE[7:]}/deployments/d?fieldManager=m&force=true", deployment),
        ("PATCH", f"{OBJECTS}/x?fieldManager=m&force=true", custom),
        ("POST", OBJECTS, custom),
        ("POST", DEFINITIONS, definition()),
        ("PUT", f"{DEFINITIONS}/crontabs.stable.example.com", definition()),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", access),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "x"}}),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "a.b.c", "audiences": ["x"]}}),
        ("POST", f"{NAMESPACE}/serviceaccounts/default/token", {"spec": {"audiences": ["x"], "expirationSeconds": 300, "boundObjectRef": {"kind": "Pod", "name": "x"}}}),
        ("POST", f"{RBAC}/clusterroles", role),
        ("POST", f"{RBAC}/clusterrolebindings", binding),
        ("POST", f"{NAMESPACE}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [limit]}}),
        ("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "p"}, "value": 5, "globalDefault": True}),
        ("POST", "/apis/node.k8s.io/v1/runtimeclasses", runtime),
        ("POST", f"{NAMESPACE}/pods", pod),
    ]  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():  # fmt: skip
        yield from paths(value[key], (*path, key))


def spoiled(obj: Any, chance: random.Random) -> Any:
    obj = copy.deepcopy(obj)
    for _ in range(chance.choice([1, 1, 2, 3])):
        known = list(paths(obj))
        if not known:
            break
        *above, last = chance.choice(known)
        held = obj
        for key in above:
            held = held[key]
        if chance.random() < 0.8 or isinstance(held, list):
            held[last] = copy.deepcopy(chance.choice(JUNK))
        else:
            del held[last]
        if isinstance(held, dict) and chance.random() < 0.2:
            held[chance.choice(RARE)] = copy.deepcopy(chance.choice(JUNK))
    return obj


NO_KEY = "No such file or directory: '/nonexistent'"  # this server can't sign
REFUSED = "failed to create typed patch object"  # the real server answers 500 here


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_junk_makes_the_server_fail(seed: int) -> None:
    async def scenario(api: Api) -> None:
        chance = random.Random(seed)
        await api.client.create(SERVICE_ACCOUNT, {"metadata": {"name": "default", "namespace": "default"}})  # fmt: skip
        assert (await api.ask("POST", DEFINITIONS, definition())).status == 201
        everything = cases()
        for n in range(600):
            method, path, right = chance.choice(everything)
            body = spoiled(right, chance)
            meta = body.get("metadata")
            if method == "POST" and path != DEFINITIONS and isinstance(meta, dict) and "name" in meta:  # fmt: skip
                meta["name"] = f"{meta['name']}{n}"
            kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
            reply = await api.ask(method, path, body, content_type=kind)
            if reply.status >= 500:
                says = reply.json["message"]
                assert NO_KEY in says or says.startswith(REFUSED), (method, path, says, body)
        list(api.server.access.rules(User("bob"), "default"))
        assert (await api.ask("GET", "/openapi/v3/apis/stable.example.com/v1")).status in (200, 404)

    on_api(scenario)
