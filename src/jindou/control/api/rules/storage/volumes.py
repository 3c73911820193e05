"""Rules of storage that is there, and of those who provide it: volumes, drivers, attachments, classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jindou.control.api.rules.names import (
    QUALIFIED_SAYS,
    duplicate,
    invalid,
    label,
    qualified,
    required,
    subdomain,
    unsupported,
)
from jindou.control.api.rules.placement import node_term
from jindou.control.api.rules.storage.claims import MODES, driver_name, nfs_faults, provisioner
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

NODE = 256  # characters of a node's name for a driver
GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LIFECYCLES = ("Persistent", "Ephemeral")
RECLAIM = ("Delete", "Recycle", "Retain")
HOST_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
)  # fmt: skip
SECRETS = (
    "controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"
)  # fmt: skip
NOT_SOURCE = frozenset(
    {
        "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
        "storageClassName", "volumeAttributesClassName", "volumeMode",
    }
)  # fmt: skip
ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


def volume(obj: Object) -> list[Fault]:
    return list(_volume(obj.get("spec") or {}))


def _volume(spec: Object) -> Iterator[Fault]:
    if not spec.get("accessModes"):
        yield required("spec.accessModes")
    for mode in spec.get("accessModes") or ():
        if mode not in MODES:
            yield unsupported("spec.accessModes", mode, MODES)
    capacity = spec.get("capacity")
    if not capacity:
        yield required("spec.capacity")
    if set(capacity or ()) != {"storage"}:
        yield unsupported("spec.capacity", capacity, ("storage",))
    sources = [name for name in spec if name not in NOT_SOURCE]
    if not sources:
        yield required("spec", "must specify a volume type")
    host = spec.get("hostPath")
    if host is not None:
        path = host.get("path") or ""
        if not path:
            yield required("spec.hostPath.path")
        elif ".." in path.split("/"):
            yield invalid("spec.hostPath.path", path, "must not contain '..'")
    if (shared := spec.get("nfs")) is not None:
        yield from nfs_faults(shared, "spec.nfs")
    if (local := spec.get("local")) is not None:
        yield from _path(local.get("path") or "", "spec.local.path")
    if (driven := spec.get("csi")) is not None:
        yield from _csi(driven, "spec.csi")
    if host is not None and host.get("type", "") not in HOST_TYPES:
        yield unsupported("spec.hostPath.type", host["type"], HOST_TYPES)
    if (wanted := (spec.get("nodeAffinity") or {}).get("required")) is not None:
        at, terms = (
            "spec.nodeAffinity.required.nodeSelectorTerms",
            wanted.get("nodeSelectorTerms") or (),
        )
        if not terms:
            yield required(at, "must have at least one node selector term")
        for n, term in enumerate(terms):
            yield from node_term(term, f"{at}[{n}]")
    if spec.get("local") is not None and not spec.get("nodeAffinity"):
        yield required("spec.nodeAffinity", "Local volume requires node affinity")
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in RECLAIM:
        yield unsupported("spec.persistentVolumeReclaimPolicy", policy, RECLAIM)
    mode = spec.get("volumeMode")
    if mode not in (None, "Block", "Filesystem"):
        yield unsupported("spec.volumeMode", mode, ("Block", "Filesystem"))
    name = spec.get("storageClassName")
    if name and (wrong := subdomain(name)):
        yield invalid("spec.storageClassName", name, wrong)


def driver(obj: Object) -> list[Fault]:
    return list(_driver(obj.get("spec") or {}))


def _driver(spec: Object) -> Iterator[Fault]:
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in GROUP_POLICIES:
        yield unsupported("spec.fsGroupPolicy", policy, GROUP_POLICIES)
    seen: set[str] = set()
    for n, wish in enumerate(spec.get("tokenRequests") or ()):
        at, audience = f"spec.tokenRequests[{n}]", wish.get("audience") or ""
        if audience in seen:
            yield duplicate(f"{at}.audience", audience)
            continue
        seen.add(audience)
        seconds = wish.get("expirationSeconds")
        if seconds is not None and seconds < 600:
            says = "may not specify a duration less than 10 minutes"
            yield invalid(f"{at}.expirationSeconds", seconds, says)
        if seconds is not None and seconds > 2**32:
            says = "may not specify a duration larger than 2^32 seconds"
            yield invalid(f"{at}.expirationSeconds", seconds, says)
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in LIFECYCLES:
            yield unsupported("spec.volumeLifecycleModes", mode, LIFECYCLES, ordered=False)
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        says = "must be greater than or equal to 10 seconds"
        yield invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, says)


def csi_node_update(obj: Object, old: Object) -> Iterator[Fault]:
    """What a driver said of a node stays; only how many volumes it takes may change."""
    before = {one.get("name"): one for one in (old.get("spec") or {}).get("drivers") or ()}
    for one in (obj.get("spec") or {}).get("drivers") or ():
        known = before.get(one.get("name"))
        if known is not None and _fixed(known) != _fixed(one):
            yield invalid("spec.drivers", _fixed(one), "field is immutable")


def _fixed(driver: Object) -> Object:
    keys = driver.get("topologyKeys")
    return {"Name": driver.get("name"), "NodeID": driver.get("nodeID"), "TopologyKeys": keys, "Allocatable": None}  # fmt: skip


def _path(path: str, at: str) -> Iterator[Fault]:
    if not path:
        yield required(at)
    elif ".." in path.split("/"):
        yield invalid(at, path, "must not contain '..'")


def _csi(driven: Object, at: str) -> Iterator[Fault]:
    yield from driver_name(driven.get("driver") or "", f"{at}.driver")
    if not driven.get("volumeHandle"):
        yield required(f"{at}.volumeHandle")
    for part in SECRETS:
        if (secret := driven.get(part)) is None:
            continue
        for name, rule in (("name", subdomain), ("namespace", label)):
            field, value = f"{at}.{part}.{name}", secret.get(name) or ""
            if not value:
                yield required(field)
            elif wrong := rule(value):
                yield invalid(field, value, wrong)


def csi_node(obj: Object) -> list[Fault]:
    return list(_drivers((obj.get("spec") or {}).get("drivers") or ()))


def _drivers(drivers: Sequence[Object]) -> Iterator[Fault]:
    seen: set[str] = set()
    for n, driver in enumerate(drivers):
        at, name = f"spec.drivers[{n}]", driver.get("name") or ""
        yield from driver_name(name, f"{at}.name")
        if name and name in seen:
            yield duplicate(f"{at}.name", name)
        seen.add(name)
        node = driver.get("nodeID") or ""
        if not node:
            yield required(f"{at}.nodeID")
        elif len(node) > NODE:
            yield invalid(f"{at}.nodeID", node, f"must be {NODE} characters or less")
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None and count < 0:
            says = "must be greater than or equal to 0"
            yield invalid(f"{at}.allocatable.count", count, says)
        keys: set[str] = set()
        for key in driver.get("topologyKeys") or ():
            if not key:
                yield required(at)
                yield invalid(at, key, "name part must be non-empty")
                yield invalid(at, key, QUALIFIED_SAYS)
            elif wrong := qualified(key):
                yield invalid(at, key, wrong)
            if key in keys:
                yield duplicate(at, key)
            keys.add(key)


def attachment(obj: Object) -> list[Fault]:
    return list(_attachment(obj.get("spec") or {}))


def _attachment(spec: Object) -> Iterator[Fault]:
    source = spec.get("source") or {}
    given = [name for name in ("inlineVolumeSpec", "persistentVolumeName") if source.get(name) is not None]  # fmt: skip
    if len(given) != 1:
        yield required("spec.source", ONE_SOURCE)
    elif given == ["persistentVolumeName"]:
        at, name = "spec.source.persistentVolumeName", source["persistentVolumeName"]
        if not name:
            yield required(at, "must specify non empty persistentVolumeName")
        if wrong := subdomain(name):
            yield invalid(at, name, wrong)
    if wrong := subdomain(spec.get("nodeName") or ""):
        yield invalid("spec.nodeName", spec.get("nodeName") or "", wrong)
    yield from driver_name(spec.get("attacher") or "", "spec.attacher")


def attributes_class(obj: Object) -> list[Fault]:
    found = provisioner(obj.get("driverName") or "", "driverName")
    if not obj.get("parameters"):
        found.append(required("parameters", "must contain at least one key/value pair"))
    return found


def capacity(obj: Object) -> list[Fault]:
    name: Any = obj.get("storageClassName") or ""
    wrong = subdomain(name)
    return [invalid("storageClassName", name, wrong)] if wrong else []
