"""Custom kinds in several versions, between which a webhook of the user's converts."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.wire import APPLY, MERGE, PATIENCE, Api
from tests.hooks import Hooks, Raw

pytestmark = pytest.mark.slow

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def convert(review: Any) -> Any:
    """v1 has hostPort, v2 host and port; a label says that it was converted."""
    asked, found = review["request"], []
    for given in asked["objects"]:
        obj = copy.deepcopy(given)
        obj["apiVersion"] = asked["desiredAPIVersion"]
        spec = obj.setdefault("spec", {})
        if obj["apiVersion"].endswith("/v2") and "hostPort" in spec:
            spec["host"], _, spec["port"] = spec.pop("hostPort").partition(":")
        elif obj["apiVersion"].endswith("/v1") and "host" in spec:
            spec["hostPort"] = f"{spec.pop('host')}:{spec.pop('port', '')}"
        obj["metadata"].setdefault("labels", {})["converted"] = "yes"
        found.append(obj)
    return answer(review, found)


def answer(review: Any, objects: Any = None, **result: Any) -> Any:
    response = {
        "uid": review["request"]["uid"],
        "result": {"status": "Success", **result},
        **({"convertedObjects": objects} if objects is not None else {}),
    }
    return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response}


class Things:
    def __init__(self, api: Api, ns: str, hooks: Hooks) -> None:
        self.api, self.ns, self.hooks = api, ns, hooks
        self.group = f"{ns}.example.com"

    def path(self, version: str, name: str = "") -> str:
        path = f"/apis/{self.group}/{version}/namespaces/{self.ns}/things"
        return f"{path}/{name}" if name else path

    def thing(self, version: str, name: str, **spec: str) -> dict[str, Any]:
        return {
            "apiVersion": f"{self.group}/{version}", "kind": "Thing", "metadata": {"name": name}, "spec": spec,
        }  # fmt: skip

    def definition(self, **conversion: Any) -> dict[str, Any]:
        def version(name: str, stored: bool, *fields: str) -> dict[str, Any]:
            spec = {"type": "object", "properties": {f: {"type": "string"} for f in fields}}
            schema = {"type": "object", "properties": {"spec": spec}}
            return {
                "name": name, "served": True, "storage": stored, "schema": {"openAPIV3Schema": schema},
            }  # fmt: skip

        webhook = {
            "conversionReviewVersions": ["v1"],
            "clientConfig": self.hooks.config("/convert"),
            **conversion,
        }
        return {
            "metadata": {"name": f"things.{self.group}"},
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing"},
                "versions": [
                    version("v1", True, "hostPort"),
                    version("v2", False, "host", "port"),
                ],
                "conversion": {"strategy": "Webhook", "webhook": webhook},
            },
        }

    def define(self, definition: Any = None) -> None:
        self.hooks["/convert"] = convert
        self.api.make(DEFINITIONS, definition or self.definition())
        end = time.monotonic() + PATIENCE
        while self.api.ask("GET", self.path("v2")).code != 200:
            assert time.monotonic() < end, "the kind is not served"
            time.sleep(0.05)


@pytest.fixture
def things(api: Api, ns: str, tmp_path: Path) -> Iterator[Things]:
    with Hooks(tmp_path) as hooks:
        made = Things(api, ns, hooks)
        yield made
        api.ask("DELETE", f"{DEFINITIONS}/things.{made.group}")


def test_71_a_webhook_converts_between_versions(things: Things) -> None:
    things.define()
    api = things.api
    made = api.make(things.path("v2"), things.thing("v2", "a", host="h", port="1"))
    assert made["apiVersion"] == f"{things.group}/v2"
    assert made["spec"] == {"host": "h", "port": "1"}
    asked = things.hooks.seen["/convert"][0]
    assert (asked["kind"], asked["apiVersion"]) == ("ConversionReview", "apiextensions.k8s.io/v1")
    assert asked["request"]["desiredAPIVersion"] == f"{things.group}/v1"
    (sent,) = asked["request"]["objects"]
    assert (sent["apiVersion"], sent["spec"]) == (
        f"{things.group}/v2",
        {"host": "h", "port": "1"},
    )
    stored = api.get(things.path("v1", "a"))
    assert (stored["spec"], stored["metadata"]["labels"]) == (
        {"hostPort": "h:1"},
        {"converted": "yes"},
    )
    assert stored["metadata"]["uid"] == made["metadata"]["uid"]

    api.make(things.path("v1"), things.thing("v1", "b", hostPort="x:2"))
    listing = api.get(things.path("v2"))
    assert [item["spec"]["host"] for item in listing["items"]] == ["h", "x"]
    assert {item["apiVersion"] for item in listing["items"]} == {f"{things.group}/v2"}

    patched = api.good("PATCH", things.path("v2", "b"), {"spec": {"port": "9"}}, kind=MERGE)
    assert patched["spec"] == {"host": "x", "port": "9"}
    assert api.get(things.path("v1", "b"))["spec"] == {"hostPort": "x:9"}
    applied = things.thing("v2", "b", port="7")
    found = api.good(
        "PATCH", things.path("v2", "b"), applied, kind=APPLY, fieldManager="me", force="true"
    )
    assert found["spec"] == {"host": "x", "port": "7"}
    assert api.ask("DELETE", things.path("v2", "b")).code == 200
    assert api.gone(things.path("v1", "b"))


def test_71_watches_in_every_version(things: Things) -> None:
    things.define()
    api = things.api
    revision = api.get(things.path("v1"))["metadata"]["resourceVersion"]
    with (
        api.watch(things.path("v1"), resourceVersion=revision) as one,
        api.watch(things.path("v2"), resourceVersion=revision) as two,
    ):
        api.make(things.path("v1"), things.thing("v1", "a", hostPort="h:1"))
        change = {"spec": {"hostPort": "h:2"}}
        api.good("PATCH", things.path("v1", "a"), change, kind=MERGE)
        api.good("DELETE", things.path("v1", "a"))
        kinds = ["ADDED", "MODIFIED", "DELETED"]
        seen = [(e["type"], e["object"]["spec"]["hostPort"]) for e in one.take(3)]
        assert seen == list(zip(kinds, ["h:1", "h:2", "h:2"]))
        told = two.take(3)
        assert [(e["type"], e["object"]["spec"]["port"]) for e in told] == list(zip(kinds, "122"))
        assert {e["object"]["apiVersion"] for e in told} == {f"{things.group}/v2"}


def test_43_owners_in_different_versions_know_of_each_other(things: Things) -> None:
    things.define()

    def apply(version: str, manager: str, force: bool = False, **spec: str) -> Any:
        body = things.thing(version, "a", **spec)
        query = {"fieldManager": manager, "force": str(force).lower()}
        return things.api.ask("PATCH", things.path(version, "a"), body, kind=APPLY, **query)

    def owners(found: Any) -> dict[str, list[str]]:
        entries = found.json["metadata"]["managedFields"]
        return {e["manager"]: sorted(e["fieldsV1"]["f:spec"]) for e in entries}

    assert owners(apply("v1", "ann", hostPort="h:1")) == {"ann": ["f:hostPort"]}
    both = {"ann": ["f:hostPort"], "bob": ["f:host"]}
    assert owners(apply("v2", "bob", host="h")) == both
    refused = apply("v2", "bob", host="z")
    assert (refused.code, refused.causes) == (409, [("FieldManagerConflict", ".spec.hostPort")])
    assert refused.message == 'Apply failed with 1 conflict: conflict with "ann": .spec.hostPort'
    taken = apply("v2", "bob", force=True, host="z")
    assert (taken.json["spec"], owners(taken)) == ({"host": "z", "port": "1"}, {"bob": ["f:host"]})
    change = {"spec": {"hostPort": "y:2"}}
    query = {"kind": MERGE, "fieldManager": "cid"}
    found = things.api.ask("PATCH", things.path("v1", "a"), change, **query)
    assert owners(found) == {"cid": ["f:hostPort"]}


FAILURES = {
    "down": (lambda review: Raw(500, b"x", "text/plain"), 'failed: an error on the server ("x") has prevented the request from succeeding'),
    "refused": (lambda review: answer(review, status="Failure", message="cannot"), "failed: cannot"),
    "none": (answer, "returned 0 objects, expected 1"),
    "same": (
        lambda review: answer(review, review["request"]["objects"]),
        "returned invalid object at index 0: invalid groupVersion (expected {group}/v2, received {group}/v1)",
    ),
    "renamed": (
        lambda review: answer(review, [{**convert(review)["response"]["convertedObjects"][0], "metadata": {"name": "z"}}]),
        "returned invalid object: must have the same name: a != z",
    ),
}  # fmt: skip


def test_71_failures_of_a_conversion_are_told(things: Things) -> None:
    things.define()
    api = things.api
    api.make(things.path("v1"), things.thing("v1", "a", hostPort="h:1"))
    for make, says in FAILURES.values():
        things.hooks["/convert"] = make
        found = api.ask("GET", things.path("v2", "a"))
        told = f"conversion webhook for {things.group}/v1, Kind=Thing {says.format(group=things.group)}"
        assert found.code == 500
        assert found.message.endswith(told)
        assert api.ask("GET", things.path("v1", "a")).code == 200
    things.hooks["/convert"] = lambda review: Raw(500, b"x", "text/plain")
    assert api.ask("GET", things.path("v2")).code == 500
    refused = api.ask("POST", things.path("v2"), things.thing("v2", "b", host="h"))
    assert refused.code == 500
    assert refused.message.startswith(
        f"conversion webhook for {things.group}/v2, Kind=Thing failed: "
    )
    assert api.gone(things.path("v1", "b"))
    things.hooks["/convert"] = lambda review: answer(
        review, [{**o, "spec": {"host": "h", "unheard": "1"}} for o in convert(review)["response"]["convertedObjects"]]
    )  # fmt: skip
    assert api.get(things.path("v2", "a"))["spec"] == {"host": "h"}


def test_71_conversions_are_judged(things: Things) -> None:
    at = "spec.conversion"
    bad = things.definition(clientConfig={"url": "http://h"}, conversionReviewVersions=["v9"])
    refused = things.api.ask("POST", DEFINITIONS, bad, dryRun="All")
    assert sorted(refused.causes) == [
        ("FieldValueInvalid", f"{at}.conversionReviewVersions"),
        ("FieldValueInvalid", f"{at}.webhookClientConfig.url"),
    ]
    bad["spec"]["conversion"] = {"strategy": "Webhook"}
    refused = things.api.ask("POST", DEFINITIONS, bad, dryRun="All")
    assert sorted(refused.causes) == [
        ("FieldValueRequired", f"{at}.conversionReviewVersions"),
        ("FieldValueRequired", f"{at}.webhookClientConfig"),
    ]
    service = {"service": {"name": "a", "namespace": "b"}}
    good = things.api.make(DEFINITIONS, things.definition(clientConfig=service), dryRun="All")
    assert good["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"] == 443


def test_71_what_selectors_look_at_is_of_the_version_that_is_asked_for(things: Things) -> None:
    definition = things.definition()
    one, two = definition["spec"]["versions"]
    one["selectableFields"] = [{"jsonPath": ".spec.hostPort"}]
    two["selectableFields"] = [{"jsonPath": ".spec.host"}]
    things.define(definition)
    api = things.api
    for name, host_port in (("a", "h:1"), ("b", "i:2")):
        api.make(things.path("v1"), things.thing("v1", name, hostPort=host_port))

    def found(version: str, **query: str) -> list[str]:
        listing = api.get(things.path(version), **query)
        return [item["metadata"]["name"] for item in listing["items"]]

    assert found("v1", fieldSelector="spec.hostPort=i:2") == ["b"]
    assert found("v2", fieldSelector="spec.host=h") == ["a"]
    assert found("v2", labelSelector="converted=yes") == ["a", "b"]
    assert found("v1", labelSelector="converted=yes") == []
    assert api.ask("GET", things.path("v2"), fieldSelector="spec.hostPort=i:2").code == 400
    revision = api.get(things.path("v2"))["metadata"]["resourceVersion"]
    with api.watch(
        things.path("v2"), fieldSelector="spec.host=h", resourceVersion=revision
    ) as watch:
        for host_port in ("h:2", "h:3", "k:3"):
            api.good("PATCH", things.path("v1", "b"), {"spec": {"hostPort": host_port}}, kind=MERGE)
        api.good("DELETE", things.path("v1", "a"))
        events = watch.take(4)
    assert [(e["type"], e["object"]["spec"]) for e in events] == [
        ("ADDED", {"host": "h", "port": "2"}), ("MODIFIED", {"host": "h", "port": "3"}),
        ("DELETED", {"host": "h", "port": "3"}), ("DELETED", {"host": "h", "port": "1"}),
    ]  # fmt: skip
    with api.watch(things.path("v2"), fieldSelector="spec.host=k") as watch:
        assert watch.next()["object"]["metadata"]["name"] == "b"


def test_71_policies_read_parameters_and_objects_in_their_version(things: Things) -> None:
    things.define()
    api, name = things.api, things.ns
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    rule = {
        "apiGroups": [things.group], "apiVersions": ["v2"], "operations": ["CREATE"], "resources": ["things"],
    }  # fmt: skip
    policy = {
        "failurePolicy": "Fail",
        "paramKind": {"apiVersion": f"{things.group}/v2", "kind": "Thing"},
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.spec.host == params.spec.host"}],
    }
    binding = {
        "policyName": name, "validationActions": ["Deny"],
        "paramRef": {"name": "wanted", "namespace": things.ns, "parameterNotFoundAction": "Deny"},
    }  # fmt: skip
    api.make(things.path("v1"), things.thing("v1", "wanted", hostPort="h:1"))
    try:
        api.make(policies, {"metadata": {"name": name}, "spec": policy})
        api.make(policies.replace("policies", "policybindings"), {"metadata": {"name": name}, "spec": binding})  # fmt: skip

        def answer_to(host_port: str) -> Any:
            body = things.thing("v1", "tried", hostPort=host_port)
            return api.ask("POST", things.path("v1"), body, dryRun="All")

        end = time.monotonic() + PATIENCE
        while (refused := answer_to("other:1")).code == 201 or "not yet synced" in refused.message:
            assert time.monotonic() < end, "the policy does not act"
            time.sleep(0.1)
        assert refused.code == 422, refused
        assert "failed expression: object.spec.host == params.spec.host" in refused.message
        assert answer_to("h:2").code == 201
    finally:
        api.ask("DELETE", f"{policies}/{name}")
        api.ask("DELETE", f"{policies.replace('policies', 'policybindings')}/{name}")
