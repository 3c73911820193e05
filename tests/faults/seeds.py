"""One object of each kind that an API server accepts: a damaged one of these gets past the first rule."""

from __future__ import annotations

import json
from typing import Any

LABELS = {"app": "a"}
SELECTOR = {"matchLabels": LABELS, "matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]}  # fmt: skip
POD: dict[str, Any] = {
    "schedulerName": "nobody", "restartPolicy": "Always", "terminationGracePeriodSeconds": 5,
    "containers": [{
        "name": "c", "image": "i", "command": ["x"], "env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}], "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}],
        "resources": {"requests": {"cpu": "1m"}, "limits": {"memory": "1Mi"}}, "securityContext": {"runAsUser": 1, "capabilities": {"add": ["NET_ADMIN"]}},
        "livenessProbe": {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 5}, "readinessProbe": {"exec": {"command": ["x"]}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}, "envFrom": [{"configMapRef": {"name": "x", "optional": True}}],
    }],
    "initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always"}],
    "volumes": [
        {"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "w", "configMap": {"name": "x", "items": [{"key": "k", "path": "p"}]}},
        {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 600}}, {"secret": {"name": "x"}}]}},
        {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
    ],
    "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}], "nodeSelector": {"a": "b"},
    "affinity": {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}]}},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "a", "labelSelector": SELECTOR}}]},
    },
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELECTOR}],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["x"]}], "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}, "securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
    "readinessGates": [{"conditionType": "x.y/z"}], "overhead": {},
}  # fmt: skip
PLAIN = {"containers": [{"name": "c", "image": "i"}], "schedulerName": "nobody"}
TEMPLATE = {
    "metadata": {"labels": LABELS, "annotations": {"a": "b"}},
    "spec": {**PLAIN, "volumes": POD["volumes"][:2]},
}
ONCE = {"metadata": {"labels": LABELS}, "spec": {**PLAIN, "restartPolicy": "Never"}}
CLAIM = {
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "1Gi"}},
    "storageClassName": "s",
}
RULES = [{"operations": ["CREATE"], "apiGroups": ["fuzz.example.com"], "apiVersions": ["*"], "resources": ["nothings"], "scope": "*"}]  # fmt: skip
HOOK = {
    "name": "h.example.com", "clientConfig": {"url": "https://127.0.0.1:1/x"}, "failurePolicy": "Ignore", "sideEffects": "None", "timeoutSeconds": 1,
    "admissionReviewVersions": ["v1"], "rules": RULES, "matchConditions": [{"name": "m", "expression": "object.metadata.name != 'z'"}], "namespaceSelector": SELECTOR,
}  # fmt: skip
CLUSTER = "rbac.authorization.k8s.io"
METRIC = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}  # fmt: skip
HPA = {
    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}, "minReplicas": 1, "maxReplicas": 3, "metrics": [METRIC],
    "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}], "selectPolicy": "Max", "stabilizationWindowSeconds": 1}},
}  # fmt: skip
SCHEMA = {
    "type": "object", "properties": {
        "spec": {
            "type": "object", "x-kubernetes-validations": [{"rule": "!has(self.n) || self.n < 100", "message": "too many", "fieldPath": ".n"}],
            "properties": {
                "n": {"type": "integer", "default": 1, "minimum": 0}, "text": {"type": "string", "maxLength": 20, "pattern": "^[a-z]*$"},
                "when": {"type": "string", "format": "date-time"}, "size": {"x-kubernetes-int-or-string": True},
                "list": {"type": "array", "maxItems": 5, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string", "maxLength": 10}, "v": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}},
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}, "map": {"type": "object", "additionalProperties": {"type": "integer"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, "embedded": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
                "replicas": {"type": "integer"}, "nothing": {"type": "string", "nullable": True},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}  # fmt: skip
SUBRESOURCES = {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}}  # fmt: skip
COLUMNS = [{"name": "N", "type": "integer", "jsonPath": ".spec.n"}, {"name": "When", "type": "date", "jsonPath": ".spec.when"}]  # fmt: skip


def definition(plural: str, kind: str) -> Any:
    first = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}, "subresources": SUBRESOURCES, "additionalPrinterColumns": COLUMNS}  # fmt: skip
    second = {**first, "name": "v2beta1", "storage": False}
    names = {"plural": plural, "kind": kind, "singular": kind.lower(), "listKind": f"{kind}List", "shortNames": [plural[:3] + "x"], "categories": ["all"]}  # fmt: skip
    spec = {"group": "fuzz.example.com", "scope": "Namespaced", "names": names, "versions": [first, second], "conversion": {"strategy": "None"}}  # fmt: skip
    return {"metadata": {"name": f"{plural}.fuzz.example.com"}, "spec": spec}


WIDGET = {"spec": {
    "n": 1, "text": "a", "when": "2026-01-01T00:00:00Z", "size": "10%", "list": [{"k": "a", "v": 1}], "set": ["a"], "map": {"a": 1}, "free": {"x": [1]},
    "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}, "replicas": 1, "nothing": None,
}, "status": {"replicas": 1, "selector": "a=b"}}  # fmt: skip
CERTIFICATE = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIRk1HNENBUUF3RERFS01BZ0dBMVVFQXd3QmVEQlpNQk1HQnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCTkk5UXRyVk9jTk0wYlZtUVlyajVLM3crL1BrQ3IvUng1a1BXQ0JlOXZwOXpKUWJnNzdHN3p1cEVUWUdYTzdUCnF4WFBHdEtLa2Z4MXgzdTdlNlpWSnFPZ0FEQUtCZ2dxaGtqT1BRUURBZ05IQURCRUFpQTB1UnFlZVVuNUpYcTQKWE5QZVAwcmIxaUxMdlMxT3lndHJNeWVpRG8rQ3lnSWdULzR1SUNJYUw1eGZVMFl1TTZuNmZ2dG5jODY0NThLeAp6N2l5OHdQMmdRVT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg=="  # fmt: skip

# By API version and kind; `metadata` is added.
SEEDS: dict[tuple[str, str], Any] = {
    ("v1", "Pod"): {"spec": POD},
    ("v1", "ConfigMap"): {"data": {"a": "b"}, "binaryData": {"b": "AA=="}, "immutable": False},
    ("v1", "Secret"): {"type": "Opaque", "data": {"a": "AA=="}, "stringData": {"b": "c"}},
    ("v1", "Namespace"): {"spec": {"finalizers": ["kubernetes"]}},
    ("v1", "Node"): {"spec": {"podCIDR": "10.1.0.0/24", "taints": [{"key": "a", "effect": "NoExecute"}]}, "status": {"capacity": {"cpu": "1"}, "conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}},
    ("v1", "Service"): {"spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}], "selector": LABELS, "type": "NodePort", "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}, "externalIPs": ["192.0.2.1"]}},
    ("v1", "Endpoints"): {"subsets": [{"addresses": [{"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": "a"}}], "ports": [{"port": 80}]}]},
    ("v1", "Event"): {"involvedObject": {"kind": "Pod", "name": "a", "namespace": "fuzz"}, "reason": "R", "message": "m", "type": "Normal", "count": 1, "firstTimestamp": "2026-01-01T00:00:00Z"},
    ("events.k8s.io/v1", "Event"): {"eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "x.y/z", "reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal", "regarding": {"kind": "Pod", "name": "a", "namespace": "fuzz"}},
    ("v1", "LimitRange"): {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1m"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "2000"}}]}},
    ("v1", "ResourceQuota"): {"spec": {"hard": {"pods": "100", "requests.cpu": "100"}, "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["x"]}]}}},
    ("v1", "PersistentVolume"): {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}, "claimRef": {"namespace": "fuzz", "name": "a"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}}, "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "s"}},
    ("v1", "PersistentVolumeClaim"): {"spec": {**CLAIM, "selector": SELECTOR, "dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}}},
    ("v1", "PodTemplate"): {"template": TEMPLATE},
    ("v1", "ReplicationController"): {"spec": {"replicas": 1, "selector": LABELS, "template": TEMPLATE}},
    ("v1", "ServiceAccount"): {"secrets": [{"name": "x"}], "imagePullSecrets": [{"name": "x"}]},
    ("v1", "Binding"): {"target": {"kind": "Node", "name": "x"}},
    ("policy/v1", "Eviction"): {"deleteOptions": {"gracePeriodSeconds": 0, "preconditions": {"resourceVersion": "1"}}},
    ("autoscaling/v1", "Scale"): {"spec": {"replicas": 1}},
    ("apps/v1", "Deployment"): {"spec": {"replicas": 1, "selector": SELECTOR, "template": TEMPLATE, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}, "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600}},
    ("apps/v1", "ReplicaSet"): {"spec": {"replicas": 1, "selector": SELECTOR, "template": TEMPLATE, "minReadySeconds": 1}},
    ("apps/v1", "StatefulSet"): {"spec": {"replicas": 1, "serviceName": "s", "selector": SELECTOR, "template": TEMPLATE, "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": CLAIM}], "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1, "maxUnavailable": 1}}, "ordinals": {"start": 1}, "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"}}},
    ("apps/v1", "DaemonSet"): {"spec": {"selector": SELECTOR, "template": TEMPLATE, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}}},
    ("apps/v1", "ControllerRevision"): {"data": {"spec": {}}, "revision": 1},
    ("batch/v1", "Job"): {"spec": {"template": ONCE, "completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "maxFailedIndexes": 1, "activeDeadlineSeconds": 500, "ttlSecondsAfterFinished": 500, "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}, {"action": "Ignore", "onPodConditions": [{"type": "X", "status": "True"}]}]}, "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}}},
    ("batch/v1", "CronJob"): {"spec": {"schedule": "* * * * *", "timeZone": "Etc/UTC", "startingDeadlineSeconds": 100, "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"template": ONCE}}, "successfulJobsHistoryLimit": 1}},
    ("autoscaling/v1", "HorizontalPodAutoscaler"): {"spec": {"scaleTargetRef": HPA["scaleTargetRef"], "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}},
    ("autoscaling/v2", "HorizontalPodAutoscaler"): {"spec": HPA},
    ("policy/v1", "PodDisruptionBudget"): {"spec": {"minAvailable": "50%", "selector": SELECTOR, "unhealthyPodEvictionPolicy": "AlwaysAllow"}},
    ("networking.k8s.io/v1", "NetworkPolicy"): {"spec": {"podSelector": SELECTOR, "policyTypes": ["Ingress", "Egress"], "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}, {"podSelector": SELECTOR}], "ports": [{"port": 80, "endPort": 90, "protocol": "TCP"}]}], "egress": [{}]}},
    ("networking.k8s.io/v1", "Ingress"): {"spec": {"ingressClassName": "x", "rules": [{"host": "*.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}], "tls": [{"hosts": ["x.example.com"], "secretName": "x"}]}},
    ("networking.k8s.io/v1", "IngressClass"): {"spec": {"controller": "example.com/x", "parameters": {"kind": "X", "name": "x", "scope": "Cluster"}}},
    ("networking.k8s.io/v1", "ServiceCIDR"): {"spec": {"cidrs": ["10.250.0.0/24"]}},
    ("networking.k8s.io/v1", "IPAddress"): {"spec": {"parentRef": {"resource": "services", "name": "x", "namespace": "fuzz"}}},
    ("discovery.k8s.io/v1", "EndpointSlice"): {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "a"}, "hints": {"forZones": [{"name": "z"}]}}], "ports": [{"name": "http", "port": 80}]},
    ("coordination.k8s.io/v1", "Lease"): {"spec": {"holderIdentity": "x", "leaseDurationSeconds": 5, "renewTime": "2026-01-01T00:00:00.000000Z"}},
    ("scheduling.k8s.io/v1", "PriorityClass"): {"value": 5, "preemptionPolicy": "Never", "description": "x"},
    ("node.k8s.io/v1", "RuntimeClass"): {"handler": "x", "overhead": {"podFixed": {"cpu": "1m"}}, "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "x", "operator": "Exists"}]}},
    ("storage.k8s.io/v1", "StorageClass"): {"provisioner": "example.com/x", "parameters": {"a": "b"}, "volumeBindingMode": "WaitForFirstConsumer", "allowedTopologies": [{"matchLabelExpressions": [{"key": "z", "values": ["a"]}]}]},
    ("storage.k8s.io/v1", "CSIDriver"): {"spec": {"attachRequired": False, "volumeLifecycleModes": ["Ephemeral"], "tokenRequests": [{"audience": "x"}]}},
    ("storage.k8s.io/v1", "CSINode"): {"spec": {"drivers": [{"name": "x", "nodeID": "n", "topologyKeys": ["a"], "allocatable": {"count": 1}}]}},
    ("storage.k8s.io/v1", "CSIStorageCapacity"): {"storageClassName": "s", "capacity": "1Gi", "nodeTopology": SELECTOR},
    ("storage.k8s.io/v1", "VolumeAttachment"): {"spec": {"attacher": "x", "nodeName": "n", "source": {"persistentVolumeName": "v"}}},
    ("storage.k8s.io/v1", "VolumeAttributesClass"): {"driverName": "x.example.com", "parameters": {"a": "b"}},
    (f"{CLUSTER}/v1", "Role"): {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}]},
    (f"{CLUSTER}/v1", "ClusterRole"): {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x*"]}], "aggregationRule": {"clusterRoleSelectors": [SELECTOR]}},
    (f"{CLUSTER}/v1", "RoleBinding"): {"roleRef": {"apiGroup": CLUSTER, "kind": "Role", "name": "a"}, "subjects": [{"kind": "ServiceAccount", "name": "x", "namespace": "fuzz"}]},
    (f"{CLUSTER}/v1", "ClusterRoleBinding"): {"roleRef": {"apiGroup": CLUSTER, "kind": "ClusterRole", "name": "a"}, "subjects": [{"kind": "User", "name": "x", "apiGroup": CLUSTER}]},
    ("certificates.k8s.io/v1", "CertificateSigningRequest"): {"spec": {"request": CERTIFICATE, "signerName": "example.com/x", "usages": ["client auth"], "expirationSeconds": 600}},
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"): {"webhooks": [HOOK]},
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"): {"webhooks": [{**HOOK, "reinvocationPolicy": "IfNeeded"}]},
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): {"spec": {"failurePolicy": "Ignore", "matchConstraints": {"resourceRules": RULES}, "validations": [{"expression": "object.metadata.name != 'z'", "messageExpression": "'no ' + object.metadata.name"}], "variables": [{"name": "v", "expression": "object.spec"}], "auditAnnotations": [{"key": "k", "valueExpression": "'x'"}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}},
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): {"spec": {"policyName": "a", "validationActions": ["Warn", "Audit"], "paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}, "matchResources": {"resourceRules": RULES}}},
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"): {"spec": {"failurePolicy": "Ignore", "reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": RULES}, "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{metadata: Object.metadata{labels: {'a': 'b'}}}"}}]}},
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding"): {"spec": {"policyName": "a"}},
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): {"spec": definition("gadgets", "Gadget")["spec"]},
    ("apiregistration.k8s.io/v1", "APIService"): {"spec": {"group": "else.example.com", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10, "service": {"name": "x", "namespace": "fuzz"}, "insecureSkipTLSVerify": True}},
    ("authentication.k8s.io/v1", "TokenReview"): {"spec": {"token": "a.b.c", "audiences": ["x"]}},
    ("authentication.k8s.io/v1", "TokenRequest"): {"spec": {"audiences": ["x"], "expirationSeconds": 600, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "a"}}},
    ("authorization.k8s.io/v1", "SubjectAccessReview"): {"spec": {"user": "x", "groups": ["g"], "extra": {"a": ["b"]}, "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "fuzz", "labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}}}},
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview"): {"spec": {"nonResourceAttributes": {"path": "/x", "verb": "get"}}},
    ("authorization.k8s.io/v1", "LocalSubjectAccessReview"): {"spec": {"user": "x", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "fuzz"}}},
    ("authorization.k8s.io/v1", "SelfSubjectRulesReview"): {"spec": {"namespace": "fuzz"}},
    ("fuzz.example.com/v1", "Widget"): WIDGET,
    ("fuzz.example.com/v2beta1", "Widget"): WIDGET,
}  # fmt: skip
NAMES = {  # where a name may not be anything
    "CustomResourceDefinition": ("gadgets.fuzz.example.com",), "APIService": ("v1.else.example.com",), "IPAddress": ("10.250.0.5", "10.250.0.6"),
}  # fmt: skip


def seed(group_version: str, kind: str) -> Any:
    """A copy, or None."""
    held = SEEDS.get((group_version, kind))
    return None if held is None else json.loads(json.dumps(held))


def harmless(made: Any) -> Any:
    """Nothing that would stop or slow the requests after it: webhooks are never reached, and never needed."""
    hooks = made.get("webhooks") if isinstance(made, dict) else None
    for hook in hooks if isinstance(hooks, list) else ():
        if isinstance(hook, dict):
            hook["failurePolicy"] = "Ignore"
            hook["rules"] = RULES
    return made
