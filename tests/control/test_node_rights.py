"""What a node may do: with its own, and with what the Pods bound to it need; nothing else."""

from __future__ import annotations

from jindou.control.api.access.guard import Asked, User
from jindou.control.api.access.nodes import name_of, references
from jindou.transport import Peer
from tests.control.apis import on_api

HERE = Peer("127.0.0.1:2", "system:node:here", ("system:nodes",))
STRANGER = Peer("127.0.0.1:3", "somebody", ("system:nodes",))
NS = "/api/v1/namespaces/default"
MERGE = "application/merge-patch+json"


def test_who_is_a_node():
    assert name_of("system:node:a", ("system:nodes",)) == "a"
    assert name_of("system:node:a", ()) == ""
    assert name_of("a", ("system:nodes",)) == ""


def test_what_a_pod_needs():
    pod = {
        "metadata": {"name": "p"},
        "spec": {
            "serviceAccountName": "s",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "one"}},
                {"name": "b", "projected": {"sources": [{"configMap": {"name": "two"}}, {"secret": {"name": "three"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "four"}},
                {"name": "d", "ephemeral": {}},
                {"name": "e", "csi": {"nodePublishSecretRef": {"name": "five"}}},
            ],
            "containers": [{"envFrom": [{"configMapRef": {"name": "six"}}], "env": [{"valueFrom": {"secretKeyRef": {"name": "seven"}}}]}],
        },
    }  # fmt: skip
    assert {one for one in references(pod) if one[1]} == {
        ("account", "s"), ("secret", "pull"), ("secret", "one"), ("configMap", "two"),
        ("secret", "three"), ("claim", "four"), ("claim", "p-d"), ("secret", "five"),
        ("configMap", "six"), ("secret", "seven"),
    }  # fmt: skip


async def world(api):
    for name in ("here", "there"):
        assert (await api.ask("POST", "/api/v1/nodes", {"metadata": {"name": name}})).status == 201
    await api.ask("POST", f"{NS}/serviceaccounts", {"metadata": {"name": "default"}})
    for name in ("mine", "other"):
        await api.ask("POST", f"{NS}/secrets", {"metadata": {"name": name}})
    for pod, node, secret in (("a", "here", "mine"), ("b", "there", "other")):
        volume = {"name": "v", "secret": {"secretName": secret}}
        spec = {"nodeName": node, "volumes": [volume], "containers": [{"name": "c", "image": "i"}]}
        made = await api.ask("POST", f"{NS}/pods", {"metadata": {"name": pod}, "spec": spec})
        assert made.status == 201, made.json


def test_a_node_reads_what_its_pods_need():
    async def scenario(api):
        await world(api)

        async def code(path, **more):
            return (await api.ask("GET", path, peer=HERE, **more)).status

        assert await code(f"{NS}/secrets/mine") == 200
        assert await code(f"{NS}/secrets?fieldSelector=metadata.name%3Dmine") == 200
        assert await code(f"{NS}/secrets/other") == 403
        assert await code(f"{NS}/secrets") == 403
        assert await code("/api/v1/secrets") == 403
        assert await code(f"{NS}/configmaps/kube-root-ca.crt") in (200, 404)
        assert await code(f"{NS}/pods/a") == 200
        assert await code(f"{NS}/pods/b") == 403
        assert await code("/api/v1/pods?fieldSelector=spec.nodeName%3Dhere") == 200
        assert await code("/api/v1/pods?fieldSelector=spec.nodeName%3Dthere") == 403
        assert await code("/api/v1/pods") == 403
        assert await code("/api/v1/nodes/here") == 200
        assert await code("/api/v1/nodes/there") == 403
        assert await code("/api/v1/services") == 200
        assert await code("/apis/discovery.k8s.io/v1/endpointslices") == 200
        assert await code("/apis/apps/v1/deployments") == 403

    on_api(scenario)


def test_a_node_writes_only_what_is_its_own():
    async def scenario(api):
        await world(api)

        async def code(method, path, body=None, peer=HERE, **more):
            return (await api.ask(method, path, body, peer=peer, **more)).status

        status = {"status": {"phase": "Running"}}
        label = {"metadata": {"labels": {"a": "b"}}}
        reserved = {"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}}
        for path, body, expected in (
            (f"{NS}/pods/a/status", status, 200),
            (f"{NS}/pods/b/status", status, 403),
            (f"{NS}/pods/a", label, 403),
            ("/api/v1/nodes/here", label, 200),
            ("/api/v1/nodes/there", label, 403),
            ("/api/v1/nodes/here", reserved, 403),
            ("/api/v1/nodes/here/status", {"status": {"phase": "x"}}, 200),
            ("/api/v1/nodes/there/status", {"status": {"phase": "x"}}, 403),
        ):
            assert await code("PATCH", path, body, content_type=MERGE) == expected, (path, body)
        node = {"metadata": {"name": "more"}}
        assert await code("POST", "/api/v1/nodes", node) == 403
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        assert await code("POST", leases, {"metadata": {"name": "there"}}) == 403
        assert await code("POST", leases, {"metadata": {"name": "here"}}) == 201
        assert await code("GET", f"{leases}/there") == 403
        pod = {"metadata": {"name": "c"}, "spec": {"nodeName": "here", "containers": [{"name": "c", "image": "i"}]}}  # fmt: skip
        assert await code("POST", f"{NS}/pods", pod) == 403
        assert await code("DELETE", f"{NS}/pods/b") == 403
        assert await code("DELETE", f"{NS}/pods/a") == 200
        assert await code("GET", f"{NS}/secrets/mine", peer=STRANGER) == 403

    on_api(scenario)


def test_a_node_asks_for_tokens_of_its_pods_accounts():
    async def scenario(api):
        await world(api)
        here = User("system:node:here", ("system:nodes",))
        for name, allowed in (("default", True), ("other", False)):
            asked = Asked("create", "", "serviceaccounts/token", "default", name)
            assert api.server.access.allows(here, asked) is allowed

    on_api(scenario)
