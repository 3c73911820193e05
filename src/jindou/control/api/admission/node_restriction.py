"""What a node may not make: other nodes, leases of others, Pods that are not its own mirrors.

What it may change is decided before, by name. Source:
https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from jindou.control.api import status
from jindou.control.api.access import nodes
from jindou.control.api.access.guard import User
from jindou.control.api.resources.registry import Resource
from jindou.objects.kinds import Object

MIRROR = "kubernetes.io/config.mirror"
RESERVED = "node-restriction.kubernetes.io/"


def check(verb: str, resource: Resource, obj: Object, old: Object | None, user: User) -> None:
    """Raises Forbidden."""
    node = nodes.name_of(user.name, user.groups)
    place = resource.kind.group, resource.kind.plural
    says = ""
    if place == ("", "nodes"):
        says = _of_node(node, obj, old)
    elif verb == "create" and place == ("", "pods"):
        says = _of_pod(node, obj)
    elif place == ("coordination.k8s.io", "leases"):
        name = obj["metadata"].get("name", "")
        if name != node:
            says = f'node "{node}" is not allowed to access the lease "{name}"'
            says = f"can only access node lease with the same name as the requesting node: {says}"
    if says:
        raise status.forbidden(resource.kind, obj["metadata"].get("name", ""), says)


def _of_node(node: str, obj: Object, old: Object | None) -> str:
    name = obj["metadata"].get("name", "")
    if name != node:
        return f'node "{node}" is not allowed to modify node "{name}"'
    labels = obj["metadata"].get("labels") or {}
    before = ((old or {}).get("metadata") or {}).get("labels") or {}
    odd = sorted(
        key for key in {*labels, *before} if labels.get(key) != before.get(key) and is_reserved(key)
    )
    if odd:
        return f"is not allowed to modify labels: {', '.join(odd)}"
    if old is not None and (obj.get("spec") or {}).get("taints") != (old.get("spec") or {}).get("taints"):  # fmt: skip
        return f'node "{node}" is not allowed to modify taints'
    return ""


def is_reserved(label: str) -> bool:
    domain = label.rpartition("/")[0]
    return f"{domain}/" == RESERVED or domain.endswith("." + RESERVED.rstrip("/"))


def _of_pod(node: str, pod: Object) -> str:
    meta, spec = pod["metadata"], pod.get("spec") or {}
    if MIRROR not in (meta.get("annotations") or {}):
        return f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
    if spec.get("nodeName") != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    if spec.get("serviceAccountName"):
        return f'node "{node}" can not create pods that reference a service account'
    return ""
