"""Objects in application/vnd.kubernetes.protobuf, as Go writes them: the other way round of our decoder, for tests."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

from jindou.control.api.resources.protobuf import MAGIC, messages


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def number(at: int, value: int) -> bytes:
    return varint(at << 3) + varint(value)


def encode(obj: Any, type_name: str) -> bytes:
    """With its envelope. Raises ValueError where a value is not what the type wants."""
    head = field(1, str(obj["apiVersion"]).encode()) + field(2, str(obj["kind"]).encode())
    return MAGIC + field(1, head) + field(2, message(obj, type_name))


def message(obj: Any, type_name: str) -> bytes:
    if not isinstance(obj, dict):
        raise ValueError(f"{type_name} is no {obj!r}")
    out = b""
    for at, (label, kind, flags) in messages()[type_name].items():
        held = obj if "i" in flags else obj.get(label)
        if held is None:
            continue
        if "m" in flags:
            if not isinstance(held, dict):
                raise ValueError(f"{label} is no {held!r}")
            entries = (field(1, key.encode()) + value(2, kind, one) for key, one in held.items())
            out += b"".join(field(at, entry) for entry in entries)
        elif "r" in flags:
            if not isinstance(held, list):
                raise ValueError(f"{label} is no {held!r}")
            out += b"".join(value(at, kind, one) for one in held)
        else:
            out += value(at, kind, held)
    return out


def value(at: int, kind: str, held: Any) -> bytes:
    if kind in ("bool", "int32", "int64"):
        if not isinstance(held, int):
            raise ValueError(f"{kind} is no {held!r}")
        return number(at, held)
    if kind in ("string", "bytes"):
        if not isinstance(held, str):
            raise ValueError(f"{kind} is no {held!r}")
        return field(at, held.encode() if kind == "string" else base64.b64decode(held))
    return field(at, special(kind, held))


def special(kind: str, held: Any) -> bytes:
    match kind.rpartition(".")[2]:
        case "Quantity":
            return field(1, str(held).encode())
        case "Time" | "MicroTime":
            moment = datetime.datetime.fromisoformat(str(held).replace("Z", "+00:00"))
            return number(1, int(moment.timestamp()))
        case "IntOrString" if isinstance(held, int):
            return number(1, 0) + number(2, held)
        case "IntOrString":
            return number(1, 1) + field(3, str(held).encode())
        case "RawExtension" | "FieldsV1" | "JSON":
            return field(1, json.dumps(held).encode())
        case "ExtraValue" | "Verbs":
            return b"".join(field(1, str(one).encode()) for one in held)
    return message(held, kind)
