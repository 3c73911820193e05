"""Answers about what is used: lists and objects that are in no store, in any form that is accepted."""

from __future__ import annotations

import time

from jindou.control.api.engine import encoding
from jindou.control.api.engine.calls import one
from jindou.control.api.metrics.source import Metrics
from jindou.control.api.resources import columns
from jindou.control.api.resources.registry import Resource
from jindou.control.api.wire import negotiation
from jindou.control.api.wire.negotiation import Form
from jindou.control.api.wire.routes import Route
from jindou.objects.kinds import Object
from jindou.transport import Request


async def answer(metrics: Metrics, route: Route, request: Request, form: Form) -> bytes:
    """Raises NotFound or BadRequest."""
    resource = route.resource
    if route.name:
        found = await metrics.get(resource, route.namespace, route.name)
        return encoding.body_of(_table(resource, [found], form)) if form.kind == "table" else negotiation.of_value(found, form)  # fmt: skip
    query = request.query
    items = await metrics.find(
        resource,
        route.namespace,
        labels=one(query, "labelSelector"),
        fields=one(query, "fieldSelector"),
    )
    if form.kind == "table":
        return encoding.body_of(_table(resource, items, form))
    head = {"kind": resource.list_kind, "apiVersion": resource.kind.api_version, "metadata": {}}
    return negotiation.of_value({**head, "items": items}, form)


def _table(resource: Resource, items: list[Object], form: Form) -> Object:
    made = columns.table(resource, items, {}, form.include, time.time())
    made["apiVersion"] = form.version
    return made
