"""Subresources of Pods that are verbs of their own: bind one to a node, evict one.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

from __future__ import annotations

from jindou.control.api import status
from jindou.control.api.engine import admitting, encoding, evictions, pods
from jindou.control.api.engine.calls import Call, DeleteOptions, delete_options
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.resources.registry import Resource
from jindou.objects.errors import BadRequest, Conflict
from jindou.objects.kinds import POD, Kind, Object

BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
EVICTIONS = ("policy/v1", "policy/v1beta1")
UNKNOWN = '{0} in version "{1}" cannot be handled as a Eviction: no kind "{0}" is registered for version "{1}"'
TRIES = 20

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
    binding = await admitting.decided(
        engine.chain, "CREATE", pod, "binding", namespace, name, binding, call
    )

    def wanted(old: Object) -> Object:
        return pods.bound(old, binding)

    await engine.rewrite(pod, namespace, name, wanted, call, "binding")
    return SUCCESS


async def evict(
    engine: Engine, resource: Resource, namespace: str, name: str, eviction: Object, call: Call
) -> Object:
    """Delete a Pod, unless a PodDisruptionBudget forbids it (TooManyRequests)."""
    kind, version = eviction.get("kind", "Eviction"), eviction.get("apiVersion", EVICTIONS[0])
    if kind != "Eviction" or version not in EVICTIONS:
        raise BadRequest(UNKNOWN.format(kind, version))
    if (eviction.get("metadata") or {}).get("name", "") != name:
        raise BadRequest("name in URL does not match name in Eviction object")
    eviction = await admitting.decided(
        engine.chain, "CREATE", resource, "eviction", namespace, name, eviction, call
    )
    options = delete_options(eviction.get("deleteOptions") or {}, {})
    call = Call(call.user, call.manager, dry_run=call.dry_run or options.dry_run)
    options = options._replace(dry_run=call.dry_run)
    for _ in range(TRIES):
        pod = engine.read(resource, namespace, name)
        if evictions.disrupts(pod):
            break
        try:
            kept = _unchanged(options, pod) if evictions.must_be_unchanged(pod) else options
            await _take_away(engine, resource, namespace, name, kept, call)
            return SUCCESS
        except Conflict:
            if options.revision:
                raise
    else:
        raise status.conflict(POD, name)
    budgets = _budgets(engine, namespace, pod)
    if len(budgets) > 1:
        return several()
    free = bool(budgets) and evictions.is_free(pod, budgets[0])
    if budgets and not free:
        await _spend(engine, namespace, budgets[0]["metadata"]["name"], name, call)
    kept = _unchanged(options, pod) if free else options
    try:
        await _take_away(engine, resource, namespace, name, kept, call)
    except Conflict:
        if free and not options.revision:
            raise evictions.being_processed(budgets[0]["metadata"]["name"]) from None
        raise
    return SUCCESS


def several() -> Object:
    """A failure of the server's own, which has no reason."""
    head = {name: SUCCESS[name] for name in ("kind", "apiVersion", "metadata")}
    return {**head, "status": "Failure", "message": evictions.SEVERAL, "code": 500}


def _unchanged(options: DeleteOptions, pod: Object) -> DeleteOptions:
    revision = options.revision or pod["metadata"]["resourceVersion"]
    return options._replace(revision=revision)


def _budgets(engine: Engine, namespace: str, pod: Object) -> list[Object]:
    resource = engine.registry.of(BUDGET)
    listing = engine.store.scan(f"{resource.prefix}{namespace}/")
    held = [encoding.loads(resource, stored.value) for stored in listing.items]
    return evictions.budgets_of(pod, held)


async def _spend(engine: Engine, namespace: str, budget: str, pod: str, call: Call) -> None:
    """Take one disruption from a budget, before the Pod goes."""

    def wanted(old: Object) -> Object:
        return evictions.spent(old, pod)

    own = Call(call.user, "kube-apiserver", dry_run=call.dry_run)
    await engine.rewrite(engine.registry.of(BUDGET), namespace, budget, wanted, own, "status")


async def _take_away(
    engine: Engine,
    resource: Resource,
    namespace: str,
    name: str,
    options: DeleteOptions,
    call: Call,
) -> None:
    if not call.dry_run:

        def wanted(old: Object) -> Object:
            _check(options, old)
            return evictions.condemned(old)

        written = await engine.rewrite(
            resource, namespace, name, wanted, call, "status", tracked=False
        )
        if options.revision:
            options = options._replace(revision=str(written.revision))
    await engine.delete(resource, namespace, name, options, call, judged=False)


def _check(options: DeleteOptions, pod: Object) -> None:
    """As the original words it, which is not how a delete does."""
    meta = pod["metadata"]
    says = ""
    if options.uid and options.uid != meta["uid"]:
        says = f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta['uid']}). The object might have been deleted and then recreated"
    elif options.revision and options.revision != meta["resourceVersion"]:
        says = f"the ResourceVersion in the precondition ({options.revision}) does not match the ResourceVersion in record ({meta['resourceVersion']}). The object might have been modified"
    if says:
        raise status.conflict(POD._replace(plural="Pod"), meta["name"], says)
