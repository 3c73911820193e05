"""Admission webhooks: who is asked, in which order, with what, and what their answers and failures do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.wire import APPLY, MERGE, PATIENCE, Answer, Api
from tests.hooks import Hooks, Raw, allow, deny

BASE = "/apis/admissionregistration.k8s.io/v1"
BOTH = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")


class Desk:
    """Configurations that go with the test, each for one namespace only."""

    def __init__(self, api: Api, ns: str, hooks: Hooks) -> None:
        self.api, self.ns, self.hooks = api, ns, hooks
        self.maps = f"/api/v1/namespaces/{ns}/configmaps"

    def hook(self, path: str, *resources: str, **more: Any) -> dict[str, Any]:
        rule = {
            "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": list(resources or ("configmaps",)),
        }  # fmt: skip
        return {
            "name": f"{path.strip('/')}.hooks.test", "rules": [rule], "clientConfig": self.hooks.config(path),
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.ns}}, **more,
        }  # fmt: skip

    def configure(self, sort: str, *hooks: dict[str, Any], name: str = "a") -> None:
        """Returns when it is in force: until then a probe, in a dry run, is not answered by ours."""
        probe = self.hook("/probe", "configmaps", name="probe.hooks.test")
        probe["objectSelector"] = {"matchLabels": {"probe": "yes"}}
        self.hooks["/probe"] = lambda review: deny(review, "in force")
        body = {
            "metadata": {"name": f"{self.ns}-{name}", "labels": {"of": self.ns}},
            "webhooks": [probe, *hooks],
        }
        self.api.make(f"{BASE}/{sort}webhookconfigurations", body)
        asked = len(self.hooks.seen["/probe"])
        end = time.monotonic() + PATIENCE
        while len(self.hooks.seen["/probe"]) == asked:
            assert time.monotonic() < end, "the configuration is not in force"
            labels = {"probe": "yes"}
            self.make("probe", labels=labels, dryRun="All")
            if len(self.hooks.seen["/probe"]) == asked:
                time.sleep(0.05)

    def make(
        self, name: str = "", labels: Any = None, data: Any = None, generate: str = "", **query: Any
    ) -> Answer:
        meta = {"name": name} if name else {"generateName": generate}
        if labels:
            meta["labels"] = labels
        body = {"metadata": meta, **({"data": data} if data else {})}
        return self.api.ask("POST", self.maps, body, **query)

    def asked(self, path: str) -> Any:
        """The request of the last review that came there."""
        return self.hooks.seen[path][-1]["request"]

    def clean(self) -> None:
        for plural in BOTH:
            self.api.ask("DELETE", f"{BASE}/{plural}", labelSelector=f"of={self.ns}")


@pytest.fixture
def desk(api: Api, ns: str, tmp_path: Path) -> Iterator[Desk]:
    with Hooks(tmp_path, f"hook.{ns}.svc") as hooks:
        made = Desk(api, ns, hooks)
        yield made
        made.clean()


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


def test_73_refusals_in_the_words_of_the_webhook(desk: Desk) -> None:
    desk.configure("validating", desk.hook("/v"))
    by = 'admission webhook "v.hooks.test" denied the request'
    for result, message, code, reason in (
        ({"message": "no way"}, f"{by}: no way", 400, ""),
        ({}, f"{by} without explanation", 400, ""),
        ({"reason": "Because"}, f"{by}: Because", 400, "Because"),
        ({"message": "m", "code": 403, "reason": "Forbidden"}, f"{by}: m", 403, "Forbidden"),
    ):
        desk.hooks["/v"] = lambda review, result=result: deny(review, **result)  # type: ignore[misc]
        answer = desk.make("x")
        assert (answer.code, answer.message, answer.reason) == (code, message, reason)


def test_73_warnings_reach_the_client_also_with_an_error(desk: Desk) -> None:
    desk.hooks["/v"] = lambda review: allow(review, warnings=["careful", "twice"])
    desk.configure("validating", desk.hook("/v"))
    for code in (201, 409):
        answer = desk.make("x")
        assert answer.code == code
        assert answer.headers.get_all("Warning") == ['299 - "careful"', '299 - "twice"']
    gone = desk.api.ask("DELETE", f"{desk.maps}/x")
    assert gone.headers.get_all("Warning") == ['299 - "careful"', '299 - "twice"']


FAILURES = {
    "500": (Raw(500, b"boom", "text/plain"), 'failed to call webhook: an error on the server ("boom") has prevented the request from succeeding'),
    "404": (Raw(404), "failed to call webhook: the server could not find the requested resource"),
    "empty": (Raw(200), "failed to call webhook: 0-length response with status code: 200 and content type: application/json"),
    "no response": ({}, "received invalid webhook response: webhook response was absent"),
    "another review": (
        {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "response": {}},
        "failed to call webhook: converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
    ),
}  # fmt: skip


def test_73_a_webhook_that_fails_refuses_the_write_or_is_passed_over(desk: Desk) -> None:
    answers: list[Any] = [None]
    desk.hooks["/v"] = lambda review: answers[0]
    desk.configure("validating", desk.hook("/v"))
    for answers[0], says in FAILURES.values():
        answer = desk.make("x")
        assert (answer.code, answer.reason) == (500, "InternalError")
        told = f'failed calling webhook "v.hooks.test": {says}'
        assert answer.message == f"Internal error occurred: {told}"
        assert answer.json["details"]["causes"] == [{"message": told}]
    desk.clean()
    desk.configure("validating", desk.hook("/v", failurePolicy="Ignore"), name="open")
    assert desk.make("x").code == 201


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"url": "https://127.0.0.1:1/x"},
            'Post "https://127.0.0.1:1/x?timeout=3s": dial tcp 127.0.0.1:1: connect: connection refused',
        ),
        (
            {"service": {"name": "none", "namespace": "default", "path": "/p", "port": 8443}},
            'Post "https://none.default.svc:8443/p?timeout=3s": service "none" not found',
        ),
    ],
)
def test_73_where_nobody_is(desk: Desk, config: Any, says: str) -> None:
    hook = desk.hook("/v", clientConfig=config, timeoutSeconds=3)
    desk.configure("validating", hook)
    answer = desk.make("x")
    assert answer.code == 500
    assert answer.message.endswith(f'"v.hooks.test": failed to call webhook: {says}')


def test_73_a_webhook_behind_a_service(desk: Desk) -> None:
    """Its certificate is for the name of the Service, wherever that leads."""
    port = desk.hooks.port
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    path = f"/api/v1/namespaces/{desk.ns}/services"
    desk.api.make(path, {"metadata": {"name": "hook"}, "spec": spec})
    desk.hooks["/v"] = lambda review: deny(review, "by its Service")
    service = {"name": "hook", "namespace": desk.ns, "path": "/v", "port": port}
    config = {"service": service, "caBundle": desk.hooks.bundle}
    desk.configure("validating", desk.hook("/v", clientConfig=config))
    assert desk.make("x").message.endswith("by its Service")


def test_73_a_certificate_that_the_bundle_does_not_vouch_for(desk: Desk) -> None:
    desk.configure("validating", desk.hook("/v", clientConfig={"url": desk.hooks.url + "/v"}))
    assert desk.make("x").message.endswith(
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    )


@pytest.mark.slow
def test_73_a_webhook_has_no_longer_than_it_says(desk: Desk) -> None:
    def slow(review: Any) -> Any:
        time.sleep(1.3)
        return allow(review)

    desk.hooks["/v"] = slow
    desk.configure("validating", desk.hook("/v", timeoutSeconds=1))
    answer = desk.make("x")
    assert answer.message.endswith(f'"{desk.hooks.url}/v?timeout=1s": context deadline exceeded')


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
