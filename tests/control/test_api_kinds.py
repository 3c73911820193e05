"""What single kinds and subresources do beyond the common verbs."""

from __future__ import annotations

import asyncio
import base64

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jindou.control.api.resources.protobuf import MAGIC
from jindou.transport import Peer
from tests.control.apis import on_api

NS = "/api/v1/namespaces/default"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
THINGS = "/apis/example.com/v1/namespaces/default/things"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def definition(**version):
    body = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    first = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": body},
        **version,
    }
    return {
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [first, {**first, "name": "v2", "storage": False}],
        },
    }


def thing(name="one", version="v1", **more):
    return {
        "apiVersion": f"example.com/{version}",
        "kind": "Thing",
        "metadata": {"name": name},
        **more,
    }


def test_a_custom_object_in_two_versions_is_one_object():
    async def scenario(api):
        assert (await api.ask("POST", CRDS, definition())).status == 201
        made = (await api.ask("POST", THINGS, thing(spec={"a": 1, "list": [None]}))).json
        assert made["metadata"]["generation"] == 1
        second = THINGS.replace("v1", "v2")
        other = (await api.ask("GET", f"{second}/one")).json
        assert other["apiVersion"] == "example.com/v2"
        assert {**other, "apiVersion": made["apiVersion"]} == made
        listed = (await api.ask("GET", second)).json
        assert (listed["apiVersion"], listed["items"][0]["apiVersion"]) == (
            "example.com/v2",
            "example.com/v2",
        )
        lines = api.watch(f"{second}?watch=true&resourceVersion={api.store.revision}")
        put = await api.ask("PUT", f"{second}/one", {**other, "spec": {"a": 2}})
        assert put.json["apiVersion"] == "example.com/v2"
        assert put.json["metadata"]["generation"] == 2
        assert lines.events[0]["object"]["apiVersion"] == "example.com/v2"
        unnamed = await api.ask("PUT", f"{THINGS}/one", thing(spec={}))
        assert (
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            in unnamed.json["message"]
        )
        strategic = await api.ask("PATCH", f"{THINGS}/one", {}, content_type=STRATEGIC)
        assert strategic.status == 415

    on_api(scenario)


def test_a_definition_whose_end_was_begun_before_a_restart_still_ends():
    async def scenario(api):
        await api.ask("POST", CRDS, definition())
        await api.ask(
            "POST", THINGS, {**thing(), "metadata": {"name": "one", "finalizers": ["a.io/b"]}}
        )
        going = await api.ask("DELETE", f"{CRDS}/things.example.com")
        assert going.json["metadata"]["deletionTimestamp"]
        await asyncio.sleep(0)
        api.server.close()
        await api.ask(
            "PATCH", f"{THINGS}/one", {"metadata": {"finalizers": None}}, content_type=MERGE
        )
        held = (await api.ask("GET", f"{CRDS}/things.example.com")).json
        assert held["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        gone = asyncio.Event()
        watching = "apiextensions.k8s.io/customresourcedefinitions/"
        api.store.watch(
            watching,
            api.store.revision,
            lambda changes: gone.set() if changes[-1].value is None else None,
        )
        await api.server.start()
        await gone.wait()

    on_api(scenario)


def test_an_autoscaler_has_two_versions_and_one_truth():
    async def scenario(api):
        one = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
        target = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
        body = {
            "metadata": {"name": "h"},
            "spec": {
                "maxReplicas": 3,
                "scaleTargetRef": target,
                "targetCPUUtilizationPercentage": 60,
            },
        }
        made = (await api.ask("POST", one, body)).json
        assert made["spec"]["targetCPUUtilizationPercentage"] == 60
        two = (await api.ask("GET", f"{one.replace('v1', 'v2')}/h")).json
        wanted = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}
        assert two["spec"]["metrics"] == [{"type": "Resource", "resource": wanted}]
        assert two["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        before = api.store.revision
        again = await api.ask("PUT", f"{one}/h", made)
        assert (again.status, api.store.revision) == (200, before)

    on_api(scenario)


async def running_pod(api):
    await api.ask("POST", f"{NS}/serviceaccounts", {"metadata": {"name": "default"}})
    spec = {"containers": [{"name": "main", "image": "busybox:1"}]}
    made = await api.ask("POST", f"{NS}/pods", {"metadata": {"name": "p"}, "spec": spec})
    assert made.status == 201, made.json
    return made.json


def test_ephemeral_containers_are_only_added():
    async def scenario(api):
        await running_pod(api)
        url = f"{NS}/pods/p/ephemeralcontainers"
        added = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox:1"}]}}
        made = await api.ask("PATCH", url, added, content_type=STRATEGIC)
        assert made.json["spec"]["ephemeralContainers"][0]["name"] == "debug"
        changed = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "other"}]}}
        refused = await api.ask("PATCH", url, changed, content_type=STRATEGIC)
        assert "existing ephemeral containers debug may not be changed" in refused.json["message"]
        main = await api.ask(
            "PATCH", f"{NS}/pods/p", {"spec": {"ephemeralContainers": None}}, content_type=MERGE
        )
        assert main.status == 422

    on_api(scenario)


def test_resize_changes_resources_and_nothing_else():
    async def scenario(api):
        await running_pod(api)
        change = {
            "spec": {
                "containers": [
                    {"name": "main", "image": "other", "resources": {"limits": {"cpu": "1"}}}
                ]
            }
        }
        resized = (
            await api.ask("PATCH", f"{NS}/pods/p/resize", change, content_type=STRATEGIC)
        ).json
        container = resized["spec"]["containers"][0]
        assert container["image"] == "busybox:1"
        assert container["resources"]["limits"] == {"cpu": "1"}
        assert resized["metadata"]["generation"] == 2

    on_api(scenario)


def test_a_status_write_leaves_the_spec_alone():
    async def scenario(api):
        made = await running_pod(api)
        changed = {
            **made,
            "spec": {"containers": []},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        }
        put = (await api.ask("PUT", f"{NS}/pods/p/status", changed)).json
        assert put["spec"] == made["spec"]
        assert put["status"] == {"phase": "Running", "podIP": "10.0.0.1"}
        managers = {
            (e["manager"], e.get("subresource", "")) for e in put["metadata"]["managedFields"]
        }
        assert ("unknown", "status") in managers
        found = await api.ask(
            "GET", f"{NS}/pods?fieldSelector=status.podIP%3D10.0.0.1,status.phase%3DRunning"
        )
        assert len(found.json["items"]) == 1

    on_api(scenario)


def test_clients_clear_managed_fields_as_kubectl_does_when_it_migrates():
    async def scenario(api):
        await api.ask("POST", f"{NS}/configmaps", {"metadata": {"name": "a"}, "data": {"k": "v"}})
        merged = await api.ask(
            "PATCH", f"{NS}/configmaps/a", {"metadata": {"managedFields": [{}]}}, content_type=MERGE
        )
        assert "managedFields" not in merged.json["metadata"]

    on_api(scenario)


def signing_request():
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def test_a_signing_request_is_approved_apart():
    async def scenario(api):
        url = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
        spec = {
            "request": signing_request(),
            "signerName": "example.com/x",
            "usages": ["client auth"],
        }
        made = (await api.ask("POST", url, {"metadata": {"name": "c"}, "spec": spec})).json
        condition = {"type": "Approved", "status": "True", "reason": "Because", "message": "yes"}
        made["status"] = {"conditions": [condition], "certificate": spec["request"]}
        put = (await api.ask("PUT", f"{url}/c/approval", made)).json
        assert put["status"]["conditions"][0]["type"] == "Approved"
        assert "certificate" not in put["status"]

    on_api(scenario)


def test_roles_decide_what_a_user_may():
    async def scenario(api):
        rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
        await api.ask("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": rules})
        subjects = [{"kind": "User", "name": "jane"}]
        ref = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
        await api.ask(
            "POST",
            f"{rbac}/rolebindings",
            {"metadata": {"name": "b"}, "subjects": subjects, "roleRef": ref},
        )
        jane = Peer("127.0.0.1:3", "jane")
        assert (await api.ask("GET", f"{NS}/configmaps", peer=jane)).status == 200
        refused = await api.ask("POST", f"{NS}/configmaps", {"metadata": {"name": "x"}}, peer=jane)
        assert refused.status == 403
        assert 'User "jane" cannot create resource "configmaps"' in refused.json["message"]
        question = {
            "spec": {
                "resourceAttributes": {
                    "verb": "get",
                    "resource": "configmaps",
                    "namespace": "default",
                }
            }
        }
        url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        assert (await api.ask("POST", url, question, peer=jane)).json["status"]["allowed"] is True

    on_api(scenario)


def test_protobuf_bodies_are_read():
    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    name = field(1, field(1, b"a"))
    data = field(2, field(1, b"k") + field(2, b"v"))
    kind = field(1, field(1, b"v1") + field(2, b"ConfigMap"))
    body = MAGIC + kind + field(2, name + data)

    async def scenario(api):
        made = await api.ask(
            "POST", f"{NS}/configmaps", body, content_type="application/vnd.kubernetes.protobuf"
        )
        assert made.status == 201
        assert made.json["data"] == {"k": "v"}

    on_api(scenario)


def test_two_watchers_see_the_same_and_encode_it_once():
    async def scenario(api):
        start = api.store.revision
        url = f"{NS}/configmaps?watch=true&resourceVersion={start}"
        one, two = api.watch(url), api.watch(url)
        names = [f"m{n}" for n in range(20)]
        await asyncio.gather(
            *(api.ask("POST", f"{NS}/configmaps", {"metadata": {"name": n}}) for n in names)
        )
        await asyncio.gather(*(api.ask("DELETE", f"{NS}/configmaps/{n}") for n in names))
        assert one.events == two.events
        told = [int(e["object"]["metadata"]["resourceVersion"]) for e in one.events]
        assert told == sorted(told) == list(range(start + 1, start + 41))

    on_api(scenario)


def test_an_ephemeral_container_has_to_be_right_too():
    async def scenario(api):
        await running_pod(api)
        wrong = {"spec": {"ephemeralContainers": [{"name": "Not A Name", "image": "busybox:1"}]}}
        refused = await api.ask(
            "PATCH", f"{NS}/pods/p/ephemeralcontainers", wrong, content_type=STRATEGIC
        )
        assert refused.status == 422
        assert "spec.ephemeralContainers[0].name" in refused.json["message"]

    on_api(scenario)


def test_an_object_does_not_grow_without_end():
    async def scenario(api):
        await api.ask("POST", CRDS, definition())
        await api.ask("POST", THINGS, thing())
        grown = [
            await api.ask(
                "PATCH", f"{THINGS}/one", {"spec": {f"k{n}": "v" * 1_000_000}}, content_type=MERGE
            )
            for n in range(4)
        ]
        assert [reply.status for reply in grown] == [200, 200, 200, 413]
        assert "the limit is 3145728" in grown[-1].json["message"]

    on_api(scenario)


def test_objects_of_versions_that_are_no_longer_served_go_too():
    async def scenario(api):
        await api.ask("POST", CRDS, definition())
        await api.ask("POST", THINGS, thing())
        crd = (await api.ask("GET", f"{CRDS}/things.example.com")).json
        for version in crd["spec"]["versions"]:
            version["served"] = False
        await api.ask("PUT", f"{CRDS}/things.example.com", crd)
        assert (await api.ask("GET", THINGS)).status == 404
        gone = asyncio.Event()
        prefix = "apiextensions.k8s.io/customresourcedefinitions/"

        def look(changes):
            if changes[-1].value is None:
                gone.set()

        api.store.watch(prefix, api.store.revision, look)
        await api.ask("DELETE", f"{CRDS}/things.example.com")
        await gone.wait()
        assert api.store.scan("example.com/things/").items == []

    on_api(scenario)
