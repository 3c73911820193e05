"""What a HorizontalPodAutoscaler may not say, in the words of the original."""

from __future__ import annotations

import pytest

from jindou.control.api.rules.workloads.autoscaling import ZERO, autoscaler

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}


def told(version="autoscaling/v2", **spec):
    obj = {"apiVersion": version, "spec": {"scaleTargetRef": TARGET, "maxReplicas": 3, **spec}}
    return [f"{fault.field.removeprefix('spec.')}: {fault.message}" for fault in autoscaler(obj)]


def cpu(**target):
    return [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, []),
        ({"maxReplicas": 0, "minReplicas": 1}, ["maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`", "maxReplicas: Required value"]),
        ({"minReplicas": 0}, ["metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"]),
        ({"minReplicas": 0, "metrics": [{"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "1"}}}]}, []),
        ({"scaleTargetRef": {}}, ["scaleTargetRef.kind: Required value", "scaleTargetRef.name: Required value", 'scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group']),
        ({"scaleTargetRef": {"apiVersion": "v1", "kind": "ReplicationController", "name": "r"}}, []),
        ({"metrics": [{"type": "Resource"}]}, ["metrics[0].resource: Required value: must populate information for the given metric source"]),
        ({"metrics": cpu(type="Utilization")}, ["metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"]),
        ({"metrics": cpu(type="Utilization", averageUtilization=0)}, ["metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"]),
        ({"metrics": [{"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "Odd"}}}]}, ['metrics[0].pods.target.type: Invalid value: "Odd": must be either Utilization, Value, or AverageValue', "metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue"]),
        ({"metrics": [{**cpu(type="Value", averageUtilization=1)[0], "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "1"}}}]}, ["metrics[0].pods: Forbidden: must populate the given metric source only"]),
        ({"behavior": {"scaleDown": {"selectPolicy": "Odd", "stabilizationWindowSeconds": 9999, "policies": [{"type": "Pods", "value": 0, "periodSeconds": 0}]}}}, [
            "behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 9999: must be less than or equal to 3600",
            'behavior.scaleDown.selectPolicy: Unsupported value: "Odd": supported values: "Disabled", "Max", "Min"',
            "behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
            "behavior.scaleDown.policies[0].periodSeconds: Invalid value: 0: must be greater than zero",
        ]),
    ],
)  # fmt: skip
def test_autoscalers(spec, says):
    assert told(**spec) == says


def test_the_first_version_has_no_metrics_to_scale_to_zero_with():
    assert told("autoscaling/v1", minReplicas=0) == [f"metrics: Forbidden: {ZERO}"]
