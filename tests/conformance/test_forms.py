"""Forms of values, and what names, labels and annotations may look like."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.test_validation import RBAC, place, refused
from tests.conformance.wire import Api

# ---------------------------------------------------------------- 38, 39 forms

AMOUNTS = [
    ("1000m", "1"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1e3", "1e3"), (2, "2"), (0.25, "250m"),
    ("0.1Ki", "102400m"), ("1000k", "1M"), ("100000", "100k"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "kept"), AMOUNTS)
def test_38_quantities_have_one_form(api: Api, ns: str, sent: Any, kept: str) -> None:
    spec = {"hard": {"requests.cpu": sent, "requests.memory": sent}}
    held = api.make(place("", "resourcequotas", ns), {"metadata": {"name": "a"}, "spec": spec})
    assert held["spec"]["hard"] == {"requests.cpu": kept, "requests.memory": kept}


def test_38_what_is_no_quantity(api: Api, ns: str) -> None:
    sent = {"metadata": {"name": "a"}, "spec": {"hard": {"pods": "many"}}}
    answer = api.ask("POST", place("", "resourcequotas", ns), sent)
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert "quantities must match the regular expression" in answer.message


@pytest.mark.parametrize("target", [8080, "http", "8080"])
def test_38_a_number_or_a_name(api: Api, ns: str, target: Any) -> None:
    sent = {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80, "targetPort": target}]}}
    answer = api.ask("POST", place("", "services", ns), sent)
    if target == "8080":
        assert refused(answer).causes == [("FieldValueInvalid", "spec.ports[0].targetPort")]
    else:
        assert answer.json["spec"]["ports"][0]["targetPort"] == target


def test_38_null_is_absent(api: Api, ns: str) -> None:
    sent = {
        "metadata": {"name": "a", "creationTimestamp": None, "labels": None, "annotations": {"a": None}},
        "data": {"k": None, "l": "v"}, "binaryData": None,
    }  # fmt: skip
    held = api.make(place("", "configmaps", ns), sent)
    assert held["data"] == {"k": "", "l": "v"}
    assert "labels" not in held["metadata"]
    assert held["metadata"]["annotations"] == {"a": ""}
    assert "binaryData" not in held


def test_38_a_wrong_type_is_refused(api: Api, ns: str) -> None:
    for plural, body in (
        ("configmaps", {"data": {"a": 1}}),
        ("pods", {"spec": "x"}),
        ("services", {"spec": {"ports": [{"port": "80"}]}}),
    ):
        answer = api.ask("POST", place("", plural, ns), {"metadata": {"name": "a"}, **body})
        assert (answer.code, answer.reason) == (400, "BadRequest"), answer.body
        assert "json: cannot unmarshal" in answer.message


NAMES = [
    ("", "configmaps", {}, "a.b-c", True), ("", "configmaps", {}, "A", False), ("", "configmaps", {}, "a_b", False),
    ("", "configmaps", {}, "a" * 253, True), ("", "configmaps", {}, "a" * 254, False),
    ("", "services", {"spec": {"ports": [{"port": 1}]}}, "a.b", False), ("", "services", {"spec": {"ports": [{"port": 1}]}}, "1a", True),
    ("", "services", {"spec": {"ports": [{"port": 1}]}}, "a" * 64, False),
    (RBAC, "roles", {"rules": []}, "system:a B", True), (RBAC, "roles", {"rules": []}, "a%b", False),
]  # fmt: skip


@pytest.mark.parametrize(("group", "plural", "body", "name", "good"), NAMES)
def test_39_names(
    api: Api, ns: str, group: str, plural: str, body: Any, name: str, good: bool
) -> None:
    answer = api.ask("POST", place(group, plural, ns), {"metadata": {"name": name}, **body})
    if good:
        assert answer.code == 201, answer.body
    else:
        assert refused(answer).causes == [("FieldValueInvalid", "metadata.name")]


def test_39_labels_and_annotations(api: Api, ns: str) -> None:
    path = place("", "configmaps", ns)
    wrong: list[tuple[Any, tuple[str, str]]] = [
        ({"labels": {"a": "x" * 64}}, ("FieldValueInvalid", "metadata.labels")),
        ({"labels": {"a": "-x"}}, ("FieldValueInvalid", "metadata.labels")),
        ({"labels": {"/a": "x"}}, ("FieldValueInvalid", "metadata.labels")),
        ({"labels": {"a/b/c": "x"}}, ("FieldValueInvalid", "metadata.labels")),
        ({"annotations": {"a b": "x"}}, ("FieldValueInvalid", "metadata.annotations")),
        ({"annotations": {"a": "x" * 262145}}, ("FieldValueTooLong", "metadata.annotations")),
    ]
    for meta, cause in wrong:
        answer = refused(api.ask("POST", path, {"metadata": {"name": "a", **meta}}))
        assert answer.causes == [cause]
    right = {
        "labels": {"example.com/A_b.c": "X_y.z", "e": ""},
        "annotations": {"A.b/c": "any / thing"},
    }
    held = api.make(path, {"metadata": {"name": "a", **right}})["metadata"]
    assert {name: held[name] for name in right} == right
