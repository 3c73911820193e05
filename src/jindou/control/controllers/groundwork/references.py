"""How a specification or a status names another object, as it is at this moment."""

from __future__ import annotations

from jindou.objects.kinds import Kind, Object


def object_reference(kind: Kind, obj: Object) -> Object:
    meta = obj["metadata"]
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": meta["name"],
        "namespace": meta["namespace"],
        "resourceVersion": meta.get("resourceVersion", ""),
        "uid": meta["uid"],
    }
