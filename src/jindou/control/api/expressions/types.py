"""From the schema of an object to CEL: the types that the compiler checks, and the values that rules see.

The compiler knows structures only as protobuf messages, so each object of a schema becomes one in a
pool that lasts as long as the compiling. Values stay plain JSON wherever they can: only names that
CEL can't say, times, durations, bytes and numbers are translated. Source:
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from jindou.control.api.expressions.language import engine
from jindou.control.api.expressions.language.values import CelError, Keyed
from jindou.control.api.resources.schema import Schema

RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
     "let", "loop", "package", "namespace", "return", "var", "void", "while"}
)  # fmt: skip
ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
SPEAKABLE = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*")
TO_ESCAPE = re.compile(r"__|[-./]")
STRINGS = {"byte": "bytes", "duration": "duration", "date": "timestamp", "date-time": "timestamp"}
SCALARS = {"boolean": "bool", "integer": "int", "number": "double"}
META = {
    "name": Schema("string", extra={"maxLength": 253}),
    "generateName": Schema("string", extra={"maxLength": 252}),
}
ROOT = {
    "apiVersion": Schema("string"),
    "kind": Schema("string"),
    "metadata": Schema("object", properties=META),
}


def escaped(name: str) -> str:
    """A property as CEL can name it; "" where it can't."""
    if name in RESERVED:
        return f"__{name}__"
    if not SPEAKABLE.fullmatch(name):
        return ""
    return TO_ESCAPE.sub(lambda m: ESCAPES[m[0]], name)


PLAIN_NAMES = "plain names"  # in `extra` of a schema of our own: reserved words stay as they are


def said_of(schema: Schema, name: str) -> str:
    return name if PLAIN_NAMES in schema.extra else escaped(name)


class Shape(NamedTuple):
    """A CEL type: a scalar's name, list, map, message (with its number), dyn."""

    kind: str
    of: Shape | None = None
    number: int = 0


DYN = Shape("dyn")


class Schemas:
    """Types of one or more schemas, in one pool of messages."""

    def __init__(self, *, open_objects: bool = False) -> None:
        self._open = open_objects  # an object of which nothing is said holds anything
        self._messages: list[dict[str, Shape]] = []
        self._known: dict[tuple[int, bool], Shape] = {}
        self._held: list[Schema] = []  # so that an id stays its own
        self._pool: Any = None
        self._pooled = 0  # messages in it
        self._named: dict[str, dict[str, Shape]] = {}

    def shape(self, schema: Schema, root: bool = False) -> Shape | None:
        """None: rules can't see it."""
        if schema.int_or_string or schema.format == "quantity":
            return DYN
        if schema.type == "array":
            inner = self.shape(schema.items, schema.items.embedded) if schema.items else None
            return None if inner is None else Shape("list", inner)
        if schema.type == "object":
            extra = schema.additional
            if extra is not None and not root:
                inner = self.shape(extra, extra.embedded)
                return None if inner is None else Shape("map", inner)
            if self._open and not schema.has_properties and not root:
                return DYN
            return self._message(schema, root)
        if schema.type == "string":
            return Shape(STRINGS.get(schema.format, "string"))
        if schema.type in SCALARS:
            return Shape(SCALARS[schema.type])
        return DYN if self._open else None

    def _message(self, schema: Schema, root: bool) -> Shape:
        key = id(schema), root
        if key in self._known:
            return self._known[key]
        shape = self._known[key] = Shape("message", None, len(self._messages))
        self._held.append(schema)
        fields: dict[str, Shape] = {}
        self._messages.append(fields)
        for name in schema.names:
            child = schema.field(name)
            assert child is not None
            if root and name in ROOT:
                continue
            inner = self.shape(child, child.embedded)
            if inner is not None and (said := said_of(schema, name)):
                fields[said] = inner
        if root:
            for name, child in ROOT.items():
                inner = self.shape(child)
                assert inner is not None
                fields[name] = inner
        return shape

    def add(self, fields: Mapping[str, Shape]) -> Shape:
        """A message of one's own."""
        self._messages.append(dict(fields))
        return Shape("message", None, len(self._messages) - 1)

    def name(self, name: str, fields: Mapping[str, Shape]) -> None:
        """A message that expressions can make; its fields are scalars or dyn."""
        self._named[name] = dict(fields)

    def type(self, shape: Shape) -> str:
        """As the compiler takes it."""
        if shape.kind == "message":
            return f"k.T{shape.number}"
        if shape.kind == "list":
            return f"list<{self.type(shape.of or DYN)}>"
        if shape.kind == "map":
            return f"map<string,{self.type(shape.of or DYN)}>"
        return shape.kind

    @property
    def pool(self) -> Any:
        """The messages of all shapes that were asked for so far."""
        if self._pool is None or self._pooled < len(self._messages):
            self._pool = _pool(self._messages, self._named)
            self._pooled = len(self._messages)
        return self._pool


def _pool(messages: list[dict[str, Shape]], named: Mapping[str, dict[str, Shape]]) -> Any:
    from google.protobuf import (
        descriptor_pb2,
        descriptor_pool,
        duration_pb2,
        struct_pb2,
        timestamp_pb2,
    )

    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="k.proto", package="k", syntax="proto3")
    for module in (struct_pb2, timestamp_pb2, duration_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        file.dependency.append(module.DESCRIPTOR.name)
    for number, fields in enumerate(messages):
        message = file.message_type.add(name=f"T{number}")
        for n, (name, shape) in enumerate(fields.items(), 1):
            _field(message, n, name, shape)
    pool.AddSerializedFile(file.SerializeToString())
    if named:
        own = descriptor_pb2.FileDescriptorProto(name="named.proto", syntax="proto3")
        own.dependency.extend(file.dependency)
        for name, fields in named.items():
            message = own.message_type.add(name=name)
            for n, (field, shape) in enumerate(fields.items(), 1):
                _field(message, n, field, shape)
        pool.AddSerializedFile(own.SerializeToString())
    return pool


PLAIN = {"bool": 8, "bytes": 12, "double": 1, "int": 3, "string": 9}
MESSAGE = 11
WELL_KNOWN = {
    "dyn": ".google.protobuf.Value",
    "timestamp": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
    "list": ".google.protobuf.ListValue",
    "map": ".google.protobuf.Struct",
}


def _field(message: Any, n: int, name: str, shape: Shape) -> None:
    told: dict[str, Any] = {"name": name, "number": n, "json_name": f"f{n}", "label": 1}
    if shape.kind == "list" and shape.of is not None:
        told |= {"label": 3, **_protobuf(shape.of)}
    elif shape.kind == "map" and shape.of is not None and _free(message, name):
        entry = message.nested_type.add(name=_entry_name(name))
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=PLAIN["string"], label=1)
        entry.field.add(name="value", number=2, label=1, **_protobuf(shape.of))
        told |= {"label": 3, "type": MESSAGE, "type_name": f".k.{message.name}.{entry.name}"}
    else:
        told |= _protobuf(shape)
    message.field.add(**told)


def _entry_name(name: str) -> str:
    """The message of a map's entries has to be named after its field."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"


def _free(message: Any, name: str) -> bool:
    """Two maps whose names differ only in underscores can't both be told apart: one is dyn."""
    return all(held.name != _entry_name(name) for held in message.nested_type)


def _protobuf(shape: Shape) -> dict[str, Any]:
    if shape.kind in PLAIN:
        return {"type": PLAIN[shape.kind]}
    if shape.kind == "message":
        return {"type": MESSAGE, "type_name": f".k.T{shape.number}"}
    return {"type": MESSAGE, "type_name": WELL_KNOWN[shape.kind]}


# ---------------------------------------------------------------- values

Adapt = Callable[[Any], Any]


def adapter(schema: Schema) -> Adapt | None:
    """What makes of a value that which a rule sees; None where they are the same."""
    return _adapter(schema, set())


def _adapter(schema: Schema, above: set[int]) -> Adapt | None:
    if id(schema) in above:
        return None
    above = above | {id(schema)}
    if schema.int_or_string:
        return None
    if schema.type == "string":
        return READERS.get(STRINGS.get(schema.format, ""))
    if schema.type == "number":
        return _number
    if schema.type == "array" and schema.items is not None:
        return _array(schema, _adapter(schema.items, above))
    if schema.type == "object":
        extra = schema.additional
        if extra is not None and not schema.has_properties:
            inner = _adapter(extra, above)
            return None if inner is None else _mapped(inner)
        return _object(schema, above)
    return None


def _object(schema: Schema, above: set[int]) -> Adapt | None:
    changed: dict[str, tuple[str, Adapt | None]] = {}
    for name in schema.names:
        child = schema.field(name)
        assert child is not None
        said, inner = said_of(schema, name), _adapter(child, above)
        if said and (said != name or inner is not None):
            changed[name] = (said, inner)
    if not changed:
        return None

    def adapt(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = {}
        for name, held in value.items():
            said, inner = changed.get(name, (name, None))
            found[said] = held if inner is None else inner(held)
        return found

    return adapt


def _mapped(inner: Adapt) -> Adapt:
    return lambda value: (
        {name: inner(held) for name, held in value.items()} if isinstance(value, dict) else value
    )


def _array(schema: Schema, inner: Adapt | None) -> Adapt | None:
    key: Callable[[Any], Any] | None = None
    if schema.list_type == "set":
        key = _mark
    elif schema.list_type == "map":
        names = [escaped(name) for name in schema.list_keys]
        key = lambda item: tuple(_mark(item.get(name)) for name in names)  # noqa: E731
    if inner is None and key is None:
        return None

    def adapt(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        items = value if inner is None else [inner(item) for item in value]
        return items if key is None else Keyed(items, key)

    return adapt


def _mark(value: Any) -> Any:
    return orjson.dumps(value, default=str) if isinstance(value, (dict, list)) else value


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _moment(value: Any) -> Any:
    try:
        found = datetime.datetime.fromisoformat(str(value).upper().replace("Z", "+00:00"))
    except ValueError:
        return value
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _duration(value: Any) -> Any:
    try:
        return engine.lent("duration(a0)", value)
    except CelError:
        return value


READERS: dict[str, Adapt] = {"bytes": _bytes, "timestamp": _moment, "duration": _duration}
