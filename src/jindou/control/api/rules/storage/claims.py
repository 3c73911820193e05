"""Rules of storage that is asked for: claims, and the classes that say how they are met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jindou.control.api.rules.names import (
    duplicate,
    forbidden,
    invalid,
    qualified,
    required,
    subdomain,
    too_long,
    unqualified,
    unsupported,
)
from jindou.control.api.rules.placement import label_selector
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object
from jindou.objects.quantities import BadQuantity, canonical, parse

MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
DRIVER = 63  # bytes of a driver's name
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
    if (chosen := spec.get("storageClassName")) and (wrong := subdomain(chosen)):
        yield invalid(f"{at}.storageClassName", chosen, wrong)
    if spec.get("volumeMode") not in (None, *VOLUME_MODES):
        yield unsupported(f"{at}.volumeMode", spec["volumeMode"], VOLUME_MODES)
    for name in ("dataSource", "dataSourceRef"):
        if (source := spec.get(name)) is not None:
            yield from _source(source, f"{at}.{name}")
    one, other = spec.get("dataSource"), spec.get("dataSourceRef")
    if one is not None and other is not None and one != other:
        yield invalid(at, {}, "must match dataSourceRef")
    if (chosen := spec.get("volumeAttributesClassName")) and (wrong := subdomain(chosen)):
        yield invalid(f"{at}.volumeAttributesClassName", chosen, wrong)


def _source(source: Object, at: str) -> Iterator[Fault]:
    """What a new volume is filled from."""
    for name in ("name", "kind"):
        if not source.get(name):
            yield required(f"{at}.{name}")
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        says = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        yield invalid(at, kind, says)
    if group and (wrong := subdomain(group)):
        yield invalid(f"{at}.apiGroup", group, wrong)


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
    if "dataSource" in rest:  # which is said twice now, and was not always
        rest.setdefault("dataSourceRef", rest["dataSource"])
    if bound:
        rest.pop("volumeAttributesClassName", None)
        resources = dict(rest.get("resources") or {})
        requests = resources.pop("requests", {})
        rest["resources"] = {**resources, "requests": {k: v for k, v in requests.items() if k != "storage"}}  # fmt: skip
    return rest


def storage_class(obj: Object) -> list[Fault]:
    found = provisioner(obj.get("provisioner") or "", "provisioner")
    for field, known in (("reclaimPolicy", RECLAIM), ("volumeBindingMode", BINDING)):
        if (
            (value := obj.get(field)) is not None
            and value not in known
            and (value or field != "reclaimPolicy")
        ):
            found.append(unsupported(field, value, known))
    return [*found, *_topologies(obj.get("allowedTopologies") or ())]


def _topologies(terms: Sequence[Object]) -> Iterator[Fault]:
    seen: list[dict[str, set[str]]] = [{}]
    for n, term in enumerate(terms):
        at = f"allowedTopologies[{n}].matchLabelExpressions"
        wanted: dict[str, set[str]] = {}
        for m, one in enumerate(term.get("matchLabelExpressions") or ()):
            key, values = one.get("key") or "", one.get("values") or ()
            if not values:
                yield required(f"{at}[{m}].values")
            for k, value in enumerate(values):
                if value in values[:k]:
                    yield duplicate(f"{at}[{m}].values[{k}]", value)
            if qualified(key):
                yield from unqualified(f"{at}[{m}].key", key)
            if key in wanted:
                yield duplicate(f"{at}[{m}].key", key)
            wanted[key] = set(values)
        if wanted in seen:
            yield duplicate(at, "")
        seen.append(wanted)


def provisioner(name: str, at: str) -> list[Fault]:
    if not name:
        return [required(at)]
    wrong = qualified(name.lower())
    return [invalid(at, name.lower(), wrong)] if wrong else []


def driver_name(name: str, at: str) -> Iterator[Fault]:
    if not name:
        yield required(at)
        return
    if len(name) > DRIVER:
        yield too_long(at, DRIVER)
    if wrong := subdomain(name.lower()):
        yield invalid(at, name, wrong)


def nfs_faults(shared: Object, at: str) -> Iterator[Fault]:
    path = shared.get("path") or ""
    if not shared.get("server"):
        yield required(f"{at}.server")
    if not path:
        yield required(f"{at}.path")
    if not path.startswith("/"):
        yield invalid(f"{at}.path", path, "must be an absolute path")
