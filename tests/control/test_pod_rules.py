"""What a Pod may not say, in the words of the API server: placement, names, ports of the machine."""

from __future__ import annotations

import pytest

from jindou.control.api.rules.pods.specs import spec
from jindou.control.api.rules.validation import validate
from jindou.objects.kinds import POD

BOX = {"name": "c", "image": "busybox"}
NEEDED = "requiredDuringSchedulingIgnoredDuringExecution"


def said(**more) -> list[str]:
    held = {"containers": [BOX], **more}
    return [f"{fault.field}: {fault.message}" for fault in spec(held, "spec")]


def on_nodes(**expression):
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", **expression}]}]}
    return {"nodeAffinity": {NEEDED: terms}}


ON_NODES = f"spec.affinity.nodeAffinity.{NEEDED}.nodeSelectorTerms"


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"hostAliases": [{"ip": "x"}]}, 'spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address'),
        ({"dnsConfig": {"nameservers": ["1.1.1.1"] * 4}}, "spec.dnsConfig.nameservers: Invalid value: "),
        ({"dnsConfig": {"options": [{"value": "1"}]}}, "spec.dnsConfig.options[0]: Required value: must not be empty"),
        ({"securityContext": {"sysctls": [{"name": "a..b", "value": "1"}]}}, 'spec.securityContext.sysctls[0].name: Invalid value: "a..b": must have at most 253'),
        ({"securityContext": {"sysctls": [{"name": "a.b", "value": "1"}, {"name": "a/b", "value": "2"}]}}, 'spec.securityContext.sysctls[1].name: Duplicate value: "a/b"'),
        ({"containers": [{**BOX, "envFrom": [{}]}]}, 'spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'),
        ({"containers": [{**BOX, "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}]}, 'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x": error converting fieldPath: field label not supported: spec.x'),
        ({"containers": [{**BOX, "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]}]}, 'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name"'),
        ({"tolerations": [{"operator": "Exists", "effect": "Odd"}]}, 'spec.tolerations[0].effect: Unsupported value: "Odd"'),
        ({"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 5}]}, "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set"),
        ({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}, "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"),
        ({"affinity": {"nodeAffinity": {NEEDED: {}}}}, f"{ON_NODES}: Required value: must have at least one node selector term"),
        ({"affinity": on_nodes(operator="Odd")}, f'{ON_NODES}[0].matchExpressions[0].operator: Invalid value: "Odd": not a valid selector operator'),
        ({"affinity": on_nodes(operator="In")}, f"{ON_NODES}[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
        ({"affinity": on_nodes(operator="Exists", values=["x"])}, f"{ON_NODES}[0].matchExpressions[0].values: Forbidden: may not be specified"),
        ({"affinity": {"podAffinity": {NEEDED: [{"topologyKey": "B_"}]}}}, f"spec.affinity.podAffinity.{NEEDED}[0].topologyKey: Invalid value: \"B_\": name part"),
        ({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "podAffinityTerm": {"topologyKey": "z"}}]}}}, "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100"),
        ({"hostNetwork": True, "containers": [{**BOX, "ports": [{"containerPort": 80, "hostPort": 81}]}]}, "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `containerPort` when `hostNetwork` is true"),
        ({"containers": [{**BOX, "ports": [{"containerPort": 80, "hostPort": 81}, {"containerPort": 82, "hostPort": 81}]}]}, 'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//81"'),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/a", "type": "Odd"}}]}, 'spec.volumes[0].hostPath.type: Unsupported value: "Odd": supported values: "", "BlockDevice"'),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]}, "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
        ({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "-1"}}]}, "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"),
        ({"volumes": [{"name": "v", "configMap": {"name": "a", "defaultMode": 4096}}]}, "spec.volumes[0].configMap.defaultMode: Invalid value: 4096: must be a number between 0 and 0777"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "a", "items": [{"key": "k", "path": "../x"}]}}]}, "spec.volumes[0].secret.items[0].path: Invalid value: \"../x\": must not contain '..'"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 10}}]}}]}, "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes"),
        ({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{**BOX, "volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]}]}, "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers"),
        ({"hostPID": True, "shareProcessNamespace": True}, "spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"),
        ({"securityContext": {"runAsUser": -1}}, "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"),
        ({"securityContext": {"seccompProfile": {"type": "Localhost"}}}, "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"),
        ({"containers": [{**BOX, "securityContext": {"privileged": True, "allowPrivilegeEscalation": False}}]}, 'spec.containers[0].securityContext: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true'),
        ({"containers": [{**BOX, "readinessProbe": {"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 3}}]}, "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 3: must not be set for readinessProbes"),
        ({"terminationGracePeriodSeconds": 5, "containers": [{**BOX, "lifecycle": {"preStop": {"sleep": {"seconds": 9}}}}]}, "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 9: must be non-negative and less than terminationGracePeriodSeconds (5)"),
        ({"readinessGates": [{"conditionType": "a b"}]}, 'spec.readinessGates[0].conditionType: Invalid value: "a b": name part must consist of'),
    ],
)  # fmt: skip
def test_one_fault_each(more, fault):
    (found,) = said(**more)
    assert found.startswith(fault)


def test_what_may_be_said():
    label = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}}
    assert said(
        containers=[{**BOX, "env": [label], "envFrom": [{"configMapRef": {"name": "x"}}]}],
        affinity=on_nodes(operator="Gt", values=["3"]),
        dnsConfig={"nameservers": ["::1"], "searches": ["a.b.", ".", "_x.b"], "options": [{"name": "n"}]},
        hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a.b"]}],
        tolerations=[{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 3}],
    ) == []  # fmt: skip
    assert validate(POD, {"metadata": {"name": "a"}, "spec": {"containers": [BOX]}}, None) == []
