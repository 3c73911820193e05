"""The entries of metadata.managedFields: who owns what, as sets that can be counted with, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from jindou.control.api.changes.fields import Fields, join, ordered, well_formed
from jindou.objects.kinds import Object

MOST_UPDATES = 10
ANCIENT = "ancient-changes"


class Manager(NamedTuple):
    """One entry of managedFields; the version counts only for updates."""

    name: str
    operation: str  # Apply, Update
    version: str
    subresource: str


class Owned(NamedTuple):
    fields: Fields
    time: str
    version: str


Owners = dict[Manager, Owned]


def decode(entries: Any, kept: bool = False) -> Owners | None:
    """None where they are not what a managedFields can hold; what is `kept` was looked at before."""
    if not entries:
        return {}
    owners: Owners = {}
    for entry in entries:
        fields = entry.get("fieldsV1", {}) if isinstance(entry, dict) else None
        if (
            fields is None
            or entry.get("operation") not in ("Apply", "Update")
            or not entry.get("apiVersion")
            or entry.get("fieldsType", "FieldsV1") != "FieldsV1"
            or not (kept or well_formed(fields))
        ):
            return None
        version = entry["apiVersion"]
        operation = entry["operation"]
        who = Manager(
            entry.get("manager", ""),
            operation,
            version if operation == "Update" else "",
            entry.get("subresource", ""),
        )
        if who in owners:
            fields = join(owners[who].fields, fields)
        owners[who] = Owned(fields, entry.get("time", ""), version)
    return owners


def encode(owners: Owners) -> list[Object]:
    entries = []
    for who, owned in owners.items():
        if not owned.fields:
            continue
        entry: Object = {
            "manager": who.name,
            "operation": who.operation,
            "apiVersion": owned.version,
        }
        if owned.time:
            entry["time"] = owned.time
        entry["fieldsType"] = "FieldsV1"
        entry["fieldsV1"] = ordered(owned.fields)
        if who.subresource:
            entry["subresource"] = who.subresource
        entries.append(entry)
    if len(entries) > 1:
        entries.sort(key=_rank)
    return entries


def _rank(entry: Object) -> tuple[str, ...]:
    return (
        entry["operation"],
        entry.get("time", ""),
        entry["manager"],
        entry["apiVersion"],
        entry.get("subresource", ""),
    )


def base(sent: Any, held: Any) -> Owners:
    """The owners before this write: what a client sent where it is sound; an empty list or `[{}]`
    forgets them all."""
    if sent in ([], [{}]):
        return {}
    if sent and sent != held:
        owners = decode(sent)
        if owners is not None:
            return owners
    return decode(held, kept=True) or {}


def capped(owners: Owners) -> Owners:
    """Only so many updates are told apart; the oldest of them become one entry per version."""
    updates = [who for who in owners if who.operation == "Update" and owners[who].fields]
    if len(updates) <= MOST_UPDATES:
        return owners
    updates.sort(key=lambda who: (owners[who].time, who.name))
    kept = {w: o for w, o in owners.items() if w not in updates}
    excess = len(updates) - MOST_UPDATES
    for n, who in enumerate(updates):
        if n <= excess or who.name == ANCIENT:
            ancient = Manager(ANCIENT, "Update", who.version, "")
            held = kept.get(ancient)
            fields = join(held.fields, owners[who].fields) if held else owners[who].fields
            kept[ancient] = Owned(fields, owners[who].time, who.version)
        else:
            kept[who] = owners[who]
    return kept
