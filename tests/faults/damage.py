"""Values to a schema, and what becomes of good ones: in objects, in bytes, in paths."""

from __future__ import annotations

import copy
import random
from typing import Any

HUGE = "x" * 5000
ODD: list[Any] = [
    None, True, 0, -1, 1, 1.5, 1e308, 2**63, -(2**70), "", "x", "\0", "ü" * 300, "../..", HUGE, "1e99", "0.5.5",
    "99999999999Gi", "-1m", "50%", "2020-01-01T00:00:00Z", "0000-13-99", [], {}, [[]], [None], [{}], {"": ""},
    {"name": "x"}, {"a": {"b": [1]}}, {"$patch": "delete"}, {"f:a": {}}, "kubectl.kubernetes.io/x", "*",
    "9999999999-99999999999", "0-99999999", "\ud7ff", "a\n", "200%", "%", "-1%", 2**31, 2**31 - 1, "10.0.0.1", "::1", "1h", "-5s",
]  # fmt: skip
WORDS = (
    "a", "a-b", "x.example.com/y", "10.0.0.1", "1Gi", "100m", "", "A_B", "Always", "TCP", "In",
    "2026-01-01T00:00:00Z", "sha256:" + "0" * 64, "IntOrString", "busybox",
)  # fmt: skip
BROKEN = (
    b'{"a":' * 500,
    b"NaN",
    b"\xff\xfe",
    b"1e999",
    b"&a *a",
    b"!!x",
    b"\xed\xa0\x80",
    b"\\ud800",
)


class Damage:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    # ------------------------------------------------------------ values

    def sample(self, schema: Any, schemas: Any, depth: int = 0) -> Any:
        """A value to a schema, mostly; deep parts are left out."""
        chance = self.chance
        if chance.random() < 0.03:
            return self.odd()
        schema = self._resolved(schema, schemas)
        match schema.get("type"):
            case "object":
                return self._object(schema, schemas, depth)
            case "array":
                count = 0 if depth > 7 else chance.choice((0, 1, 1, 2))
                part = schema.get("items", {})
                return [self.sample(part, schemas, depth + 1) for _ in range(count)]
            case "integer" | "number":
                return chance.choice((0, 1, 2, 80, 300, -1, 2**31, 2**40))
            case "boolean":
                return chance.random() < 0.5
            case "string":
                return chance.choice(schema.get("enum") or WORDS)
        return self.odd()

    def odd(self) -> Any:
        return copy.deepcopy(self.chance.choice(ODD))

    def _resolved(self, schema: Any, schemas: Any) -> Any:
        for name in ("allOf", "oneOf", "anyOf"):
            if name in schema:
                schema = {**schema, **self.chance.choice(schema[name])}
        if "$ref" in schema:
            schema = schemas.get(schema["$ref"].rpartition("/")[2], {})
        return schema

    def _object(self, schema: Any, schemas: Any, depth: int) -> Any:
        chance, made = self.chance, {}
        required = set(schema.get("required", ()))
        for name, part in schema.get("properties", {}).items():
            wanted = name in required or chance.random() < (0.5, 0.4, 0.25, 0.15)[min(depth, 3)]
            if wanted and depth < 9:
                made[name] = self.sample(part, schemas, depth + 1)
        if isinstance(more := schema.get("additionalProperties"), dict) and chance.random() < 0.5:
            made[chance.choice(("a", "a/b", "", "x" * 70))] = self.sample(more, schemas, depth + 1)
        if chance.random() < 0.02:
            name = chance.choice(("bogus", "metadata", "$setElementOrder/x", "kind"))
            made[name] = self.odd()
        return made

    def change(self, value: Any, schema: Any, schemas: Any) -> None:
        """One thing somewhere in a value, in place."""
        chance = self.chance
        while value:
            schema = self._resolved(schema, schemas)
            keys = list(value) if isinstance(value, dict) else range(len(value))
            key = chance.choice(keys)
            part = schema.get("items") if isinstance(value, list) else schema.get("properties", {}).get(key)  # fmt: skip
            part = part or schema.get("additionalProperties") or {}
            part = part if isinstance(part, dict) else {}
            if isinstance(value[key], (dict, list)) and value[key] and chance.random() < 0.85:
                value, schema = value[key], part
                continue
            self._change(value, key, part, schema, schemas)
            return

    def _change(self, value: Any, key: Any, part: Any, schema: Any, schemas: Any) -> None:
        chance = self.chance
        match chance.randrange(7):
            case 0 | 1:
                del value[key]
            case 2:
                value[key] = self.odd()
            case 3 if isinstance(value, list):
                value.append(copy.deepcopy(value[key]))
            case 3 | 4 if isinstance(value, dict) and schema.get("properties"):
                more = chance.choice(list(schema["properties"]))
                value[more] = self.sample(schema["properties"][more], schemas, 3)
            case 5 if isinstance(value[key], (str, int)):
                held = value[key]
                near = (f"{held}x", "", f"-{held}", f"{held}.{held}", held * 300) if isinstance(held, str) else (held + 1, -held, held * 1000, str(held), 0)  # fmt: skip
                value[key] = chance.choice(near)
            case _:
                value[key] = self.sample(part, schemas, 3)

    # ------------------------------------------------------------ bytes

    def bytes(self, data: bytes) -> bytes:
        chance, made = self.chance, bytearray(data)
        for _ in range(chance.choice((1, 1, 3))):
            place = chance.randrange(len(made) + 1)
            match chance.randrange(6):
                case 0:
                    made[place:place] = chance.randbytes(3)
                case 1:
                    del made[place : place + chance.randrange(1, 20)]
                case 2:
                    made[place:place] = b"[" * 3000
                case 3:
                    made[place:place] = made[: chance.randrange(50)]
                case 4:
                    made[place : place + 1] = bytes([chance.randrange(256)])
                case _:
                    made[place:place] = chance.choice(BROKEN)
        return bytes(made)

    def path(self, path: str) -> str:
        chance = self.chance
        place = chance.randrange(len(path))
        what = chance.choice(
            ("/", "//", "%2F", "%", "%zz", "..", "?", "#", "%00", "\x7f", ";", "x" * 3000)
        )
        return "/" + (path[:place] + what + path[place:]).lstrip("/").replace(" ", "")
