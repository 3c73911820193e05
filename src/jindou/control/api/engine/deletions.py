"""What a delete does to an object: takes it away at once, or marks it and leaves it to its finalizers.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/ and
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

from jindou.control.api.engine.calls import DeleteOptions
from jindou.control.api.engine.writes import has_generation, moment, stamp
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import copy
from jindou.objects.kinds import Object

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
CLEAN_UP = "customresourcecleanup.apiextensions.k8s.io"
DEFAULT_GRACE = 30
LAST = "9999-12-31T23:59:59Z"
TERMINATING = {
    "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    "reason": "InstanceDeletionPending",
    "status": "True",
    "type": "Terminating",
}


RETURNED = frozenset(
    {
        *(("", name) for name in (
            "Namespace", "PersistentVolume", "PersistentVolumeClaim", "Pod", "PodTemplate",
            "ResourceQuota", "Service", "ServiceAccount",
        )),
        *(("storage.k8s.io", name) for name in (
            "CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass",
        )),
        *(("resource.k8s.io", name) for name in ("DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice")),
    }
)  # fmt: skip
"""Kinds whose deletion is answered with the object, even where it is gone."""
ORPHANS = frozenset({("", "ReplicationController"), ("batch", "Job")})
"""Kinds whose dependents stay where a deletion does not say otherwise."""


class Plan(NamedTuple):
    """`marked` is the object to store instead; None: it goes. `changed` is False where it waits already.
    `last` is what is seen of it before it goes: a Pod is marked first, however short its end is."""

    marked: Object | None
    changed: bool = True
    last: Object | None = None


def is_returned(resource: Resource) -> bool:
    return (resource.kind.group, resource.kind.name) in RETURNED


def orphans(resource: Resource, options: DeleteOptions) -> bool:
    """Do dependents stay only because nobody said a word?"""
    place = (resource.kind.group, resource.kind.name)
    return not options.propagation and place in ORPHANS


def plan(resource: Resource, old: Object, options: DeleteOptions, now: datetime.datetime) -> Plan:
    grace = grace_of(resource, old, options)
    propagation = options.propagation
    if orphans(resource, options) and not {ORPHAN, FOREGROUND} & {*old["metadata"].get("finalizers", ())}:  # fmt: skip
        propagation = "Orphan"
    finalizers = finalizers_of(old, propagation)
    if is_definition(resource) and "deletionTimestamp" not in old["metadata"]:
        finalizers = [*finalizers, *(() if CLEAN_UP in finalizers else (CLEAN_UP,))]
    held = bool(finalizers) or (
        is_namespace(resource) and bool((old.get("spec") or {}).get("finalizers"))
    )
    gone = not held and grace == 0
    if gone and (not is_pod(resource) or "deletionTimestamp" in old["metadata"]):
        return Plan(None)
    obj = dict(old) if is_pod(resource) else copy(old)
    meta = obj["metadata"] = dict(old["metadata"])
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    if "deletionTimestamp" not in meta:
        meta["deletionTimestamp"] = end_of(now, grace)
        if not is_namespace(resource) and not is_definition(resource):
            meta["deletionGracePeriodSeconds"] = grace
        if has_generation(resource) and not is_definition(resource):
            meta["generation"] = meta.get("generation", 1) + 1
    else:
        shorten(meta, grace, now)
    if is_namespace(resource):
        obj.setdefault("status", {})["phase"] = "Terminating"
    if is_definition(resource) and "deletionTimestamp" not in old["metadata"]:
        terminating = {"lastTransitionTime": stamp(now), **TERMINATING}
        obj.setdefault("status", {}).setdefault("conditions", []).append(terminating)
    return Plan(None, last=obj) if gone else Plan(obj, obj != old)


def end_of(begun: datetime.datetime, grace: int) -> str:
    """A grace may be any number; times end with the year 9999."""
    try:
        return stamp(begun + datetime.timedelta(seconds=grace))
    except OverflowError:
        return LAST


def shorten(meta: Object, grace: int, now: datetime.datetime) -> None:
    """A later delete may only bring the end nearer."""
    before = meta.get("deletionGracePeriodSeconds", 0)
    if grace >= before:
        return
    end = meta["deletionTimestamp"]
    begun = now if end == LAST else moment(end) - datetime.timedelta(seconds=before)
    meta["deletionTimestamp"] = end_of(begun, grace)
    meta["deletionGracePeriodSeconds"] = grace


def grace_of(resource: Resource, old: Object, options: DeleteOptions) -> int:
    """Only a Pod that runs somewhere goes gracefully."""
    if not is_pod(resource):
        return 0
    spec, phase = old.get("spec") or {}, (old.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    grace = options.grace
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE)
    return 1 if grace < 0 else int(grace)


def finalizers_of(old: Object, propagation: str) -> list[str]:
    held = list(old["metadata"].get("finalizers") or ())
    if propagation:
        held = [name for name in held if name not in (ORPHAN, FOREGROUND)]
        if propagation != "Background":
            held.append(ORPHAN if propagation == "Orphan" else FOREGROUND)
    return held


def is_pod(resource: Resource) -> bool:
    return (resource.kind.group, resource.kind.name) == ("", "Pod")


def is_namespace(resource: Resource) -> bool:
    return (resource.kind.group, resource.kind.name) == ("", "Namespace")


def is_definition(resource: Resource) -> bool:
    return resource.kind.name == "CustomResourceDefinition"


def finished(resource: Resource, obj: Object) -> bool:
    """After an update: is it marked for deletion with nothing left that holds it?"""
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta or meta.get("finalizers"):
        return False
    if is_namespace(resource):
        return not (obj.get("spec") or {}).get("finalizers")
    return not meta.get("deletionGracePeriodSeconds")
