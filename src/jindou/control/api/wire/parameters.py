"""What the query of a read says: options of lists and watches, selectors, and what a Table includes."""

from __future__ import annotations

from jindou.control.api.engine import lists
from jindou.control.api.engine.calls import flag, one
from jindou.control.api.engine.selection import Selection, select
from jindou.control.api.wire.negotiation import Form
from jindou.control.api.wire.routes import Route
from jindou.objects.errors import BadRequest
from jindou.transport import Request


def included(form: Form, request: Request) -> Form:
    if form.kind != "table":
        return form
    wished = one(request.query, "includeObject")
    if wished not in ("", "None", "Metadata", "Object"):
        raise BadRequest(f'unrecognized includeObject value: "{wished}"')
    return form._replace(include=wished) if wished else form


def selection_of(route: Route, request: Request) -> Selection:
    query = request.query
    return select(
        route.resource, route.namespace, one(query, "labelSelector"), one(query, "fieldSelector")
    )


def list_query(request: Request) -> lists.Query:
    query = request.query
    if not query:
        return lists.Query()
    number(request, "timeoutSeconds")
    return lists.Query(
        max(0, number(request, "limit")),
        one(query, "continue"),
        one(query, "resourceVersion"),
        one(query, "resourceVersionMatch"),
        flag(query, "sendInitialEvents") if "sendInitialEvents" in query else None,
    )


def number(request: Request, name: str) -> int:
    text = one(request.query, name)
    digits = text.removeprefix("-")
    if text and not (digits.isascii() and digits.isdigit()):
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > 20 or not -(2**63) <= (found := int(text or 0)) < 2**63:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return found
