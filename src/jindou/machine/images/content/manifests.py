"""What manifests and image configurations say, checked before anything believes it. Pure.

Docker's schema 2 and OCI describe the same things under two sets of media types. What is ambiguous
(a document that is manifest and index at once, a type that is not the announced one) is refused.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from jindou.machine.images import ImageError
from jindou.machine.images.references import is_digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEXES, MANIFESTS = (OCI_INDEX, DOCKER_LIST), (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
LAYERS = {
    OCI_LAYER, f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd",
    DOCKER_LAYER, f"{DOCKER_LAYER}.gzip", f"{DOCKER_LAYER}.zstd",
}  # fmt: skip
MOST_LAYERS = 500  # what overlayfs stacks

ARCHITECTURES = {
    "x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64",
    "armv7l": "arm", "armv6l": "arm", "i686": "386", "i386": "386",
    "riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x", "loongarch64": "loong64",
}  # fmt: skip
VARIANTS = {"armv7l": ("v7", "v6", "v5"), "armv6l": ("v6", "v5"), "aarch64": ("v8",)}


class Descriptor(NamedTuple):
    media_type: str
    digest: str
    size: int


class Manifest(NamedTuple):
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


def architecture() -> str:
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def document(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ImageError(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ImageError(f"{what} is not a JSON object")
    return value


def is_index(data: Mapping[str, Any], media_type: str = "") -> bool:
    """Refuses what could be read both ways."""
    said = data.get("mediaType") or media_type
    if media_type in (*INDEXES, *MANIFESTS) and said != media_type:
        raise ImageError(f"the manifest was announced as {media_type} and says it is {said}")
    if "manifests" in data and ("layers" in data or "config" in data):
        raise ImageError("the manifest is ambiguous: it lists layers and manifests")
    if data.get("schemaVersion") == 1:
        raise ImageError("the image has the old schema 1, which no current tool reads")
    if data.get("schemaVersion") != 2:
        raise ImageError("the manifest has no schemaVersion 2")
    return said in INDEXES or "manifests" in data


def manifest(data: Mapping[str, Any], media_type: str = "") -> Manifest:
    config = _descriptor(data.get("config"), "config")
    if config.media_type not in CONFIGS:
        raise ImageError(f"this is not a container image: its configuration is {config.media_type}")
    listed = data.get("layers")
    if not isinstance(listed, list) or len(listed) > MOST_LAYERS:
        raise ImageError(f"the manifest lists no layers, or more than {MOST_LAYERS}")
    layers = tuple(_descriptor(one, "layers") for one in listed)
    for layer in layers:
        if layer.media_type not in LAYERS:
            raise ImageError(f"a layer of type {layer.media_type} can't be unpacked")
    return Manifest(data.get("mediaType") or media_type or OCI_MANIFEST, config, layers)


def _descriptor(value: Any, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ImageError(f"the manifest has no {where}")
    digest, size, media_type = (
        value.get("digest"),
        value.get("size"),
        value.get("mediaType"),
    )
    if not isinstance(digest, str) or not is_digest(digest):
        raise ImageError(f"the manifest's {where} has no proper digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 50:
        raise ImageError(f"the manifest's {where} has no proper size")
    return Descriptor(str(media_type or ""), digest, size)


def choose(index: Mapping[str, Any], machine: str = "") -> Descriptor:
    """The entry for this machine: the best variant, and of equal ones the first."""
    machine = machine or platform.machine()
    wanted = ARCHITECTURES.get(machine, machine)
    variants = ("", *VARIANTS.get(machine, ()))
    best: tuple[int, Descriptor] | None = None
    offered: list[str] = []
    listed = index.get("manifests")
    for one in listed if isinstance(listed, list) else []:
        place = one.get("platform") if isinstance(one, dict) else None
        place = place if isinstance(place, dict) else {"os": "linux", "architecture": wanted}
        system, kind = place.get("os"), place.get("architecture")
        variant = place.get("variant") or ""
        if system == "unknown":
            continue
        offered.append("/".join(str(part) for part in (system, kind, variant) if part))
        if system != "linux" or kind != wanted:
            continue
        if wanted == "amd64" and variant in ("", "v1"):
            rank = 0
        elif variant in variants:
            rank = variants.index(variant) if variant else len(variants)
        else:
            continue
        if best is None or rank < best[0]:
            best = (rank, _descriptor(one, "manifests"))
    if best is None:
        shown = ", ".join(offered[:12]) or "nothing"
        raise ImageError(
            f"the image is not made for linux/{wanted}: it offers {shown}", missing=True
        )
    return best[1]


TEXTS, TEXT_LISTS = ("User", "WorkingDir", "StopSignal"), ("Env", "Entrypoint", "Cmd", "Shell")
TABLES = ("Labels", "Volumes", "ExposedPorts")


def configuration(data: bytes, layers: int) -> dict[str, Any]:
    """An image's configuration, every part of it that something relies on checked."""
    whole = document(data, "the image's configuration")
    inner = whole.get("config")
    if inner is None:
        inner = whole["config"] = {}
    if not isinstance(inner, dict):
        raise ImageError("the image's configuration is not valid: config is not an object")
    for key in TEXTS:
        _require(inner, key, isinstance(inner.get(key), str), "text")
    for key in TEXT_LISTS:
        value = inner.get(key)
        fine = isinstance(value, list) and all(isinstance(part, str) for part in value)
        _require(inner, key, fine, "a list of texts")
        if any("\0" in part for part in value or ()):
            raise ImageError(f"the image's configuration is not valid: {key} holds a zero byte")
    for key in TABLES:
        _require(inner, key, isinstance(inner.get(key), dict), "an object")
    if any("=" not in entry or entry.startswith("=") for entry in inner.get("Env") or ()):
        inner["Env"] = [e for e in inner["Env"] if "=" in e and not e.startswith("=")]
    diffs = diff_ids(whole)
    if len(diffs) != layers:
        raise ImageError(f"the image has {layers} layers and its configuration names {len(diffs)}")
    if whole.get("os", "linux") not in ("linux", ""):
        raise ImageError(f"the image is made for {whole['os']}, not for linux", missing=True)
    return whole


def _require(inner: dict[str, Any], key: str, fine: bool, what: str) -> None:
    if inner.get(key) is None:
        inner.pop(key, None)
    elif not fine:
        raise ImageError(f"the image's configuration is not valid: {key} must be {what}")


def diff_ids(config: Mapping[str, Any]) -> list[str]:
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(d, str) and is_digest(d) for d in found):
        raise ImageError("the image's configuration is not valid: rootfs.diff_ids are no digests")
    return found


def compose(config: tuple[str, int], layers: Sequence[Descriptor]) -> bytes:
    """An OCI manifest; the same parts give the same bytes."""
    return orjson.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config[0], "size": config[1]},
            "layers": [
                {"mediaType": one.media_type, "digest": one.digest, "size": one.size}
                for one in layers
            ],
        }
    )
