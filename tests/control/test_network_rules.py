"""What slices, policies, ingresses, claims and budgets may not say."""

from __future__ import annotations

import pytest

from jindou.control.api.rules.network import traffic as network
from jindou.control.api.rules.storage import claims
from jindou.control.api.rules.workloads import autoscaling
from jindou.control.api.rules.workloads import classes as policies

BACKEND = {"service": {"name": "s", "port": {"number": 80}}}


def path(**more):
    return {"spec": {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND, **more}]}}]}}  # fmt: skip


PATH = "spec.rules[0].http.paths[0]"
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}


@pytest.mark.parametrize(
    ("rule", "obj", "fault"),
    [
        (network.endpoint_slice, {}, "addressType: Required value"),
        (network.endpoint_slice, {"addressType": "Odd"}, 'addressType: Unsupported value: "Odd": supported values: "FQDN", "IPv4", "IPv6"'),
        (network.endpoint_slice, {"addressType": "IPv4", "endpoints": [{}]}, "endpoints[0].addresses: Required value"),
        (network.endpoint_slice, {"addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}]}, 'endpoints[0].addresses: Invalid value: "::1": must be an IPv4 address'),
        (network.endpoint_slice, {"addressType": "IPv6", "ports": [{"port": 1}, {"port": 2}]}, 'ports[1].name: Duplicate value: ""'),
        (network.network_policy, {"spec": {"policyTypes": ["Odd"]}}, 'spec.policyTypes[0]: Unsupported value: "Odd"'),
        (network.network_policy, {"spec": {"ingress": [{"from": [{}]}]}}, "spec.ingress[0].from[0]: Required value: must specify a peer"),
        (network.network_policy, {"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "x"}}]}]}}, 'spec.egress[0].to[0].ipBlock.cidr: Invalid value: "x": must be a valid CIDR value'),
        (network.network_policy, {"spec": {"egress": [{"ports": [{"port": 99999}]}]}}, "spec.egress[0].ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive"),
        (network.ingress, {"spec": {}}, "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
        (network.ingress, path(pathType=None), f"{PATH}.pathType: Required value: pathType must be specified"),
        (network.ingress, path(path="x"), f'{PATH}.path: Invalid value: "x": must be an absolute path'),
        (network.ingress, path(backend={}), f'{PATH}.backend: Invalid value: "": resource or service backend is required'),
        (network.ingress, path(backend={"service": {"name": "s"}}), f"{PATH}.backend: Required value: port name or number is required"),
        (claims.claim, {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}, "spec.accessModes: Required value: at least 1 access mode is required"),
        (claims.claim, {"spec": {"accessModes": ["ReadWriteOnce"]}}, "spec.resources[storage]: Required value"),
        (claims.storage_class, {}, "provisioner: Required value"),
        (policies.disruption_budget, {"spec": {"minAvailable": 0, "maxUnavailable": 1}}, 'spec: Invalid value: {"minAvailable":0,"maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set'),
        (autoscaling.autoscaler, {"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": TARGET}}, "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"),
    ],
)  # fmt: skip
def test_one_fault_each(rule, obj, fault):
    (found,) = rule(obj)
    assert f"{found.field}: {found.message}".startswith(fault)


def test_what_may_be_said():
    assert network.ingress(path()) == []
    assert network.ingress({"spec": {"defaultBackend": BACKEND}}) == []
    peers = [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]
    assert network.network_policy({"spec": {"podSelector": {}, "ingress": [{"from": peers}]}}) == []
    assert autoscaling.autoscaler({"spec": {"maxReplicas": 1, "scaleTargetRef": TARGET}}) == []
