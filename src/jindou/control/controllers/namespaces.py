"""Namespaces that are going away: first all that is in them, Pods before the rest, then themselves.

What stays behind, and why, is told in the conditions of the namespace.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.client.retry import Backoff
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import conditions
from jindou.objects.errors import CloudError, Conflict, MethodNotAllowed, NotFound
from jindou.objects.kinds import NAMESPACE, POD, Kind, Object, Ref, ref_of

FINALIZER = "kubernetes"
AT_ONCE = 16


class Remaining(NamedTuple):
    """What was found in a namespace, by kind ("pods.", "deployments.apps") and by finalizer."""

    kinds: dict[str, int]
    finalizers: dict[str, int]
    failures: list[str]


class Namespaces:
    kind = NAMESPACE
    owns: Sequence[Kind] = ()
    name = "namespaces"

    def __init__(self, kinds: Callable[[], Sequence[Kind]]) -> None:
        self._kinds = kinds
        self._backoffs: dict[str, Backoff] = {}

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._namespaces = informers.of(NAMESPACE)
        informers.of(POD).on_change(self._pod_changed)
        self._going: set[str] = set()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and old["metadata"]["namespace"] in self._going:
            self._wake(Ref(NAMESPACE, "", old["metadata"]["namespace"]))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        namespace = self._namespaces.get("", ref.name)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            self._going.discard(ref.name)
            self._backoffs.pop(ref.name, None)
            return None
        if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return None
        self._going.add(ref.name)
        remaining = await self._empty(client, ref.name)
        if not remaining.kinds and not remaining.failures:
            await _finalize(client, namespace)
            return None
        await _tell(client, namespace, plan_conditions(namespace, remaining))
        return self._backoffs.setdefault(ref.name, Backoff(0.1, 15.0)).delay()

    async def _empty(self, client: Client, name: str) -> Remaining:
        """Delete all, and say what was still there after that."""
        remaining = Remaining({}, {}, [])
        kinds = contents(self._kinds())
        await _delete_all(client, POD, name, remaining)
        if remaining.kinds:
            return remaining
        gate = asyncio.Semaphore(4)

        async def delete(kind: Kind) -> None:
            async with gate:
                await _delete_all(client, kind, name, remaining)

        await asyncio.gather(*(delete(kind) for kind in kinds if kind.plural != POD.plural))
        return remaining


def contents(kinds: Sequence[Kind]) -> list[Kind]:
    """Each kind of a namespace once, whichever version is named first."""
    found: dict[tuple[str, str], Kind] = {}
    for kind in kinds:
        if kind.namespaced and "/" not in kind.plural:
            found.setdefault((kind.group, kind.plural), kind)
    return list(found.values())


async def _delete_all(client: Client, kind: Kind, name: str, remaining: Remaining) -> None:
    try:
        items = (await client.find(kind, name)).items
        if items:
            gate = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(_delete(client, kind, obj, gate) for obj in items))
            items = (await client.find(kind, name)).items
    except (NotFound, MethodNotAllowed):  # served no more, or never had objects
        return
    except CloudError as error:
        remaining.failures.append(str(error))
        return
    if items:
        remaining.kinds[f"{kind.plural}.{kind.group}"] = len(items)
    counts = Counter(
        finalizer for obj in items for finalizer in obj["metadata"].get("finalizers") or ()
    )
    for finalizer, count in counts.items():
        remaining.finalizers[finalizer] = remaining.finalizers.get(finalizer, 0) + count


async def _delete(client: Client, kind: Kind, obj: Object, gate: asyncio.Semaphore) -> None:
    if obj["metadata"].get("deletionTimestamp"):
        return
    async with gate:
        try:
            await client.delete(
                ref_of(kind, obj), uid=obj["metadata"]["uid"], propagation="Background"
            )
        except (NotFound, Conflict):
            return


def plan_conditions(namespace: Object, remaining: Remaining) -> list[Object]:
    held = (namespace.get("status") or {}).get("conditions") or []
    discovered = "All resources successfully discovered"
    parsed = "All legacy kube types successfully parsed"
    held = conditions.put(
        held, "NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", discovered
    )
    held = conditions.put(
        held, "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", parsed
    )
    if remaining.failures:
        told = ("True", "ContentDeletionFailed", "; ".join(sorted(set(remaining.failures))))
    else:
        text = "All content successfully deleted, may be waiting on finalization"
        told = ("False", "ContentDeleted", text)
    held = conditions.put(held, "NamespaceDeletionContentFailure", *told)
    if remaining.kinds:
        counts = ", ".join(
            f"{kind} has {count} resource instances"
            for kind, count in sorted(remaining.kinds.items())
        )
        told = ("True", "SomeResourcesRemain", f"Some resources are remaining: {counts}")
    else:
        told = ("False", "ContentRemoved", "All content successfully removed")
    held = conditions.put(held, "NamespaceContentRemaining", *told)
    if remaining.finalizers:
        counts = ", ".join(
            f"{name} in {count} resource instances"
            for name, count in sorted(remaining.finalizers.items())
        )
        text = f"Some content in the namespace has finalizers remaining: {counts}"
        told = ("True", "SomeFinalizersRemain", text)
    else:
        text = "All content-preserving finalizers finished"
        told = ("False", "ContentHasNoFinalizers", text)
    return conditions.put(held, "NamespaceFinalizersRemaining", *told)


async def _tell(client: Client, namespace: Object, told: list[Object]) -> None:
    status = namespace.get("status") or {}
    if told == status.get("conditions"):
        return
    changes = {"status": {"phase": "Terminating", "conditions": told}}
    try:
        await client.patch(ref_of(NAMESPACE, namespace), changes, "status")
    except NotFound:
        return


async def _finalize(client: Client, namespace: Object) -> None:
    rest = [name for name in namespace["spec"]["finalizers"] if name != FINALIZER]
    namespace = {**namespace, "spec": {**namespace["spec"], "finalizers": rest}}
    try:
        await client.update(NAMESPACE, namespace, "finalize")
    except NotFound:
        return
