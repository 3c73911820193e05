"""Decoding of request bodies in application/vnd.kubernetes.protobuf into the same JSON objects.

kubectl and everything on client-go since 0.32 sends protobuf for typed objects; answers may stay
JSON. Go writes the zero value of every field that is not a pointer, so zero scalars are dropped
unless the field is a pointer in Go; embedded structs are inlined.
Sources: https://protobuf.dev/programming-guides/encoding/ and the generated.proto files of Kubernetes.
"""

from __future__ import annotations

import base64
import datetime
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

import orjson

from jindou.control.api.resources.builtin import read
from jindou.control.api.resources.registry import Registry
from jindou.objects.errors import BadRequest

MAGIC = b"k8s\0"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
Field = tuple[str, str, str]  # name, type, flags


@cache
def messages() -> dict[str, dict[int, Field]]:
    return {
        name: {f[0]: (f[1], f[2], f[3]) for f in fields}
        for name, fields in read("protobuf.json.z").items()
    }


def decode(body: bytes, registry: Registry) -> dict[str, Any]:
    """An object from its envelope (runtime.Unknown). Raises BadRequest."""
    if not body.startswith(MAGIC):
        raise BadRequest("the body is not protobuf: it lacks the prefix")
    try:
        return _envelope(body[4:], registry)
    except (ValueError, IndexError, KeyError, OverflowError, OSError, struct.error) as error:
        raise BadRequest(f"the protobuf body can't be decoded: {error}") from error


def _envelope(data: bytes, registry: Registry) -> dict[str, Any]:
    api_version = kind = ""
    raw, content_type = b"", ""
    for number, value in fields(data):
        if number == 1:
            for inner, held in fields(_bytes(value)):
                if inner == 1:
                    api_version = _bytes(held).decode()
                elif inner == 2:
                    kind = _bytes(held).decode()
        elif number == 2:
            raw = _bytes(value)
        elif number == 4:
            content_type = _bytes(value).decode()
    if content_type == "application/json":
        found: dict[str, Any] = orjson.loads(raw)
        return found
    group, _, version = api_version.rpartition("/")
    name = _message(group, version, kind, registry)
    return {"apiVersion": api_version, "kind": kind, **_decode(name, raw)}


def _message(group: str, version: str, kind: str, registry: Registry) -> str:
    if kind in ("DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "Status"):
        return META + kind
    resource = registry.by_kind(group, version, kind)
    if resource is not None and resource.type_name:
        return resource.type_name
    place = (group.split(".")[0] or "core") if group else "core"
    for name in messages():
        if name.endswith(f".{version}.{kind}") and f".{place}." in name:
            return name
    raise BadRequest(
        f'no kind "{kind}" is registered for version "{group + "/" if group else ""}{version}"'
    )


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = varint(data, at)
            if at + length > end:
                raise ValueError("a field is longer than the message")
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            yield number, data[at : at + width]
            at += width
        else:
            raise ValueError(f"wire type {wire} is not supported")


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("bytes were expected")
    return value


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a number was expected")
    return value - (1 << 64) if value >= 1 << 63 else value


def _decode(name: str, data: bytes, depth: int = 0) -> dict[str, Any]:
    if depth > 100:
        raise ValueError("the message is nested too deeply")
    known = messages()[name]
    out: dict[str, Any] = {}
    for number, value in fields(data):
        field = known.get(number)
        if field is None:
            continue
        label, kind, flags = field
        if "m" in flags:
            key, held = _entry(kind, _bytes(value), depth)
            out.setdefault(label, {})[key] = held
            continue
        decoded = _value(kind, value, depth)
        if "r" in flags:
            out.setdefault(label, []).append(decoded)
        elif "i" in flags:
            out.update(decoded)
        elif "p" in flags or not _is_zero(decoded):
            out[label] = decoded
    return out


def _is_zero(value: Any) -> bool:
    """Zero values that Go writes although nobody set them. An empty struct says nothing either."""
    return value is None or (value in (0, "", False, {}) and not isinstance(value, list))


def _entry(kind: str, data: bytes, depth: int) -> tuple[str, Any]:
    key, held = "", b""  # type: str, int | bytes
    for number, value in fields(data):
        if number == 1:
            key = _bytes(value).decode()
        elif number == 2:
            held = value
    if kind == "string" or kind == "bytes":
        return key, _value(kind, held, depth)
    return key, _value(kind, held, depth) if held or kind in messages() else 0


def _value(kind: str, value: int | bytes, depth: int) -> Any:
    if kind == "string":
        return _bytes(value).decode()
    if kind == "bool":
        return bool(value)
    if kind in ("int32", "int64"):
        return _signed(value)
    if kind in ("uint32", "uint64"):
        return value
    if kind == "bytes":
        return base64.b64encode(_bytes(value)).decode()
    if kind == "double":
        return struct.unpack("<d", _bytes(value))[0]
    if kind == "float":
        return struct.unpack("<f", _bytes(value))[0]
    return _message_value(kind, _bytes(value), depth)


def _message_value(kind: str, data: bytes, depth: int) -> Any:
    special = kind.rpartition(".")[2]
    if special == "Quantity" and ".resource." in kind:
        return next((_bytes(v).decode() for n, v in fields(data) if n == 1), "0")
    if special in ("Time", "MicroTime") and ".meta." in kind:
        return _time(data, special == "MicroTime")
    if special == "IntOrString":
        held = dict(fields(data))
        return _bytes(held.get(3, b"")).decode() if held.get(1) else _signed(held.get(2, 0))
    if special in ("RawExtension", "FieldsV1", "JSON"):
        raw = next((_bytes(v) for n, v in fields(data) if n == 1), b"null")
        return orjson.loads(raw)
    if special == "Duration" and ".meta." in kind:
        return f"{_signed(dict(fields(data)).get(1, 0)) / 1e9:g}s"
    known = messages().get(kind)
    if known is None:
        raise ValueError(f"unknown message {kind}")
    if (
        list(known.values())
        and len(known) == 1
        and next(iter(known.values()))[0] == "items"
        and special in ("ExtraValue", "Verbs")
    ):
        return [_bytes(v).decode() for _, v in fields(data)]
    return _decode(kind, data, depth + 1)


def _time(data: bytes, micro: bool) -> str | None:
    held = dict(fields(data))
    seconds, nanos = _signed(held.get(1, 0)), _signed(held.get(2, 0))
    if seconds < 0:
        return None  # the zero time of Go, in the year 1
    if not seconds and not nanos:
        return None
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{nanos // 1000:06}Z" if micro else f"{moment}Z"
