"""Deletes: finalizers, grace, preconditions, propagation, garbage, and how namespaces begin and end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.wire import MERGE, Api

HOLD = "example.com/hold"
POD_SPEC = {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 25}
OTHER_UID = "11111111-2222-3333-4444-555555555555"


def maps(ns: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/configmaps{'/' + name if name else ''}"


def pods(ns: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/pods{'/' + name if name else ''}"


def held_by(api: Api, ns: str, name: str = "a", **meta: Any) -> Any:
    return api.make(maps(ns), {"metadata": {"name": name, **meta}})


def released(api: Api, path: str) -> Any:
    return api.good("PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE)


def owner(obj: Any, api_version: str = "v1", kind: str = "ConfigMap", **more: Any) -> Any:
    meta = obj["metadata"]
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": meta["name"],
        "uid": meta["uid"],
        **more,
    }


# ---------------------------------------------------------------- 47, 48 finalizers


def test_47_a_finalizer_holds_what_is_deleted(api: Api, ns: str) -> None:
    made = held_by(api, ns, finalizers=[HOLD])
    answer = api.ask("DELETE", maps(ns, "a"))
    assert answer.code == 200
    meta = answer.json["metadata"]
    assert answer.json["kind"] == "ConfigMap"
    assert meta["deletionTimestamp"] >= made["metadata"]["creationTimestamp"]
    assert meta["deletionGracePeriodSeconds"] == 0
    assert meta["finalizers"] == [HOLD]
    assert api.get(maps(ns, "a"))["metadata"] == meta


def test_47_it_goes_with_the_last_one(api: Api, ns: str) -> None:
    held_by(api, ns, finalizers=[HOLD, "example.com/too"])
    meta = api.good("DELETE", maps(ns, "a"))["metadata"]
    with api.watch(maps(ns), resourceVersion=meta["resourceVersion"]) as watch:
        change = {"metadata": {"finalizers": [HOLD]}}
        api.good("PATCH", maps(ns, "a"), change, kind=MERGE)
        assert watch.next()["type"] == "MODIFIED"
        released(api, maps(ns, "a"))
        event = watch.next()
        assert event["type"] == "DELETED"
        assert int(event["object"]["metadata"]["resourceVersion"]) > int(meta["resourceVersion"])
    assert api.gone(maps(ns, "a"))


def test_48_no_new_finalizers_while_it_goes(api: Api, ns: str) -> None:
    held_by(api, ns, finalizers=[HOLD])
    api.good("DELETE", maps(ns, "a"))
    change = {"metadata": {"finalizers": [HOLD, "example.com/late"]}}
    answer = api.ask("PATCH", maps(ns, "a"), change, kind=MERGE)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.causes == [("FieldValueForbidden", "metadata.finalizers")]
    assert answer.message == (
        'ConfigMap "a" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is '
        'being deleted, found new finalizers []string{"example.com/late"}'
    )
    released(api, maps(ns, "a"))


def test_48_the_mark_stays(api: Api, ns: str) -> None:
    held_by(api, ns, finalizers=[HOLD])
    meta = api.good("DELETE", maps(ns, "a"))["metadata"]
    for value in (None, "2001-01-01T00:00:00Z"):
        change = {"metadata": {"deletionTimestamp": value, "labels": {"v": str(value)[:4]}}}
        after = api.good("PATCH", maps(ns, "a"), change, kind=MERGE)["metadata"]
        assert after["deletionTimestamp"] == meta["deletionTimestamp"]
    again = api.good("DELETE", maps(ns, "a"))["metadata"]
    assert again["deletionTimestamp"] == meta["deletionTimestamp"]
    released(api, maps(ns, "a"))


def test_48_a_name_that_goes_is_still_taken(api: Api, ns: str) -> None:
    held_by(api, ns, finalizers=[HOLD])
    api.good("DELETE", maps(ns, "a"))
    answer = api.ask("POST", maps(ns), {"metadata": {"name": "a"}})
    assert (answer.code, answer.reason) == (409, "AlreadyExists")
    assert answer.message == 'object is being deleted: configmaps "a" already exists'
    released(api, maps(ns, "a"))


# ---------------------------------------------------------------- 49 Pods


def bound(api: Api, ns: str, **spec: Any) -> None:
    api.make(
        pods(ns), {"metadata": {"name": "p"}, "spec": {**POD_SPEC, **spec, "nodeName": "nobody"}}
    )


def test_49_a_pod_without_a_node_goes_at_once(api: Api, ns: str) -> None:
    spec = {**POD_SPEC, "nodeSelector": {"no": "where"}}
    api.make(pods(ns), {"metadata": {"name": "p"}, "spec": spec})
    gone = api.good("DELETE", pods(ns, "p"))
    assert gone["kind"] == "Pod"
    assert gone["metadata"]["deletionGracePeriodSeconds"] == 0
    assert api.gone(pods(ns, "p"))


def test_49_a_pod_goes_gracefully(api: Api, ns: str) -> None:
    bound(api, ns)
    meta = api.good("DELETE", pods(ns, "p"))["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 25
    assert meta["generation"] == 2
    assert (
        api.good("DELETE", pods(ns, "p"), {"gracePeriodSeconds": 50})["metadata"][
            "deletionTimestamp"
        ]
        == meta["deletionTimestamp"]
    )
    sooner = api.good("DELETE", pods(ns, "p"), {"gracePeriodSeconds": 3})["metadata"]
    assert sooner["deletionGracePeriodSeconds"] == 3
    assert sooner["deletionTimestamp"] < meta["deletionTimestamp"]
    api.good("DELETE", pods(ns, "p"), {"gracePeriodSeconds": 0})
    assert api.gone(pods(ns, "p"))


@pytest.mark.parametrize(("asked", "wanted"), [(7, 7), (-1, 1), (2**40, 2**40)])
def test_49_the_grace_that_is_asked_for(api: Api, ns: str, asked: int, wanted: int) -> None:
    bound(api, ns)
    meta = api.good("DELETE", pods(ns, "p"), {"gracePeriodSeconds": asked})["metadata"]
    assert meta["deletionGracePeriodSeconds"] == wanted
    api.good("DELETE", pods(ns, "p"), gracePeriodSeconds=1)
    api.good("DELETE", pods(ns, "p"), gracePeriodSeconds=0)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_49_a_pod_that_has_ended_goes_at_once(api: Api, ns: str, phase: str) -> None:
    bound(api, ns)
    api.good("PATCH", f"{pods(ns, 'p')}/status", {"status": {"phase": phase}}, kind=MERGE)
    api.good("DELETE", pods(ns, "p"))
    assert api.gone(pods(ns, "p"))


# ---------------------------------------------------------------- 50, 51 answers and preconditions


def test_50_what_is_gone_is_told_by_a_status(api: Api, ns: str) -> None:
    uid = held_by(api, ns)["metadata"]["uid"]
    assert api.good("DELETE", maps(ns, "a")) == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": "a", "kind": "configmaps", "uid": uid},
    }  # fmt: skip
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles"
    api.make(path, {"metadata": {"name": "r"}, "rules": []})
    assert api.good("DELETE", f"{path}/r")["details"]["group"] == "rbac.authorization.k8s.io"
    answer = api.ask("DELETE", maps(ns, "a"))
    assert (answer.code, answer.reason) == (404, "NotFound")


@pytest.mark.parametrize(
    ("plural", "body"),
    [("services", {"spec": {"ports": [{"port": 80}]}}), ("serviceaccounts", {}), ("podtemplates", {"template": {"spec": POD_SPEC}})],
)  # fmt: skip
def test_50_some_kinds_are_answered_with_the_object(
    api: Api, ns: str, plural: str, body: Any
) -> None:
    path = f"/api/v1/namespaces/{ns}/{plural}"
    made = api.make(path, {"metadata": {"name": "a"}, **body})
    gone = api.good("DELETE", f"{path}/a")
    assert (gone["kind"], gone["metadata"]["uid"]) == (made["kind"], made["metadata"]["uid"])


OPTIONS: list[tuple[Any, dict[str, Any]]] = [
    ({"gracePeriodSeconds": 4}, {}),
    ({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 4}, {}),
    ("kind: DeleteOptions\napiVersion: v1\ngracePeriodSeconds: 4\n", {"kind": "application/yaml"}),
    (None, {"gracePeriodSeconds": 4}),
]


@pytest.mark.parametrize(("body", "more"), OPTIONS)
def test_50_options_in_the_body_or_the_query(
    api: Api, ns: str, body: Any, more: dict[str, Any]
) -> None:
    bound(api, ns)
    meta = api.good("DELETE", pods(ns, "p"), body, **more)["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 4
    api.good("DELETE", pods(ns, "p"), gracePeriodSeconds=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"propagationPolicy": "Perhaps"}, 'propagationPolicy: Unsupported value: "Perhaps": supported values: "Foreground", "Background", "Orphan", "nil"'),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set'),
        ({"dryRun": ["Some"]}, 'dryRun: Unsupported value: ["Some"]: supported values: "All"'),
    ],
)  # fmt: skip
def test_50_options_that_are_refused(api: Api, ns: str, options: Any, says: str) -> None:
    held_by(api, ns)
    answer = api.ask("DELETE", maps(ns, "a"), options)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.message == f'DeleteOptions.meta.k8s.io "" is invalid: {says}'


def test_51_another_object_than_meant(api: Api, ns: str) -> None:
    made = held_by(api, ns)["metadata"]
    answer = api.ask("DELETE", maps(ns, "a"), {"preconditions": {"uid": OTHER_UID}})
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert answer.message == (
        'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition '
        f"({OTHER_UID}) does not match the UID in record ({made['uid']}). "
        "The object might have been deleted and then recreated"
    ) or answer.message.endswith(
        f"Precondition failed: UID in precondition: {OTHER_UID}, UID in object meta: {made['uid']}"
    )
    answer = api.ask("DELETE", maps(ns, "a"), {"preconditions": {"resourceVersion": "1"}})
    assert (answer.code, answer.reason) == (409, "Conflict")
    wanted = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    api.good("DELETE", maps(ns, "a"), {"preconditions": wanted})


# ---------------------------------------------------------------- 52 collections


def test_52_a_collection_by_selectors(api: Api, ns: str) -> None:
    for name in ("a", "b", "c"):
        held_by(api, ns, name, labels={"odd": str(name != "b")})
    told = api.good("DELETE", maps(ns), labelSelector="odd=True", dryRun="All")
    assert told["kind"] == "ConfigMapList"
    assert len(told["items"]) == 2
    told = api.good("DELETE", maps(ns), labelSelector="odd=True")
    assert sorted(item["metadata"]["name"] for item in told["items"]) == ["a", "c"]
    left = [item["metadata"]["name"] for item in api.get(maps(ns))["items"]]
    assert "b" in left
    assert not {"a", "c"} & {*left}
    api.good("DELETE", maps(ns), fieldSelector="metadata.name=b")
    assert api.gone(maps(ns, "b"))


def test_52_each_is_deleted_as_one_is(api: Api, ns: str) -> None:
    held_by(api, ns, "a", finalizers=[HOLD], labels={"x": "y"})
    api.good("DELETE", maps(ns), labelSelector="x=y")
    assert "deletionTimestamp" in api.get(maps(ns, "a"))["metadata"]
    released(api, maps(ns, "a"))


# ---------------------------------------------------------------- 53 propagation


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"propagationPolicy": "Orphan"}, [HOLD, "orphan"]),
        ({"propagationPolicy": "Foreground"}, [HOLD, "foregroundDeletion"]),
        ({"propagationPolicy": "Background"}, [HOLD]),
        ({"orphanDependents": True}, [HOLD, "orphan"]),
        ({"orphanDependents": False}, [HOLD]),
        ({}, [HOLD]),
    ],
)
def test_53_a_policy_becomes_a_finalizer(
    api: Api, ns: str, options: Any, wanted: list[str]
) -> None:
    api.make(maps(ns), {"metadata": {"name": "o", "finalizers": [HOLD]}})
    with api.watch(maps(ns), fieldSelector="metadata.name=o") as watch:
        answer = api.ask("DELETE", maps(ns, "o"), options)
        assert answer.code == (202 if options.get("orphanDependents") is False else 200)
        assert answer.json["metadata"]["finalizers"] == wanted
        watch.until(lambda event: event["object"]["metadata"].get("deletionTimestamp"))
    released(api, maps(ns, "o"))


def test_53_a_policy_replaces_what_was_there(api: Api, ns: str) -> None:
    held_by(api, ns, finalizers=["foregroundDeletion", HOLD])
    held = api.good("DELETE", maps(ns, "a"), {"propagationPolicy": "Background"})
    assert held["metadata"]["finalizers"] == [HOLD]
    released(api, maps(ns, "a"))


def test_53_jobs_leave_their_pods_unless_told(api: Api, ns: str) -> None:
    path = f"/apis/batch/v1/namespaces/{ns}/jobs"
    template = {"spec": {**POD_SPEC, "restartPolicy": "Never"}}
    meta = {"name": "j", "finalizers": [HOLD]}
    api.make(path, {"metadata": meta, "spec": {"template": template, "suspend": True}})
    answer = api.ask("DELETE", f"{path}/j")
    assert answer.json["metadata"]["finalizers"] == [HOLD, "orphan"]
    assert "child pods are preserved by default" in (answer.headers.get("Warning") or "")
    released(api, f"{path}/j")
