"""Objects that random requests came upon: each is refused, or kept, as the original does it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.wire import JSON, JSON_PATCH, MERGE, Api
from tests.faults.seeds import seed

PERCENT = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
WHOLE = "must not be greater than 100%"
BUDGET = ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
DAEMONS = ("apps/v1", "DaemonSet", "daemonsets")
DEPLOYMENT = ("apps/v1", "Deployment", "deployments")
STATEFUL = ("apps/v1", "StatefulSet", "statefulsets")
CLAIM = ("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
JOB = ("batch/v1", "Job", "jobs")
ROLLING, EXPRESSIONS = "spec.updateStrategy.rollingUpdate.maxUnavailable", "spec.selector.matchExpressions"  # fmt: skip
NO_OPERATOR = 'spec.selector.matchExpressions[0].operator: Invalid value: "": not a valid selector operator'  # fmt: skip
ROWS: list[tuple[tuple[str, str, str], str, Any, str]] = [
    (BUDGET, "spec.minAvailable", "-1m", f'spec.minAvailable: Invalid value: "-1m": {PERCENT}'),
    (BUDGET, "spec.minAvailable", "", f'spec.minAvailable: Invalid value: "": {PERCENT}'),
    (BUDGET, "spec.minAvailable", "200%", f'spec.minAvailable: Invalid value: "200%": {WHOLE}'),
    (BUDGET, "spec.minAvailable", -1, "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"),
    (BUDGET, "spec.unhealthyPodEvictionPolicy", "x", 'spec.unhealthyPodEvictionPolicy: Unsupported value: "x": supported values: "AlwaysAllow", "IfHealthyBudget"'),
    (BUDGET, EXPRESSIONS, [{"key": "a", "operator": ""}], NO_OPERATOR),
    (CLAIM, EXPRESSIONS, [{"key": "a", "operator": ""}], NO_OPERATOR),
    (DAEMONS, ROLLING, "150%", f'{ROLLING}: Invalid value: "150%": {WHOLE}'),
    (STATEFUL, ROLLING, "150%", f'{ROLLING}: Invalid value: "150%": {WHOLE}'),
    (DEPLOYMENT, "spec.strategy.rollingUpdate.maxUnavailable", "150%", f'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "150%": {WHOLE}'),
    (JOB, "metadata", {}, 'metadata.name: Invalid value: "": will not able to create pod with invalid DNS label: -1'),
]  # fmt: skip


def changed(kind: tuple[str, str, str], at: str, value: Any) -> Any:
    made = {"metadata": {"name": "z"}, **seed(*kind[:2])}
    *before, last = at.split(".")
    held = made
    for name in before:
        held = held[name]
    held[last] = value
    return made


def place(kind: tuple[str, str, str], ns: str) -> str:
    return f"/{'apis' if '/' in kind[0] else 'api'}/{kind[0]}/namespaces/{ns}/{kind[2]}"


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row[0][2]}-{row[1]}-{json.dumps(row[2])[:20]}"
)
def test_35_odd_objects_are_invalid(api: Api, ns: str, row: Any) -> None:
    kind, at, value, says = row
    answer = api.ask("POST", place(kind, ns), changed(kind, at, value))
    assert (answer.code, answer.reason) == (422, "Invalid"), answer.body
    assert says in answer.message


@pytest.mark.parametrize(
    ("value", "told"),
    [({"a": 1}, "object"), ([], "array"), (True, "bool"), (1.5, "number 1.5"), (2**31, f"number {2**31}")],
)  # fmt: skip
def test_38_what_is_neither_number_nor_text(api: Api, ns: str, value: Any, told: str) -> None:
    answer = api.ask("POST", place(DAEMONS, ns), changed(DAEMONS, ROLLING, value))
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert answer.message == (
        f'DaemonSet in version "v1" cannot be handled as a DaemonSet: json: cannot unmarshal {told} into '
        f"Go struct field RollingUpdateDaemonSet.{ROLLING} of type int32"
    )


@pytest.mark.parametrize(("value", "told"), [(1.5, "number"), ("x", "string"), ([], "array")])
def test_35_metadata_of_a_binding(api: Api, ns: str, value: Any, told: str) -> None:
    body = {"metadata": value, "target": {"name": "n"}}
    answer = api.ask("POST", f"/api/v1/namespaces/{ns}/bindings", body)
    assert (answer.code, answer.message) == (
        400,
        f'Binding in version "v1" cannot be handled as a Binding: json: cannot unmarshal {told} into Go struct field Binding.metadata of type v1.ObjectMeta',
    )
    unnamed = api.ask("POST", f"/api/v1/namespaces/{ns}/bindings", {"target": {"name": "n"}})
    assert (unnamed.code, unnamed.message) == (400, "Name parameter required.")


@pytest.mark.parametrize("reference", [{}, {"name": "x"}, {"namespace": "x"}])
def test_35_a_volume_may_name_half_a_claim(api: Api, ns: str, reference: Any) -> None:
    volume = {"metadata": {"name": ns}, **seed("v1", "PersistentVolume")}
    volume["spec"]["claimRef"] = reference
    volumes = "/api/v1/persistentvolumes"
    assert api.ask("POST", volumes, volume, accept=TABLE).code == 201
    assert api.ask("DELETE", f"{volumes}/{ns}").code == 200


def test_21_nothing_but_a_spec(api: Api) -> None:
    """Even where an empty status is left out, and metadata with it."""
    body = {**seed("apiregistration.k8s.io/v1", "APIService"), "status": {}}
    answer = api.ask("POST", "/apis/apiregistration.k8s.io/v1/apiservices", body)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert "metadata.name: Required value: name or generateName is required" in answer.message


def test_23_a_revision_that_is_no_number_is_none(api: Api, ns: str) -> None:
    maps = f"/api/v1/namespaces/{ns}/configmaps"
    made = {"metadata": {"name": "a", "resourceVersion": "a-b"}}
    assert api.ask("POST", maps, made).code == 201
    made = {"metadata": {"name": "b", "resourceVersion": "5"}}
    assert api.ask("POST", maps, made, kind=JSON).code == 500


def test_19_a_subject_without_a_namespace_in_a_table(api: Api, ns: str) -> None:
    bindings = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings"
    body = {"metadata": {"name": "z"}, **seed("rbac.authorization.k8s.io/v1", "RoleBinding")}
    body["subjects"] = [{"kind": "ServiceAccount", "name": "x"}]
    api.make(bindings, body)
    table = api.get(f"{bindings}/z", accept=TABLE)
    assert table["rows"][0]["cells"][5] == "/x"


SPEC_OF_SCALE = "json: cannot unmarshal string into Go struct field Scale.spec of type v1.ScaleSpec"


def test_38_a_scale_that_is_none(api: Api, ns: str) -> None:
    made = {"metadata": {"name": "z"}, **seed("apps/v1", "Deployment")}
    made["spec"]["replicas"] = 1
    api.make(place(DEPLOYMENT, ns), made)
    path = f"{place(DEPLOYMENT, ns)}/z/scale"
    put = api.ask("PUT", path, {"metadata": {"name": "z"}, "spec": "x"})
    assert (put.code, put.message) == (
        400,
        f'Scale in version "v1" cannot be handled as a Scale: {SPEC_OF_SCALE}',
    )
    for body in ({"spec": "x"}, {"spec": []}, {"spec": {"replicas": 2**40}}):
        assert api.ask("PATCH", path, body, kind=MERGE).code == 422
    whole = [{"op": "replace", "path": "/spec", "value": 1}]
    assert api.ask("PATCH", path, whole, kind=JSON_PATCH).code == 422
    assert api.get(path)["spec"] == {"replicas": 1}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1.5, "number into Go struct field ObjectMeta.metadata.managedFields of type []v1.ManagedFieldsEntry"),
        ({}, "object into Go struct field ObjectMeta.metadata.managedFields of type []v1.ManagedFieldsEntry"),
        (["x"], "string into Go struct field ObjectMeta.metadata.managedFields of type v1.ManagedFieldsEntry"),
        ([{"manager": 1}], "number into Go struct field ManagedFieldsEntry.metadata.managedFields.manager of type string"),
        ([{"time": 1}], "number into Go struct field ManagedFieldsEntry.metadata.managedFields.time of type string"),
        ([None], ""), ([{"fieldsV1": "x"}], ""), ([{"operation": "x"}], ""),
    ],
)  # fmt: skip
def test_44_managers_that_are_none(api: Api, ns: str, value: Any, told: str) -> None:
    """What is of a wrong type is refused; what says nothing is as if it were not there."""
    maps = f"/api/v1/namespaces/{ns}/configmaps"
    answer = api.ask("POST", maps, {"metadata": {"name": "a", "managedFields": value}})
    if told:
        says = f'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal {told}'
        assert (answer.code, answer.message) == (400, says)
    else:
        assert answer.code == 201, answer.body
