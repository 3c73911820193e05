"""Subresources of Pods that are verbs of their own: bind one to a node, evict one.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

from __future__ import annotations

from jindou.control.api.engine import encoding, pods
from jindou.control.api.engine.calls import Call, delete_options
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.resources.registry import Resource
from jindou.objects.kinds import Object

SUCCESS: Object = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Success",
    "code": 201,
}


async def bind(
    engine: Engine, pod: Resource, namespace: str, name: str, binding: Object, call: Call
) -> Object:
    """Raises Conflict where the Pod has a node already."""

    def wanted(old: Object) -> Object:
        return pods.bound(old, binding)

    await engine.rewrite(pod, namespace, name, wanted, call, "binding")
    return SUCCESS


async def evict(
    engine: Engine, resource: Resource, namespace: str, name: str, eviction: Object, call: Call
) -> Object:
    """Delete a Pod, unless a PodDisruptionBudget forbids it (TooManyRequests)."""
    pod = engine.read(resource, namespace, name)
    options = delete_options(eviction.get("deleteOptions") or {}, {})
    if options.dry_run:
        call = Call(call.user, call.manager, dry_run=True)
    if pods.disrupts(pod):
        await _spend(engine, namespace, pod, call)
    await engine.delete(resource, namespace, name, options, call)
    return SUCCESS


async def _spend(engine: Engine, namespace: str, pod: Object, call: Call) -> None:
    """Take one disruption from the budget that the Pod is under."""
    resource = engine.registry.by_url("policy", "v1", "poddisruptionbudgets")
    assert resource is not None
    listing = engine.store.scan(f"{resource.prefix}{namespace}/")
    mine = pods.budgets_of(
        pod, [encoding.loads(resource, stored.value) for stored in listing.items]
    )
    if pods.spend(pod, mine) is None:
        return

    def wanted(old: Object) -> Object:
        return pods.spend(pod, [old]) or old

    await engine.rewrite(resource, namespace, mine[0]["metadata"]["name"], wanted, call, "status")
