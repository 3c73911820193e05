"""Server-side apply, and managedFields of every write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.wire import APPLY, JSON_PATCH, MERGE, Answer, Api

LABELS = {"app": "a"}
LAST = "kubectl.kubernetes.io/last-applied-configuration"


def maps(ns: str, name: str = "a") -> str:
    return f"/api/v1/namespaces/{ns}/configmaps/{name}"


def config(**more: Any) -> Any:
    meta = {"name": "a", **more.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, **more}


def applied(api: Api, path: str, body: Any, manager: str = "one", **query: Any) -> Answer:
    return api.ask("PATCH", path, body, kind=APPLY, fieldManager=manager, **query)


def good(api: Api, path: str, body: Any, manager: str = "one", **query: Any) -> Any:
    answer = applied(api, path, body, manager, **query)
    assert answer.code in (200, 201), answer.body
    return answer.json


def fields(obj: Any, manager: str, operation: str = "Apply") -> Any:
    found = [
        entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", ())
        if (entry["manager"], entry["operation"]) == (manager, operation)
    ]  # fmt: skip
    return found[0] if found else None


def deployment(**of_container: Any) -> Any:
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "c", "image": "i", **of_container}]},
            },
        },
    }  # fmt: skip


def deployed(ns: str) -> str:
    return f"/apis/apps/v1/namespaces/{ns}/deployments/d"


# ---------------------------------------------------------------- 43 apply


def test_43_it_creates_and_changes(api: Api, ns: str) -> None:
    first = applied(api, maps(ns), config(data={"a": "1"}))
    assert first.code == 201
    assert fields(first.json, "one") == {"f:data": {"f:a": {}}}
    second = applied(api, maps(ns), config(data={"a": "2", "b": "3"}))
    assert second.code == 200
    assert second.json["data"] == {"a": "2", "b": "3"}


def test_43_what_is_said_no_more_goes(api: Api, ns: str) -> None:
    good(api, maps(ns), config(data={"a": "1", "b": "2"}, metadata={"labels": LABELS}))
    held = good(api, maps(ns), config(data={"a": "1"}))
    assert held["data"] == {"a": "1"}
    assert "labels" not in held["metadata"]


def test_43_what_another_says_too_stays(api: Api, ns: str) -> None:
    good(api, maps(ns), config(data={"a": "1", "b": "2"}))
    good(api, maps(ns), config(data={"b": "2"}), "two")
    held = good(api, maps(ns), config(data={"a": "1"}))
    assert held["data"] == {"a": "1", "b": "2"}
    assert fields(held, "one") == {"f:data": {"f:a": {}}}
    assert fields(held, "two") == {"f:data": {"f:b": {}}}


def test_43_a_conflict_names_managers_and_fields(api: Api, ns: str) -> None:
    good(api, maps(ns), config(data={"a": "1", "b": "1"}))
    api.good("PATCH", maps(ns), {"data": {"c": "1"}}, kind=MERGE, fieldManager="editor")
    answer = applied(api, maps(ns), config(data={"a": "2", "b": "2", "c": "2"}), "two")
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert sorted(answer.causes) == [
        ("FieldManagerConflict", ".data.a"),
        ("FieldManagerConflict", ".data.b"),
        ("FieldManagerConflict", ".data.c"),
    ]
    assert answer.message == (
        'Apply failed with 3 conflicts: conflicts with "editor" using v1:\n- .data.c\n'
        'conflicts with "one":\n- .data.a\n- .data.b'
    )


def test_43_a_single_conflict_is_one_line(api: Api, ns: str) -> None:
    good(api, maps(ns), config(data={"a": "1"}))
    answer = applied(api, maps(ns), config(data={"a": "2"}), "two")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert answer.json["details"] == {
        "causes": [
            {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}
        ]
    }


def test_43_the_same_value_is_shared(api: Api, ns: str) -> None:
    good(api, maps(ns), config(data={"a": "1"}))
    held = good(api, maps(ns), config(data={"a": "1"}), "two")
    assert fields(held, "one") == fields(held, "two") == {"f:data": {"f:a": {}}}


def test_43_force_takes_over(api: Api, ns: str) -> None:
    good(api, maps(ns), config(data={"a": "1", "b": "1"}))
    held = good(api, maps(ns), config(data={"a": "2"}), "two", force="true")
    assert held["data"] == {"a": "2", "b": "1"}
    assert fields(held, "one") == {"f:data": {"f:b": {}}}


def test_43_an_apply_that_says_the_same_leaves_no_trace(api: Api, ns: str) -> None:
    first = good(api, maps(ns), config(data={"a": "1"}))
    assert good(api, maps(ns), config(data={"a": "1"})) == first


def test_43_it_may_be_yaml(api: Api, ns: str) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '1'}\n"
    assert good(api, maps(ns), text)["data"] == {"a": "1"}


def test_43_what_there_is_needs_no_name_again(api: Api, ns: str) -> None:
    good(api, maps(ns), config())
    nameless = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "2"}}
    assert good(api, maps(ns), nameless, "two", force="true")["data"] == {"a": "2"}
    answer = applied(api, maps(ns, "new"), nameless)
    assert (answer.code, answer.message) == (
        400, "the name of the object (new based on URL) was undeterminable: name must be provided",
    )  # fmt: skip


def test_43_a_manager_is_needed(api: Api, ns: str) -> None:
    answer = api.ask("PATCH", maps(ns), config(), kind=APPLY)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.message == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )


def test_43_force_is_for_apply_alone(api: Api, ns: str) -> None:
    good(api, maps(ns), config())
    answer = api.ask("PATCH", maps(ns), {"data": {}}, kind=MERGE, force="true")
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.message == (
        'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"metadata": {"name": "a"}}, ""),
        (config(metadata={"managedFields": [{"manager": "x", "operation": "Apply"}]}), "metadata.managedFields must be nil"),
        (config(metadata={"name": "b"}), "does not match"),
    ],
)  # fmt: skip
def test_43_what_is_refused(api: Api, ns: str, body: Any, says: str) -> None:
    answer = applied(api, maps(ns), body)
    assert answer.code == 400, answer.body
    assert says in answer.message


def test_43_a_revision_is_a_precondition(api: Api, ns: str) -> None:
    old = good(api, maps(ns), config(data={"a": "1"}))["metadata"]["resourceVersion"]
    good(api, maps(ns), config(data={"a": "2"}))
    stale = config(data={"a": "3"}, metadata={"resourceVersion": old})
    answer = applied(api, maps(ns), stale)
    assert (answer.code, answer.reason) == (409, "Conflict")


def test_43_a_dry_run_keeps_nothing(api: Api, ns: str) -> None:
    assert applied(api, maps(ns), config(data={"a": "1"}), dryRun="All").code == 201
    assert api.gone(maps(ns))


# ---------------------------------------------------------------- 44 managedFields


def test_44_every_write_is_noted(api: Api, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/configmaps"
    made = api.make(path, {"metadata": {"name": "a"}, "data": {"a": "1"}}, fieldManager="maker")
    entry = made["metadata"]["managedFields"][0]
    assert {k: v for k, v in entry.items() if k != "time"} == {
        "manager": "maker", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {".": {}, "f:a": {}}},
    }  # fmt: skip
    assert entry["time"] == made["metadata"]["creationTimestamp"]


def test_44_who_writes_is_told_by_the_agent(api: Api, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/configmaps"
    body = {"metadata": {"name": "a"}, "data": {"a": "1"}}
    held = api.make(path, body, headers={"User-Agent": "tool/v1.2 (linux)"})
    assert [m["manager"] for m in held["metadata"]["managedFields"]] == ["tool"]
    body["metadata"] = {"name": "b"}
    held = api.make(path, body, headers={"User-Agent": "tool/v1"}, fieldManager="named")
    assert [m["manager"] for m in held["metadata"]["managedFields"]] == ["named"]


def test_44_a_manager_has_a_longest_name(api: Api, ns: str) -> None:
    path, body = f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "a"}}
    api.make(path, body, fieldManager="m" * 128)
    answer = api.ask("POST", path, {"metadata": {"name": "b"}}, fieldManager="m" * 129)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert "may not be more than 128 bytes" in answer.message


def test_44_a_change_moves_a_field(api: Api, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/configmaps"
    api.make(path, {"metadata": {"name": "a"}, "data": {"a": "1", "b": "1"}}, fieldManager="one")
    held = api.good("PATCH", maps(ns), {"data": {"a": "2"}}, kind=MERGE, fieldManager="two")
    assert fields(held, "one", "Update") == {"f:data": {".": {}, "f:b": {}}}
    assert fields(held, "two", "Update") == {"f:data": {"f:a": {}}}
    held = api.good("PATCH", maps(ns), {"data": {"b": None}}, kind=MERGE, fieldManager="two")
    assert fields(held, "one", "Update") == {"f:data": {}}


def test_44_status_is_noted_apart(api: Api, ns: str) -> None:
    good(api, deployed(ns), deployment())
    change = {"status": {"collisionCount": 1}}
    held = api.good("PATCH", f"{deployed(ns)}/status", change, kind=MERGE, fieldManager="ctl")
    entry = next(m for m in held["metadata"]["managedFields"] if m["manager"] == "ctl")
    assert entry["subresource"] == "status"
    assert entry["fieldsV1"] == {"f:status": {"f:collisionCount": {}}}
    assert entry["apiVersion"] == "apps/v1"


@pytest.mark.parametrize("sent", [[{}], []])
def test_44_an_empty_list_or_entry_forgets_all(api: Api, ns: str, sent: Any) -> None:
    held = good(api, maps(ns), config(data={"a": "1"}))
    meta = {**held["metadata"], "managedFields": sent}
    assert "managedFields" not in api.good("PUT", maps(ns), {**held, "metadata": meta})["metadata"]
    held = api.good("PATCH", maps(ns), {"data": {"b": "1"}}, kind=MERGE)
    assert "managedFields" not in held["metadata"]
    held = good(api, maps(ns), config(data={"c": "1"}))
    assert fields(held, "before-first-apply", "Update") == {
        "f:data": {".": {}, "f:a": {}, "f:b": {}}
    }


def test_44_those_who_know_nothing_of_them_leave_them(api: Api, ns: str) -> None:
    held = good(api, maps(ns), config(data={"a": "1"}))
    for meta in ({"name": "a"}, {"name": "a", "managedFields": [{"manager": "odd"}]}):
        after = api.good("PUT", maps(ns), {"metadata": meta, "data": {"a": "1"}})
        assert after["metadata"]["managedFields"] == held["metadata"]["managedFields"]


def test_44_only_so_many_updates_are_told_apart(api: Api, ns: str) -> None:
    path = f"/api/v1/namespaces/{ns}/configmaps"
    api.make(path, {"metadata": {"name": "a"}, "data": {"x": "1"}}, fieldManager="maker")
    for n in range(14):
        change = {"data": {f"k{n:02}": "1"}}
        held = api.good("PATCH", maps(ns), change, kind=MERGE, fieldManager=f"m{n:02}")
    names = [entry["manager"] for entry in held["metadata"]["managedFields"]]
    assert "ancient-changes" in names
    assert len(names) <= 11
    ancient = fields(held, "ancient-changes", "Update")
    assert "f:k00" in ancient["f:data"]
    assert "m13" in names


# ---------------------------------------------------------------- 45 lists and maps


def test_45_an_item_is_named_by_its_keys(api: Api, ns: str) -> None:
    held = good(api, deployed(ns), deployment(ports=[{"containerPort": 80}]))
    found = fields(held, "one")["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert found == {
        'k:{"name":"c"}': {
            ".": {}, "f:image": {}, "f:name": {},
            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
        }
    }  # fmt: skip


def test_45_two_managers_share_a_list_of_items(api: Api, ns: str) -> None:
    good(api, deployed(ns), deployment())
    other = deployment()
    other["spec"]["template"]["spec"]["containers"] = [{"name": "e", "image": "j"}]
    held = good(api, deployed(ns), other, "two")
    names = [c["name"] for c in held["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["c", "e"]
    other["spec"]["template"]["spec"]["containers"] = []
    held = good(api, deployed(ns), {**other, "spec": {k: v for k, v in other["spec"].items() if k != "template"}}, "two")  # fmt: skip
    assert [c["name"] for c in held["spec"]["template"]["spec"]["containers"]] == ["c"]


def test_45_a_set_is_owned_by_its_values(api: Api, ns: str) -> None:
    held = good(api, maps(ns), config(metadata={"finalizers": ["e.io/a"]}))
    assert fields(held, "one") == {"f:metadata": {"f:finalizers": {'v:"e.io/a"': {}}}}
    held = good(api, maps(ns), config(metadata={"finalizers": ["e.io/b"]}), "two")
    assert held["metadata"]["finalizers"] == ["e.io/a", "e.io/b"]
    good(api, maps(ns), config(), "one")
    good(api, maps(ns), config(), "two")
    assert "finalizers" not in api.get(maps(ns))["metadata"]


def test_45_an_atomic_list_is_one_field(api: Api, ns: str) -> None:
    held = good(api, deployed(ns), deployment(args=["x", "y"]))
    container = fields(held, "one")["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"c"}']  # fmt: skip
    assert container["f:args"] == {}
    answer = applied(api, deployed(ns), deployment(args=["x"]), "two")
    assert [field for _, field in answer.causes] == [
        '.spec.template.spec.containers[name="c"].args'
    ]


def test_45_an_atomic_map_is_one_field(api: Api, ns: str) -> None:
    held = good(api, deployed(ns), deployment())
    assert fields(held, "one")["f:spec"]["f:selector"] == {}
    assert fields(held, "one")["f:spec"]["f:template"]["f:metadata"]["f:labels"] == {"f:app": {}}


def test_45_items_of_a_list_differ(api: Api, ns: str) -> None:
    body = deployment()
    body["spec"]["template"]["spec"]["containers"] *= 2
    answer = applied(api, deployed(ns), body)
    assert answer.code in (422, 500)
    assert "duplicate" in answer.message.lower()


# ---------------------------------------------------------------- 46 from the client's side


def test_46_what_kubectl_applied_becomes_its_own(api: Api, ns: str) -> None:
    body = config(data={"a": "1"})
    body["metadata"]["annotations"] = {LAST: json.dumps(config(data={"a": "1"}))}
    api.make(f"/api/v1/namespaces/{ns}/configmaps", body, fieldManager="kubectl-client-side-apply")
    held = good(api, maps(ns), config(data={"a": "2"}), "kubectl")
    assert held["data"] == {"a": "2"}
    assert fields(held, "kubectl") == {"f:data": {"f:a": {}}}


def test_46_kubectl_moves_the_ownership(api: Api, ns: str) -> None:
    body = config(data={"a": "1"})
    body["metadata"]["annotations"] = {LAST: json.dumps(config(data={"a": "1"}))}
    api.make(f"/api/v1/namespaces/{ns}/configmaps", body, fieldManager="kubectl-client-side-apply")
    held = good(api, maps(ns), config(data={"a": "1"}), "kubectl")
    entries = held["metadata"]["managedFields"]
    moved = [
        {**entry, "manager": "kubectl", "operation": "Apply"}
        for entry in entries if entry["operation"] == "Update"
    ]  # fmt: skip
    change = [
        {"op": "replace", "path": "/metadata/managedFields", "value": moved},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": held["metadata"]["resourceVersion"]},
    ]  # fmt: skip
    api.good("PATCH", maps(ns), change, kind=JSON_PATCH)
    held = good(api, maps(ns), config(data={"b": "1"}), "kubectl")
    assert held["data"] == {"b": "1"}
