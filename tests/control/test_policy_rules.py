"""RBAC objects, classes and limit ranges: what is refused, in the words of the real server."""

from __future__ import annotations

from typing import Any

import pytest

from jindou.control.api.rules.cluster import roles
from jindou.control.api.rules.workloads import classes as policies

GROUP = roles.GROUP
REF = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"}


def told(faults: Any) -> list[str]:
    return [f"{fault.field}: {fault.message}" for fault in faults]


def rule(**changes: Any) -> Any:
    return {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], **changes}


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (rule(), []),
        (rule(verbs=[]), ["rules[0].verbs: Required value"]),
        (rule(apiGroups=None), ["rules[0].apiGroups: Required value: resource rules must supply at least one api group"]),
        (rule(resources=[]), ["rules[0].resources: Required value: resource rules must supply at least one resource"]),
        ({"verbs": ["get"], "nonResourceURLs": ["/x"]}, ['rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs']),
    ],
)  # fmt: skip
def test_rules_of_a_role(held: Any, says: list[str]) -> None:
    assert told(roles.role({"rules": [held]})) == says


def test_rules_of_a_cluster_role() -> None:
    both = {"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]}
    assert told(roles.cluster_role({"rules": [both]})) == [
        'rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs'
    ]
    assert told(roles.cluster_role({"aggregationRule": {}})) == [
        "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"
    ]
    wrong = {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "Is"}]}]}
    assert told(roles.cluster_role({"aggregationRule": wrong})) == [
        'aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator',
        'aggregationRule.clusterRoleSelectors[0]: Invalid value: {"matchExpressions":[{"key":"a","operator":"Is"}]}: invalid label selector.',
    ]


@pytest.mark.parametrize(
    ("obj", "says"),
    [
        ({"roleRef": REF}, []),
        ({}, [f'roleRef.apiGroup: Unsupported value: "": supported values: "{GROUP}"', 'roleRef.kind: Unsupported value: "": supported values: "Role", "ClusterRole"', "roleRef.name: Required value"]),
        ({"roleRef": REF, "subjects": [{"kind": "User", "apiGroup": GROUP}]}, ["subjects[0].name: Required value"]),
        ({"roleRef": REF, "subjects": [{"kind": "Robot", "name": "x"}]}, ['subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"']),
        ({"roleRef": REF, "subjects": [{"kind": "User", "name": "x", "apiGroup": "y"}]}, [f'subjects[0].apiGroup: Unsupported value: "y": supported values: "{GROUP}"']),
    ],
)  # fmt: skip
def test_role_bindings(obj: Any, says: list[str]) -> None:
    assert told(roles.role_binding(obj)) == says


def test_cluster_role_bindings() -> None:
    obj = {
        "roleRef": {**REF, "kind": "Role"},
        "subjects": [{"kind": "ServiceAccount", "name": "x"}],
    }
    assert told(roles.cluster_role_binding(obj)) == [
        'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"',
        "subjects[0].namespace: Required value",
    ]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("mine", 1_000_000_000, []),
        ("mine", 1_000_000_001, ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]),
        ("system-node-critical", 2_000_001_000, []),
        ("system-x", 1, ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class"]),
    ],
)  # fmt: skip
def test_priority_classes(name: str, value: int, says: list[str]) -> None:
    assert told(policies.priority_class({"metadata": {"name": name}, "value": value})) == says


def test_runtime_classes() -> None:
    assert told(policies.runtime_class({})) == ["handler: Required value"]
    [fault] = told(policies.runtime_class({"handler": "x", "overhead": {"podFixed": {"cpu": "?"}}}))
    assert fault.startswith('overhead.podFixed[cpu]: Invalid value: "?": quantities must match')
