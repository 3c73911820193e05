"""What ResourceQuotas and LimitRanges may not say, in the words of the original."""

from __future__ import annotations

import pytest

from jindou.control.api.rules.cluster.quotas import amount, limit_range, resource_quota


def told(faults):
    return [f"{fault.field}: {fault.message}" for fault in faults]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"hard": {"pods": "2k", "count/a.b": "1", "requests.x.io/gpu": "1"}}, []),
        ({"hard": {"pods": "-1"}}, ['spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0']),
        ({"hard": {"pods": "1500m"}}, ['spec.hard[pods]: Invalid value: "1500m": must be an integer']),
        ({"hard": {"foo": "1"}}, [
            'spec.hard[foo]: Invalid value: "foo": must be a standard resource type or fully qualified',
            'spec.hard[foo]: Invalid value: "foo": must be a standard resource for quota',
        ]),
        ({"hard": {"storage": "1"}}, ['spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota']),
        ({"hard": {"pods": "1"}, "scopes": ["Foo"]}, ['spec.scopes: Invalid value: ["Foo"]: unsupported scope']),
        ({"hard": {"limits.cpu": "1"}, "scopes": ["BestEffort"]}, ['spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource']),
        ({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}, ['spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes']),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}}, ["spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"]),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists", "values": ["a"]}]}}, ["spec.scopeSelector.matchExpressions.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"]),
    ],
)  # fmt: skip
def test_quotas(spec, says):
    assert told(resource_quota({"spec": spec})) == says


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}}, []),
        ({"type": "Odd"}, ['type: Invalid value: "Odd": must be a standard limit type or fully qualified']),
        ({"type": "PersistentVolumeClaim"}, ["limits: Required value: either minimum or maximum storage value is required, but neither was provided"]),
        ({"type": "Pod", "default": {"cpu": "1"}}, ["default: Forbidden: may not be specified when `type` is 'Pod'"]),
        ({"type": "Container", "max": {"foo": "1"}}, [
            'max[foo]: Invalid value: "foo": must be a standard resource type or fully qualified',
            'max[foo]: Invalid value: "foo": must be a standard resource for containers',
        ]),
        ({"type": "Container", "maxLimitRequestRatio": {"cpu": "0.5"}}, ['maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1']),
        ({"type": "Container", "maxLimitRequestRatio": {"cpu": "5"}, "min": {"cpu": "1"}, "max": {"cpu": "2"}}, ['maxLimitRequestRatio[cpu]: Invalid value: "5": ratio 5 is greater than max/min = 2.000000']),
        ({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}, [
            'min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
            'defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1',
            'default[cpu]: Invalid value: "2": min value 2 is greater than default value 1',
        ]),
        ({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}, ['defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default limit value 1']),
    ],
)  # fmt: skip
def test_limit_ranges(item, says):
    expected = [f"spec.limits[0].{text}" for text in says]
    assert told(limit_range({"spec": {"limits": [item]}})) == expected


@pytest.mark.parametrize("value", ["1e60", "999999999999999999999999999999999999", "1E"])
def test_amounts_beyond_every_machine_are_whole(value: str) -> None:
    assert amount("pods", value, "x") == []
