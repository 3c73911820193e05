"""Who owns a field that is called otherwise in another version, where a webhook converts between them.

What a write changes is looked for in the version of each owner: an apply that would take something
away is refused, everybody else takes it over. Within one version `changes.apply` has done so already.
"""

from __future__ import annotations

from jindou.control.api.changes.apply import changed_between, refuse_conflicts
from jindou.control.api.changes.fields import without
from jindou.control.api.changes.managers import Manager, Owners, decode, encode
from jindou.control.api.engine.calls import Call
from jindou.control.api.resources.registry import Registry, Resource
from jindou.objects.kinds import Object


async def settle(
    registry: Registry, resource: Resource, old: Object, new: Object, call: Call, part: str
) -> None:
    """In place, before a write. Raises Conflict."""
    assert resource.conversion is not None
    owners = decode(new["metadata"].get("managedFields")) or {}
    mine = Manager(call.manager, "Apply", "", part)
    versions = {o.version for who, o in owners.items() if who != mine} - {resource.kind.api_version}
    taken: Owners = {}
    for version in sorted(versions):
        other = registry.by_url(
            resource.kind.group, version.rpartition("/")[2], resource.kind.plural
        )
        if other is None:
            continue
        before, after = await resource.conversion.convert([old, new], version)
        changed, removed = changed_between(before, after, other.schema)
        theirs = {w: o for w, o in owners.items() if o.version == version and w != mine}
        if call.applying and not call.force:
            refuse_conflicts(theirs, changed)
        for who, owned in theirs.items():
            left = without(without(owned.fields, changed), removed)
            taken[who] = owned._replace(fields=left)
    if taken and any(taken[who] != owners[who] for who in taken):
        new["metadata"]["managedFields"] = encode({**owners, **taken})
