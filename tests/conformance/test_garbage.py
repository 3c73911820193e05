"""What becomes of what an owner leaves behind, and how namespaces begin and end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.test_deletes import HOLD, OTHER_UID, held_by, maps, owner, released
from tests.conformance.wire import MERGE, Api

pytestmark = pytest.mark.usefixtures("whole")

LABELS = {"app": "a"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def owned(api: Api, ns: str, *owners: Any, name: str = "dependent", **meta: Any) -> Any:
    return held_by(api, ns, name, ownerReferences=list(owners), **meta)


# ---------------------------------------------------------------- 54, 55 the three ways


def test_54_background_takes_the_owner_first(api: Api, ns: str) -> None:
    first = held_by(api, ns)
    owned(api, ns, owner(first))
    api.good("DELETE", maps(ns, "a"), {"propagationPolicy": "Background"})
    assert api.gone(maps(ns, "a"))
    api.until_gone(maps(ns, "dependent"))


def test_54_foreground_takes_it_last(api: Api, ns: str) -> None:
    first = held_by(api, ns)
    reference = owner(first, blockOwnerDeletion=True)
    owned(api, ns, reference, finalizers=[HOLD])
    waiting = api.good("DELETE", maps(ns, "a"), {"propagationPolicy": "Foreground"})["metadata"]
    assert waiting["finalizers"] == ["foregroundDeletion"]
    api.until(maps(ns, "dependent"), lambda obj: obj["metadata"].get("deletionTimestamp"))
    assert not api.gone(maps(ns, "a"))
    released(api, maps(ns, "dependent"))
    api.until_gone(maps(ns, "a"))


def test_54_orphans_lose_their_owner(api: Api, ns: str) -> None:
    first, second = held_by(api, ns), held_by(api, ns, "b")
    owned(api, ns, owner(first), owner(second))
    api.good("DELETE", maps(ns, "a"), {"propagationPolicy": "Orphan"})
    api.until_gone(maps(ns, "a"))
    kept = api.get(maps(ns, "dependent"))["metadata"]["ownerReferences"]
    assert [reference["name"] for reference in kept] == ["b"]


def test_55_an_owner_that_is_absent(api: Api, ns: str) -> None:
    first = held_by(api, ns)
    owned(api, ns, {**owner(first), "uid": OTHER_UID})
    api.until_gone(maps(ns, "dependent"))
    assert not api.gone(maps(ns, "a"))


def test_55_the_last_owner_counts(api: Api, ns: str) -> None:
    first, second = held_by(api, ns), held_by(api, ns, "b")
    owned(api, ns, owner(first), owner(second))
    api.good("DELETE", maps(ns, "a"))
    left = api.until(
        maps(ns, "dependent"), lambda obj: len(obj["metadata"]["ownerReferences"]) == 1
    )
    assert left["metadata"]["ownerReferences"][0]["name"] == "b"
    api.good("DELETE", maps(ns, "b"))
    api.until_gone(maps(ns, "dependent"))


def test_55_an_owner_in_another_namespace_is_none(api: Api, ns: str) -> None:
    elsewhere = api.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
    owned(api, ns, owner(elsewhere))
    api.until_gone(maps(ns, "dependent"))
    assert not api.gone("/api/v1/namespaces/default/configmaps/kube-root-ca.crt")


# ---------------------------------------------------------------- 56 controllers


def test_56_only_one_controls(api: Api, ns: str) -> None:
    first, second = held_by(api, ns), held_by(api, ns, "b")
    sent = {
        "name": "c",
        "ownerReferences": [owner(first, controller=True), owner(second, controller=True)],
    }
    answer = api.ask("POST", maps(ns), {"metadata": sent})
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.causes == [("FieldValueInvalid", "metadata.ownerReferences")]
    assert (
        'Only one reference can have Controller set to true. Found "true" in references for ConfigMap/a and ConfigMap/b'
        in answer.message
    )


def test_56_an_owner_is_named_wholly(api: Api, ns: str) -> None:
    sent = {"name": "c", "ownerReferences": [{"name": "x"}]}
    answer = api.ask("POST", maps(ns), {"metadata": sent})
    assert {field for _, field in answer.causes} >= {
        "metadata.ownerReferences[0].apiVersion",
        "metadata.ownerReferences[0].kind",
        "metadata.ownerReferences[0].uid",
    }


def test_56_pods_are_adopted_and_released(api: Api, ns: str) -> None:
    pods, sets = f"/api/v1/namespaces/{ns}/pods", f"/apis/apps/v1/namespaces/{ns}/replicasets"
    api.make(pods, {"metadata": {"name": "p", "labels": LABELS}, "spec": TEMPLATE["spec"]})
    spec = {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}
    made = api.make(sets, {"metadata": {"name": "r"}, "spec": spec})
    pod = api.until(f"{pods}/p", lambda obj: obj["metadata"].get("ownerReferences"))
    assert pod["metadata"]["ownerReferences"] == [
        owner(made, "apps/v1", "ReplicaSet", controller=True, blockOwnerDeletion=True)
    ]
    api.good("PATCH", f"{pods}/p", {"metadata": {"labels": {"app": "b"}}}, kind=MERGE)
    api.until(f"{pods}/p", lambda obj: not obj["metadata"].get("ownerReferences"))


# ---------------------------------------------------------------- 57, 58 namespaces


def test_57_a_namespace_ends_when_it_is_empty(api: Api) -> None:
    path = "/api/v1/namespaces"
    made = api.make(path, {"metadata": {"generateName": "t-"}})
    name = made["metadata"]["name"]
    assert made["spec"]["finalizers"] == ["kubernetes"]
    assert made["status"] == {"phase": "Active"}
    held_by(api, name, finalizers=[HOLD])
    going = api.good("DELETE", f"{path}/{name}")
    assert going["status"]["phase"] == "Terminating"
    waiting = api.until(
        f"{path}/{name}",
        lambda obj: (
            {"NamespaceContentRemaining", "NamespaceFinalizersRemaining"}
            <= {c["type"] for c in obj["status"].get("conditions", ()) if c["status"] == "True"}
        ),
    )
    told = {c["type"]: c for c in waiting["status"]["conditions"]}
    assert told["NamespaceContentRemaining"]["reason"] == "SomeResourcesRemain"
    assert told["NamespaceFinalizersRemaining"]["reason"] == "SomeFinalizersRemain"
    assert HOLD in told["NamespaceFinalizersRemaining"]["message"]
    assert told["NamespaceDeletionDiscoveryFailure"]["status"] == "False"
    assert told["NamespaceDeletionContentFailure"]["status"] == "False"
    released(api, maps(name, "a"))
    api.until_gone(f"{path}/{name}")


def test_57_finalize_takes_the_last_finalizer(api: Api) -> None:
    path = "/api/v1/namespaces"
    spec = {"finalizers": ["example.com/hold"]}
    made = api.make(path, {"metadata": {"generateName": "t-"}, "spec": spec})
    name = made["metadata"]["name"]
    assert made["spec"]["finalizers"] == ["example.com/hold", "kubernetes"]
    api.good("DELETE", f"{path}/{name}")
    held = api.until(
        f"{path}/{name}", lambda obj: obj["spec"].get("finalizers") == ["example.com/hold"]
    )
    api.good("PUT", f"{path}/{name}/finalize", {**held, "spec": {"finalizers": []}})
    api.until_gone(f"{path}/{name}")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_57_some_namespaces_stay(api: Api, name: str) -> None:
    answer = api.ask("DELETE", f"/api/v1/namespaces/{name}")
    assert (answer.code, answer.reason) == (403, "Forbidden")
    assert answer.message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


def until_another(api: Api, path: str, uid: str) -> None:
    api.until(path, lambda obj: obj["metadata"]["uid"] != uid)


def test_58_what_each_namespace_has(api: Api) -> None:
    path = "/api/v1/namespaces"
    made = api.make(path, {"metadata": {"generateName": "t-"}})
    name = made["metadata"]["name"]
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}
    api.until(f"{path}/{name}/serviceaccounts/default", lambda obj: True)
    held = api.until(f"{path}/{name}/configmaps/kube-root-ca.crt", lambda obj: True)
    assert "BEGIN CERTIFICATE" in held["data"]["ca.crt"]
    change = {"metadata": {"labels": {"kubernetes.io/metadata.name": None}}}
    kept = api.good("PATCH", f"{path}/{name}", change, kind=MERGE)["metadata"]["labels"]
    assert kept == {"kubernetes.io/metadata.name": name}
    for plural, kept_name in (("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")):
        uid = api.get(f"{path}/{name}/{plural}/{kept_name}")["metadata"]["uid"]
        api.good("DELETE", f"{path}/{name}/{plural}/{kept_name}")
        until_another(api, f"{path}/{name}/{plural}/{kept_name}", uid)
    api.good("DELETE", f"{path}/{name}")
