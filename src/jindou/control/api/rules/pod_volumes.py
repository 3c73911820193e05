"""Rules of a Pod's volumes: what their sources may say, and how containers may mount them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jindou.control.api.rules.names import forbidden, invalid, required, unsupported
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object
from jindou.objects.quantities import BadQuantity, parse

TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate",
    "Socket",
)  # fmt: skip
PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def pod_volumes(spec: Object, at: str) -> Iterator[Fault]:
    for n, volume in enumerate(spec.get("volumes") or ()):
        field = f"{at}.volumes[{n}]"
        if host := volume.get("hostPath"):
            yield from _host_path(host, f"{field}.hostPath")
        if (limit := (volume.get("emptyDir") or {}).get("sizeLimit")) is not None:
            yield from _size(limit, f"{field}.emptyDir.sizeLimit")
        for name in ("configMap", "secret", "downwardAPI", "projected"):
            if source := volume.get(name):
                yield from _mode(source.get("defaultMode"), f"{field}.{name}.defaultMode")
                yield from _items(source.get("items") or (), f"{field}.{name}.items")
        for m, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            yield from _projected(source, f"{field}.projected.sources[{m}]")
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for n, container in enumerate(spec.get(part) or ()):
            yield from _mounts(container, f"{at}.{part}[{n}].volumeMounts")


def _host_path(host: Object, at: str) -> Iterator[Fault]:
    path, kind = host.get("path") or "", host.get("type") or ""
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
        if "fieldRef" not in item and "resourceFieldRef" not in item and not item.get("key"):
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


def _projected(source: Object, at: str) -> Iterator[Fault]:
    for name in ("configMap", "secret", "downwardAPI"):
        if held := source.get(name):
            if name != "downwardAPI" and not held.get("name"):
                yield required(f"{at}.{name}.name")
            yield from _items(held.get("items") or (), f"{at}.{name}.items")
    if (token := source.get("serviceAccountToken")) is not None:
        seconds = token.get("expirationSeconds")
        if seconds is not None and seconds < 600:
            says = "may not specify a duration less than 10 minutes"
            yield invalid(f"{at}.serviceAccountToken.expirationSeconds", seconds, says)
        yield from _path(token.get("path") or "", f"{at}.serviceAccountToken.path")


def _mounts(container: Object, at: str) -> Iterator[Fault]:
    privileged = (container.get("securityContext") or {}).get("privileged")
    for n, mount in enumerate(container.get("volumeMounts") or ()):
        field, how = f"{at}[{n}]", mount.get("mountPropagation") or "None"
        if how not in PROPAGATIONS:
            yield unsupported(f"{field}.mountPropagation", how, PROPAGATIONS)
        elif how == "Bidirectional" and not privileged:
            says = "Bidirectional mount propagation is available only to privileged containers"
            yield forbidden(f"{field}.mountPropagation", says)
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
