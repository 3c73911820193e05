"""What a node may do: read what the Pods bound to it need, and write what is its own.

`decide` is asked of the kinds that are divided among nodes; of all others a fixed role says. What a
Pod refers to is looked up among the Pods of its namespace when it is asked for.
Source: https://kubernetes.io/docs/reference/access-authn-authz/node/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from jindou.control.store import Store
from jindou.objects.kinds import Object
from jindou.objects.selectors import parse_fields

GROUP = "system:nodes"
PREFIX = "system:node:"
LEASES = "kube-node-lease"
READ = ("get", "list", "watch")
CHANGE = ("update", "patch")
NAMED = {"secrets": "secret", "configmaps": "configMap", "persistentvolumeclaims": "claim"}

Reference = tuple[str, str]  # kind and name


def name_of(user: str, groups: tuple[str, ...]) -> str:
    """The node that a user is; "" for anybody else."""
    return user.removeprefix(PREFIX) if user.startswith(PREFIX) and GROUP in groups else ""


def decide(
    store: Store,
    node: str,
    verb: str,
    group: str,
    resource: str,
    namespace: str,
    name: str,
    fields: str,
) -> bool | None:
    """None where the kind is not divided."""
    plural, _, part = resource.partition("/")
    if (group, plural) == ("coordination.k8s.io", "leases"):
        own = verb == "create" or (verb in ("get", "delete", *CHANGE) and name == node)
        return not part and namespace == LEASES and own
    if group:
        return None
    if plural == "nodes":
        return _node(node, verb, part, name)
    if plural == "pods":
        return _pod(store, node, verb, part, namespace, name, fields)
    if plural in NAMED:
        allowed = READ if plural != "persistentvolumeclaims" else ("get",)
        if part or verb not in allowed or not (namespace and name):
            return False
        return refers(store, node, namespace, (NAMED[plural], name))
    if plural == "serviceaccounts":
        if (verb, part) == ("create", "token"):
            return bool(name) and refers(store, node, namespace, ("account", name))
        return verb == "get" and not part and refers(store, node, namespace, ("account", name))
    return None


def _node(node: str, verb: str, part: str, name: str) -> bool:
    if part == "":
        return verb == "create" or (verb in (*READ, *CHANGE) and name == node)
    return part == "status" and verb in CHANGE and name == node


def _pod(
    store: Store, node: str, verb: str, part: str, namespace: str, name: str, fields: str
) -> bool:
    if not part and verb in ("list", "watch"):
        if any(f == ("spec.nodeName", node, True) for f in parse_fields(fields)):
            return True
        return bool(name) and _bound(store, node, namespace, name)
    if not part and verb == "create":
        return True
    allowed = {"": ("get", "delete"), "status": CHANGE, "eviction": ("create",)}.get(part, ())
    return verb in allowed and _bound(store, node, namespace, name)


def _bound(store: Store, node: str, namespace: str, name: str) -> bool:
    """Is there such a Pod, and is it on this node? One that is gone is nobody's."""
    stored = store.get(f"core/pods/{namespace}/{name}")
    if stored is None:
        return True
    return bool((orjson.loads(stored.value).get("spec") or {}).get("nodeName") == node)


def refers(store: Store, node: str, namespace: str, wanted: Reference) -> bool:
    """Does a Pod of this node need it? Only Pods that name both are read."""
    marks = (f'"{node}"'.encode(), wanted[1].encode())
    for stored in store.scan(f"core/pods/{namespace}/").items:
        value = stored.value
        if wanted[0] == "claim" or all(mark in value for mark in marks):
            pod = orjson.loads(value)
            if (pod.get("spec") or {}).get("nodeName") == node and wanted in references(pod):
                return True
    return False


def references(pod: Object) -> set[Reference]:
    spec = pod.get("spec") or {}
    found: set[Reference] = {("account", spec.get("serviceAccountName") or "default")}
    found |= {("secret", one.get("name", "")) for one in spec.get("imagePullSecrets") or ()}
    for volume in spec.get("volumes") or ():
        found |= set(_of_volume(volume))
        if volume.get("ephemeral") is not None:
            found.add(("claim", f"{pod['metadata']['name']}-{volume['name']}"))
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            found |= set(_of_container(container))
    return found


def _of_volume(volume: Object) -> Iterator[Reference]:
    projected = (volume.get("projected") or {}).get("sources") or ()
    for source in (volume, *projected):
        if (secret := source.get("secret")) is not None:
            yield "secret", secret.get("secretName") or secret.get("name", "")
        if (config := source.get("configMap")) is not None:
            yield "configMap", config.get("name", "")
    if (claim := volume.get("persistentVolumeClaim")) is not None:
        yield "claim", claim.get("claimName", "")
    for held in volume.values():
        if isinstance(held, dict):
            for key in ("secretRef", "nodePublishSecretRef"):
                if isinstance(held.get(key), dict):
                    yield "secret", held[key].get("name", "")


def _of_container(container: Object) -> Iterator[Reference]:
    def of(held: Any) -> str:
        return str((held or {}).get("name", ""))

    for source in container.get("envFrom") or ():
        yield "secret", of(source.get("secretRef"))
        yield "configMap", of(source.get("configMapRef"))
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield "secret", of(source.get("secretKeyRef"))
        yield "configMap", of(source.get("configMapKeyRef"))
