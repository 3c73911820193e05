"""Admission webhooks: who is asked, in which order, with what, and what becomes of the object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.desk import BASE, Desk
from tests.conformance.wire import APPLY, MERGE
from tests.hooks import allow, deny

pytestmark = pytest.mark.slow


def counting(label: str, order: list[str]) -> Callable[[Any], Any]:
    def answer(review: Any) -> Any:
        order.append(label)
        meta = review["request"]["object"]["metadata"]
        notes = dict(meta.get("annotations") or {})
        notes[label] = str(int(notes.get(label, "0")) + 1)
        return allow(review, [{"op": "add", "path": "/metadata/annotations", "value": notes}])

    return answer


def test_73_mutating_webhooks_in_order_and_once_more_where_needed(desk: Desk) -> None:
    order: list[str] = []
    for label in "abc":
        desk.hooks[f"/{label}"] = counting(label, order)
    desk.hooks["/v"] = lambda review: (order.append("v"), allow(review))[1]
    desk.configure("mutating", desk.hook("/b"), name="second")
    again = desk.hook("/c", reinvocationPolicy="IfNeeded")
    desk.configure("mutating", again, desk.hook("/a"), name="first")
    desk.configure("validating", desk.hook("/v"))
    made = desk.make("x")
    assert made.code == 201
    assert made.json["metadata"]["annotations"] == {"a": "1", "b": "1", "c": "2"}
    assert order == ["c", "a", "b", "c", "v"]


def test_73_what_a_webhook_is_asked(desk: Desk) -> None:
    desk.hooks["/m"] = lambda review: allow(review)
    desk.hooks["/v"] = lambda review: allow(review)
    desk.configure("mutating", desk.hook("/m"))
    desk.configure("validating", desk.hook("/v"))
    assert desk.make("x", labels={"a": "b"}, fieldManager="me").code == 201
    asked = desk.asked("/m")
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    assert (asked["kind"], asked["requestKind"]) == (kind, kind)
    assert (asked["resource"], asked["requestResource"]) == (resource, resource)
    assert (asked["operation"], asked["name"], asked["namespace"]) == ("CREATE", "x", desk.ns)
    assert asked["userInfo"]["username"] == "kubernetes-admin"
    assert asked["options"] == {
        "kind": "CreateOptions",
        "apiVersion": "meta.k8s.io/v1",
        "fieldManager": "me",
    }
    assert (asked["oldObject"], asked["dryRun"]) == (None, False)
    assert "uid" not in asked["object"]["metadata"]
    assert desk.asked("/v")["object"]["metadata"]["uid"]

    made = desk.make(generate="g-").json["metadata"]["name"]
    assert "name" not in desk.asked("/m")
    assert desk.asked("/v")["name"] == made

    desk.api.good("PATCH", f"{desk.maps}/x", {"data": {"k": "v"}}, kind=MERGE)
    asked = desk.asked("/v")
    assert asked["operation"] == "UPDATE"
    assert "data" not in asked["oldObject"]
    assert asked["object"]["data"] == {"k": "v"}
    assert asked["options"]["kind"] == "UpdateOptions"

    desk.api.good("DELETE", f"{desk.maps}/x", {"propagationPolicy": "Background"})
    asked = desk.asked("/v")
    assert (asked["operation"], asked["object"], asked["name"]) == ("DELETE", None, "x")
    assert asked["oldObject"]["data"] == {"k": "v"}
    assert asked["options"]["propagationPolicy"] == "Background"

    desk.api.good("DELETE", desk.maps, fieldSelector=f"metadata.name={made}")
    asked = desk.asked("/v")
    assert "name" not in asked
    assert asked["oldObject"]["metadata"]["name"] == made
    assert desk.hooks.paths[-1] == "/v?timeout=10s"


def test_73_patches_that_do_not_fit(desk: Desk) -> None:
    patch: list[Any] = [None]
    desk.hooks["/m"] = lambda review: allow(review, patch[0])
    desk.configure("mutating", desk.hook("/m", failurePolicy="Ignore"))
    patch[0] = [{"op": "remove", "path": "/nope"}]
    answer = desk.make("x")
    says = (
        "error in remove for path: '/nope': Unable to remove nonexistent key: nope: missing value"
    )
    assert (answer.code, answer.message) == (500, f"Internal error occurred: {says}")
    patch[0] = [{"op": "add", "path": "/data", "value": {"Bad Key!": "x"}}]
    answer = desk.make("x")
    assert (answer.code, answer.causes) == (422, [("FieldValueInvalid", "data[Bad Key!]")])
    patch[0] = [{"op": "add", "path": "/unheard", "value": 1}]
    assert "unheard" not in desk.make("x").json
    says = 'admission webhook "m.hooks.test" attempted to modify the object, which is not supported for this operation'
    answer = desk.api.ask("DELETE", f"{desk.maps}/x")
    assert (answer.code, answer.message) == (500, f"Internal error occurred: {says}")
    desk.clean()


def test_73_what_a_webhook_adds_is_defaulted_and_owned_by_nobody(desk: Desk) -> None:
    container = {"name": "added", "image": "i:1"}
    desk.hooks["/m"] = lambda review: allow(
        review, [{"op": "add", "path": "/spec/containers/-", "value": container}]
    )
    desk.configure("mutating", desk.hook("/m", "pods"))
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    }  # fmt: skip
    path = f"/api/v1/namespaces/{desk.ns}/pods/p"
    made = desk.api.good("PATCH", path, pod, kind=APPLY, fieldManager="me", force="true")
    added = made["spec"]["containers"][1]
    assert added["terminationMessagePath"] == "/dev/termination-log"
    assert added["imagePullPolicy"] == "IfNotPresent"
    (entry,) = made["metadata"]["managedFields"]
    assert list(entry["fieldsV1"]["f:spec"]["f:containers"]) == ['k:{"name":"c"}']


def test_73_the_plugins_of_the_server_look_again_at_what_a_webhook_added(desk: Desk) -> None:
    limits = {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}
    path = f"/api/v1/namespaces/{desk.ns}"
    desk.api.make(f"{path}/limitranges", {"metadata": {"name": "l"}, "spec": limits})
    container = {"name": "added", "image": "i:1"}
    desk.hooks["/m"] = lambda review: allow(
        review, [{"op": "add", "path": "/spec/containers/-", "value": container}]
    )
    desk.configure("mutating", desk.hook("/m", "pods"))
    spec = {"containers": [{"name": "c", "image": "i:1"}]}
    made = desk.api.make(f"{path}/pods", {"metadata": {"name": "p"}, "spec": spec})
    first, added = made["spec"]["containers"]
    assert added["resources"]["limits"] == first["resources"]["limits"] == {"cpu": "1"}
    mounts = [mount["mountPath"] for mount in added["volumeMounts"]]
    assert mounts == ["/var/run/secrets/kubernetes.io/serviceaccount"]


def test_73_objects_and_namespaces_are_selected(desk: Desk) -> None:
    desk.hooks["/v"] = lambda review: deny(review, "selected")
    desk.configure("validating", desk.hook("/v", objectSelector={"matchLabels": {"a": "b"}}))
    assert desk.make("x").code == 201
    assert desk.make("y", labels={"a": "b"}).message.endswith("selected")
    labels = {"metadata": {"labels": {"a": "b"}}}
    assert desk.api.ask("PATCH", f"{desk.maps}/x", labels, kind=MERGE).message.endswith("selected")
    desk.clean()
    other = desk.hook("/v", namespaceSelector={"matchLabels": {"no": "such"}})
    desk.configure("validating", other, name="other")
    assert desk.make("y", labels={"a": "b"}).code == 201


def test_73_conditions_narrow_further(desk: Desk) -> None:
    desk.hooks["/v"] = lambda review: deny(review, "matched")
    conditions = [
        {"name": "not-mine", "expression": "!object.metadata.name.startsWith('mine')"},
        {"name": "creates", "expression": "request.operation == 'CREATE'"},
    ]
    desk.configure("validating", desk.hook("/v", matchConditions=conditions))
    assert desk.make("mine").code == 201
    assert desk.make("other").message.endswith("matched")
    assert desk.api.ask("PATCH", f"{desk.maps}/mine", {}, kind=MERGE).code == 200


def test_73_an_equivalent_version_is_converted_for_the_webhook(desk: Desk) -> None:
    desk.hooks["/v"] = lambda review: allow(review)
    hook = desk.hook("/v", "horizontalpodautoscalers")
    hook["rules"][0] |= {"apiGroups": ["autoscaling"], "apiVersions": ["v1"]}
    desk.configure("validating", hook)
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    body = {
        "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "metrics": [{"type": "Resource", "resource": metric}],
        },
    }
    path = f"/apis/autoscaling/v2/namespaces/{desk.ns}/horizontalpodautoscalers"
    desk.api.make(path, body)
    asked = desk.asked("/v")
    assert (asked["kind"]["version"], asked["requestKind"]["version"]) == ("v1", "v2")
    assert asked["object"]["apiVersion"] == "autoscaling/v1"
    assert asked["object"]["spec"]["targetCPUUtilizationPercentage"] == 50
    count = len(desk.hooks.seen["/v"])
    desk.clean()
    desk.configure("validating", {**hook, "matchPolicy": "Exact"}, name="exact")
    body["metadata"] = {"name": "h2"}
    desk.api.make(path, body)
    assert len(desk.hooks.seen["/v"]) == count


def test_73_subresources_and_connections(desk: Desk) -> None:
    desk.hooks["/v"] = lambda review: allow(review)
    desk.configure("validating", desk.hook("/v", "*/*"))
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployments = f"/apis/apps/v1/namespaces/{desk.ns}/deployments"
    desk.api.make(deployments, {"metadata": {"name": "d"}, "spec": spec})
    desk.api.good("PATCH", f"{deployments}/d/scale", {"spec": {"replicas": 0}}, kind=MERGE)
    asked = next(
        r["request"] for r in desk.hooks.seen["/v"] if r["request"].get("subResource") == "scale"
    )
    assert asked["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert asked["resource"]["resource"] == "deployments"
    assert (asked["object"]["kind"], asked["oldObject"]["kind"]) == ("Scale", "Scale")

    pods = f"/api/v1/namespaces/{desk.ns}/pods"
    gated = {**template["spec"], "schedulingGates": [{"name": "test.example/wait"}]}
    desk.api.make(pods, {"metadata": {"name": "p"}, "spec": gated})
    desk.hooks["/v"] = lambda review: deny(review, "not there")
    answer = desk.api.ask(
        "GET", f"{pods}/p/exec", command=["ls", "-l"], container="c", stdout="true"
    )
    assert answer.message.endswith("not there")
    asked = desk.asked("/v")
    assert (asked["operation"], asked["options"]) == ("CONNECT", None)
    assert asked["object"] == {
        "kind": "PodExecOptions", "apiVersion": "v1", "stdout": True, "container": "c", "command": ["ls", "-l"],
    }  # fmt: skip
    assert desk.api.ask("GET", f"{pods}/p/proxy/x").message.endswith("not there")
    assert desk.asked("/v")["object"]["path"] == "/x"
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "p", "namespace": desk.ns},
    }
    assert desk.api.ask("POST", f"{pods}/p/eviction", eviction).message.endswith("not there")
    assert desk.asked("/v")["kind"]["kind"] == "Eviction"
    status = {"status": {"message": "m"}}
    assert desk.api.ask("PATCH", f"{pods}/p/status", status, kind=MERGE).message.endswith(
        "not there"
    )
    assert desk.asked("/v")["subResource"] == "status"
    desk.clean()


def test_73_dry_runs_are_told_and_the_old_review_is_spoken(desk: Desk) -> None:
    desk.hooks["/v"] = lambda review: allow(review)
    hook = desk.hook("/v", admissionReviewVersions=["v2", "v1beta1"], sideEffects="NoneOnDryRun")
    desk.configure("validating", hook)
    assert desk.make("x", dryRun="All").code == 201
    assert desk.hooks.seen["/v"][-1]["apiVersion"] == "admission.k8s.io/v1beta1"
    assert desk.asked("/v")["dryRun"] is True
    assert desk.asked("/v")["options"]["dryRun"] == ["All"]


def test_73_configurations_are_judged_and_not_subject_to_themselves(desk: Desk) -> None:
    desk.hooks["/v"] = lambda review: deny(review, "no")
    desk.configure("validating", desk.hook("/v", "*"))
    path = f"{BASE}/validatingwebhookconfigurations"
    labels = {"metadata": {"labels": {"x": "y"}}}
    desk.api.good("PATCH", f"{path}/{desk.ns}-a", labels, kind=MERGE)
    bad = desk.hook(
        "/v", name="short", sideEffects="Some", timeoutSeconds=31, clientConfig={"url": "http://h/x?y"},
        admissionReviewVersions=["v3"], failurePolicy="Perhaps",
    )  # fmt: skip
    bad["rules"] = [
        {
            "operations": ["*", "CREATE"],
            "apiGroups": [],
            "apiVersions": [""],
            "resources": ["*/*", "pods"],
        }
    ]
    twice = desk.hook("/v")
    body = {"metadata": {"name": "bad"}, "webhooks": [bad, twice, twice]}
    answer = desk.api.ask("POST", path, body, dryRun="All")
    assert answer.code == 422
    at = "webhooks[0]"
    assert sorted(answer.causes) == sorted(
        [
            ("FieldValueInvalid", f"{at}.name"), ("FieldValueInvalid", f"{at}.rules[0].operations"),
            ("FieldValueRequired", f"{at}.rules[0].apiGroups"), ("FieldValueRequired", f"{at}.rules[0].apiVersions[0]"),
            ("FieldValueInvalid", f"{at}.rules[0].resources"), ("FieldValueNotSupported", f"{at}.failurePolicy"),
            ("FieldValueNotSupported", f"{at}.sideEffects"), ("FieldValueInvalid", f"{at}.timeoutSeconds"),
            ("FieldValueInvalid", f"{at}.clientConfig.url"), ("FieldValueInvalid", f"{at}.clientConfig.url"),
            ("FieldValueInvalid", f"{at}.admissionReviewVersions"), ("FieldValueDuplicate", "webhooks[2].name"),
        ]
    )  # fmt: skip
