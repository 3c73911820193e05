"""Who owns the fields that a write changes; of a new Pod that is like others, which those are is known.

Sets of fields are shared and never changed.
"""

from __future__ import annotations

from typing import Any

import orjson

from jindou.control.api.changes import apply as managed
from jindou.control.api.changes.fields import UNTRACKED
from jindou.control.api.engine import writes
from jindou.control.api.engine.calls import Call
from jindou.control.api.resources.registry import Resource
from jindou.control.api.rules.essence import Remembered, essence
from jindou.objects.kinds import Object

PODS = "core/pods/"
PARTS = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
NAMES_ONLY = frozenset({"labels", "annotations"})

Key = tuple[bytes, bytes]


class Noting:
    def __init__(self) -> None:
        self._known: Remembered[Object] = Remembered()

    def track(
        self, resource: Resource, old: Object | None, obj: Object, call: Call, part: str
    ) -> None:
        """Set the managedFields of what is to be written."""
        meta, version, now = obj["metadata"], resource.kind.api_version, writes.now()
        key = key_of(obj) if old is None and resource.prefix == PODS else None
        if key is not None and (fields := self._known.get(key)) is not None:
            meta["managedFields"] = [
                {
                    "manager": call.manager,
                    "operation": "Update",
                    "apiVersion": version,
                    "time": now,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": fields,
                }
            ]
            return
        managed.track(
            old, obj, manager=call.manager, schema=resource.schema, api_version=version,
            subresource=part, now=now,
        )  # fmt: skip
        entries: list[Object] = meta.get("managedFields") or []
        if key is not None and len(entries) == 1:
            self._known.keep(key, entries[0]["fieldsV1"])


def key_of(obj: Object) -> Key | None:
    """What the fields of a new Pod depend on; None where that is more than is looked at here."""
    meta = obj["metadata"]
    if "managedFields" in meta or obj.get("status") or not obj.keys() <= PARTS:
        return None
    spec = essence(obj.get("spec") or {})
    return None if spec is None else (spec, orjson.dumps(_seen(meta)))


def _seen(meta: Object) -> dict[str, Any]:
    return {
        name: list(held) if name in NAMES_ONLY and held else held
        for name, held in meta.items()
        if name not in UNTRACKED
    }
