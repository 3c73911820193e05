"""Create and update: names, what the server itself writes, revisions, and writes that do nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conformance.wire import JSON_PATCH, MERGE, Api

MAPS = "/api/v1/namespaces/{}/configmaps"
FREE = re.compile(r"[bcdfghjklmnpqrstvwxz2456789]{5}")
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SECOND = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
LABELS = {"app": "a"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
DEPLOYMENT = {
    "metadata": {"name": "d"},
    "spec": {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": TEMPLATE},
}


BUDGET = {"minAvailable": 1, "selector": {"matchLabels": LABELS}}


def made(api: Api, ns: str, name: str = "a", **more: Any) -> Any:
    return api.make(MAPS.format(ns), {"metadata": {"name": name}, **more})


# ---------------------------------------------------------------- 21 names


def test_21_a_name_or_a_generated_one_is_needed(api: Api, ns: str) -> None:
    answer = api.ask("POST", MAPS.format(ns), {"metadata": {}})
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.causes == [("FieldValueRequired", "metadata.name")]
    assert answer.json["details"]["causes"][0]["message"] == (
        "Required value: name or generateName is required"
    )


def test_21_a_generated_name_has_five_characters_more(api: Api, ns: str) -> None:
    meta = api.make(MAPS.format(ns), {"metadata": {"generateName": "web-"}})["metadata"]
    assert meta["generateName"] == "web-"
    assert meta["name"].startswith("web-")
    assert FREE.fullmatch(meta["name"][4:])


def test_21_a_long_prefix_is_cut(api: Api, ns: str) -> None:
    prefix = "p" * 70
    name = api.make(MAPS.format(ns), {"metadata": {"generateName": prefix}})["metadata"]["name"]
    assert len(name) == 63
    assert name.startswith("p" * 58)


def test_21_a_name_goes_before_a_prefix(api: Api, ns: str) -> None:
    sent = {"metadata": {"name": "own", "generateName": "web-"}}
    assert api.make(MAPS.format(ns), sent)["metadata"]["name"] == "own"


# ---------------------------------------------------------------- 22, 23 system fields


def test_22_the_server_sets_identity_and_time(api: Api, ns: str) -> None:
    meta = made(api, ns, data={"a": "b"})["metadata"]
    assert UID.fullmatch(meta["uid"])
    assert SECOND.fullmatch(meta["creationTimestamp"])
    assert int(meta["resourceVersion"]) > 0
    assert meta["namespace"] == ns
    assert meta["managedFields"][0]["operation"] == "Update"
    assert "generation" not in meta
    assert "selfLink" not in meta


def test_22_what_a_client_says_of_them_is_wiped(api: Api, ns: str) -> None:
    sent = {
        "name": "a", "uid": "11111111-2222-3333-4444-555555555555", "selfLink": "/x", "generation": 7,
        "creationTimestamp": "2001-01-01T00:00:00Z", "deletionTimestamp": "2001-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 5,
    }  # fmt: skip
    meta = api.make(MAPS.format(ns), {"metadata": sent})["metadata"]
    assert meta["uid"] != sent["uid"]
    assert not meta["creationTimestamp"].startswith("2001")
    assert not {"selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"} & meta.keys()


def test_22_kinds_that_count_begin_at_one(api: Api, ns: str) -> None:
    path = f"/apis/apps/v1/namespaces/{ns}/deployments"
    assert api.make(path, DEPLOYMENT)["metadata"]["generation"] == 1


def test_22_an_update_keeps_them(api: Api, ns: str) -> None:
    held = made(api, ns)
    sent = {**held, "metadata": {**held["metadata"], "creationTimestamp": None, "labels": LABELS}}
    meta = api.good("PUT", f"{MAPS.format(ns)}/a", sent)["metadata"]
    for name in ("uid", "creationTimestamp"):
        assert meta[name] == held["metadata"][name]


def test_23_a_create_names_no_revision(api: Api, ns: str) -> None:
    answer = api.ask("POST", MAPS.format(ns), {"metadata": {"name": "a", "resourceVersion": "5"}})
    assert (answer.code, answer.message) == (
        500,
        "resourceVersion should not be set on objects to be created",
    )


# ---------------------------------------------------------------- 24, 25 places


def test_24_the_namespace_of_the_body_agrees(api: Api, ns: str) -> None:
    answer = api.ask("POST", MAPS.format(ns), {"metadata": {"name": "a", "namespace": "other"}})
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert answer.message == (
        "the namespace of the provided object does not match the namespace sent on the request"
    )
    assert made(api, ns)["metadata"]["namespace"] == ns


def test_24_the_name_of_the_body_agrees(api: Api, ns: str) -> None:
    made(api, ns)
    answer = api.ask("PUT", f"{MAPS.format(ns)}/a", {"metadata": {"name": "b"}})
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert answer.message == "the name of the object (b) does not match the name on the URL (a)"


def test_24_the_kind_of_the_body_agrees(api: Api, ns: str) -> None:
    answer = api.ask("POST", MAPS.format(ns), {"kind": "Secret", "metadata": {"name": "a"}})
    assert (answer.code, answer.reason) == (400, "BadRequest")
    sent = {"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert api.ask("POST", MAPS.format(ns), sent).code == 400


def test_25_a_namespace_that_is_not_there(api: Api) -> None:
    answer = api.ask("POST", MAPS.format("nowhere"), {"metadata": {"name": "a"}})
    assert (answer.code, answer.reason) == (404, "NotFound")
    assert answer.message == 'namespaces "nowhere" not found'


def test_25_a_namespace_that_ends(api: Api, ns: str) -> None:
    made(api, ns, metadata={"name": "held", "finalizers": ["example.com/hold"]})
    api.good("DELETE", f"/api/v1/namespaces/{ns}")
    answer = api.ask("POST", MAPS.format(ns), {"metadata": {"name": "b"}})
    assert (answer.code, answer.reason) == (403, "Forbidden")
    assert answer.causes == [("NamespaceTerminating", "metadata.namespace")]
    assert answer.message == (
        f'configmaps "b" is forbidden: unable to create new content in namespace {ns} because it is being terminated'
    )
    api.good("PATCH", f"{MAPS.format(ns)}/held", {"metadata": {"finalizers": None}}, kind=MERGE)


# ---------------------------------------------------------------- 26, 27, 28 conflicts


def test_26_a_name_that_is_taken(api: Api, ns: str) -> None:
    made(api, ns)
    answer = api.ask("POST", MAPS.format(ns), {"metadata": {"name": "a"}})
    assert (answer.code, answer.reason) == (409, "AlreadyExists")
    assert answer.message == 'configmaps "a" already exists'
    assert answer.json["details"] == {"name": "a", "kind": "configmaps"}


def test_26_a_revision_that_is_old(api: Api, ns: str) -> None:
    held = made(api, ns)
    path = f"{MAPS.format(ns)}/a"
    api.good("PUT", path, {**held, "data": {"a": "1"}})
    answer = api.ask("PUT", path, {**held, "data": {"a": "2"}})
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert answer.message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


def test_26_another_object_of_the_same_name(api: Api, ns: str) -> None:
    made(api, ns)
    sent = {"metadata": {"name": "a", "uid": "11111111-2222-3333-4444-555555555555"}}
    answer = api.ask("PUT", f"{MAPS.format(ns)}/a", sent)
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert "Precondition failed: UID in precondition: 1111" in answer.message


def test_27_most_kinds_take_an_update_without_a_revision(api: Api, ns: str) -> None:
    made(api, ns)
    for revision in ({}, {"resourceVersion": ""}, {"resourceVersion": "0"}):
        sent = {"metadata": {"name": "a", **revision}, "data": {"b": str(revision)}}
        assert api.good("PUT", f"{MAPS.format(ns)}/a", sent)["data"] == sent["data"]


@pytest.mark.parametrize(
    ("group", "plural", "body"),
    [
        ("coordination.k8s.io", "leases", {"spec": {"holderIdentity": "h", "leaseDurationSeconds": 5}}),
        ("storage.k8s.io", "csistoragecapacities", {"storageClassName": "s"}),
    ],
)  # fmt: skip
def test_27_some_kinds_need_one(api: Api, ns: str, group: str, plural: str, body: Any) -> None:
    path, sent = f"/apis/{group}/v1/namespaces/{ns}/{plural}", {"metadata": {"name": "a"}, **body}
    held = api.make(path, sent)
    answer = api.ask("PUT", f"{path}/a", sent)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.causes == [("FieldValueInvalid", "metadata.resourceVersion")]
    assert answer.message == (
        f'{plural}.{group} "a" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update'
    )
    api.good("PUT", f"{path}/a", held)


def test_28_an_update_creates_nothing(api: Api, ns: str) -> None:
    for method, kind in (("PUT", "application/json"), ("PATCH", MERGE)):
        answer = api.ask(method, f"{MAPS.format(ns)}/a", {"metadata": {"name": "a"}}, kind=kind)
        assert (answer.code, answer.reason) == (404, "NotFound")
        assert answer.message == 'configmaps "a" not found'


# ---------------------------------------------------------------- 29, 30, 31 what changes


def test_29_generation_counts_what_is_asked_for(api: Api, ns: str) -> None:
    path = f"/apis/apps/v1/namespaces/{ns}/statefulsets"
    api.make(path, DEPLOYMENT)
    steps: list[tuple[str, Any, int]] = [
        ("", {"metadata": {"labels": {"x": "y"}}}, 1),
        ("", {"metadata": {"annotations": {"x": "y"}}}, 1),
        ("", {"spec": {"minReadySeconds": 5}}, 2),
        ("", {"spec": {"minReadySeconds": 5}}, 2),
        ("", {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}, 3),
        ("/status", {"status": {"collisionCount": 1}}, 3),
    ]
    for part, change, wanted in steps:
        held = api.good("PATCH", f"{path}/d{part}", change, kind=MERGE)
        assert held["metadata"]["generation"] == wanted, change


def test_29_annotations_of_a_deployment_count(api: Api, ns: str) -> None:
    path = f"/apis/apps/v1/namespaces/{ns}/deployments"
    api.make(path, DEPLOYMENT)
    change = {"metadata": {"annotations": {"x": "y"}, "labels": {"x": "y"}}}
    assert api.good("PATCH", f"{path}/d", change, kind=MERGE)["metadata"]["generation"] == 2


def test_29_a_mark_for_deletion_counts_too(api: Api, ns: str) -> None:
    path = f"/apis/apps/v1/namespaces/{ns}/deployments"
    meta = {"name": "d", "finalizers": ["example.com/hold"]}
    api.make(path, {**DEPLOYMENT, "metadata": meta})
    assert api.good("DELETE", f"{path}/d")["metadata"]["generation"] == 2
    api.good("PATCH", f"{path}/d", {"metadata": {"finalizers": None}}, kind=MERGE)


def test_30_a_write_that_changes_nothing(api: Api, ns: str) -> None:
    held = made(api, ns, data={"a": "1"})
    path = f"{MAPS.format(ns)}/a"
    with api.watch(MAPS.format(ns), resourceVersion=held["metadata"]["resourceVersion"]) as watch:
        same = api.good("PUT", path, held)
        assert same["metadata"] == held["metadata"]
        assert api.good("PATCH", path, {"data": {"a": "1"}}, kind=MERGE) == same
        other = [{"op": "replace", "path": "/data/a", "value": "1"}]
        assert api.good("PATCH", path, other, kind=JSON_PATCH, fieldManager="other") == same
        made(api, ns, "b")
        assert watch.next()["object"]["metadata"]["name"] == "b"


def test_31_an_update_leaves_the_status_alone(api: Api, ns: str) -> None:
    path = f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
    sent = {"metadata": {"name": "p"}, "spec": BUDGET, "status": {"currentHealthy": 9}}
    assert api.make(path, sent)["status"]["currentHealthy"] == 0
    change = {"spec": {"minAvailable": 2}, "status": {"currentHealthy": 9}}
    held = api.good("PATCH", f"{path}/p", change, kind=MERGE)
    assert held["spec"]["minAvailable"] == 2
    assert held["status"]["currentHealthy"] == 0


def test_31_the_status_leaves_the_rest_alone(api: Api, ns: str) -> None:
    path = f"/apis/apps/v1/namespaces/{ns}/deployments"
    held = api.make(path, DEPLOYMENT)
    sent = {
        **held, "spec": {**held["spec"], "replicas": 7}, "status": {"collisionCount": 3},
        "metadata": {"name": "d", "labels": {"new": "label"}},
    }  # fmt: skip
    after = api.good("PUT", f"{path}/d/status", sent)
    assert after["status"]["collisionCount"] == 3
    assert after["spec"]["replicas"] == 0
    assert "labels" not in after["metadata"]
    noted = [m for m in after["metadata"]["managedFields"] if m.get("subresource") == "status"]
    assert any("f:collisionCount" in m["fieldsV1"]["f:status"] for m in noted)


def test_31_a_kind_without_a_status_has_no_such_place(api: Api, ns: str) -> None:
    held = made(api, ns)
    answer = api.ask("PUT", f"{MAPS.format(ns)}/a/status", held)
    assert answer.code in (404, 405)
