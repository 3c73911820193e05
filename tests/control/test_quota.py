"""ResourceQuotas at the API: what is counted, what is refused in which words, and that no race gets past."""

from __future__ import annotations

import asyncio

import pytest

from jindou.objects import quotas
from jindou.objects.quotas import Account, in_scope, missing, pod_total, told, usage
from tests.control.apis import on_api

NS = "/api/v1/namespaces/default"
ACCOUNT = {"metadata": {"name": "default"}}


def container(name="c", **resources):
    return {"name": name, "image": "i", "resources": resources}


def pod(name="p", *containers, **spec):
    held = {"containers": list(containers or [container()]), **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": held}


def quota(name="q", scopes=None, selector=None, **hard):
    spec = {"hard": {key.replace("__", "/").replace("_", "."): v for key, v in hard.items()}}
    if scopes:
        spec["scopes"] = scopes
    if selector:
        spec["scopeSelector"] = {"matchExpressions": selector}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def test_a_pod_needs_its_largest_moment():
    spec = {
        "containers": [
            container(requests={"cpu": "100m"}),
            container(requests={"cpu": "200m", "memory": "1Gi"}),
        ],
        "initContainers": [
            {**container(requests={"cpu": "50m"}), "restartPolicy": "Always"},
            container(requests={"cpu": "1", "memory": "1Mi"}),
        ],
        "overhead": {"cpu": "10m", "memory": "512Mi"},
    }
    assert told(pod_total(spec, "requests")) == "cpu=1060m,memory=1536Mi"
    assert told(pod_total(spec, "limits")) == ""


@pytest.mark.parametrize(
    ("place", "obj", "expected"),
    [
        (quotas.POD, pod("p", container(requests={"cpu": "1", "example.com/gpu": "2"})), "count/pods=1,cpu=1,pods=1,requests.cpu=1,requests.example.com/gpu=2"),
        (quotas.POD, {**pod(), "status": {"phase": "Succeeded"}}, "count/pods=1"),
        (quotas.SERVICE, {"spec": {"type": "NodePort", "ports": [{}, {}]}}, "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2"),
        (quotas.SERVICE, {"spec": {"type": "LoadBalancer", "ports": [{}, {"nodePort": 1}], "allocateLoadBalancerNodePorts": False}}, "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"),
        (quotas.CLAIM, {"metadata": {}, "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}, "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi"),
        (("", "secrets"), {}, "count/secrets=1,secrets=1"),
        (("apps", "deployments"), {}, "count/deployments.apps=1"),
    ],
)  # fmt: skip
def test_what_objects_use(place, obj, expected):
    assert told(usage(place, obj, 0.0)) == expected


@pytest.mark.parametrize(
    ("scope", "spec", "expected"),
    [
        ({"scopeName": "BestEffort"}, {"containers": [container()]}, True),
        ({"scopeName": "BestEffort"}, {"containers": [container(limits={"cpu": "1"})]}, False),
        ({"scopeName": "NotTerminating"}, {"activeDeadlineSeconds": 0}, False),
        ({"scopeName": "Terminating"}, {"activeDeadlineSeconds": 5}, True),
        ({"scopeName": "PriorityClass", "operator": "Exists"}, {}, False),
        ({"scopeName": "PriorityClass", "operator": "DoesNotExist"}, {}, True),
        ({"scopeName": "PriorityClass", "operator": "In", "values": ["a"]}, {"priorityClassName": "a"}, True),
        ({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["a"]}, {"priorityClassName": "a"}, False),
        ({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["a"]}, {}, True),
        ({"scopeName": "CrossNamespacePodAffinity"}, {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}}, True),
        ({"scopeName": "CrossNamespacePodAffinity"}, {"affinity": {}}, False),
    ],
)  # fmt: skip
def test_scopes(scope, spec, expected):
    assert in_scope(quotas.POD, {"spec": spec}, scope) is expected


def test_an_account_forgets_what_is_gone_and_what_should_be():
    account = Account(quota(pods="5", requests_cpu="4"))
    asks = pod("p", container(requests={"cpu": "500m"}))
    assert account.take(quotas.POD, "p", asks, 0.0)
    assert not account.take(quotas.POD, "p", asks, 0.0)
    dying = {**asks, "metadata": {**asks["metadata"], "deletionTimestamp": "1970-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30}}  # fmt: skip
    account.take(quotas.POD, "p", dying, 50.0)
    assert told(account.used(80.0)) == "pods=1,requests.cpu=500m"
    assert account.next_end() == 90.0
    assert told(account.used(91.0)) == "pods=0,requests.cpu=0"
    account.take(quotas.POD, "p", None, 92.0)
    assert told(account.used(92.0)) == "pods=0,requests.cpu=0"


def test_what_containers_have_to_say():
    spec = {"containers": [container("b"), container("a", requests={"cpu": "1"})]}
    said = missing(spec, ["requests.cpu", "limits.memory", "pods"])
    assert said == "must specify limits.memory for: a,b; requests.cpu for: b"
    assert missing({**spec, "resources": {"limits": {"cpu": "1"}}}, ["cpu"]) == ""


async def begin(api, *quotas):
    await api.ask("POST", f"{NS}/serviceaccounts", ACCOUNT)
    for one in quotas:
        assert (await api.ask("POST", f"{NS}/resourcequotas", one)).status == 201


def test_parallel_creates_never_exceed_a_quota():
    async def scenario(api):
        await begin(api, quota(pods="10"))
        made = await asyncio.gather(
            *(api.ask("POST", f"{NS}/pods", pod(f"p{n}")) for n in range(50))
        )
        assert sorted(reply.status for reply in made) == [201] * 10 + [403] * 40
        said = next(reply for reply in made if reply.status == 403).json
        assert said["reason"] == "Forbidden"
        assert said["message"].endswith(
            "is forbidden: exceeded quota: q, requested: pods=1, used: pods=10, limited: pods=10"
        )
        assert (await api.ask("DELETE", f"{NS}/pods/{first_of(made)}")).status == 200
        again = await asyncio.gather(
            *(api.ask("POST", f"{NS}/pods", pod(f"r{n}")) for n in range(5))
        )
        assert sorted(reply.status for reply in again) == [201] + [403] * 4

    on_api(scenario)


def first_of(made):
    return next(reply for reply in made if reply.status == 201).json["metadata"]["name"]


def test_what_fails_or_is_dry_uses_nothing():
    async def scenario(api):
        await begin(api, quota(pods="2", count__configmaps="2"))
        for _ in range(3):
            assert (await api.ask("POST", f"{NS}/pods?dryRun=All", pod("dry"))).status == 201
            bad = await api.ask("POST", f"{NS}/pods", pod("Bad_Name"))
            assert bad.status == 422
        same = await asyncio.gather(*(api.ask("POST", f"{NS}/pods", pod("a")) for _ in range(4)))
        assert sorted(reply.status for reply in same) == [201, 409, 409, 409] or sorted(
            reply.status for reply in same
        ) == [201, 403, 403, 409]
        assert (await api.ask("POST", f"{NS}/pods", pod("b"))).status == 201
        assert (await api.ask("POST", f"{NS}/pods", pod("c"))).status == 403
        for name, status in (("a", 201), ("b", 201), ("c", 403)):
            made = await api.ask("POST", f"{NS}/configmaps", {"metadata": {"name": name}})
            assert made.status == status, made.json

    on_api(scenario)


def test_updates_are_judged_by_what_they_add():
    async def scenario(api):
        await begin(api, quota(services_nodeports="1", services_loadbalancers="0"))
        spec = {"type": "NodePort", "ports": [{"port": 80, "name": "a"}]}
        made = await api.ask("POST", f"{NS}/services", {"metadata": {"name": "s"}, "spec": spec})
        assert made.status == 201
        service = made.json
        service["metadata"]["labels"] = {"a": "b"}
        changed = await api.ask("PUT", f"{NS}/services/s", service)
        assert changed.status == 200
        service = changed.json
        service["spec"]["ports"].append({"port": 81, "name": "b"})
        refused = await api.ask("PUT", f"{NS}/services/s", service)
        assert refused.status == 403
        assert "requested: services.nodeports=1, used: services.nodeports=1" in refused.json["message"]  # fmt: skip
        service["spec"]["ports"].pop()
        service["spec"]["type"] = "LoadBalancer"
        assert (await api.ask("PUT", f"{NS}/services/s", service)).status == 403

    on_api(scenario)


def test_scoped_quotas_and_the_duty_to_say():
    async def scenario(api):
        await begin(
            api,
            quota("best", ["BestEffort"], pods="0"),
            quota("cpu", ["NotBestEffort"], limits_cpu="1"),
        )
        refused = await api.ask("POST", f"{NS}/pods", pod("a"))
        assert refused.status == 403
        assert "exceeded quota: best" in refused.json["message"]
        asks = pod("b", container(requests={"cpu": "100m"}))
        refused = await api.ask("POST", f"{NS}/pods", asks)
        assert refused.json["message"] == (
            'pods "b" is forbidden: failed quota: cpu: must specify limits.cpu for: c'
        )
        asks = pod("b", container(limits={"cpu": "500m"}))
        assert (await api.ask("POST", f"{NS}/pods", asks)).status == 201

    on_api(scenario)


def test_a_quota_counts_what_was_there_before_it():
    async def scenario(api):
        await begin(api)
        for name in ("a", "b"):
            await api.ask("POST", f"{NS}/secrets", {"metadata": {"name": name}})
        await begin(api, quota(secrets="2"))
        refused = await api.ask("POST", f"{NS}/secrets", {"metadata": {"name": "c"}})
        assert refused.status == 403
        await api.ask("DELETE", f"{NS}/resourcequotas/q")
        made = await api.ask("POST", f"{NS}/secrets", {"metadata": {"name": "c"}})
        assert made.status == 201

    on_api(scenario)
