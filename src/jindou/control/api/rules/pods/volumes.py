"""Rules of a Pod's volumes: what their sources may say, and how containers may mount them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from jindou.control.api.rules.defaults.pods import SOURCES
from jindou.control.api.rules.names import (
    forbidden,
    invalid,
    labels,
    not_found,
    required,
    unsupported,
)
from jindou.control.api.rules.pods.names import field_reference, resource_reference
from jindou.control.api.rules.storage.claims import claim_spec, driver_name, nfs_faults
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object
from jindou.objects.quantities import BadQuantity, parse

TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate",
    "Socket",
)  # fmt: skip
PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
KINDS = frozenset(SOURCES)
DEVICES = frozenset(("persistentVolumeClaim", "ephemeral"))
PROJECTIONS = (
    "secret",
    "configMap",
    "downwardAPI",
    "serviceAccountToken",
    "clusterTrustBundle",
    "podCertificate",
)
IN_FILES = ("metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid")  # fmt: skip
MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def volume_faults(volume: Object, at: str) -> Iterator[Fault]:
    kinds = [name for name in volume if name in KINDS and volume[name] is not None]
    if len(kinds) > 1:
        kinds.sort(key=SOURCES.index)
        for extra in kinds[1:]:
            yield forbidden(f"{at}.{extra}", "may not specify more than 1 volume type")
    for kind in kinds:
        if (rule := BY_KIND.get(kind)) is not None:
            yield from rule(volume[kind], f"{at}.{kind}")


def _config_map(held: Object, at: str) -> Iterator[Fault]:
    if not held.get("name"):
        yield required(f"{at}.name")
    yield from _files(held, at)


def _secret(held: Object, at: str) -> Iterator[Fault]:
    if not held.get("secretName"):
        yield required(f"{at}.secretName")
    yield from _files(held, at)


def _files(held: Object, at: str) -> Iterator[Fault]:
    yield from _mode(held.get("defaultMode"), f"{at}.defaultMode")
    yield from _items(held.get("items") or (), f"{at}.items")


def _downward_files(held: Object, at: str) -> Iterator[Fault]:
    yield from _mode(held.get("defaultMode"), f"{at}.defaultMode")
    for item in held.get("items") or ():
        yield from _downward(item, at)


def _all(held: Object, at: str) -> Iterator[Fault]:
    yield from _mode(held.get("defaultMode"), f"{at}.defaultMode")
    yield from _projected(held.get("sources") or (), at)


def _claimed(held: Object, at: str) -> Iterator[Fault]:
    if not held.get("claimName"):
        yield required(f"{at}.claimName")


def _empty(held: Object, at: str) -> Iterator[Fault]:
    if (limit := held.get("sizeLimit")) is not None:
        yield from _size(limit, f"{at}.sizeLimit")


def _made(held: Object, at: str) -> Iterator[Fault]:
    yield from _claim(held.get("volumeClaimTemplate"), f"{at}.volumeClaimTemplate")


def _driven(held: Object, at: str) -> Iterator[Fault]:
    yield from driver_name(held.get("driver") or "", f"{at}.driver")
    if (secret := held.get("nodePublishSecretRef")) is not None and not secret.get("name"):
        yield required(f"{at}.nodePublishSecretRef.name")


def _claim(template: Object | None, at: str) -> Iterator[Fault]:
    if template is None:
        yield required(at)
        return
    yield from labels((template.get("metadata") or {}).get("labels"), f"{at}.metadata.labels")
    yield from claim_spec(template.get("spec") or {}, f"{at}.spec")


def device_faults(container: Object, at: str, volumes: Mapping[str, bool]) -> Iterator[Fault]:
    """`volumes`: may they be used as devices?"""
    names, paths = set[str](), set[str]()
    mounted = container.get("volumeMounts") or ()
    taken = {mount.get("name") for mount in mounted}
    places = {mount.get("mountPath") for mount in mounted}
    for n, device in enumerate(container.get("volumeDevices") or ()):
        field = f"{at}.volumeDevices[{n}]"
        name, path = device.get("name") or "", device.get("devicePath") or ""
        if not name:
            yield required(f"{field}.name")
        if name in names:
            yield invalid(f"{field}.name", name, "must be unique")
        if name not in volumes:
            yield not_found(f"{field}.name", name)
        elif not volumes[name]:
            says = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield invalid(f"{field}.name", name, says)
        if not path:
            yield required(f"{field}.devicePath")
        if path in paths:
            yield invalid(f"{field}.devicePath", path, "must be unique")
        if ".." in path.split("/"):
            yield invalid(f"{field}.devicePath", path, "can not contain backsteps ('..')")
        if name in taken:
            yield invalid(f"{field}.name", name, "must not already exist in volumeMounts")
        if path in places:
            says = "must not already exist as a path in volumeMounts"
            yield invalid(f"{field}.devicePath", path, says)
        names.add(name or " ")
        paths.add(path)


def mounts(spec: Object, at: str) -> Iterator[Fault]:
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for n, container in enumerate(spec.get(part) or ()):
            yield from _mounts(container, f"{at}.{part}[{n}].volumeMounts")


def _host_path(host: Object, at: str) -> Iterator[Fault]:
    path, kind = host.get("path") or "", host.get("type") or ""
    if not path:
        yield required(f"{at}.path")
    if ".." in path.split("/"):
        yield invalid(f"{at}.path", path, "must not contain '..'")
    if kind not in TYPES:
        yield unsupported(f"{at}.type", kind, TYPES)


def _size(limit: object, at: str) -> Iterator[Fault]:
    try:
        if parse(str(limit)) >= 0:
            return
    except BadQuantity:
        pass
    yield forbidden(at, "SizeLimit field must be a valid resource quantity")


def _mode(mode: int | None, at: str) -> Iterator[Fault]:
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid(at, mode, MODE)


def _items(items: Iterable[Object], at: str) -> Iterator[Fault]:
    for n, item in enumerate(items):
        if not item.get("key"):
            yield required(f"{at}[{n}].key")
        yield from _path(item.get("path") or "", f"{at}[{n}].path")
        yield from _mode(item.get("mode"), f"{at}[{n}].mode")


def _path(path: str, at: str) -> Iterator[Fault]:
    if not path:
        yield required(at)
    elif path.startswith("/"):
        yield invalid(at, path, "must be a relative path")
    elif ".." in path.split("/"):
        yield invalid(at, path, "must not contain '..'")
    elif path.startswith(".."):
        yield invalid(at, path, "must not start with '..'")


def _downward(item: Object, at: str) -> Iterator[Fault]:
    """The original says nothing of which item."""
    yield from _path(item.get("path") or "", f"{at}.path")
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        yield from field_reference(field, f"{at}.fieldRef", IN_FILES)
        if resource is not None:
            says = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield invalid(at, "resource", says)
    elif resource is not None:
        yield from resource_reference(resource, f"{at}.resourceFieldRef", outside=True)
    else:
        yield required(at, "one of fieldRef and resourceFieldRef is required")
    yield from _mode(item.get("mode"), f"{at}.mode")


def _projected(sources: Sequence[Object], at: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for n, source in enumerate(sources):
        field = f"{at}.sources[{n}]"
        for name in ("secret", "configMap"):
            if (held := source.get(name)) is None:
                continue
            if not held.get("name"):
                yield required(f"{field}.{name}.name")
            yield from _items(held.get("items") or (), f"{field}.{name}.items")
            yield from _twice(held.get("items") or (), held.get("name") or "", at, seen)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            yield from _downward(item, f"{field}.downwardAPI")
            yield from _twice([item], item.get("path") or "", at, seen)
        if (token := source.get("serviceAccountToken")) is not None:
            yield from _token(token, f"{field}.serviceAccountToken.expirationSeconds", at)
        given = [name for name in PROJECTIONS if source.get(name) is not None]
        if len(given) > 1:
            yield forbidden(field, "may not specify more than 1 volume type per source")


def _twice(items: Iterable[Object], shown: str, at: str, seen: set[str]) -> Iterator[Fault]:
    for item in items:
        path = item.get("path") or ""
        if path and path in seen:
            yield invalid(at, shown, "conflicting duplicate paths")
        seen.add(path)


def _token(token: Object, at: str, whole: str) -> Iterator[Fault]:
    seconds = token.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        yield invalid(at, seconds, "may not specify a duration less than 10 minutes")
    if seconds is not None and seconds > 2**32:
        yield invalid(at, seconds, "may not specify a duration larger than 2^32 seconds")
    yield from _path(token.get("path") or "", f"{whole}.path")


def _mounts(container: Object, at: str) -> Iterator[Fault]:
    privileged = (container.get("securityContext") or {}).get("privileged")
    for n, mount in enumerate(container.get("volumeMounts") or ()):
        field, how = f"{at}[{n}]", mount.get("mountPropagation", "None")
        if how not in PROPAGATIONS:
            yield unsupported(f"{at}.mountPropagation", how, PROPAGATIONS)
        elif how == "Bidirectional" and not privileged:
            says = "Bidirectional mount propagation is available only to privileged containers"
            yield forbidden(f"{at}.mountPropagation", says)
        if mount.get("subPath") and mount.get("subPathExpr"):
            says = "subPathExpr is mutually exclusive with subPath"
            yield invalid(f"{field}.subPathExpr", mount["subPathExpr"], says)
        if mount.get("recursiveReadOnly") in ("Enabled", "IfPossible"):
            if not mount.get("readOnly"):
                says = "may only be specified when readOnly is true"
                yield forbidden(f"{field}.recursiveReadOnly", says)
            elif how != "None":
                says = "may only be specified when mountPropagation is None or not specified"
                yield forbidden(f"{field}.recursiveReadOnly", says)


BY_KIND: dict[str, Callable[[Object, str], Iterator[Fault]]] = {
    "configMap": _config_map, "csi": _driven, "downwardAPI": _downward_files, "emptyDir": _empty,
    "ephemeral": _made, "hostPath": _host_path, "nfs": nfs_faults, "persistentVolumeClaim": _claimed,
    "projected": _all, "secret": _secret,
}  # fmt: skip
