"""What an object becomes on its way into the store: pure steps of create and update.

The order is that of the real server: system fields are taken from it or from the stored object,
parts that the request may not touch are restored, defaults are filled in, and only then is it
judged. Nothing here waits or writes.
"""

from __future__ import annotations

import datetime
import os
import random
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jindou.control.api import status
from jindou.control.api.engine import service_updates
from jindou.control.api.engine.service_updates import restore
from jindou.control.api.resources.definitions import Root
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import apply_defaults as schema_defaults
from jindou.control.api.resources.schema import copy
from jindou.control.api.resources.zeros import fill_zeros
from jindou.control.api.rules import updates, validation
from jindou.control.api.rules.cluster import certificates
from jindou.control.api.rules.custom import structural
from jindou.control.api.rules.defaults import kinds as defaults
from jindou.control.api.rules.defaults import workloads as workload_defaults
from jindou.control.api.rules.names import invalid
from jindou.control.api.rules.warnings import told as warned
from jindou.objects.errors import BadRequest, Fault, InternalError
from jindou.objects.kinds import Object

SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
LONGEST_PREFIX = 58
SYSTEM = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "generation",
)

GENERATED = frozenset(
    {
        ("", "Pod"), ("", "PodTemplate"), ("", "ReplicationController"),
        ("autoscaling", "HorizontalPodAutoscaler"), ("discovery.k8s.io", "EndpointSlice"),
        *(("apps", name) for name in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")),
        *(("batch", name) for name in ("Job", "CronJob")),
        *(("networking.k8s.io", name) for name in ("Ingress", "IngressClass", "NetworkPolicy")),
        ("policy", "PodDisruptionBudget"), ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("scheduling.k8s.io", "PriorityClass"),
        *(("flowcontrol.apiserver.k8s.io", name) for name in ("FlowSchema", "PriorityLevelConfiguration")),
        *(
            ("admissionregistration.k8s.io", name)
            for name in (
                "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy",
                "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
            )
        ),
        *(("resource.k8s.io", name) for name in ("ResourceSlice", "DeviceTaintRule")),
    }
)  # fmt: skip
"""Built-in kinds whose metadata.generation counts the changes of what is asked for."""

KEEP_STATUS = frozenset({("", "Node")})
"""Kinds whose status a create may bring along, though it is a subresource."""


def now() -> str:
    return _second(int(time.time()))


@lru_cache(4)
def _second(second: int) -> str:
    return stamp(datetime.datetime.fromtimestamp(second, datetime.UTC))


def new_uid() -> str:
    """A random UUID (version 4, RFC 9562)."""
    text = next(_RANDOM)
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def _random() -> Iterator[str]:
    """Thirty-two digits at a time; the system is asked for many, for it takes the interpreter's lock."""
    while True:
        text = os.urandom(16 * 256).hex()
        for at in range(0, len(text), 32):
            yield text[at : at + 32]


_RANDOM = _random()


def stamp(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def tidy(meta: Object) -> None:
    """Of metadata nothing empty is kept, and no owner twice; in place."""
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in meta and not meta[name]:
            del meta[name]
    if len(owners := meta.get("ownerReferences") or ()) > 1:
        meta["ownerReferences"] = [one for n, one in enumerate(owners) if one not in owners[:n]]


def has_generation(resource: Resource) -> bool:
    kind = resource.storage or resource.kind
    return resource.custom or (kind.group, kind.name) in GENERATED


def has_status(resource: Resource) -> bool:
    return "status" in resource.subresources


def place(resource: Resource, obj: Object, namespace: str, name: str) -> None:
    """Namespace and name of the URL and of the body have to agree; in place."""
    meta = obj.setdefault("metadata", {})
    if resource.kind.namespaced:
        if not namespace:
            raise BadRequest("an empty namespace may not be set during creation")
        if meta.setdefault("namespace", namespace) != namespace:
            if meta["namespace"]:
                raise BadRequest(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    if name and meta.setdefault("name", name) != name:
        raise BadRequest(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        )


def suffixed(prefix: str) -> str:
    return prefix[:LONGEST_PREFIX] + "".join(random.choices(SUFFIX, k=5))


def begin(resource: Resource, obj: Object) -> None:
    """The metadata and status of a new object; in place."""
    meta = obj["metadata"]
    revision = meta.get("resourceVersion") or ""
    if revision.isascii() and revision.isdigit() and int(revision):
        raise InternalError("resourceVersion should not be set on objects to be created")
    for name in (*SYSTEM, "resourceVersion"):
        meta.pop(name, None)
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = suffixed(meta["generateName"])
    elif not meta.get("name") and resource.prefix == "core/limitranges/":
        meta["name"] = new_uid()
    tidy(meta)
    meta["uid"] = new_uid()
    meta["creationTimestamp"] = now()
    kind = resource.storage or resource.kind
    if has_generation(resource):
        meta["generation"] = 1
    if has_status(resource) and (kind.group, kind.name) not in KEEP_STATUS:
        obj.pop("status", None)


def fill(resource: Resource, obj: Object) -> None:
    if resource.custom:
        schema_defaults(resource.schema, obj)
    else:
        defaults.apply_defaults(resource.kind, obj)
        fill_zeros(resource.schema, obj)


def start_status(resource: Resource, obj: Object) -> None:
    """What admission adds is whole; only the status is new."""
    if not resource.custom:
        defaults.start_status(resource.kind, obj)
        held = resource.schema.field("status")
        if held is not None and "status" in obj:
            fill_zeros(held, obj["status"])


def judge(
    resource: Resource, obj: Object, old: Object | None, warnings: list[str] | None = None
) -> list[Fault]:
    """Every broken rule; the metadata of an update is compared with what is stored. `warnings` gets
    those that were broken before and may stay so."""
    found = validation.validate(resource.kind, obj, old)
    schema = resource.schema
    if resource.custom:
        found += structural.validate(schema, obj, old)
    if isinstance(schema, Root) and schema.ruled:
        found += _rules(schema, obj, old, found, warnings)
    if warnings is not None and not found and not resource.custom:
        warnings += warned(resource.kind, obj, old)
    return found


def _rules(
    schema: Root,
    obj: Object,
    old: Object | None,
    found: list[Fault],
    warnings: list[str] | None,
) -> list[Fault]:
    """What the expressions of a custom resource's schema say; loaded when the first is judged."""
    from jindou.control.api.expressions import rules

    if schema.rules is None:
        schema.rules = rules.compiled(schema)
    return rules.judge(schema.rules, obj, old, found, warnings)


def refuse(resource: Resource, obj: Object, faults: list[Fault]) -> None:
    if faults:
        kept = resource.storage or resource.kind
        raise status.invalid(kept, obj["metadata"].get("name", ""), faults)


# ---------------------------------------------------------------- updates


def expect(
    resource: Resource, obj: Object, old: Object, unconditional: bool, *, patching: bool = False
) -> bool:
    """Check what an update expects of the stored object. True where it names a revision."""
    meta, before = obj["metadata"], old["metadata"]
    if patching and meta.get("uid", before["uid"]) != before["uid"]:
        fault = invalid("metadata.uid", meta["uid"], "field is immutable")
        raise status.invalid(resource.kind, before["name"], [fault])
    if meta.get("uid") and meta["uid"] != before["uid"]:
        raise status.conflict(
            resource.kind,
            before["name"],
            f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}",
        )
    revision = meta.get("resourceVersion")
    if revision in (None, "", "0"):
        if not unconditional:
            fault = invalid("metadata.resourceVersion", 0, "must be specified for an update")
            told = resource.kind._replace(name=resource.kind.plural)
            raise status.invalid(told, before["name"], [fault])
        return False
    if revision != before["resourceVersion"]:
        raise status.conflict(resource.kind, before["name"])
    return True


def keep_system(resource: Resource, obj: Object, old: Object) -> None:
    """What only the server writes stays as it was; in place."""
    meta, before = obj["metadata"], old["metadata"]
    tidy(meta)
    for name in (*SYSTEM, "resourceVersion"):
        if name in before:
            meta[name] = before[name]
        else:
            meta.pop(name, None)
    if "generateName" in before:
        meta.setdefault("generateName", before["generateName"])
    if resource.prefix == "core/services/":
        service_updates.keep_addresses(obj, old)
        service_updates.drop_unused(obj, old)


def keep_rest(resource: Resource, obj: Object, old: Object, part: str) -> Object:
    """The object with only the part that the request is about changed. Shares with what it is given."""
    signing = resource.kind.group == certificates.GROUP
    if part == "status":
        kept = status_only(resource, obj, old)
        if signing:
            certificates.prepare(kept, old, part, now())
        return kept
    if part == "":
        changed = dict(obj)
        if has_status(resource):
            restore(changed, old, "status")
        if signing and resource.kind.name == "CertificateSigningRequest":
            restore(changed, old, "spec")
        if resource.kind.name == "Namespace" and not resource.kind.group:
            changed["spec"] = {
                **(obj.get("spec") or {}),
                "finalizers": (old.get("spec") or {}).get("finalizers", []),
            }
        return changed
    merged: Object = copy(old)
    merged["metadata"]["managedFields"] = obj["metadata"].get("managedFields", [])
    if part == "approval":
        held = merged.setdefault("status", {})
        restore(held, obj.get("status") or {}, "conditions")
        certificates.prepare(merged, old, part, now())
    elif part == "finalize":
        merged.setdefault("spec", {})["finalizers"] = list(
            (obj.get("spec") or {}).get("finalizers") or ()
        )
    elif part == "ephemeralcontainers":
        restore(merged["spec"], obj.get("spec") or {}, "ephemeralContainers")
    elif part == "resize":
        _resized(merged["spec"], obj.get("spec") or {})
    return merged


def _resized(spec: Object, asked: Object) -> None:
    for part in ("containers", "initContainers"):
        wanted = {c.get("name"): c for c in asked.get(part) or ()}
        for container in spec.get(part) or ():
            other = wanted.get(container["name"])
            if other is not None:
                for field in ("resources", "resizePolicy"):
                    restore(container, other, field)


LABELS_WITH_STATUS = frozenset(
    {("", "Pod"), ("", "Node"), ("", "PersistentVolumeClaim"), ("", "PersistentVolume")}
)


def status_only(resource: Resource, obj: Object, old: Object) -> Object:
    """A write of the status leaves the rest alone; of a few kinds it may also set labels."""
    merged = dict(old)
    restore(merged, obj, "status")
    meta, given = dict(old["metadata"]), obj["metadata"]
    names: tuple[str, ...] = ("annotations",) if not resource.custom else ()
    if (resource.kind.group, resource.kind.name) in LABELS_WITH_STATUS:
        names = ("annotations", "labels", "finalizers")
    for name in names:
        restore(meta, given, name)
    meta["managedFields"] = given.get("managedFields", [])
    merged["metadata"] = meta
    return merged


def bump(resource: Resource, obj: Object, old: Object, part: str = "") -> None:
    """generation counts changes of what is asked for, not of what is reported."""
    if not has_generation(resource) or part == "status":
        return
    before = old["metadata"].get("generation", 1)
    obj["metadata"]["generation"] = (
        before + 1 if asked(resource, obj) != asked(resource, old) else before
    )
    if (resource.kind.group, resource.kind.name) == ("apps", "DaemonSet"):
        workload_defaults.count_templates(obj, old)


def asked(resource: Resource, obj: Object) -> Any:
    left_out = {"metadata", "apiVersion", "kind"}
    if has_status(resource) or not resource.custom:
        left_out.add("status")
    place = (resource.kind.group, resource.kind.name)
    if place == ("", "Pod"):
        return {k: v for k, v in (obj.get("spec") or {}).items() if k != "nodeName"}
    noted = COUNTED.get(place)
    if noted is not None:
        rest = {name: held for name, held in obj.items() if name not in left_out}
        return {**rest, "metadata": obj["metadata"].get(noted)}
    return {name: held for name, held in obj.items() if name not in left_out}


COUNTED = {("apps", "Deployment"): "annotations", ("discovery.k8s.io", "EndpointSlice"): "labels"}
"""What of the metadata counts too."""


def same(obj: Object, old: Object) -> bool:
    """Would the write change nothing? Times of managed fields alone do not count."""
    if any(
        obj.get(name) != old.get(name) for name in {*obj, *old} - {"metadata", "apiVersion", "kind"}
    ):
        return False
    meta, before = obj["metadata"], old["metadata"]
    if any(meta.get(name) != before.get(name) for name in {*meta, *before} - {"managedFields"}):
        return False
    return _timeless(meta.get("managedFields")) == _timeless(before.get("managedFields"))


def _timeless(entries: list[Object] | None) -> list[Object]:
    return [{name: held for name, held in e.items() if name != "time"} for e in entries or ()]


subresource_faults = updates.part_faults


def preconditions(resource: Resource, old: Object, uid: str, revision: str) -> None:
    meta = old["metadata"]
    says = ""
    if uid and uid != meta["uid"]:
        says = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta['uid']}"
    elif revision and revision != meta["resourceVersion"]:
        says = f"Precondition failed: ResourceVersion in precondition: {revision}, ResourceVersion in object meta: {meta['resourceVersion']}"
    if says:
        raise status.conflict(resource.kind, meta["name"], says)
