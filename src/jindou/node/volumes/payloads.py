"""The files of volumes that come from objects: ConfigMaps, Secrets and the Pod's own fields. Pure.

Source: https://kubernetes.io/docs/concepts/storage/projected-volumes/
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from jindou.machine.volumes import File
from jindou.node.volumes import downward
from jindou.objects.kinds import CONFIG_MAP, SECRET, Kind, Object

MODE = 0o644
PLUGINS = ("configMap", "secret", "downwardAPI", "projected")


class BadPayload(ValueError):
    """Why a volume's files can't be made."""


class Reference(NamedTuple):
    """A ConfigMap or Secret that a volume takes files from."""

    kind: Kind
    name: str
    items: list[Object]
    optional: bool


class TokenWish(NamedTuple):
    path: str
    audience: str
    seconds: int


def sources(volume: Object) -> Iterator[tuple[str, Object]]:
    """The parts of a volume in order, each with its kind; one part where it isn't projected."""
    if projected := volume.get("projected"):
        for source in projected.get("sources") or ():
            yield from source.items()
    else:
        for plugin in PLUGINS:
            if volume.get(plugin):
                yield plugin, volume[plugin]


def default_mode(volume: Object) -> int:
    for plugin in PLUGINS:
        if volume.get(plugin):
            mode = volume[plugin].get("defaultMode")
            return MODE if mode is None else int(mode)
    return MODE


def reference(plugin: str, source: Object) -> Reference | None:
    if plugin == "configMap":
        kind, name = CONFIG_MAP, source.get("name", "")
    elif plugin == "secret":
        kind, name = SECRET, source.get("secretName") or source.get("name", "")
    else:
        return None
    return Reference(kind, name, source.get("items") or [], bool(source.get("optional")))


def references(volume: Object) -> list[Reference]:
    found = (reference(plugin, source) for plugin, source in sources(volume))
    return [held for held in found if held is not None]


def token_wish(source: Object) -> TokenWish:
    seconds = source.get("expirationSeconds")
    return TokenWish(
        source["path"], source.get("audience") or "", 3600 if seconds is None else seconds
    )


def token_wishes(volume: Object) -> list[TokenWish]:
    return [
        token_wish(source) for plugin, source in sources(volume) if plugin == "serviceAccountToken"
    ]


def uses_fields(volume: Object) -> bool:
    return any(plugin == "downwardAPI" for plugin, _ in sources(volume))


def object_files(wish: Reference, obj: Object | None, mode: int) -> dict[str, File]:
    word = "configmap" if wish.kind == CONFIG_MAP else "secret"
    if obj is None:
        if wish.optional:
            return {}
        raise BadPayload(f'{word} "{wish.name}" not found')
    held = contents(wish.kind, obj)
    if not wish.items:
        return {name: File(data, mode) for name, data in held.items()}
    found = {}
    for item in wish.items:
        data = held.get(item["key"])
        if data is None:
            if wish.optional:
                continue
            kind = "config" if wish.kind == CONFIG_MAP else "secret"
            raise BadPayload(f"references non-existent {kind} key: {item['key']}")
        found[item["path"]] = File(data, mode if item.get("mode") is None else item["mode"])
    return found


def contents(kind: Kind, obj: Object) -> dict[str, bytes]:
    try:
        if kind == SECRET:
            return {k: base64.b64decode(v or "") for k, v in (obj.get("data") or {}).items()}
        found = {k: v.encode() for k, v in (obj.get("data") or {}).items()}
        binary = obj.get("binaryData") or {}
        return found | {k: base64.b64decode(v or "") for k, v in binary.items()}
    except binascii.Error as error:
        raise BadPayload(f"{obj['metadata']['name']} holds a value that is not base64") from error


def field_files(
    source: Object, pod: Object, mode: int, allocatable: Mapping[str, str]
) -> dict[str, File]:
    found = {}
    for item in source.get("items") or ():
        try:
            if item.get("fieldRef"):
                text = downward.field(pod, item["fieldRef"]["fieldPath"])
            else:
                text = _resource(item["resourceFieldRef"], pod, allocatable)
        except downward.UnknownField as error:
            raise BadPayload(str(error)) from error
        chosen = mode if item.get("mode") is None else item["mode"]
        found[item["path"]] = File(text.encode(), chosen)
    return found


def _resource(wish: Object, pod: Object, allocatable: Mapping[str, str]) -> str:
    container = downward.container_of(pod, wish.get("containerName", ""))
    if container is None:
        raise BadPayload(f"container {wish.get('containerName', '')} not found")
    return downward.resource(container, wish, allocatable)
