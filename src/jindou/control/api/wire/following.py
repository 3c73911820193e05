"""From a request to a watch: what it is about, where it begins, and over what it is told."""

from __future__ import annotations

from jindou.control.api.engine.calls import flag
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.engine.watches import start_of
from jindou.control.api.wire import messages
from jindou.control.api.wire.negotiation import Form
from jindou.control.api.wire.parameters import list_query, number, selection_of
from jindou.control.api.wire.routes import Route
from jindou.control.api.wire.streams import WatchStream
from jindou.objects.errors import BadRequest, NotAcceptable
from jindou.transport import Answer, Headers, Request, Streamed, websocket

LONGEST = 366 * 86400  # seconds


def followed(
    engine: Engine, route: Route, request: Request, form: Form, headers: Headers
) -> Answer:
    if form.kind == "yaml":
        raise NotAcceptable(
            "only the following media types are accepted: application/json;stream=watch"
        )
    bookmarks = flag(request.query, "allowWatchBookmarks")
    start = start_of(list_query(request), bookmarks, engine.store.revision)
    selection = selection_of(route, request)
    if route.name:
        if selection.name and selection.name != route.name:
            raise BadRequest("fieldSelector metadata.name doesn't match the name of the request")
        selection = selection._replace(name=route.name)
    seconds = float(min(max(0, number(request, "timeoutSeconds")), LONGEST))
    stream = WatchStream(engine, route.resource, selection, start, form, seconds)
    if websocket.wanted(request) and not request.http2:
        try:
            return messages.upgraded(request, stream.begin)
        except websocket.BadHandshake as bad:
            raise BadRequest(str(bad)) from None
    request.headers = {}  # a watch lasts: what it was asked with is let go
    return Streamed(200, stream.begin, headers)
