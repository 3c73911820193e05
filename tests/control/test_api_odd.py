"""Objects with any value in any place get an answer that blames the client, never a failure of ours."""

from __future__ import annotations

import copy
import random

import pytest
import yaml

from jindou.control.api.resources.protobuf import MAGIC, decode
from jindou.control.api.resources.registry import Registry
from jindou.objects.errors import BadRequest
from tests.control.apis import on_api

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.count, statusReplicasPath: .status.count}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [count]
            properties:
              count: {type: integer, minimum: 1, default: 4, multipleOf: 2}
              size: {type: string, enum: [small, large], pattern: "^[sl]", maxLength: 9}
              list: {type: array, maxItems: 3, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [a], items: {type: object, required: [a], properties: {a: {type: integer}}}}
              map: {type: object, additionalProperties: {type: integer}}
              either: {anyOf: [{type: integer}, {type: string}], x-kubernetes-int-or-string: true}
          status: {type: object, properties: {count: {type: integer}}}
"""
OBJECTS = """
apiVersion: example.com/v1
kind: Thing
metadata: {name: o}
spec: {size: small, count: 2, list: [{a: 1}], map: {x: 1}, either: 3}
---
apiVersion: v1
kind: Pod
metadata: {name: o, labels: {a: b}, annotations: {x: y}, ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b}], finalizers: [a.b/c]}
spec:
  nodeSelector: {a: b}
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]}}}
  tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 3}]
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}]
  securityContext: {runAsUser: 1, sysctls: [{name: a, value: b}]}
  initContainers: [{name: i, image: x, restartPolicy: Always}]
  containers:
  - name: a
    image: x:1
    command: [a]
    env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: b}}}]
    envFrom: [{configMapRef: {name: a}}]
    ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]
    resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: 100m}}
    livenessProbe: {exec: {command: [a]}, periodSeconds: 3}
    readinessProbe: {tcpSocket: {port: 80}}
    startupProbe: {grpc: {port: 3}}
    lifecycle: {preStop: {httpGet: {port: 80}}}
    volumeMounts: [{name: v, mountPath: /a}]
    securityContext: {capabilities: {add: [A]}}
  volumes:
  - {name: v, projected: {sources: [{serviceAccountToken: {path: a}}, {configMap: {name: a, items: [{key: a, path: b}]}}, {downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}}]}}
  - {name: e, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: o}
spec: {replicas: 2, strategy: {rollingUpdate: {maxSurge: 1}}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: b}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: o}
spec: {serviceName: a, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: b}]}}, volumeClaimTemplates: [{metadata: {name: c}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: o}
spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}}
---
apiVersion: v1
kind: Service
metadata: {name: o}
spec: {type: NodePort, selector: {a: b}, ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 81}]}
---
apiVersion: v1
kind: Secret
metadata: {name: o}
stringData: {a: b}
data: {c: eA==}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: o}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: D, name: d}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}], behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 3}]}}}
---
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: o1, annotations: {autoscaling.alpha.kubernetes.io/metrics: "[]"}}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: D, name: d}, targetCPUUtilizationPercentage: 3}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: o}
spec: {rules: [{host: a, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 3}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: o}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 3}]}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: o}
roleRef: {kind: Role, name: a, apiGroup: rbac.authorization.k8s.io}
subjects: [{kind: User, name: a}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: o}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: o}
addressType: IPv4
endpoints: [{addresses: [1.2.3.4], conditions: {ready: true}}]
ports: [{port: 3, name: a}]
---
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: o}
regarding: {kind: Pod, name: a, namespace: default}
note: x
reason: r
action: a
type: Normal
eventTime: "2026-01-01T00:00:00.000000Z"
reportingController: example.com/c
reportingInstance: c-1
"""
ODD = [None, 0, -1, "", "x", [], {}, [{}], {"a": 1}, True, 1.5, 10**18, ["x"], [None], {"a": None}, "a" * 300, [[]]]  # fmt: skip
HOW = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


def places(value, path=()):
    yield path
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for name, held in below:
        yield from places(held, (*path, name))


def spoiled(obj, chance):
    """A copy with one or two values replaced or taken out."""
    obj = copy.deepcopy(obj)
    for _ in range(chance.choice((1, 1, 2))):
        *parents, last = chance.choice(
            [p for p in places(obj) if p and p[0] not in ("apiVersion", "kind")]
        )
        held = obj
        for name in parents:
            held = held[name]
        if chance.random() < 0.15:
            del held[last]
        else:
            held[last] = copy.deepcopy(chance.choice(ODD))
    return obj


def url_of(api, obj):
    group, _, version = obj["apiVersion"].rpartition("/")
    kind = api.server.registry.by_kind(group, version, obj["kind"]).kind
    namespace = "/namespaces/default" if kind.namespaced else ""
    return f"{kind.path}{namespace}/{kind.plural}"


SERVERS_OWN = {
    "apply": ("failed to create typed patch object",),
    "strategic": ("does not contain declared merge key", "unknown patch type"),
    "create": ("resourceVersion should not be set on objects to be created",),
}
"""What the original answers with a 500 too."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_can_be_sent_makes_the_server_fail(seed):
    async def scenario(api):
        chance = random.Random(seed)
        await api.ask(
            "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}}
        )
        definition = yaml.safe_load(DEFINITION)
        made = await api.ask("POST", url_of(api, definition), definition)
        assert made.status == 201, made.json["message"]
        objects = list(yaml.safe_load_all(OBJECTS))
        for obj in objects:
            made = await api.ask("POST", url_of(api, obj), obj)
            assert made.status == 201, made.json["message"]
        for _ in range(1500):
            obj = chance.choice(objects)
            url, sent = url_of(api, obj), spoiled(obj, chance)
            one = f"{url}/{obj['metadata']['name']}"
            how = chance.choice(("create", "update", "status", *HOW))
            if how == "create":
                reply = await api.ask("POST", f"{url}?dryRun=All", sent)
            elif how == "update":
                reply = await api.ask("PUT", f"{one}?dryRun=All", sent)
            elif how == "status":
                reply = await api.ask(
                    "PATCH", f"{one}/status?dryRun=All", sent, content_type=HOW["merge"]
                )
            else:
                query = "dryRun=All&fieldManager=me" + ("&force=true" if how == "apply" else "")
                reply = await api.ask("PATCH", f"{one}?{query}", sent, content_type=HOW[how])
            known = reply.status != 500 or any(
                says in reply.json["message"] for says in SERVERS_OWN.get(how, ())
            )
            assert known, (how, sent, reply.json["message"])

    on_api(scenario)


def field(number, data):
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


@pytest.mark.slow
def test_damaged_protobuf_is_a_bad_request():
    probe = field(1, field(2, field(1, b"/x") + field(2, bytes([8, 0, 16, 80]))))
    limits = field(8, field(1, field(1, b"cpu") + field(2, field(1, b"1"))))
    ports = field(6, field(1, b"http") + bytes([24, 80]))
    container = field(1, b"main") + field(2, b"i") + ports + limits + field(10, probe)
    meta = field(1, b"a") + field(8, bytes([8, 100])) + field(11, field(1, b"k") + field(2, b"v"))
    whole = MAGIC + field(1, field(1, b"v1") + field(2, b"Pod"))
    whole += field(2, field(1, meta) + field(2, field(2, container)))
    registry = Registry()
    assert (
        decode(whole, registry)["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] == 80
    )
    chance, decoded = random.Random(1), 0
    for _ in range(5000):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 2))):
            at = chance.randrange(4, len(damaged))
            damaged[at : at + chance.choice((0, 1))] = bytes([chance.randrange(256)])
        try:
            decode(bytes(damaged), registry)
            decoded += 1
        except BadRequest:
            continue
    assert decoded > 100
