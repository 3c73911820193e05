"""Conversion webhooks: the objects of one definition, from version to version.

A conversion depends on nothing but the object, so what came of one is kept for as long as there is
room, by the bytes that are stored. `prepare` asks for all that is missing in one request, and
`found` then gives it at once: what reads objects without waiting prepares them before.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from jindou.control.api import depth
from jindou.control.api.engine.encoding import dumps, ordered
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import apply_defaults, unknown_fields
from jindou.control.api.rules.names import labels as label_faults
from jindou.control.api.rules.names import qualified
from jindou.control.api.webhooks.clients import CallFailed, Clients, Target, target_of
from jindou.objects.errors import CloudError, InternalError
from jindou.objects.kinds import Object

VERSIONS = ("v1", "v1beta1")
GROUP = "apiextensions.k8s.io"
TIMEOUT = 30.0
ROOM = 64 * 1024 * 1024  # bytes of converted objects that are kept, for one definition

Key = tuple[bytes, str]  # what is stored, and the version that is wanted


class Refused(CloudError):
    """The original gives these errors no reason."""

    code, reason = 500, ""


class Conversion:
    """Of one definition; a change of it makes another."""

    def __init__(self, crd: Object, clients: Clients, room: int = ROOM) -> None:
        held = crd["spec"]["conversion"]["webhook"]
        self._target: Target = target_of(held["clientConfig"])
        self._versions = list(held.get("conversionReviewVersions") or ())
        self._clients = clients
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._size = 0
        self._room = room

    async def prepare(self, resource: Resource, values: Iterable[bytes]) -> None:
        """Convert what is stored in other versions to that of `resource`. Raises InternalError."""
        wanted = resource.kind.api_version
        ready: dict[Key, bytes] = {}
        missing = []
        for value in values:
            key = value, wanted
            if (kept := self._kept.get(key)) is not None:
                ready[key] = kept
            elif not value.startswith(b'{"apiVersion":"%b",' % wanted.encode()):
                missing.append(value)
        if missing:
            try:
                found = await self.convert([orjson.loads(value) for value in missing], wanted)
            except CloudError as error:
                says = error.message
                told = {"causes": [{"message": says}]}
                raise InternalError(f"Internal error occurred: {says}", told) from None
            for value, obj in zip(missing, found, strict=True):
                unknown_fields(resource.schema, obj, drop=True)
                apply_defaults(resource.schema, obj)
                ready[value, wanted] = dumps(ordered(resource.kind, obj))
        self._keep(ready)

    def _keep(self, ready: Mapping[Key, bytes]) -> None:
        """What is asked for now is the last that is let go."""
        for key, kept in ready.items():
            if key not in self._kept:
                self._kept[key] = kept
                self._size += len(kept) + len(key[0])
            self._kept.move_to_end(key)
        while self._size > self._room and next(iter(self._kept)) not in ready:
            (value, _), kept = self._kept.popitem(last=False)
            self._size -= len(kept) + len(value)

    def found(self, resource: Resource, value: bytes) -> bytes:
        """The bytes in the version of `resource`; they have been prepared."""
        found = self._kept.get((value, resource.kind.api_version))
        if found is None:
            raise Refused(f"an object has not been converted to {resource.kind.api_version} yet")
        return found

    async def stored(self, resource: Resource, obj: Object) -> Object:
        """An object in the version that is kept."""
        assert resource.storage is not None
        if resource.storage.version == resource.kind.version:
            return obj
        return (await self.convert([obj], resource.storage.api_version))[0]

    async def convert(self, objects: Sequence[Object], wanted: str) -> list[Object]:
        """All of them in one request. Raises Refused."""
        first = objects[0]
        what = f"conversion webhook for {first.get('apiVersion')}, Kind={first.get('kind')}"
        uid = str(uuid.uuid4())
        version = next((v for v in self._versions if v in VERSIONS), "")
        if not version:
            raise Refused("no supported conversion review versions")
        try:
            body = depth.dumps(question(uid, version, objects, wanted))
            answer = await self._clients.post(self._target, body, TIMEOUT)
            found = converted(answer, uid, version)
        except (CallFailed, ValueError) as error:
            raise Refused(f"{what} failed: {error}") from None
        if len(found) != len(objects):
            raise Refused(f"{what} returned {len(found)} objects, expected {len(objects)}")
        try:
            return [checked(a, b, n, wanted) for n, (a, b) in enumerate(zip(objects, found))]
        except ValueError as error:
            raise Refused(f"{what} returned invalid {error}") from None


def conversion_of(crd: Object, clients: Clients) -> Conversion | None:
    asked = (crd.get("spec") or {}).get("conversion") or {}
    return Conversion(crd, clients) if asked.get("strategy") == "Webhook" else None


# ---------------------------------------------------------------- words


def question(uid: str, version: str, objects: Sequence[Object], wanted: str) -> Object:
    return {
        "kind": "ConversionReview",
        "apiVersion": f"{GROUP}/{version}",
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": list(objects)},
        "response": {"uid": "", "convertedObjects": None, "result": {"metadata": {}}},
    }


def converted(answer: Any, uid: str, version: str) -> list[Any]:
    """The objects of an answer. Raises ValueError."""
    if not isinstance(answer, dict):
        raise ValueError("couldn't get version/kind; json parse error")
    given = answer.get("apiVersion"), answer.get("kind")
    if version == "v1" and given != (f"{GROUP}/v1", "ConversionReview"):
        raise ValueError(
            f"expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {given[0] or ''}, Kind={given[1] or ''}"
        )
    response = answer.get("response")
    if not isinstance(response, dict):
        raise ValueError("no response provided")
    if version == "v1" and response.get("uid", "") != uid:
        raise ValueError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result, found = response.get("result") or {}, response.get("convertedObjects") or []
    if not isinstance(result, dict) or not isinstance(found, list):
        raise ValueError("couldn't get version/kind; json parse error")
    if result.get("status") != "Success":
        says = f"response.result.status was '{result.get('status', '')}', not 'Success'"
        raise ValueError(result.get("message") or says)
    return found


def checked(before: Object, after: Any, index: int, wanted: str) -> Object:
    """The converted object with the metadata of before, but for labels and annotations. Raises ValueError."""
    if not isinstance(after, dict):
        raise ValueError(f"converted object at index {index}")
    at = f"object at index {index}"
    if after.get("apiVersion") != wanted:
        raise ValueError(
            f"{at}: invalid groupVersion (expected {wanted}, received {after.get('apiVersion', '')})"
        )
    if after.get("kind") != before.get("kind"):
        raise ValueError(
            f"{at}: invalid kind (expected {before.get('kind')}, received {after.get('kind', '')})"
        )
    meta, given = before.get("metadata") or {}, after.get("metadata")
    shown = given if isinstance(given, dict) else {}
    for name, word in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if meta.get(name, "") != shown.get(name, ""):
            raise ValueError(
                f"object: must have the same {word}: {meta.get(name, '')} != {shown.get(name, '')}"
            )
    return {**after, "metadata": _restored(meta, shown)}


def _restored(meta: Object, given: Object) -> Object:
    kept = {name: held for name, held in meta.items() if name not in ("labels", "annotations")}
    for name in ("labels", "annotations"):
        held = given.get(name)
        if held is None:
            continue
        if not isinstance(held, dict) or not all(isinstance(v, str) for v in held.values()):
            raise ValueError(f"metadata: invalid metadata.{name} in converted object")
        if held != meta.get(name):
            _check(name, held)
        kept[name] = held
    return kept


def _check(name: str, held: Object) -> None:
    if name == "labels":
        for fault in label_faults(held, "metadata.labels"):
            raise ValueError(f"metadata: {fault.field}: {fault.message}")
    for key in held:
        if wrong := qualified(key.lower()):
            raise ValueError(f'metadata: metadata.{name}: Invalid value: "{key}": {wrong}')
