"""What comes with a request beside its object: who asks, and the options of a read, write or delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jindou.control.api import status
from jindou.control.api.access.guard import CONTROLLERS, User
from jindou.control.api.rules.names import invalid, too_long, unsupported
from jindou.objects.errors import BadRequest, Fault, Invalid
from jindou.objects.kinds import Kind, Object

Query = Mapping[str, Sequence[str]]
VALIDATIONS = ("Ignore", "Warn", "Strict")
PROPAGATIONS = ("Orphan", "Background", "Foreground")
LONGEST_MANAGER = 128


@dataclass(slots=True)
class Call:
    """One write. `warnings` collects what the client is to be told beside the answer."""

    user: User = CONTROLLERS
    manager: str = "unknown"
    dry_run: bool = False
    validation: str = "Ignore"
    force: bool | None = None  # of server-side apply
    applying: bool = False  # it is one
    named_manager: bool = True  # the client itself said who manages
    warnings: list[str] = field(default_factory=list)
    query: Query | None = None  # of the request; None: there was none, the call comes from within


class DeleteOptions(NamedTuple):
    grace: int | None = None
    propagation: str = ""  # "" : as the finalizers say
    uid: str = ""
    revision: str = ""
    dry_run: bool = False
    accepted: bool = False  # it goes later, and its client knows the answer of old to that: 202


def one(query: Query, name: str) -> str:
    held = query.get(name)
    return held[0] if held else ""


def flag(query: Query, name: str) -> bool:
    """As the original reads it: whatever is there and is neither 0 nor false."""
    return name in query and one(query, name).lower() not in ("0", "false")


def dry_run_of(values: Sequence[str], kind: str) -> bool:
    asked = [value for value in values if value]
    for value in asked:
        if value != "All":
            told = unsupported("dryRun", asked, ("All",))
            raise wrong_option(kind, told)
    return bool(asked)


def wrong_option(kind: str, fault: Fault) -> Invalid:
    """Of CreateOptions, PatchOptions, ...: what is wrong with one of them."""
    return status.invalid(Kind("meta.k8s.io", "v1", kind, ""), "", [fault])


def call_of(user: User, query: Query, agent: str, kind: str) -> Call:
    """The options of a write; `kind` (CreateOptions, ...) is named in errors."""
    validation = one(query, "fieldValidation") or "Warn"
    if validation not in VALIDATIONS:
        told = unsupported("fieldValidation", validation, ("", *VALIDATIONS))
        raise wrong_option(kind, told)
    manager = one(query, "fieldManager")
    if len(manager) > LONGEST_MANAGER:
        raise wrong_option(kind, too_long("fieldManager", LONGEST_MANAGER))
    force = flag(query, "force") if "force" in query else None
    return Call(
        user=user,
        manager=manager or agent.partition("/")[0][:LONGEST_MANAGER] or "unknown",
        dry_run=dry_run_of(query.get("dryRun", ()), kind),
        validation=validation,
        force=force,
        named_manager=bool(manager),
        query=query,
    )


def delete_options(body: Object, query: Query) -> DeleteOptions:
    """From the body (DeleteOptions) or the query; raises BadRequest or Invalid."""
    if body and body.get("kind", "DeleteOptions") != "DeleteOptions":
        raise BadRequest(f"expected DeleteOptions, but got {body.get('kind')}")
    grace = body.get("gracePeriodSeconds")
    text = one(query, "gracePeriodSeconds")
    if grace is None and text:
        if not text.lstrip("-").isdigit():
            raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        grace = int(text)
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise BadRequest(
            "json: cannot unmarshal into DeleteOptions.gracePeriodSeconds of type int64"
        )
    propagation = body.get("propagationPolicy") or one(query, "propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is None and one(query, "orphanDependents"):
        orphan = flag(query, "orphanDependents")
    if orphan is not None:
        if propagation:
            says = "orphanDependents and deletionPropagation cannot be both set"
            raise wrong_option("DeleteOptions", invalid("propagationPolicy", propagation, says))
        propagation = "Orphan" if orphan else "Background"
    if propagation and propagation not in PROPAGATIONS:
        known = ("Foreground", "Background", "Orphan", "nil")
        told = unsupported("propagationPolicy", propagation, known, ordered=False)
        raise wrong_option("DeleteOptions", told)
    conditions = body.get("preconditions") or {}
    return DeleteOptions(
        grace,
        propagation,
        conditions.get("uid") or "",
        str(conditions.get("resourceVersion") or ""),
        dry_run_of([*(body.get("dryRun") or ()), *query.get("dryRun", ())], "DeleteOptions"),
        accepted=orphan is False,
    )
