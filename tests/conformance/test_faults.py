"""Each field of each kind, wrong on purpose, and what is told of it: the causes, in their order.

The table was made by asking kube-apiserver; `B_` is a name that is none.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.wire import MERGE, Api

FLOW = "flowcontrol.apiserver.k8s.io"
BOX: Any = {"name": "c", "image": "i"}
SELECTOR: Any = {"matchLabels": {"a": "b"}}
TEMPLATE: Any = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [BOX]}}
LEVEL: Any = {"priorityLevelConfiguration": {"name": "p"}}
CLAIM: Any = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
VOLUME: Any = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
OF_A_CLUSTER = frozenset(
    ("nodes", "persistentvolumes", "runtimeclasses", "storageclasses", "csidrivers", "csinodes",
     "flowschemas", "prioritylevelconfigurations", "clusterroles", "volumeattributesclasses")
)  # fmt: skip

Row = tuple[str, str, Any, str]
POD, BOXED, HELD = "pod", "box", "volume"
"""What is wrong is in the spec of a Pod, in its container, or in its volume."""

ROWS: list[Row] = [
    ("", POD, {"tolerations": [{"key": "B_"}, {}, {"key": "a", "operator": "Exists", "value": "x"}, {"key": "a", "operator": "Is"}, {"key": "a", "effect": "Never"}]}, "Invalid spec.tolerations[0].key Invalid spec.tolerations[1].operator Invalid spec.tolerations[2].operator NotSupported spec.tolerations[3].operator NotSupported spec.tolerations[4].effect"),
    ("", POD, {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["B_"]}]}, "namespaces": ["B_"]}]}}}, "Invalid spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0].values[0] Invalid spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespace Required spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey Invalid spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey Invalid spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey"),
    ("", POD, {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["B_"]}], "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["B_"]}]}]}}}}, "Invalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0] Invalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values[0]"),
    ("", POD, {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 0, "matchLabelKeys": ["a"], "nodeTaintsPolicy": "Never"}]}, "Invalid spec.topologySpreadConstraints[0].minDomains Invalid spec.topologySpreadConstraints[0].minDomains NotSupported spec.topologySpreadConstraints[0].nodeTaintsPolicy Forbidden spec.topologySpreadConstraints[0].matchLabelKeys"),
    ("", POD, {"os": {"name": "plan9"}}, "NotSupported spec.os"),
    ("", POD, {"os": {}}, "Required spec.os.name"),
    ("", POD, {"dnsPolicy": "None"}, "Required spec.dnsConfig"),
    ("", BOXED, {"env": [{"name": "a", "valueFrom": {"configMapKeyRef": {"key": "k"}}}, {"name": "b", "valueFrom": {"secretKeyRef": {"name": "B_", "key": ".."}}}, {"name": "c", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "5"}}}, {"name": "d", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}]}, "Invalid spec.containers[0].env[0].valueFrom.configMapKeyRef.name Invalid spec.containers[0].env[1].valueFrom.secretKeyRef.name Invalid spec.containers[0].env[1].valueFrom.secretKeyRef.key Invalid spec.containers[0].env[2].valueFrom.resourceFieldRef.divisor NotSupported spec.containers[0].env[3].valueFrom.resourceFieldRef.resource"),
    ("", BOXED, {"envFrom": [{}, {"configMapRef": {"name": "B_"}}]}, "Invalid spec.containers[0].envFrom Invalid spec.containers[0].envFrom[1].configMapRef.name"),
    ("", BOXED, {"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}, {"resourceName": "cpu", "restartPolicy": "Never"}, {}]}, "NotSupported spec.containers[0].resizePolicy NotSupported spec.containers[0].resizePolicy Required spec.containers[0].resizePolicy"),
    ("", BOXED, {"livenessProbe": {"httpGet": {"port": "7", "scheme": "FTP", "httpHeaders": [{"name": "a b"}]}}, "readinessProbe": {"tcpSocket": {"port": "b_"}}, "startupProbe": {"grpc": {"port": 0}}}, "Invalid spec.containers[0].livenessProbe.httpGet.port NotSupported spec.containers[0].livenessProbe.httpGet.scheme Invalid spec.containers[0].livenessProbe.httpGet.httpHeaders Invalid spec.containers[0].readinessProbe.tcpSocket.port Invalid spec.containers[0].startupProbe.grpc.port"),
    ("", BOXED, {"livenessProbe": {}}, "Required spec.containers[0].livenessProbe"),
    ("", BOXED, {"volumeDevices": [{"name": "v", "devicePath": "/d"}, {"name": "w"}]}, "Invalid spec.containers[0].volumeDevices[0].name NotFound spec.containers[0].volumeDevices[1].name Required spec.containers[0].volumeDevices[1].devicePath"),
    ("", BOXED, {"volumeMounts": [{"name": "w", "mountPath": "/w", "mountPropagation": "Sideways"}]}, "NotFound spec.containers[0].volumeMounts[0].name NotSupported spec.containers[0].volumeMounts.mountPropagation"),
    ("", BOXED, {"securityContext": {"appArmorProfile": {"type": "Strict"}, "seccompProfile": {}}}, "Required spec.containers[0].securityContext.seccompProfile.type NotSupported spec.containers[0].securityContext.appArmorProfile.type"),
    ("", HELD, {"csi": {"driver": "B_"}}, "Invalid spec.volumes[0].csi.driver"),
    ("", HELD, {"nfs": {"path": "x"}}, "Required spec.volumes[0].nfs.server Invalid spec.volumes[0].nfs.path"),
    ("", HELD, {"ephemeral": {}}, "Required spec.volumes[0].ephemeral.volumeClaimTemplate"),
    ("", HELD, {"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}, "Required spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes Required spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]"),
    ("", HELD, {"projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 5}}, {"downwardAPI": {"items": [{"path": "p"}]}}, {"configMap": {"name": "x", "items": [{"key": "k", "path": "p"}]}}]}}, "Invalid spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds Required spec.volumes[0].projected.path Required spec.volumes[0].projected.sources[1].downwardAPI Invalid spec.volumes[0].projected"),
    ("", HELD, {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "spec.nodeName"}}, {"path": "q", "resourceFieldRef": {"resource": "limits.cpu"}}]}}, "NotSupported spec.volumes[0].downwardAPI.fieldRef.fieldPath Required spec.volumes[0].downwardAPI.resourceFieldRef.containerName"),
    ("", "services", {"spec": {"ports": [{"port": 80, "appProtocol": "B_"}], "trafficDistribution": "Far", "loadBalancerSourceRanges": ["x"]}}, "Invalid spec.ports[0].appProtocol Forbidden spec.LoadBalancerSourceRanges Invalid spec.LoadBalancerSourceRanges[0] NotSupported spec.trafficDistribution"),
    ("", "persistentvolumeclaims", {"spec": {"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "B_", "volumeMode": "Tape", "dataSourceRef": {"kind": "K"}}}, "Forbidden spec.accessModes Invalid spec.storageClassName NotSupported spec.volumeMode Required spec.dataSource.name Invalid spec.dataSource Required spec.dataSourceRef.name Invalid spec.dataSourceRef"),
    ("", "persistentvolumes", {"spec": {**VOLUME, "nfs": {}}}, "Required spec.nfs.server Required spec.nfs.path Invalid spec.nfs.path"),
    ("", "persistentvolumes", {"spec": {**VOLUME, "csi": {"driver": "B_", "nodeStageSecretRef": {"name": "B_"}}}}, "Invalid spec.csi.driver Required spec.csi.volumeHandle"),
    ("", "persistentvolumes", {"spec": {**VOLUME, "local": {"path": "/x"}, "nodeAffinity": {"required": {}}}}, "Required spec.nodeAffinity.required.nodeSelectorTerms"),
    ("", "nodes", {"spec": {"taints": [{"key": "B_", "effect": "Never"}, {"key": "a", "effect": "NoExecute"}, {"key": "a", "effect": "NoExecute"}], "podCIDR": "x"}}, "Invalid metadata.taints[0].key NotSupported metadata.taints[0].effect Duplicate metadata.taints[2] Invalid spec.podCIDRs[0]"),
    ("", "endpoints", {"subsets": [{"addresses": [{"ip": "10.0.0.1", "hostname": "B_", "nodeName": "B_"}], "ports": [{"port": 80, "appProtocol": "B_"}]}]}, "Invalid subsets[0].addresses[0].hostname Invalid subsets[0].addresses[0].nodeName Invalid subsets[0].ports[0].appProtocol"),
    ("", "limitranges", {"spec": {"limits": [{}]}}, "Invalid spec.limits[0].type Invalid spec.limits[0].type"),
    ("", "configmaps", {"metadata": {"ownerReferences": [{"name": "a"}], "finalizers": ["x"]}}, "Required metadata.ownerReferences[0].apiVersion Required metadata.ownerReferences[0].kind Required metadata.ownerReferences[0].uid Invalid metadata.finalizers[0]"),
    ("apps", "statefulsets", {"spec": {"serviceName": "s", "selector": SELECTOR, "template": TEMPLATE, "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"accessModes": ["Never"]}}]}}, "NotSupported spec.volumeClaimTemplates[0].spec.accessModes Required spec.volumeClaimTemplates[0].spec.resources[storage]"),
    ("apps", "deployments", {"spec": {"selector": {"matchLabels": {"a": "B_"}}, "template": TEMPLATE}}, "Invalid spec.selector.matchLabels Invalid spec.selector"),
    ("apps", "deployments", {"spec": {"selector": SELECTOR, "template": TEMPLATE, "strategy": {"type": "Sometimes"}}}, "NotSupported spec.strategy"),
    ("discovery.k8s.io", "endpointslices", {"addressType": "IPv4", "endpoints": [{"addresses": ["x", "fd00::1"], "hostname": "B_", "nodeName": "B_", "hints": {"forZones": [{"name": "z"}, {"name": "z"}]}}, {"addresses": []}], "ports": [{"port": 80, "appProtocol": "B_"}]}, "Invalid ports[0].appProtocol Invalid endpoints[0].addresses[0] Invalid endpoints[0].addresses Invalid endpoints[0].nodeName Invalid endpoints[0].hostname Duplicate endpoints[0].hints.forZones[1].name Required endpoints[1].addresses"),
    ("networking.k8s.io", "ingresses", {"spec": {"ingressClassName": "B_", "defaultBackend": {}, "tls": [{"hosts": ["B_"], "secretName": "B_"}]}}, "Invalid spec.defaultBackend Invalid spec.tls[0].hosts[0] Invalid spec.tls[0].secretName Invalid spec.ingressClassName"),
    ("networking.k8s.io", "ingresses", {"spec": {"rules": [{"http": {"paths": [{"pathType": "Exact", "path": "/", "backend": {"resource": {"apiGroup": "B_"}}}]}}]}}, "Invalid spec.rules[0].http.paths[0].backend.resource.apiGroup Required spec.rules[0].http.paths[0].backend.resource.kind Required spec.rules[0].http.paths[0].backend.resource.name"),
    ("networking.k8s.io", "networkpolicies", {"spec": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["B_"]}]}, "ingress": [{"ports": [{"port": 80, "endPort": 70}, {"endPort": 5}], "from": [{"ipBlock": {}}]}]}}, "Invalid spec.podSelector.matchExpressions[0].values[0] Invalid spec.ingress[0].ports[0].endPort Invalid spec.ingress[0].ports[1].endPort Required spec.ingress[0].from[0].ipBlock.cidr"),
    ("policy", "poddisruptionbudgets", {"spec": {"minAvailable": 1, "selector": SELECTOR, "unhealthyPodEvictionPolicy": "Never"}}, "NotSupported spec.unhealthyPodEvictionPolicy"),
    ("node.k8s.io", "runtimeclasses", {"handler": "h", "scheduling": {"tolerations": [{"key": "B_"}, {}]}}, "Invalid scheduling.tolerations[0].key Invalid scheduling.tolerations[1].operator"),
    ("storage.k8s.io", "storageclasses", {"provisioner": "B_", "allowedTopologies": [{"matchLabelExpressions": [{"key": "k", "values": ["a", "a"]}, {"key": "k"}]}]}, "Invalid provisioner Duplicate allowedTopologies[0].matchLabelExpressions[0].values[1] Required allowedTopologies[0].matchLabelExpressions[1].values Duplicate allowedTopologies[0].matchLabelExpressions[1].key"),
    ("storage.k8s.io", "csidrivers", {"spec": {"fsGroupPolicy": "Never", "volumeLifecycleModes": ["Never"], "tokenRequests": [{"audience": "a"}, {"audience": "a", "expirationSeconds": 5}]}}, "NotSupported spec.fsGroupPolicy Duplicate spec.tokenRequests[1].audience NotSupported spec.volumeLifecycleModes"),
    ("storage.k8s.io", "csinodes", {"spec": {"drivers": [{"name": "a.b", "nodeID": "n" * 257, "topologyKeys": ["a", "a"]}]}}, "Invalid spec.drivers[0].nodeID Duplicate spec.drivers[0]"),
    ("events.k8s.io", "events", {"regarding": {"kind": "Pod", "namespace": "NS"}, "type": "Odd", "note": "n"}, "Required eventTime Invalid type"),
    ("events.k8s.io", "events", {"regarding": {"kind": "Pod", "namespace": "NS"}, "type": "Normal", "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "B_", "series": {"count": 1}}, "Invalid reportingController Required reportingInstance Required action Required reason Invalid series.count Required series.lastObservedTime"),
    (FLOW, "flowschemas", {"spec": {"matchingPrecedence": 10001, "rules": [{}]}}, "Invalid spec.matchingPrecedence Required spec.priorityLevelConfiguration.name Required spec.rules[0].subjects Required spec.rules[0]"),
    (FLOW, "flowschemas", {"spec": {**LEVEL, "rules": [{"subjects": [{"kind": "Robot"}, {"kind": "User", "user": {}, "group": {"name": "g"}}, {"kind": "ServiceAccount", "serviceAccount": {"name": "B_"}}], "resourceRules": [{"verbs": ["*", "get"], "apiGroups": ["*"], "resources": []}]}]}}, "NotSupported spec.rules[0].subjects[0].kind Required spec.rules[0].subjects[1].user.name Forbidden spec.rules[0].subjects[1].group Invalid spec.rules[0].subjects[2].serviceAccount.name Required spec.rules[0].subjects[2].serviceAccount.namespace Invalid spec.rules[0].resourceRules[0].verbs Required spec.rules[0].resourceRules[0].resources Required spec.rules[0].resourceRules[0].namespaces"),
    (FLOW, "flowschemas", {"spec": {**LEVEL, "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}], "nonResourceRules": [{"verbs": ["fly"], "nonResourceURLs": ["x", "/a//b", "/a*"]}]}]}}, "NotSupported spec.rules[0].nonResourceRules[0].verbs Invalid spec.rules[0].nonResourceRules[0].nonResourceURLs[0] Invalid spec.rules[0].nonResourceRules[0].nonResourceURLs[1] Invalid spec.rules[0].nonResourceRules[0].nonResourceURLs[2]"),
    (FLOW, "prioritylevelconfigurations", {"spec": {}}, "Required spec.type"),
    (FLOW, "prioritylevelconfigurations", {"spec": {"type": "Sometimes", "limited": {}}}, "NotSupported spec.type Forbidden spec.limited Required spec.limited.limitResponse.type"),
    (FLOW, "prioritylevelconfigurations", {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": -1, "lendablePercent": 101, "limitResponse": {"type": "Queue", "queuing": {"queues": 4, "handSize": 8}}}}}, "Invalid spec.limited.nominalConcurrencyShares Invalid spec.limited.limitResponse.queuing.handSize Invalid spec.limited.lendablePercent"),
    (FLOW, "prioritylevelconfigurations", {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject", "queuing": {}}}}}, "Forbidden spec.limited.limitResponse.queuing"),
    ("autoscaling", "horizontalpodautoscalers", {"spec": {"minReplicas": 0, "maxReplicas": 1, "scaleTargetRef": {"kind": "D", "name": "d"}, "targetCPUUtilizationPercentage": 0}}, "Invalid spec.scaleTargetRef.apiVersion Invalid spec.metrics[0].resource.target.averageUtilization Forbidden spec.metrics"),
    ("rbac.authorization.k8s.io", "clusterroles", {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "B_"}}]}}, "Invalid aggregationRule.clusterRoleSelectors[0].matchLabels Invalid aggregationRule.clusterRoleSelectors[0]"),
    ("rbac.authorization.k8s.io", "roles", {"rules": [{"apiGroups": [""], "resources": ["pods"]}]}, "Required rules[0].verbs"),
]  # fmt: skip


def told(row: Row) -> list[tuple[str, str]]:
    words = row[3].replace("{topologyKey, whenUnsatisfiable}", "{}").split(" ")
    return [(f"FieldValue{a}", b) for a, b in zip(words[::2], words[1::2], strict=True)]


def body(plural: str, wrong: Any) -> Any:
    if plural == POD:
        return {"spec": {"containers": [BOX], **wrong}}
    if plural == BOXED:
        held = {"name": "v", "emptyDir": {}}
        return {"spec": {"containers": [{**BOX, **wrong}], "volumes": [held]}}
    if plural == HELD:
        return {"spec": {"containers": [BOX], "volumes": [{"name": "v", **wrong}]}}
    return wrong


def place(group: str, plural: str, ns: str) -> str:
    root = f"/apis/{group}/v1" if group else "/api/v1"
    plural = "pods" if plural in (POD, BOXED, HELD) else plural
    return f"{root}/{plural}" if plural in OF_A_CLUSTER else f"{root}/namespaces/{ns}/{plural}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]}-{row[3][:40]}")
def test_35_what_is_wrong_is_told_by_field(api: Api, ns: str, row: Row) -> None:
    group, plural, wrong, _ = row
    sent = json.loads(json.dumps(body(plural, wrong)).replace('"NS"', f'"{ns}"'))
    sent["metadata"] = {"name": "a", **sent.get("metadata", {})}
    answer = api.ask("POST", place(group, plural, ns), sent, dryRun="All")
    assert (answer.code, answer.reason) == (422, "Invalid"), answer.body
    assert answer.causes == told(row)


# ---------------------------------------------------------------- changes

CHANGES: list[tuple[str, str, Any, Any, str]] = [
    ("", "persistentvolumeclaims", {"spec": {**CLAIM, "storageClassName": ""}}, {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, "Forbidden spec"),
    ("", "persistentvolumeclaims", {"spec": {**CLAIM, "storageClassName": ""}}, {"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "b"}}}, "Forbidden spec"),
    ("", "nodes", {"spec": {"providerID": "p"}}, {"spec": {"providerID": "q"}}, "Invalid spec.providerID"),
    ("", "nodes", {"spec": {"podCIDR": "10.0.0.0/24"}}, {"spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}}, "Forbidden spec.podCIDRs"),
    ("", "services", {"spec": {"type": "LoadBalancer", "loadBalancerClass": "a.b/c", "ports": [{"port": 80}]}}, {"spec": {"loadBalancerClass": "a.b/d"}}, "Invalid spec.loadBalancerClass"),
    ("", "persistentvolumes", {"spec": {**VOLUME, "hostPath": {"path": "/x"}}}, {"spec": {"hostPath": {"path": "/y"}}}, "Forbidden spec.persistentvolumesource"),
    ("storage.k8s.io", "csinodes", {"spec": {"drivers": [{"name": "a.b", "nodeID": "n", "topologyKeys": None}]}}, {"spec": {"drivers": [{"name": "a.b", "nodeID": "m", "topologyKeys": None}]}}, "Invalid spec.drivers"),
    ("storage.k8s.io", "volumeattributesclasses", {"driverName": "a.b", "parameters": {"a": "b"}}, {"driverName": "a.c", "parameters": {"a": "c"}}, "Forbidden driverName Forbidden parameters"),
    ("events.k8s.io", "events", {"regarding": {"kind": "Pod", "namespace": "NS"}, "type": "Normal", "reason": "r", "action": "a", "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i"}, {"reason": "q", "note": "n"}, "Invalid reason Invalid message"),
]  # fmt: skip


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: f"{case[1]}-{case[4]}")
def test_32_what_stays_is_told_by_field(
    api: Api, ns: str, case: tuple[str, str, Any, Any, str]
) -> None:
    group, plural, sent, change, _ = case
    sent = json.loads(json.dumps(sent).replace('"NS"', f'"{ns}"'))
    path, name = place(group, plural, ns), f"{ns}-a"
    api.make(path, {"metadata": {"name": name}, **sent})
    try:
        answer = api.ask("PATCH", f"{path}/{name}", change, kind=MERGE)
        assert (answer.code, answer.reason) == (422, "Invalid"), answer.body
        assert answer.causes == told((group, plural, change, case[4]))
    finally:
        api.ask("DELETE", f"{path}/{name}", gracePeriodSeconds="0")


def test_32_a_stateful_set_is_judged_anew_without_its_claims(api: Api, ns: str) -> None:
    path = place("apps", "statefulsets", ns)
    claims = [{"metadata": {"name": "v"}, "spec": CLAIM}]
    spec = {"serviceName": "s", "selector": SELECTOR, "template": TEMPLATE, "replicas": 0}
    made = api.make(path, {"metadata": {"name": "a"}, "spec": {**spec, "volumeClaimTemplates": claims}})  # fmt: skip
    made["spec"]["volumeClaimTemplates"][0] |= {
        "kind": "Odd",
        "apiVersion": "v9",
        "status": {},
    }
    del made["metadata"]["resourceVersion"]  # its controller writes too
    kept = api.good("PUT", f"{path}/a", made)["spec"]["volumeClaimTemplates"][0]
    assert (kept["apiVersion"], kept["kind"]) == ("v1", "PersistentVolumeClaim")


# ---------------------------------------------------------------- what is kept


def test_38_where_a_volume_comes_from_is_said_twice(api: Api, ns: str) -> None:
    path, source = place("", "persistentvolumeclaims", ns), {"kind": "PersistentVolumeClaim", "name": "b"}  # fmt: skip
    spec = {**CLAIM, "storageClassName": ""}
    for field in ("dataSource", "dataSourceRef"):
        sent = {"metadata": {"name": "a"}, "spec": {**spec, field: source}}
        held = api.good("POST", path, sent, dryRun="All")["spec"]
        for told_in in ("dataSource", "dataSourceRef"):
            assert source.items() <= held[told_in].items()
    foreign = {"apiGroup": "e.io", "kind": "K", "name": "b"}
    sent = {"metadata": {"name": "a"}, "spec": {**spec, "dataSource": foreign}}
    assert "dataSource" not in api.good("POST", path, sent, dryRun="All")["spec"]


def test_38_a_new_node_is_not_ready(api: Api, ns: str) -> None:
    sent = {"metadata": {"name": ns}, "spec": {"podCIDR": "10.0.0.0/24"}}
    held = api.good("POST", "/api/v1/nodes", sent, dryRun="All")["spec"]
    assert held["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    assert held["podCIDRs"] == ["10.0.0.0/24"]


def test_49_less_than_no_grace_is_a_second(api: Api, ns: str) -> None:
    sent = {"metadata": {"name": "a"}, **body(POD, {"terminationGracePeriodSeconds": -5})}
    held = api.good("POST", place("", "pods", ns), sent, dryRun="All")
    assert held["spec"]["terminationGracePeriodSeconds"] == 1


def test_38_labels_of_a_job_are_those_of_its_pods(api: Api, ns: str) -> None:
    path = place("batch", "jobs", ns)
    spec = {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [BOX], "restartPolicy": "Never"}}, "suspend": True}  # fmt: skip
    made = api.make(path, {"metadata": {"name": "a"}, "spec": spec})
    labels = made["metadata"]["labels"]
    assert {"a", "job-name", "batch.kubernetes.io/job-name"} <= set(labels)
    held = api.good("PATCH", f"{path}/a", {"metadata": {"labels": None}}, kind=MERGE)
    assert held["metadata"]["labels"] == labels


def test_22_a_limit_range_may_have_no_name(api: Api, ns: str) -> None:
    held = api.good("POST", place("", "limitranges", ns), {"spec": {"limits": []}}, dryRun="All")
    assert len(held["metadata"]["name"]) == 36


def test_37_endpoints_are_deprecated(api: Api, ns: str) -> None:
    warned = api.ask("GET", place("", "endpoints", ns)).headers.get_all("Warning")
    assert warned == ['299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"']  # fmt: skip


# ---------------------------------------------------------------- warnings

PORT: Any = {"containerPort": 80}
WARNED: list[tuple[str, Any, list[str]]] = [
    (BOXED, {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, ['spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply']),
    (BOXED, {"ports": [PORT, PORT]}, ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"]),
    (BOXED, {"ports": [{**PORT, "hostPort": 81}, PORT]}, ["spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]"]),
    (POD, {"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]}, ['spec.imagePullSecrets[1].name: duplicate name "a"', 'spec.imagePullSecrets[2].name: invalid empty name ""']),
    (POD, {"hostAliases": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}]}, ['spec.hostAliases[1].ip: duplicate ip "1.2.3.4"']),
    ("podtemplates", {"template": {"spec": {"containers": [BOX], "terminationGracePeriodSeconds": -1}}}, ["template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"]),
    (POD, {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}, ["spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod"]),
    ("services", {"spec": {"ports": [{"port": 80}], "externalName": "a.b", "externalIPs": ["1.2.3.4"], "trafficDistribution": "PreferClose"}}, ["spec.externalIPs is deprecated and may no longer be implemented in some clusters", 'spec.externalName is ignored when spec.type is not "ExternalName"', 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"']),
]  # fmt: skip


@pytest.mark.parametrize("case", WARNED, ids=lambda case: case[2][0][:60])
def test_37_what_looks_like_a_mistake_is_told(
    api: Api, ns: str, case: tuple[str, Any, list[str]]
) -> None:
    plural, wrong, says = case
    sent = {"metadata": {"name": "a"}, **body(plural, wrong)}
    answer = api.ask("POST", place("", plural, ns), sent, dryRun="All")
    assert answer.code == 201, answer.body
    told = [one[7:-1].replace('\\"', '"') for one in answer.headers.get_all("Warning") or []]
    assert told == says


def test_37_only_a_template_that_changes_is_looked_at(api: Api, ns: str) -> None:
    path = place("apps", "deployments", ns)
    pods = {**TEMPLATE, "spec": {"containers": [{**BOX, "ports": [PORT, PORT]}]}}
    sent = {"metadata": {"name": "a"}, "spec": {"replicas": 0, "selector": SELECTOR, "template": pods}}  # fmt: skip
    assert api.ask("POST", path, sent).headers.get_all("Warning") == [
        '299 - "spec.template.spec.containers[0].ports[1]: duplicate port definition with spec.template.spec.containers[0].ports[0]"'
    ]
    patch = {"metadata": {"labels": {"x": "y"}}}
    assert not api.ask("PATCH", f"{path}/a", patch, kind=MERGE).headers.get_all("Warning")
