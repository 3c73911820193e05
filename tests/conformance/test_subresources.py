"""Subresources of Pods, tokens, and the addresses of Services."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest

from tests.conformance.conftest import ORIGINAL
from tests.conformance.made import LABELS, Json, core, pod, running, service
from tests.conformance.wire import MERGE, STRATEGIC, Api


def causes(answer: Any) -> list[str]:
    return [cause["message"] for cause in answer.json["details"]["causes"]]


# ---------------------------------------------------------------- 60 binding and eviction


def test_60_a_binding_is_for_once(api: Api, ns: str) -> None:
    made = api.make(core(ns), pod())
    assert "nodeName" not in made["spec"]
    binding = {
        "metadata": {"name": "p", "annotations": {"a": "b"}},
        "target": {"kind": "Node", "name": "elsewhere"},
    }
    told = api.ask("POST", f"{core(ns)}/p/binding", binding)
    assert (told.code, told.json["status"]) == (201, "Success")
    bound = api.get(f"{core(ns)}/p")
    assert bound["spec"]["nodeName"] == "elsewhere"
    assert bound["metadata"]["annotations"] == {"a": "b"}
    scheduled = [c for c in bound["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert [c["status"] for c in scheduled] == ["True"]
    again = api.ask("POST", f"{core(ns)}/p/binding", binding)
    assert (again.code, again.reason) == (409, "Conflict")
    assert 'pod p is already assigned to node "elsewhere"' in again.message
    none = api.ask("POST", f"{core(ns)}/none/binding", {**binding, "metadata": {"name": "none"}})
    assert none.code == 404


def evict(api: Api, ns: str, name: str, **options: Any) -> Any:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    if options:
        body["deleteOptions"] = options
    return api.ask("POST", f"{core(ns)}/{name}/eviction", body)


def budget(api: Api, ns: str, name: str, healthy: int, desired: int, **spec: Any) -> str:
    """A budget over one Pod, with the status that it comes to."""
    path = f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
    held = {"selector": {"matchLabels": LABELS}, "minAvailable": desired, **spec}
    api.make(path, {"metadata": {"name": name}, "spec": held})
    status = {
        "observedGeneration": 1, "expectedPods": 1, "currentHealthy": healthy,
        "desiredHealthy": desired, "disruptionsAllowed": max(0, healthy - desired),
    }  # fmt: skip
    api.good("PATCH", f"{path}/{name}/status", {"status": status}, kind=MERGE)
    return f"{path}/{name}"


def test_60_an_eviction_spends_from_the_budget(api: Api, ns: str) -> None:
    running(api, ns, "p")
    path = budget(api, ns, "b", 1, 0)
    dry = evict(api, ns, "p", dryRun=["All"])
    assert dry.code == 201
    assert api.get(path)["status"]["disruptionsAllowed"] == 1
    assert "deletionTimestamp" not in api.get(f"{core(ns)}/p")["metadata"]
    told = evict(api, ns, "p")
    assert told.code == 201
    assert told.json["status"] == "Success"
    gone = api.get(f"{core(ns)}/p")
    assert gone["metadata"]["deletionTimestamp"]
    why = [c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert [(c["status"], c["reason"]) for c in why] == [("True", "EvictionByEvictionAPI")]


def test_60_a_spent_budget_refuses(api: Api, ns: str) -> None:
    running(api, ns, "p")
    budget(api, ns, "b", 1, 1)
    told = evict(api, ns, "p")
    assert (told.code, told.reason) == (429, "TooManyRequests")
    assert told.message == "Cannot evict pod as it would violate the pod's disruption budget."
    assert told.json["details"]["causes"] == [
        {
            "reason": "DisruptionBudget",
            "message": "The disruption budget b needs 1 healthy pods and has 1 currently",
        }
    ]
    assert "deletionTimestamp" not in api.get(f"{core(ns)}/p")["metadata"]


def test_60_a_budget_that_nobody_has_looked_at_refuses_for_now(api: Api, ns: str) -> None:
    if not ORIGINAL or os.environ.get("CONFORMANCE_CONTROLLERS"):
        pytest.skip("the controller looks at once")
    running(api, ns, "p")
    path = f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
    spec = {"selector": {"matchLabels": LABELS}, "minAvailable": 0}
    api.make(path, {"metadata": {"name": "b"}, "spec": spec})
    told = evict(api, ns, "p")
    assert told.code == 429
    assert told.headers["Retry-After"] == "10"
    assert causes(told) == ["The disruption budget b is still being processed by the server."]


def test_60_two_budgets_over_one_pod_are_an_error(api: Api, ns: str) -> None:
    running(api, ns, "p")
    for name in ("a", "b"):
        budget(api, ns, name, 1, 0)
    told = evict(api, ns, "p")
    assert told.code == 500
    assert told.message == (
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    )


def test_60_unhealthy_pods_go_as_their_budget_says(api: Api, ns: str) -> None:
    running(api, ns, "p", ready=False)
    budget(api, ns, "b", 0, 1)
    assert evict(api, ns, "p").code == 429
    api.ask("DELETE", f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets/b")
    budget(api, ns, "c", 0, 1, unhealthyPodEvictionPolicy="AlwaysAllow")
    assert evict(api, ns, "p").code == 201


def test_60_pods_that_have_not_begun_or_are_over_go_freely(api: Api, ns: str) -> None:
    budget(api, ns, "b", 0, 5)
    api.make(core(ns), pod("pending"))
    assert evict(api, ns, "pending").code == 201
    assert api.gone(f"{core(ns)}/pending")
    api.make(core(ns), pod("over"))
    status = {"status": {"phase": "Succeeded"}}
    api.good("PATCH", f"{core(ns)}/over/status", status, kind=STRATEGIC)
    assert evict(api, ns, "over").code == 201
    assert evict(api, ns, "never").code == 404


def test_60_preconditions_and_names_of_an_eviction(api: Api, ns: str) -> None:
    api.make(core(ns), pod())
    told = evict(api, ns, "p", preconditions={"uid": "other"})
    assert (told.code, told.reason) == (409, "Conflict")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}}
    other = api.ask("POST", f"{core(ns)}/p/eviction", body)
    assert (other.code, other.message) == (
        400,
        "name in URL does not match name in Eviction object",
    )


def test_60_the_controller_counts_what_may_be_disrupted(
    api: Api, ns: str, controlled: None
) -> None:
    running(api, ns, "p")
    running(api, ns, "q")
    running(api, ns, "r", ready=False)
    path = f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
    spec = {"selector": {"matchLabels": LABELS}, "minAvailable": 1}
    api.make(path, {"metadata": {"name": "b"}, "spec": spec})
    found = api.until(f"{path}/b", lambda one: (one.get("status") or {}).get("expectedPods") == 3)
    assert {key: found["status"][key] for key in ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed", "observedGeneration")} == {
        "expectedPods": 3, "currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1,
        "observedGeneration": 1,
    }  # fmt: skip
    (condition,) = found["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "DisruptionAllowed", "True", "SufficientPods",
    )  # fmt: skip
    assert evict(api, ns, "p").code == 201
    refused = evict(api, ns, "q")
    assert refused.code == 429


# ---------------------------------------------------------------- 61 Pods


def test_61_ephemeral_containers_are_only_added(api: Api, ns: str) -> None:
    api.make(core(ns), pod())
    path = f"{core(ns)}/p/ephemeralcontainers"
    one = {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}
    made = api.good("PATCH", path, one, kind=STRATEGIC)
    (added,) = made["spec"]["ephemeralContainers"]
    assert (added["name"], added["imagePullPolicy"]) == ("e", "Always")
    changed = {"spec": {"ephemeralContainers": [{"name": "e", "image": "j"}]}}
    told = api.ask("PATCH", path, changed, kind=STRATEGIC)
    assert (told.code, told.causes) == (422, [("FieldValueForbidden", "spec.ephemeralContainers")])
    none = {**made, "spec": {**made["spec"], "ephemeralContainers": []}}
    assert api.ask("PUT", path, none).code == 422
    same = {**made, "spec": {**made["spec"], "ephemeralContainers": []}}
    assert api.ask("PUT", f"{core(ns)}/p", same).code == 422


def test_61_resources_change_by_resize_alone(api: Api, ns: str) -> None:
    asks = {"requests": {"cpu": "100m"}}
    api.make(core(ns), pod(containers=[{"name": "c", "image": "i", "resources": asks}]))
    more = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "200m"}}}]}}
    assert api.ask("PATCH", f"{core(ns)}/p", more, kind=STRATEGIC).code == 422
    made = api.good("PATCH", f"{core(ns)}/p/resize", more, kind=STRATEGIC)
    assert made["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "200m"


def test_61_which_container_a_log_is_of(api: Api, ns: str) -> None:
    two = [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]
    api.make(core(ns), pod(containers=two))
    odd = api.ask("GET", f"{core(ns)}/p/log", container="x", accept="*/*")
    assert (odd.code, odd.message) == (400, "container x is not valid for pod p")
    which = api.ask("GET", f"{core(ns)}/p/log", accept="*/*")
    assert which.code == 400
    assert which.message == "a container name must be specified for pod p, choose one of: [a b]"
    bad = api.ask("GET", f"{core(ns)}/p/log", container="a", tailLines=-1, accept="*/*")
    assert bad.code == 422
    assert api.ask("GET", f"{core(ns)}/none/log", accept="*/*").code == 404


# ---------------------------------------------------------------- 62 tokens


def claims_of(token: str) -> Json:
    part = token.split(".")[1]
    found: Json = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_62_a_token_is_bound_to_audiences_time_and_pod(api: Api, ns: str) -> None:
    bound = api.make(core(ns), pod())
    path = f"{core(ns, 'serviceaccounts')}/default/token"
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": bound["metadata"]["uid"]}
    spec = {"audiences": ["x"], "expirationSeconds": 700, "boundObjectRef": reference}
    made = api.make(path, {"spec": spec})
    claims = claims_of(made["status"]["token"])
    assert claims["aud"] == ["x"]
    assert claims["exp"] - claims["iat"] == 700
    assert claims["sub"] == f"system:serviceaccount:{ns}:default"
    held = claims["kubernetes.io"]
    assert held["namespace"] == ns
    assert held["pod"] == {"name": "p", "uid": bound["metadata"]["uid"]}
    review = "/apis/authentication.k8s.io/v1/tokenreviews"
    asked = {"token": made["status"]["token"], "audiences": ["x"]}
    told = api.make(review, {"spec": asked})["status"]
    assert told["authenticated"]
    assert told["audiences"] == ["x"]
    assert told["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    other = api.make(review, {"spec": {**asked, "audiences": ["y"]}})["status"]
    assert not other.get("authenticated")


def test_62_a_token_lives_ten_minutes_at_least(api: Api, ns: str) -> None:
    path = f"{core(ns, 'serviceaccounts')}/default/token"
    told = api.ask("POST", path, {"spec": {"expirationSeconds": 599}})
    assert (told.code, told.causes) == (422, [("FieldValueInvalid", "spec.expirationSeconds")])
    none = api.ask("POST", f"{core(ns, 'serviceaccounts')}/none/token", {"spec": {}})
    assert none.code == 404


def test_62_the_issuer_can_be_discovered(api: Api, ns: str) -> None:
    found = api.get("/.well-known/openid-configuration")
    assert found["jwks_uri"].endswith("/openid/v1/jwks")
    keys = api.get("/openid/v1/jwks", accept="application/jwk-set+json, application/json")["keys"]
    token = api.make(f"{core(ns, 'serviceaccounts')}/default/token", {"spec": {}})["status"]
    head = json.loads(base64.urlsafe_b64decode(token["token"].split(".")[0] + "=="))
    assert head["kid"] in [key["kid"] for key in keys]
    assert claims_of(token["token"])["iss"] == found["issuer"]


# ---------------------------------------------------------------- 63 Services


def test_63_addresses_are_given_and_kept(api: Api, ns: str) -> None:
    path = core(ns, "services")
    made = api.make(path, service())["spec"]
    assert made["clusterIPs"] == [made["clusterIP"]]
    assert (made["type"], made["ipFamilies"], made["ipFamilyPolicy"]) == (
        "ClusterIP", ["IPv4"], "SingleStack",
    )  # fmt: skip
    assert (made["internalTrafficPolicy"], made["sessionAffinity"]) == ("Cluster", "None")
    put = api.good("PUT", f"{path}/s", service())["spec"]
    assert put["clusterIP"] == made["clusterIP"]
    change = api.ask("PATCH", f"{path}/s", {"spec": {"clusterIP": "10.0.0.9"}}, kind=MERGE)
    assert change.code == 422
    clash = api.ask("POST", path, service("t", clusterIP=made["clusterIP"]))
    assert (clash.code, clash.causes) == (422, [("FieldValueInvalid", "spec.clusterIPs")])
    assert clash.message.endswith("provided IP is already allocated")
    assert api.make(path, service("h", clusterIP="None"))["spec"]["clusterIPs"] == ["None"]
    name = service("e", type="ExternalName", externalName="x.example")
    assert "clusterIP" not in api.make(path, name)["spec"]


def test_63_node_ports_are_given_and_given_back(api: Api, ns: str) -> None:
    path = core(ns, "services")
    made = api.make(path, service(type="NodePort"))["spec"]
    port = made["ports"][0]["nodePort"]
    assert 30000 <= port < 32768
    ports = [{"port": 80, "nodePort": port}]
    clash = api.ask("POST", path, service("t", type="NodePort", ports=ports))
    assert (clash.code, clash.causes) == (422, [("FieldValueInvalid", "spec.ports[0].nodePort")])
    assert clash.message.endswith("provided port is already allocated")
    inside = api.good("PATCH", f"{path}/s", {"spec": {"type": "ClusterIP"}}, kind=MERGE)["spec"]
    assert inside["clusterIP"] == made["clusterIP"]
    assert "nodePort" not in inside["ports"][0]
    api.make(path, service("t", type="NodePort", ports=ports))


def test_63_a_load_balancer_of_local_traffic_has_a_port_for_its_health(api: Api, ns: str) -> None:
    path = core(ns, "services")
    made = api.make(path, service(type="LoadBalancer", externalTrafficPolicy="Local"))["spec"]
    assert 30000 <= made["healthCheckNodePort"] < 32768
    assert made["allocateLoadBalancerNodePorts"]


def test_63_the_api_itself_is_a_service(api: Api) -> None:
    found = api.get("/api/v1/namespaces/default/services/kubernetes")["spec"]
    assert found["ports"][0]["name"] == "https"
    slices = api.get(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        labelSelector="kubernetes.io/service-name=kubernetes",
    )["items"]
    assert slices[0]["endpoints"]
