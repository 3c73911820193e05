"""What the cloud itself adds to objects on their way in, or refuses: in place, before they are judged.

The order is that of the real admission plugins: LimitRanger, ServiceAccount, Priority,
TaintNodesByCondition, DefaultTolerationSeconds, DefaultStorageClass, StorageObjectInUseProtection,
RuntimeClass. Objects read from the store are shared and never changed.
Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson

from jindou.control.api.access import escalation, nodes
from jindou.control.api.access.guard import User
from jindou.control.api.access.reviews import user_info
from jindou.control.api.access.roles import GROUP
from jindou.control.api.admission import limits, node_restriction
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import copy
from jindou.control.api.rules.defaults.pods import qos_class
from jindou.control.store import Store
from jindou.objects.errors import Forbidden
from jindou.objects.kinds import Object

MIRROR = "kubernetes.io/config.mirror"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_VOLUME = "kube-api-access-"
SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
UNREADY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


async def admit(
    verb: str, resource: Resource, obj: Object, old: Object | None, user: User, store: Store
) -> None:
    """`verb` is create or update; raises Forbidden."""
    kind = resource.kind
    place = (kind.group, kind.name)
    if verb == "update" and place == ("", "Pod"):
        tolerate_unready(obj["spec"])
        for name in ("priority", "preemptionPolicy"):
            if old is not None and name in old["spec"]:
                obj["spec"].setdefault(name, old["spec"][name])
    if verb == "create":
        if place == ("", "Pod"):
            admit_pod(obj, store)
        elif place == ("", "PersistentVolumeClaim"):
            admit_claim(obj, store)
            protect(obj, "kubernetes.io/pvc-protection")
        elif place == ("", "PersistentVolume"):
            protect(obj, "kubernetes.io/pv-protection")
        elif place == ("", "Node"):
            taint_unready(obj)
        elif place == ("certificates.k8s.io", "CertificateSigningRequest"):
            asked_by(obj, user)
    if nodes.GROUP in user.groups:
        node_restriction.check(verb, resource, obj, old, user)
    if place == ("scheduling.k8s.io", "PriorityClass"):
        one_default(obj, store)
    if kind.group == GROUP:
        escalation.check(resource, obj, old, user, store)


def asked_by(request: Object, user: User) -> None:
    """Who asks for a certificate is not for him to say."""
    spec = request.setdefault("spec", {})
    for name in ("username", "uid", "groups", "extra"):
        spec.pop(name, None)
    spec.update(user_info(user))


def admit_pod(pod: Object, store: Store) -> None:
    namespace = pod["metadata"]["namespace"]
    ranges = objects(store, f"core/limitranges/{namespace}/")
    if ranges:
        limit(pod, ranges)
    service_account(pod, store)
    priority(pod, store)
    tolerate_unready(pod["spec"])
    runtime_class(pod, store)


def refused(kind: str, obj: Object, says: str) -> Forbidden:
    name = obj["metadata"].get("name", "")
    plural, _, group = kind.partition(".")
    details = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return Forbidden(f'{kind} "{name}" is forbidden: {says}', details)


@lru_cache(256)
def _decoded(value: bytes) -> Any:
    return orjson.loads(value)


def objects(store: Store, prefix: str) -> list[Object]:
    return [_decoded(stored.value) for stored in store.scan(prefix).items]


def read(store: Store, key: str) -> Object | None:
    stored = store.get(key)
    if stored is None:
        return None
    found: Object = _decoded(stored.value)
    return found


# ---------------------------------------------------------------- service accounts


def service_account(pod: Object, store: Store) -> None:
    """Who the pod is: its account, the token of it, and the secrets for its images."""
    spec, meta = pod["spec"], pod["metadata"]
    if MIRROR in (meta.get("annotations") or {}):
        return
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    namespace = meta["namespace"]
    account = read(store, f"core/serviceaccounts/{namespace}/{name}")
    if account is None:
        raise refused(
            "pods",
            pod,
            f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found',
        )
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken", True)
    if wanted:
        mount_token(spec)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = copy(account["imagePullSecrets"])


def mount_token(spec: Object) -> None:
    volumes = spec.get("volumes") or []
    held = next((v["name"] for v in volumes if v.get("name", "").startswith(TOKEN_VOLUME)), "")
    name = held or TOKEN_VOLUME + "".join(random.choices(SUFFIX, k=5))
    needed = False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        mounts = container.get("volumeMounts") or []
        if any(mount.get("mountPath") == TOKEN_PATH for mount in mounts):
            continue
        needed = True
        container["volumeMounts"] = [
            *mounts,
            {"name": name, "readOnly": True, "mountPath": TOKEN_PATH},
        ]
    if needed and not held:
        spec["volumes"] = [*volumes, token_volume(name)]


def token_volume(name: str) -> Object:
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {
                    "configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    }
                },
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
            ],
            "defaultMode": 420,
        },
    }


# ---------------------------------------------------------------- priority


def priority(pod: Object, store: Store) -> None:
    spec = pod["spec"]
    name = spec.get("priorityClassName", "")
    prefix = "scheduling.k8s.io/priorityclasses/"
    found: Object | None = None
    if name:
        found = read(store, f"{prefix}/{name}")
        if found is None:
            raise refused("pods", pod, f"no PriorityClass with name {name} was found")
    else:
        defaults = [c for c in objects(store, prefix) if c.get("globalDefault")]
        if defaults:
            found = min(defaults, key=lambda c: int(c.get("value", 0)))
            spec["priorityClassName"] = found["metadata"]["name"]
    value = (found or {}).get("value", 0)
    policy = (found or {}).get("preemptionPolicy") or "PreemptLowerPriority"
    if spec.get("priority") not in (None, value):
        raise refused(
            "pods",
            pod,
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name",
        )
    if spec.get("preemptionPolicy") not in (None, policy):
        raise refused(
            "pods",
            pod,
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name",
        )
    spec["priority"], spec["preemptionPolicy"] = value, policy


def one_default(obj: Object, store: Store) -> None:
    if not obj.get("globalDefault"):
        return
    for other in objects(store, "scheduling.k8s.io/priorityclasses/"):
        name = other["metadata"]["name"]
        if other.get("globalDefault") and name != obj["metadata"].get("name"):
            raise refused(
                "priorityclasses.scheduling.k8s.io",
                obj,
                f"PriorityClass {name} is already marked as default. Only one default can exist",
            )


# ---------------------------------------------------------------- nodes


def tolerate_unready(spec: Object) -> None:
    """A pod stays for five minutes on a node that has gone silent, unless it says otherwise."""
    held = spec.get("tolerations") or []
    missing = [
        key
        for key in UNREADY
        if not any(
            toleration.get("key", "") in ("", key)
            and toleration.get("effect", "") in ("", "NoExecute")
            for toleration in held
        )
    ]
    if missing:
        spec["tolerations"] = [
            *held,
            *(
                {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
                for key in missing
            ),
        ]


def taint_unready(node: Object) -> None:
    """Nothing is placed on a new node before it is known to be ready."""
    spec = node.setdefault("spec", {})
    taints = spec.get("taints") or []
    wanted = (UNREADY[0], "NoSchedule")
    if all((taint.get("key"), taint.get("effect")) != wanted for taint in taints):
        spec["taints"] = [*taints, {"key": wanted[0], "effect": wanted[1]}]


def runtime_class(pod: Object, store: Store) -> None:
    spec = pod["spec"]
    name = spec.get("runtimeClassName")
    if not name:
        if spec.get("overhead"):
            raise refused(
                "pods",
                pod,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )
        return
    found = read(store, f"node.k8s.io/runtimeclasses//{name}")
    if found is None:
        raise refused("pods", pod, f'pod rejected: RuntimeClass "{name}" not found')
    overhead = (found.get("overhead") or {}).get("podFixed") or {}
    if spec.get("overhead") and spec["overhead"] != overhead:
        raise refused(
            "pods",
            pod,
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        )
    if overhead:
        spec["overhead"] = copy(overhead)
    scheduling = found.get("scheduling") or {}
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.get(key, value) != value:
            raise refused(
                "pods",
                pod,
                f"pod rejected: conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {selector[key]}",
            )
        selector[key] = value
    if selector:
        spec["nodeSelector"] = selector
    _add_missing(spec, "tolerations", scheduling.get("tolerations") or ())


def _add_missing(spec: Object, name: str, items: Iterable[Any]) -> None:
    held = spec.get(name) or []
    added = [copy(item) for item in items if item not in held]
    if added:
        spec[name] = [*held, *added]


# ---------------------------------------------------------------- limits, storage


def limit(pod: Object, ranges: list[Object]) -> None:
    """Whether what it leaves is within the limits is judged when all that mutate have been asked."""
    for held in ranges:
        if notes := limits.fill(pod["spec"], held):
            annotations = pod["metadata"].setdefault("annotations", {})
            annotations["kubernetes.io/limit-ranger"] = (
                f"LimitRanger plugin set: {'; '.join(notes)}"
            )
    if ranges and "qosClass" in (pod.get("status") or {}):
        pod["status"]["qosClass"] = qos_class(pod["spec"])


def protect(obj: Object, finalizer: str) -> None:
    """Storage in use stays until nobody uses it any more."""
    held = obj["metadata"].setdefault("finalizers", [])
    if finalizer not in held:
        held.append(finalizer)


def admit_claim(claim: Object, store: Store) -> None:
    spec = claim.setdefault("spec", {})
    if spec.get("storageClassName") is None:
        classes = [
            found
            for found in objects(store, "storage.k8s.io/storageclasses/")
            if (found["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
        ]
        if classes:
            newest = max(found["metadata"]["creationTimestamp"] for found in classes)
            spec["storageClassName"] = min(
                found["metadata"]["name"]
                for found in classes
                if found["metadata"]["creationTimestamp"] == newest
            )
