"""A write as admission is shown it, and what admission leaves of it.

What only the server writes is not shown of a new object, and can't be changed in any: a name that
is generated, identity, times.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from jindou.control.api.admission.chain import Chain, Review, mutate, validated
from jindou.control.api.engine import scales, writes
from jindou.control.api.engine.calls import Call, DeleteOptions, Query, one
from jindou.control.api.engine.decoding import check_kind, fit
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import copy
from jindou.objects.errors import BadRequest, InternalError
from jindou.objects.kinds import Kind, Object

NEW = ("uid", "creationTimestamp", "generation")
OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions"}
SCALE = Kind("autoscaling", "v1", "Scale", "")
Plugins = Callable[[Review], Awaitable[None]]


def review_of(
    chain: Chain,
    operation: str,
    resource: Resource,
    part: str,
    obj: Object | None,
    old: Object | None,
    call: Call,
    *,
    namespace: str = "",
    name: str = "",
    options: Object | None = None,
) -> Review | None:
    """None where nobody is concerned."""
    hands = chain.hands(operation, resource, part)
    if hands is None:
        return None
    sub = resource.subresources.get(part) if part else None
    kind = (sub.kind if sub is not None else None) or resource.kind
    return Review(
        operation, resource, part, kind, namespace, name, obj, old, options, call.user, call.dry_run,
        call.warnings, hands=hands, fit=_fit,
    )  # fmt: skip


def options_of(operation: str, call: Call) -> Object:
    query: Query = call.query or {}
    made: Object = {"kind": OPTIONS[operation], "apiVersion": "meta.k8s.io/v1"}
    if call.dry_run:
        made["dryRun"] = ["All"]
    manager = one(query, "fieldManager") if call.query is not None else call.manager
    if manager:
        made["fieldManager"] = manager
    if validation := one(query, "fieldValidation"):
        made["fieldValidation"] = validation
    return made


def delete_options_of(options: DeleteOptions, dry_run: bool) -> Object:
    made: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    if options.grace is not None:
        made["gracePeriodSeconds"] = options.grace
    wanted = {"uid": options.uid, "resourceVersion": options.revision}
    if any(wanted.values()):
        made["preconditions"] = {key: held for key, held in wanted.items() if held}
    if options.propagation:
        made["propagationPolicy"] = options.propagation
    if dry_run:
        made["dryRun"] = ["All"]
    return made


async def created(
    chain: Chain, resource: Resource, obj: Object, call: Call, generated: bool, plugins: Plugins
) -> tuple[Object, Review | None]:
    """A new object after all that mutate were asked."""
    meta = obj["metadata"]
    namespace, name = meta.get("namespace", ""), meta.get("name", "")
    shown = "" if generated else name
    review = review_of(
        chain, "CREATE", resource, "", obj, None, call, namespace=_place(resource, namespace, shown),
        name=shown, options=options_of("CREATE", call),
    )  # fmt: skip
    if review is None or not review.hands or not review.hands.mutating:
        return obj, _named(review, obj)
    taken = {part: meta.pop(part) for part in NEW if part in meta}
    if generated:
        meta.pop("name", None)
    await mutate(review, plugins)
    obj = _left(review)
    for part in NEW:
        obj["metadata"].pop(part, None)
    obj["metadata"].setdefault("name", name)
    obj["metadata"].update(taken)
    review.object = obj
    return obj, _named(review, obj)


def _named(review: Review | None, obj: Object) -> Review | None:
    """Those who validate are told the name that was generated."""
    if review is not None and not review.name:
        review.name = obj["metadata"].get("name", "")
        review.namespace = _place(review.resource, review.namespace, review.name)
    return review


async def updated(
    chain: Chain,
    resource: Resource,
    new: Object,
    old: Object,
    call: Call,
    part: str,
    plugins: Plugins | None,
) -> tuple[Object, Review | None, bool]:
    """An object on its way after all that mutate were asked, and whether somebody was."""
    meta = old["metadata"]
    namespace, name = meta.get("namespace", ""), meta["name"]
    review = review_of(
        chain, "UPDATE", resource, part, new, old, call, namespace=_place(resource, namespace, name),
        name=name, options=options_of("UPDATE", call),
    )  # fmt: skip
    if review is None:
        return new, None, False
    if part == "scale":
        review.kind = SCALE
        review.object, review.old = scales.scale_of(resource, new), scales.scale_of(resource, old)
    elif review.hands and review.hands.mutating:
        review.object = copy(new)
    if not await mutate(review, plugins):
        return new, review, False
    if part == "scale":
        return scales.scaled(resource, new, _left(review)), review, True
    return _left(review), review, True


async def decided(
    chain: Chain,
    operation: str,
    resource: Resource,
    part: str,
    namespace: str,
    name: str,
    obj: Object,
    call: Call,
) -> Object:
    """What is asked for and not kept (Binding, Eviction, TokenRequest; options of a connection)."""
    if not chain.concerned(operation, resource, part):
        return obj
    options, shown = None, copy(obj)
    if operation in OPTIONS:
        options = options_of(operation, call)
        shown["metadata"] = {"name": name, "namespace": namespace, **(obj.get("metadata") or {})}
    review = review_of(
        chain, operation, resource, part, shown, None, call, namespace=namespace, name=name,
        options=options,
    )  # fmt: skip
    if review is None:
        return obj
    await mutate(review)

    async def done() -> Object:
        return _left(review)

    return await validated(review, done)


def deletion(
    chain: Chain, resource: Resource, old: Object, options: DeleteOptions, call: Call, named: bool
) -> Review | None:
    """`named` False: one of a collection."""
    meta = old["metadata"]
    dry_run = options.dry_run or call.dry_run
    namespace = _place(resource, meta.get("namespace", ""), meta["name"] if named else "")
    review = review_of(
        chain, "DELETE", resource, "", None, old, call, namespace=namespace,
        name=meta["name"] if named else "", options=delete_options_of(options, dry_run),
    )  # fmt: skip
    if review is not None:
        review.dry_run = dry_run
    return review


def _left(review: Review) -> Object:
    assert review.object is not None
    return review.object


def _place(resource: Resource, namespace: str, name: str) -> str:
    """A Namespace is, to admission, in itself."""
    return name if (resource.kind.group, resource.kind.plural) == ("", "namespaces") else namespace


def _fit(review: Review) -> None:
    """What somebody left of an object is made to fit its schema, with its defaults; in place."""
    obj, resource = review.object, review.resource
    if obj is None or review.kind != resource.kind:
        return
    try:
        check_kind(resource, obj)
        fit(resource, obj, Call(review.user), [])
    except BadRequest as error:
        says = error.message
        told = {"causes": [{"message": says}]}
        raise InternalError(f"Internal error occurred: {says}", told) from None
    writes.tidy(obj["metadata"])
    writes.fill(resource, obj)
