"""Rules of storage that is asked for: claims, and the classes that say how they are met."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jindou.control.api.rules.names import (
    forbidden,
    invalid,
    qualified,
    required,
    subdomain,
    unsupported,
)
from jindou.control.api.rules.placement import label_selector
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object
from jindou.objects.quantities import BadQuantity, canonical, parse

MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
ALONE = "ReadWriteOncePod"
VOLUME_MODES = ("Block", "Filesystem")
CLAIM_MAY = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
RECLAIM = ("Delete", "Retain")
BINDING = ("Immediate", "WaitForFirstConsumer")


def claim(obj: Object) -> list[Fault]:
    return list(claim_spec(obj.get("spec") or {}, "spec"))


def claim_spec(spec: Object, at: str) -> Iterator[Fault]:
    """Also of what a StatefulSet makes claims from."""
    modes, field = spec.get("accessModes") or (), f"{at}.accessModes"
    if not modes:
        yield required(field, "at least 1 access mode is required")
    yield from label_selector(spec.get("selector"), f"{at}.selector")
    for mode in modes:
        if mode not in MODES:
            yield unsupported(field, mode, MODES)
    if ALONE in modes and any(mode != ALONE for mode in modes if mode in MODES):
        yield forbidden(field, f"may not use {ALONE} with other access modes")
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        yield required(f"{at}.resources[storage]")
    elif (size := size_of(requests)) is not None and size <= 0:
        says = "must be greater than zero"
        yield invalid(f"{at}.resources[storage]", canonical(requests["storage"]), says)
    for name in ("storageClassName", "volumeAttributesClassName"):
        if spec.get(name) and (wrong := subdomain(spec[name])):
            yield invalid(f"{at}.{name}", spec[name], wrong)
    if spec.get("volumeMode") not in (None, *VOLUME_MODES):
        yield unsupported(f"{at}.volumeMode", spec["volumeMode"], VOLUME_MODES)


def size_of(held: Object | None) -> Any:
    """None for what is no quantity: that is told elsewhere."""
    try:
        return parse((held or {}).get("storage") or "0")
    except BadQuantity:
        return None


def claim_update(obj: Object, old: Object) -> Iterator[Fault]:
    """A claim that is bound may ask for more; until then only a volume and a class are given to it."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    may = {name for name in ("volumeName", "storageClassName") if not before.get(name)}
    bound = (old.get("status") or {}).get("phase") == "Bound"
    sizes = [size_of((held.get("resources") or {}).get("requests")) for held in (spec, before)]
    if _fixed(spec, may, bound) != _fixed(before, may, bound):
        yield forbidden("spec", CLAIM_MAY)
    if None not in sizes and sizes[0] < sizes[1]:
        capacity = size_of((old.get("status") or {}).get("capacity")) or 0
        if sizes[0] <= capacity:
            at = "spec.resources.requests.storage"
            yield forbidden(at, "field can not be less than status.capacity")
    if spec.get("volumeMode") != before.get("volumeMode"):
        yield invalid("volumeMode", spec.get("volumeMode"), "field is immutable")


def _fixed(spec: Object, may: set[str], bound: bool) -> Object:
    """What may not be different."""
    rest = {name: held for name, held in spec.items() if held and name not in may}
    if bound:
        rest.pop("volumeAttributesClassName", None)
        resources = dict(rest.get("resources") or {})
        requests = resources.pop("requests", {})
        rest["resources"] = {**resources, "requests": {k: v for k, v in requests.items() if k != "storage"}}  # fmt: skip
    return rest


def storage_class(obj: Object) -> list[Fault]:
    found = provisioner(obj.get("provisioner") or "", "provisioner")
    for field, known in (("reclaimPolicy", RECLAIM), ("volumeBindingMode", BINDING)):
        if obj.get(field) is not None and obj[field] not in known:
            found.append(unsupported(field, obj[field], known))
    return found


def provisioner(name: str, at: str) -> list[Fault]:
    if not name:
        return [required(at)]
    wrong = qualified(name.lower())
    return [invalid(at, name.lower(), wrong)] if wrong else []
