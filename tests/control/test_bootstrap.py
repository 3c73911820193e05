"""What is there from the first start, and what a second start leaves alone."""

from __future__ import annotations

from typing import Any

from jindou.control.api.access.roles import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLES
from jindou.control.api.bootstrap import bootstrap
from jindou.control.store.memory import MemoryStore
from jindou.objects.kinds import (
    ENDPOINT_SLICE,
    ENDPOINTS,
    NAMESPACE,
    PRIORITY_CLASS,
    RUNTIME_CLASS,
    SERVICE,
    Kind,
    Ref,
)
from jindou.settings import Settings
from tests.control.apis import Api, on_api


async def names(api: Api, kind: Kind) -> list[str]:
    return [obj["metadata"]["name"] for obj in (await api.client.find(kind)).items]


async def held(api: Api, kind: Kind, name: str = "kubernetes", namespace: str = "default") -> Any:
    return await api.client.get(Ref(kind, namespace if kind.namespaced else "", name))


def test_a_fresh_cloud_has_what_every_cluster_has() -> None:
    async def scenario(api: Api) -> None:
        assert await names(api, NAMESPACE) == [
            "default",
            "kube-node-lease",
            "kube-public",
            "kube-system",
        ]
        assert await names(api, PRIORITY_CLASS) == [
            "system-cluster-critical",
            "system-node-critical",
        ]
        assert await names(api, RUNTIME_CLASS) == ["crun", "runc"]
        assert set(await names(api, CLUSTER_ROLE)) == set(ROLES)
        service = await held(api, SERVICE)
        assert service["spec"]["clusterIP"] == "10.211.0.1"
        assert service["spec"]["ports"][0]["targetPort"] == 6443

    on_api(scenario)


def test_a_second_start_writes_nothing() -> None:
    store = MemoryStore()

    async def first(api: Api) -> int:
        return store.revision

    assert on_api(first, store) == on_api(first, store)


def test_pods_reach_the_api_where_it_is_now() -> None:
    async def scenario(api: Api) -> None:
        await bootstrap(api.client, Settings(api_port=7443), "10.210.0.1")
        endpoints = await held(api, ENDPOINTS)
        assert endpoints["subsets"] == [
            {
                "addresses": [{"ip": "10.210.0.1"}],
                "ports": [{"name": "https", "port": 7443, "protocol": "TCP"}],
            }
        ]
        piece = await held(api, ENDPOINT_SLICE)
        assert piece["endpoints"] == [{"addresses": ["10.210.0.1"], "conditions": {"ready": True}}]
        assert piece["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"

    on_api(scenario)


def test_changed_roles_are_mended_and_others_left_as_they_are() -> None:
    async def scenario(api: Api) -> None:
        client = api.client
        role = await held(api, CLUSTER_ROLE, "system:discovery")
        right, role["rules"] = role["rules"], []
        await client.update(CLUSTER_ROLE, role)
        own = await held(api, CLUSTER_ROLE, "system:kube-dns")
        own["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false"
        own["rules"] = []
        await client.update(CLUSTER_ROLE, own)
        binding = Ref(CLUSTER_ROLE_BINDING, "", "system:monitoring")
        await client.delete(binding)
        await bootstrap(client, Settings())
        assert (await held(api, CLUSTER_ROLE, "system:discovery"))["rules"] == right
        assert not (await held(api, CLUSTER_ROLE, "system:kube-dns")).get("rules")
        assert (await client.get(binding))["roleRef"]["name"] == "system:monitoring"

    on_api(scenario)
