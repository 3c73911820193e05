"""Which fields an object has, and which of them two objects do not share: the sets of managedFields.

A set is held as it is on the wire (FieldsV1): `{"f:spec": {"f:ports": {".": {}, 'k:{"port":80}': {}}}}`.
An element is a member when it is `{}` or has a ".". Sets are never changed after they are made, so
parts are shared freely. The root is no member: there, `{}` is the empty set.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from jindou.control.api import depth
from jindou.control.api.resources.schema import MISSING, Schema
from jindou.control.api.resources.zeros import zeros_of

Fields = dict[str, Any]
LEAF: Fields = {}
VALUE, MAP, LIST, SET = range(4)

UNTRACKED = frozenset(
    {
        "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName",
        "generation", "managedFields", "resourceVersion",
    }
)  # fmt: skip
RAW = "io.k8s.apimachinery.pkg.runtime.RawExtension"
KEY_DEFAULTS = {"protocol": "TCP"}

Entry = tuple[str, "Plan", bool]  # "f:NAME", what it may hold, present even where it was not sent


class Plan:
    """A schema, as far as ownership is concerned. Children are worked out when first asked for."""

    __slots__ = (
        "_schema",
        "defaults",
        "entries",
        "items",
        "keys",
        "named",
        "rest",
        "shape",
        "zeros",
    )

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.shape = shape_of(schema)
        self.keys = tuple(sorted(schema.list_keys))
        self.entries: dict[str, Entry] = {}
        self.named = frozenset(schema.names)
        self.zeros = zeros_of(schema)
        self.items: Plan = UNTYPED
        self.rest: Plan = UNTYPED
        self.defaults: dict[str, Any] = {}
        if self.shape == MAP and schema.additional is not None:
            self.rest = plan_of(schema.additional)
        elif self.shape in (LIST, SET) and schema.items is not None:
            self.items = plan_of(schema.items)
            self.defaults = {key: key_default(schema.items, key) for key in self.keys}

    def entry(self, name: str) -> Entry:
        found = self.entries.get(name)
        if found is None:
            if name not in self.named:
                return f"f:{name}", self.rest, False
            child = self._schema.field(name)
            assert child is not None
            held = child.type in ("object", "array") and name in self.zeros
            found = self.entries[name] = (f"f:{name}", plan_of(child), held)
        return found

    def key(self, item: Any) -> str:
        """How an item of a list is called: by its keys, or by its value."""
        if self.shape == SET:
            return "v:" + orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()
        if not isinstance(item, dict):
            return "k:{}"
        found = {}
        for key in self.keys:
            value = item.get(key, self.defaults[key])
            if value is not MISSING:
                found[key] = value
        return "k:" + orjson.dumps(found).decode()


def shape_of(schema: Schema) -> int:
    if schema.type == "array":
        if schema.list_type == "map" and schema.list_keys:
            return LIST
        return SET if schema.list_type == "set" else VALUE
    if schema.map_type == "atomic" or schema.int_or_string or schema.ref == RAW:
        return VALUE
    if schema.has_properties or schema.additional is not None or schema.preserve_unknown:
        return MAP
    return VALUE


def key_default(items: Schema, key: str) -> Any:
    child = items.field(key)
    if child is not None and child.default is not MISSING:
        return child.default
    return KEY_DEFAULTS.get(key, MISSING) if items.ref else MISSING


UNTYPED = Plan.__new__(Plan)
UNTYPED._schema = Schema()
UNTYPED.shape, UNTYPED.keys, UNTYPED.entries, UNTYPED.named = MAP, (), {}, frozenset()
UNTYPED.items = UNTYPED.rest = UNTYPED
UNTYPED.defaults, UNTYPED.zeros = {}, {}


@lru_cache(8192)
def plan_of(schema: Schema) -> Plan:
    if not schema.type and not schema.has_properties and schema.preserve_unknown:
        return UNTYPED
    return Plan(schema)


# ---------------------------------------------------------------- the fields of one object


def everything(plan: Plan, value: Any, whole: bool = True) -> Fields | None:
    """Every field of a value that is new; a null counts as absent. `whole`: the value itself is new
    too, not only its parts."""
    shape = plan.shape
    fields: Fields = {".": LEAF} if whole else {}
    if shape == MAP and isinstance(value, dict):
        entries = plan.entries
        for name, held in value.items():
            key, child, by_value = entries.get(name) or plan.entry(name)
            if child.shape and isinstance(held, (dict, list)):
                below = everything(child, held, whole or not by_value)
                if below is not None:
                    fields[key] = below
            elif held is not None and (whole or held != plan.zeros.get(name, MISSING)):
                fields[key] = LEAF
        if whole:
            fields |= {f"f:{name}": LEAF for name in plan.zeros if name not in value}
    elif shape == LIST and isinstance(value, list):
        items = plan.items
        for held in value:
            below = everything(items, held)
            assert below is not None
            fields[plan.key(held)] = below
    elif shape == SET and isinstance(value, list):
        for held in value:
            fields[plan.key(held)] = LEAF
    else:
        return LEAF if whole else None
    if whole:
        return fields if len(fields) > 1 else LEAF
    return fields or None


def said(plan: Plan, value: Any) -> Fields | None:
    """The fields that an applied configuration speaks about: its leaves, and items of lists and maps."""
    shape = plan.shape
    fields: Fields = {}
    if shape == MAP and isinstance(value, dict):
        if not value:
            return LEAF
        for name, held in value.items():
            key, child, _ = plan.entry(name)
            below = said(child, held)
            if below is None:
                continue
            if below and "." not in below and name not in plan.named:
                below = {".": LEAF, **below}
            fields[key] = below
    elif shape == LIST and isinstance(value, list):
        for held in value:
            below = said(plan.items, held)
            fields[plan.key(held)] = {".": LEAF, **(below or {})} if below else LEAF
    elif shape == SET and isinstance(value, list):
        for held in value:
            fields[plan.key(held)] = LEAF
    else:
        return LEAF
    return fields or None


def of_object(fields: Fields | None) -> Fields:
    """Without what nobody can own: identity, and what the server alone writes."""
    if not fields:
        return {}
    kept = {k: v for k, v in fields.items() if k not in (".", "f:apiVersion", "f:kind")}
    meta = kept.pop("f:metadata", None)
    if meta:
        tracked = {k: v for k, v in meta.items() if k != "." and k[2:] not in UNTRACKED}
        if tracked:
            kept = {"f:metadata": tracked, **kept}
    return kept


# ---------------------------------------------------------------- what two objects do not share


def compare(plan: Plan, old: Any, new: Any, changed: Fields, removed: Fields) -> None:
    """Fields that were added or have another value go to `changed`, those that are gone to `removed`."""
    shape = plan.shape
    if shape == MAP:
        entries = plan.entries
        for name, held in new.items():
            before = old.get(name, MISSING)
            if before is held or before == held or (held is None and before is MISSING):
                continue
            key, child, by_value = entries.get(name) or plan.entry(name)
            _compare_one(key, child, by_value, before, held, changed, removed)
        if len(old) != len(new) or old.keys() != new.keys():
            for name in old:
                if name not in new and old[name] is not None:
                    key, child, by_value = plan.entry(name)
                    below = everything(child, old[name], not by_value)
                    if below is not None:
                        removed[key] = below
        return
    before_items = {plan.key(item): item for item in old}
    after_items = {plan.key(item): item for item in new}
    for key, held in after_items.items():
        before = before_items.get(key, MISSING)
        if before is held or before == held:
            continue
        _compare_one(key, plan.items, False, before, held, changed, removed)
    for key, before in before_items.items():
        if key not in after_items:
            removed[key] = everything(plan.items, before) if shape == LIST else LEAF


def _compare_one(
    key: str, plan: Plan, by_value: bool, old: Any, new: Any, changed: Fields, removed: Fields
) -> None:
    kind = (None, dict, list, list)[plan.shape]
    if kind is not None and isinstance(new, kind):
        if isinstance(old, kind):
            sub_changed: Fields = {}
            sub_removed: Fields = {}
            compare(plan, old, new, sub_changed, sub_removed)
            if sub_changed:
                changed[key] = sub_changed
            if sub_removed:
                removed[key] = sub_removed
            return
        below = everything(plan, new, not by_value)
        if below is not None:
            changed[key] = below
        return
    changed[key] = LEAF


# ---------------------------------------------------------------- sets


def is_member(fields: Fields) -> bool:
    return not fields or "." in fields


def union(a: Fields, b: Fields) -> Fields:
    """Of two sets below the root."""
    if a is b:
        return a
    if not a:
        return b if not b or "." in b else {".": LEAF, **b}
    if not b:
        return a if "." in a else {".": LEAF, **a}
    result = dict(a)
    for key, below in b.items():
        held = result.get(key)
        result[key] = below if held is None else union(held, below)
    return result


def join(a: Fields, b: Fields) -> Fields:
    """The union of two whole sets."""
    return union(a, b) if a and b else a or b


def difference(a: Fields, b: Fields) -> Fields | None:
    """What is in `a` and not in `b`; None when nothing is."""
    if not b:
        own: Fields = {}
    else:
        own = {".": LEAF} if is_member(a) and "." not in b else {}
    parts = {}
    for key, below in a.items():
        if key == ".":
            continue
        other = b.get(key)
        rest = below if other is None else difference(below, other)
        if rest is not None:
            parts[key] = rest
    if own:
        return {**own, **parts} if parts else LEAF
    return parts or None


def without(a: Fields, b: Fields) -> Fields:
    """The difference of two whole sets."""
    return (difference(a, b) or {}) if a and b else a


def intersection(a: Fields, b: Fields) -> Fields | None:
    parts = {}
    for key, below in a.items():
        other = b.get(key)
        if other is not None and key != ".":
            shared = intersection(below, other)
            if shared is not None:
                parts[key] = shared
    if is_member(a) and is_member(b):
        return {".": LEAF, **parts} if parts else LEAF
    return parts or None


def common(a: Fields, b: Fields) -> Fields:
    """The intersection of two whole sets."""
    return (intersection(a, b) or {}) if a and b else {}


def ordered(fields: Fields) -> Fields:
    """With its elements in the order in which the API server writes them."""
    found: Fields = orjson.loads(depth.dumps(fields, orjson.OPT_SORT_KEYS))
    return found


def paths(fields: Fields, above: str = "") -> Iterator[str]:
    """Its members as `.spec.containers[name="x"].image`."""
    named = sorted(key for key in fields if key != ".")
    for key in named:
        if is_member(fields[key]):
            yield above + step(key)
    for key in named:
        yield from paths(fields[key], above + step(key))


def step(key: str) -> str:
    kind, text = key[:2], key[2:]
    if kind == "f:":
        return f".{text}"
    if kind == "k:":
        held = ",".join(
            f"{name}={orjson.dumps(value).decode()}" for name, value in orjson.loads(text).items()
        )
        return f"[{held}]"
    return f"[={text}]" if kind == "v:" else f"[{text}]"


def well_formed(fields: Any) -> bool:
    if not isinstance(fields, dict):
        return False
    return all(
        (key == "." and held == {}) or (key[:2] in ("f:", "k:", "v:", "i:") and well_formed(held))
        for key, held in fields.items()
    )
