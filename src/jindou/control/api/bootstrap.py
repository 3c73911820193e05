"""What is there from the first start: namespaces, roles, priority, runtime and storage classes, and the
Services through which pods reach the API and others find the name server. Written again only where it is missing or,
for roles and the addresses of the API, where it is no longer right.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence

from jindou.client import Client
from jindou.control.api.access.roles import (
    BINDINGS,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLES,
    cluster_role,
    cluster_role_binding,
)
from jindou.objects.errors import AlreadyExists, Invalid, NotFound
from jindou.objects.kinds import (
    CONFIG_MAP,
    ENDPOINT_SLICE,
    ENDPOINTS,
    NAMESPACE,
    PRIORITY_CLASS,
    RUNTIME_CLASS,
    SERVICE,
    STORAGE_CLASS,
    Kind,
    Object,
    Ref,
)
from jindou.settings import Settings

ROLE = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
log = logging.getLogger("jindou.api")
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
PRIORITIES = (
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
)
DNS_PORTS = (
    {"name": "dns", "port": 53, "protocol": "UDP"},
    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
)
RUNTIMES = ("crun", "runc")
STORAGE = "standard"
PROVISIONER = "jindou.io/node-folder"
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"


async def bootstrap(client: Client, settings: Settings, address: str = "") -> None:
    """`address` is where pods reach the API; "" means where the API listens."""
    where = address or settings.api_address
    await asyncio.gather(
        *(ensure(client, NAMESPACE, {"metadata": {"name": name}}) for name in NAMESPACES)
    )
    await asyncio.gather(
        *(ensure(client, PRIORITY_CLASS, priority_class(*one)) for one in PRIORITIES),
        *(
            ensure(client, RUNTIME_CLASS, {"metadata": {"name": name}, "handler": name})
            for name in RUNTIMES
        ),
        ensure(client, STORAGE_CLASS, storage_class()),
        *(ensure(client, CLUSTER_ROLE, cluster_role(name), ("rules",)) for name in ROLES),
        *(ensure(client, CLUSTER_ROLE_BINDING, cluster_role_binding(name)) for name in BINDINGS),
        serve(
            client,
            kubernetes_service(settings),
            where,
            [{"name": "https", "port": settings.api_port, "protocol": "TCP"}],
        ),
    )
    if not settings.pretend:
        try:
            await serve(client, dns_service(settings), settings.gateways[0], DNS_PORTS)
        except Invalid as error:  # somebody has the address already
            log.warning("%s", error)


AUTHENTICATION = "extension-apiserver-authentication"


async def publish(client: Client, data: dict[str, str] | None) -> None:
    """What servers behind this one need in order to believe it, and who may read that."""
    if data is None:
        return
    api, reader = "rbac.authorization.k8s.io", f"{AUTHENTICATION}-reader"
    meta = {
        "namespace": "kube-system",
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTO_UPDATE: "true"},
    }
    rule = {
        "verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"],
        "resourceNames": [AUTHENTICATION],
    }  # fmt: skip
    users = ("system:kube-controller-manager", "system:kube-scheduler")
    binding = {
        "metadata": {**meta, "name": f"system::{reader}"},
        "roleRef": {"apiGroup": api, "kind": "Role", "name": reader},
        "subjects": [{"kind": "User", "apiGroup": api, "name": name} for name in users],
    }
    place = {"name": AUTHENTICATION, "namespace": "kube-system"}
    await ensure(client, CONFIG_MAP, {"metadata": place, "data": data}, ("data",))
    await ensure(client, ROLE, {"metadata": {**meta, "name": reader}, "rules": [rule]}, ("rules",))
    await ensure(client, ROLE_BINDING, binding)


async def serve(client: Client, service: Object, address: str, ports: Sequence[Object]) -> None:
    """A Service that leads to a program of this machine."""
    meta = service["metadata"]
    place = (meta["namespace"], meta["name"], address, ports)
    await ensure(client, SERVICE, service)
    await ensure(client, ENDPOINTS, endpoints(*place), ("subsets",))
    await ensure(client, ENDPOINT_SLICE, endpoint_slice(*place), ("endpoints", "ports"))


async def ensure(client: Client, kind: Kind, obj: Object, parts: tuple[str, ...] = ()) -> None:
    """Create what is missing; of what is there, bring `parts` up to date."""
    meta = obj["metadata"]
    ref = Ref(kind, meta.get("namespace", ""), meta["name"])
    try:
        held = await client.get(ref)
    except NotFound:
        try:
            await client.create(kind, {"apiVersion": kind.api_version, "kind": kind.name, **obj})
        except AlreadyExists:
            await ensure(client, kind, obj, parts)
        return
    if (held["metadata"].get("annotations") or {}).get(AUTO_UPDATE) == "false":
        return
    if any(held.get(part) != obj.get(part) for part in parts):
        if kind is CLUSTER_ROLE and "aggregationRule" in held:
            return
        await client.update(kind, {**held, **{part: obj[part] for part in parts}})


def priority_class(name: str, value: int, says: str) -> Object:
    return {"metadata": {"name": name}, "value": value, "description": says}


def storage_class() -> Object:
    """Folders of the node that the first Pod goes to."""
    return {
        "metadata": {
            "name": STORAGE,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def kubernetes_service(settings: Settings) -> Object:
    first = ipaddress.ip_network(settings.service_cidr).network_address + 1
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": str(first),
            "ports": [
                {
                    "name": "https",
                    "protocol": "TCP",
                    "port": 443,
                    "targetPort": settings.api_port,
                }
            ],
        },
    }


def dns_service(settings: Settings) -> Object:
    """Where people and tools look for the name server. Pods ask the node's own address."""
    tenth = ipaddress.ip_network(settings.service_cidr).network_address + 10
    return {
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": str(tenth),
            "ports": [{**port, "targetPort": port["port"]} for port in DNS_PORTS],
        },
    }


def endpoints(namespace: str, name: str, address: str, ports: Sequence[Object]) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": address}], "ports": list(ports)}],
    }


def endpoint_slice(namespace: str, name: str, address: str, ports: Sequence[Object]) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": list(ports),
    }
