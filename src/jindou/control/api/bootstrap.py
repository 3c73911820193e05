"""What is there from the first start: namespaces, roles, priority and runtime classes, and the
`kubernetes` Service through which pods reach the API. Written again only where it is missing or,
for roles and the addresses of the API, where it is no longer right.
"""

from __future__ import annotations

import asyncio
import ipaddress

from jindou.client import Client
from jindou.control.api.access.roles import (
    BINDINGS,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLES,
    cluster_role,
    cluster_role_binding,
)
from jindou.objects.errors import AlreadyExists, NotFound
from jindou.objects.kinds import (
    ENDPOINT_SLICE,
    ENDPOINTS,
    NAMESPACE,
    PRIORITY_CLASS,
    RUNTIME_CLASS,
    SERVICE,
    Kind,
    Object,
    Ref,
)
from jindou.settings import Settings

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
RUNTIMES = ("crun", "runc")
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
        *(ensure(client, CLUSTER_ROLE, cluster_role(name), ("rules",)) for name in ROLES),
        *(ensure(client, CLUSTER_ROLE_BINDING, cluster_role_binding(name)) for name in BINDINGS),
        ensure(client, SERVICE, kubernetes_service(settings)),
        ensure(client, ENDPOINTS, kubernetes_endpoints(where, settings.api_port), ("subsets",)),
        ensure(
            client,
            ENDPOINT_SLICE,
            kubernetes_slice(where, settings.api_port),
            ("endpoints", "ports"),
        ),
    )


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


def kubernetes_endpoints(address: str, port: int) -> Object:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": address}],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }
        ],
    }


def kubernetes_slice(address: str, port: int) -> Object:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
