"""Patches: JSON, merge and strategic, with every directive; revisions in them; and scale."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.wire import JSON_PATCH, MERGE, STRATEGIC, Api

LABELS = {"app": "a"}
DEPLOYMENT: dict[str, Any] = {
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {
                "containers": [
                    {"name": "a", "image": "i", "env": [{"name": "X", "value": "1"}], "args": ["one", "two"]},
                    {"name": "b", "image": "j"},
                ],
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
        },
    },
}  # fmt: skip


def maps(ns: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/configmaps{'/' + name if name else ''}"


def deployed(ns: str, name: str = "") -> str:
    return f"/apis/apps/v1/namespaces/{ns}/deployments{'/' + name if name else ''}"


# ---------------------------------------------------------------- 40 the kinds of patch

OPERATIONS: list[tuple[list[Any], Any]] = [
    ([{"op": "add", "path": "/data/b", "value": "2"}], {"a": "1", "b": "2"}),
    ([{"op": "replace", "path": "/data/a", "value": "2"}], {"a": "2"}),
    ([{"op": "remove", "path": "/data/a"}, {"op": "add", "path": "/data/c", "value": "3"}], {"c": "3"}),
    ([{"op": "copy", "from": "/data/a", "path": "/data/b"}], {"a": "1", "b": "1"}),
    ([{"op": "move", "from": "/data/a", "path": "/data/b"}], {"b": "1"}),
    ([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}], {"a": "1", "b": "2"}),
    ([{"op": "add", "path": "/data", "value": {"z": "9"}}], {"z": "9"}),
]  # fmt: skip


@pytest.mark.parametrize(("operations", "wanted"), OPERATIONS)
def test_40_json_patch(api: Api, ns: str, operations: list[Any], wanted: Any) -> None:
    api.make(maps(ns), {"metadata": {"name": "a"}, "data": {"a": "1"}})
    assert api.good("PATCH", maps(ns, "a"), operations, kind=JSON_PATCH)["data"] == wanted


def test_40_json_patch_escapes_and_appends(api: Api, ns: str) -> None:
    meta = {"name": "a", "annotations": {"e.io/x": "1"}, "finalizers": ["e.io/a"]}
    api.make(maps(ns), {"metadata": meta})
    operations = [
        {"op": "replace", "path": "/metadata/annotations/e.io~1x", "value": "2"},
        {"op": "add", "path": "/metadata/finalizers/-", "value": "e.io/c"},
        {"op": "add", "path": "/metadata/finalizers/1", "value": "e.io/b"},
    ]
    held = api.good("PATCH", maps(ns, "a"), operations, kind=JSON_PATCH)["metadata"]
    assert held["annotations"] == {"e.io/x": "2"}
    assert held["finalizers"] == ["e.io/a", "e.io/b", "e.io/c"]
    api.good(
        "PATCH", maps(ns, "a"), [{"op": "remove", "path": "/metadata/finalizers"}], kind=JSON_PATCH
    )


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/data/a", "value": "2"},
        {"op": "remove", "path": "/data/nothing"},
        {"op": "replace", "path": "/nothing/at/all", "value": 1},
    ],
)
def test_40_a_json_patch_that_does_not_fit(api: Api, ns: str, operation: Any) -> None:
    api.make(maps(ns), {"metadata": {"name": "a"}, "data": {"a": "1"}})
    answer = api.ask("PATCH", maps(ns, "a"), [operation], kind=JSON_PATCH)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.message == "the server rejected our request due to an error in our request"


def test_40_a_json_patch_of_too_many(api: Api, ns: str) -> None:
    api.make(maps(ns), {"metadata": {"name": "a"}})
    many = [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10_001
    answer = api.ask("PATCH", maps(ns, "a"), many, kind=JSON_PATCH)
    assert (answer.code, answer.reason) == (413, "RequestEntityTooLarge")
    assert (
        answer.message
        == "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    )


def test_40_what_is_no_patch(api: Api, ns: str) -> None:
    api.make(maps(ns), {"metadata": {"name": "a"}})
    for kind, body in (
        (JSON_PATCH, {"op": "add"}),
        (MERGE, [1]),
        (STRATEGIC, [1]),
        (MERGE, "nonsense"),
    ):
        assert api.ask("PATCH", maps(ns, "a"), body, kind=kind).code == 400, (kind, body)


def test_40_merge_patch(api: Api, ns: str) -> None:
    api.make(
        maps(ns), {"metadata": {"name": "a", "labels": {"x": "1", "y": "2"}}, "data": {"a": "1"}}
    )
    change = {"metadata": {"labels": {"x": None, "z": "3"}}, "data": {"b": "2"}}
    held = api.good("PATCH", maps(ns, "a"), change, kind=MERGE)
    assert held["metadata"]["labels"] == {"y": "2", "z": "3"}
    assert held["data"] == {"a": "1", "b": "2"}


def test_40_a_merge_patch_replaces_lists(api: Api, ns: str) -> None:
    api.make(deployed(ns), DEPLOYMENT)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "k"}]}}}}
    held = api.good("PATCH", deployed(ns, "d"), change, kind=MERGE)
    assert [c["name"] for c in held["spec"]["template"]["spec"]["containers"]] == ["c"]


def test_40_strategic_patches_are_for_kinds_with_a_schema(api: Api, ns: str) -> None:
    name = f"ws.{ns}.io"
    spec = {
        "group": f"{ns}.io", "scope": "Namespaced", "names": {"plural": "ws", "kind": "W"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}],
    }  # fmt: skip
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    api.make(crds, {"metadata": {"name": name}, "spec": spec})
    try:
        api.until(
            f"{crds}/{name}",
            lambda crd: any(
                c["type"] == "Established" and c["status"] == "True"
                for c in crd["status"].get("conditions") or ()
            ),
        )
        path = f"/apis/{ns}.io/v1/namespaces/{ns}/ws"
        api.make(path, {"apiVersion": f"{ns}.io/v1", "kind": "W", "metadata": {"name": "w"}})
        answer = api.ask("PATCH", f"{path}/w", {"a": 1}, kind=STRATEGIC)
        assert (answer.code, answer.reason) == (415, "UnsupportedMediaType")
        assert MERGE in answer.message
        assert api.good("PATCH", f"{path}/w", {"a": 1}, kind=MERGE)["a"] == 1
    finally:
        api.good("DELETE", f"{crds}/{name}")


def test_40_other_media_types_are_refused(api: Api, ns: str) -> None:
    api.make(maps(ns), {"metadata": {"name": "a"}})
    answer = api.ask("PATCH", maps(ns, "a"), {"data": {}}, kind="application/json")
    assert (answer.code, answer.reason) == (415, "UnsupportedMediaType")


# ---------------------------------------------------------------- 41 directives


def patched(api: Api, ns: str, change: Any) -> Any:
    api.make(deployed(ns), DEPLOYMENT)
    return api.good("PATCH", deployed(ns, "d"), change, kind=STRATEGIC)["spec"]


def of_pod(**spec: Any) -> Any:
    return {"spec": {"template": {"spec": spec}}}


def test_41_lists_merge_by_their_key(api: Api, ns: str) -> None:
    change = of_pod(containers=[{"name": "b", "image": "k"}, {"name": "c", "image": "l"}])
    held = patched(api, ns, change)["template"]["spec"]["containers"]
    assert {c["name"]: c["image"] for c in held} == {"a": "i", "b": "k", "c": "l"}


def test_41_lists_without_a_key_are_replaced(api: Api, ns: str) -> None:
    held = patched(api, ns, of_pod(containers=[{"name": "a", "args": ["three"]}]))
    assert held["template"]["spec"]["containers"][0]["args"] == ["three"]


def test_41_an_item_is_deleted(api: Api, ns: str) -> None:
    held = patched(api, ns, of_pod(containers=[{"name": "a", "$patch": "delete"}]))
    assert [c["name"] for c in held["template"]["spec"]["containers"]] == ["b"]


def test_41_a_list_is_replaced(api: Api, ns: str) -> None:
    held = patched(api, ns, of_pod(containers=[{"name": "z", "image": "i"}, {"$patch": "replace"}]))
    assert [c["name"] for c in held["template"]["spec"]["containers"]] == ["z"]


def test_41_a_map_is_replaced_or_deleted(api: Api, ns: str) -> None:
    meta = {"name": "a", "labels": {"x": "1", "y": "2"}, "annotations": {"n": "1"}}
    api.make(maps(ns), {"metadata": meta, "data": {"a": "1", "b": "2"}})
    change = {
        "metadata": {
            "labels": {"$patch": "replace", "z": "3"},
            "annotations": {"$patch": "delete"},
        },
        "data": {"c": "3"},
    }
    held = api.good("PATCH", maps(ns, "a"), change, kind=STRATEGIC)
    assert held["metadata"]["labels"] == {"z": "3"}
    assert "annotations" not in held["metadata"]
    assert held["data"] == {"a": "1", "b": "2", "c": "3"}


def test_41_retain_keys_of_a_union(api: Api, ns: str) -> None:
    held = patched(api, ns, {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}})
    assert held["strategy"] == {"type": "Recreate"}
    change = of_pod(
        volumes=[{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]
    )
    held = api.good("PATCH", deployed(ns, "d"), change, kind=STRATEGIC)["spec"]
    assert held["template"]["spec"]["volumes"] == [
        {"name": "v", "hostPath": {"path": "/x", "type": ""}}
    ]


def test_41_the_order_of_a_list(api: Api, ns: str) -> None:
    change = of_pod(
        **{"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}]},
        containers=[{"name": "c", "image": "k"}],
    )
    held = patched(api, ns, change)["template"]["spec"]["containers"]
    assert [c["name"] for c in held] == ["b", "c", "a"]


def test_41_items_of_a_set_come_and_go(api: Api, ns: str) -> None:
    api.make(maps(ns), {"metadata": {"name": "a", "finalizers": ["e.io/a", "e.io/b"]}})
    change = {"metadata": {"finalizers": ["e.io/c"]}}
    held = api.good("PATCH", maps(ns, "a"), change, kind=STRATEGIC)["metadata"]["finalizers"]
    assert sorted(held) == ["e.io/a", "e.io/b", "e.io/c"]
    change = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["e.io/a", "e.io/c"]}}
    held = api.good("PATCH", maps(ns, "a"), change, kind=STRATEGIC)["metadata"]["finalizers"]
    assert held == ["e.io/b"]
    api.good("PATCH", maps(ns, "a"), {"metadata": {"finalizers": None}}, kind=STRATEGIC)


def test_41_ports_of_a_service_merge_by_port(api: Api, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/services"
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    api.make(path, {"metadata": {"name": "s"}, "spec": {"ports": ports}})
    change = {"spec": {"ports": [{"port": 81, "targetPort": 8081}]}}
    held = api.good("PATCH", f"{path}/s", change, kind=STRATEGIC)["spec"]["ports"]
    assert {p["name"]: p["targetPort"] for p in held} == {"a": 80, "b": 8081}


def test_41_an_unknown_directive(api: Api, ns: str) -> None:
    api.make(maps(ns), {"metadata": {"name": "a"}, "data": {"a": "1"}})
    answer = api.ask("PATCH", maps(ns, "a"), {"data": {"$patch": "mend"}}, kind=STRATEGIC)
    assert answer.code == 500
    assert answer.message == "unknown patch type: mend in map: map[$patch:mend]"


def test_41_an_item_without_its_key(api: Api, ns: str) -> None:
    api.make(deployed(ns), DEPLOYMENT)
    answer = api.ask(
        "PATCH", deployed(ns, "d"), of_pod(containers=[{"image": "i"}]), kind=STRATEGIC
    )
    assert answer.code in (400, 500)
    assert "does not contain declared merge key: name" in answer.message


# ---------------------------------------------------------------- 42 revisions


@pytest.mark.parametrize("kind", [MERGE, STRATEGIC, JSON_PATCH])
def test_42_a_revision_is_a_precondition(api: Api, ns: str, kind: str) -> None:
    old = api.make(maps(ns), {"metadata": {"name": "a"}})["metadata"]["resourceVersion"]
    new = api.good("PATCH", maps(ns, "a"), {"data": {"a": "1"}}, kind=MERGE)["metadata"]
    for revision, code in ((old, 409), (new["resourceVersion"], 200)):
        change: Any = {"metadata": {"resourceVersion": revision}, "data": {"b": "2"}}
        if kind == JSON_PATCH:
            change = [
                {"op": "replace", "path": "/metadata/resourceVersion", "value": revision},
                {"op": "add", "path": "/data/b", "value": "2"},
            ]
        answer = api.ask("PATCH", maps(ns, "a"), change, kind=kind)
        assert answer.code == code
        if code == 409:
            assert answer.reason == "Conflict"


def test_42_a_uid_is_one_too(api: Api, ns: str) -> None:
    api.make(maps(ns), {"metadata": {"name": "a"}})
    change = {"metadata": {"uid": "11111111-2222-3333-4444-555555555555"}, "data": {"a": "1"}}
    answer = api.ask("PATCH", maps(ns, "a"), change, kind=MERGE)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.causes == [("FieldValueInvalid", "metadata.uid")]
    assert answer.message.endswith("field is immutable")


# ---------------------------------------------------------------- 59 scale


def test_59_a_scale_is_read(api: Api, ns: str) -> None:
    made = api.make(deployed(ns), DEPLOYMENT)
    scale = api.get(f"{deployed(ns, 'd')}/scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["status"] == {"replicas": 0, "selector": "app=a"}
    for name in ("name", "namespace", "uid", "creationTimestamp"):
        assert scale["metadata"][name] == made["metadata"][name]


def test_59_a_scale_is_written(api: Api, ns: str) -> None:
    spec = {**DEPLOYMENT["spec"], "paused": True}
    api.make(deployed(ns), {**DEPLOYMENT, "spec": spec})
    path = f"{deployed(ns, 'd')}/scale"
    wanted = {"metadata": {"name": "d"}, "spec": {"replicas": 2}}
    assert api.good("PUT", path, wanted)["spec"] == {"replicas": 2}
    assert api.get(deployed(ns, "d"))["spec"]["replicas"] == 2
    assert api.good("PATCH", path, {"spec": {"replicas": 3}}, kind=MERGE)["spec"]["replicas"] == 3
    change = [{"op": "replace", "path": "/spec/replicas", "value": 1}]
    assert api.good("PATCH", path, change, kind=JSON_PATCH)["spec"]["replicas"] == 1
    noted = api.get(deployed(ns, "d"))["metadata"]["managedFields"]
    assert any(entry.get("subresource") == "scale" for entry in noted)


def test_59_a_scale_obeys_revisions_and_sense(api: Api, ns: str) -> None:
    api.make(deployed(ns), {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "paused": True}})
    path = f"{deployed(ns, 'd')}/scale"
    scale = api.get(path)
    api.good("PATCH", path, {"spec": {"replicas": 2}}, kind=MERGE)
    answer = api.ask("PUT", path, {**scale, "spec": {"replicas": 3}})
    assert (answer.code, answer.reason) == (409, "Conflict")
    answer = api.ask("PATCH", path, {"spec": {"replicas": -1}}, kind=MERGE)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.causes == [("FieldValueInvalid", "spec.replicas")]
    assert api.ask("GET", f"{deployed(ns, 'nothing')}/scale").code == 404


def test_59_the_scale_of_a_custom_kind(api: Api, ns: str) -> None:
    name, crds = f"ws.{ns}.io", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    schema: Any = {"type": "object", "properties": {part: {"type": "object", "x-kubernetes-preserve-unknown-fields": True} for part in ("spec", "status")}}  # fmt: skip
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.labels"}  # fmt: skip
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"scale": scale, "status": {}}}  # fmt: skip
    spec = {"group": f"{ns}.io", "scope": "Namespaced", "names": {"plural": "ws", "kind": "W"}, "versions": [version]}  # fmt: skip
    schema["properties"]["spec"] = {"type": "object", "properties": {"size": {"type": "integer"}}}
    schema["properties"]["status"] = {"type": "object", "properties": {"size": {"type": "integer"}, "labels": {"type": "string"}}}  # fmt: skip
    api.make(crds, {"metadata": {"name": name}, "spec": spec})
    try:
        api.until(
            f"{crds}/{name}",
            lambda crd: any(
                c["type"] == "Established" and c["status"] == "True"
                for c in crd["status"].get("conditions") or ()
            ),
        )
        path = f"/apis/{ns}.io/v1/namespaces/{ns}/ws"
        body = {
            "apiVersion": f"{ns}.io/v1",
            "kind": "W",
            "metadata": {"name": "w"},
            "spec": {"size": 3},
        }
        api.make(path, body)
        change = {"status": {"size": 1, "labels": "a=b"}}
        api.good("PATCH", f"{path}/w/status", change, kind=MERGE)
        held = api.get(f"{path}/w/scale")
        assert (held["spec"], held["status"]) == (
            {"replicas": 3},
            {"replicas": 1, "selector": "a=b"},
        )
        api.good("PUT", f"{path}/w/scale", {**held, "spec": {"replicas": 5}})
        assert api.get(f"{path}/w")["spec"] == {"size": 5}
    finally:
        api.good("DELETE", f"{crds}/{name}")
