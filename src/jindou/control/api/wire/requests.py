"""HTTP requests to verbs: who asks, whether they may, what about, and in which form the answer goes.

Reads and watches are answered at once, writes in a task. Every failure becomes a Status.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from jindou.control.api import status
from jindou.control.api.access import reviews
from jindou.control.api.access.guard import Access, User
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.engine import actions, admitting, encoding, lists, patches
from jindou.control.api.engine.calls import Call, call_of, delete_options, flag, one
from jindou.control.api.engine.commits import Written
from jindou.control.api.engine.decoding import check_kind, check_options, check_type, fit, parse
from jindou.control.api.engine.pods import BINDING
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.metrics.source import Metrics
from jindou.control.api.wire import connections, measured, negotiation, pretty
from jindou.control.api.wire.connect import Connect
from jindou.control.api.wire.documents import Documents
from jindou.control.api.wire.following import followed
from jindou.control.api.wire.forwarding import Elsewhere
from jindou.control.api.wire.marks import Marks
from jindou.control.api.wire.negotiation import Form, accepted, warnings_of
from jindou.control.api.wire.parameters import included, list_query, selection_of
from jindou.control.api.wire.routes import Route, Routes
from jindou.control.api.wire.waiting import reached
from jindou.control.store import Forgotten, StoreFailed, StoreFull
from jindou.objects.errors import (
    BadRequest,
    CloudError,
    MethodNotAllowed,
    TooLarge,
)
from jindou.objects.kinds import Object
from jindou.objects.selectors import parse_fields
from jindou.transport import (
    Answer,
    BodyBroken,
    BodyTooLarge,
    Headers,
    Request,
    Response,
    Streamed,
    Upgraded,
)

JSON_HEADERS: Headers = (
    ("Content-Type", "application/json"),
    ("Cache-Control", "no-cache, private"),
)
CONNECT = frozenset({"exec", "attach", "portforward", "log", "proxy"})
ALWAYS_CREATE = frozenset({"exec", "attach", "portforward"})
LIMIT = 3 * 1024 * 1024
Report = Callable[[Exception, Any], None]
Read = Callable[[Route, Request], Answer | Awaitable[Answer]]


class Requests:
    """A `transport.Handler`."""

    def __init__(
        self,
        engine: Engine,
        access: Access,
        tokens: Tokens,
        connect: Connect,
        metrics: Metrics,
        documents: Documents,
        behind: Elsewhere,
        report: Report,
    ) -> None:
        self._engine = engine
        self._access = access
        self._tokens = tokens
        self._connect = connect
        self._metrics = metrics
        self._documents = documents
        self._behind = behind
        self._report = report
        self._routes = Routes(engine.registry)
        self._meter = documents.meter
        self._marks = Marks()

    def __call__(self, request: Request) -> Answer | Awaitable[Answer]:
        began = perf_counter()
        try:
            answer = self._answer(request)
        except Exception as error:
            answer = self._failure(error, request)
        if isinstance(answer, (Response, Streamed, Upgraded)):
            return self._told(answer, request, began)
        return self._guarded(answer, request, began)

    async def _guarded(self, answer: Awaitable[Answer], request: Request, began: float) -> Answer:
        self._meter.began(request.method)
        try:
            found = await answer
        except BodyBroken as error:
            found = self._failure(BadRequest(str(error)), request)
        except BodyTooLarge:
            found = self._failure(TooLarge(f"Request entity too large: limit is {LIMIT}"), request)
        except Exception as error:
            found = self._failure(error, request)
        finally:
            self._meter.ended(request.method)
        return self._told(found, request, began)

    def _told(self, answer: Answer, request: Request, began: float) -> Answer:
        self._meter.note(self._routes.find(request.path), request.method, answer, began)
        headers = answer.headers
        if isinstance(answer, Response) and pretty.wanted(request):
            pretty.indent(answer)
        answer.headers = self._marks.on(request, headers, headers is JSON_HEADERS)
        return answer

    def _failure(self, error: Exception, request: Request) -> Response:
        if isinstance(error, RecursionError):
            error = BadRequest("the object is nested too deeply")
        if not isinstance(error, (CloudError, StoreFailed, Forgotten)):
            self._report(error, request)
        if isinstance(error, StoreFailed) and not isinstance(error, StoreFull):
            self._documents.health.stored = False
        told = status.of(error)
        headers = list(JSON_HEADERS)
        if after := told.get("details", {}).get("retryAfterSeconds"):
            headers.append(("Retry-After", str(after)))
        if isinstance(error, CloudError) and error.code == 401:
            headers.append(("WWW-Authenticate", 'Bearer realm="kubernetes-master"'))
        if isinstance(error, CloudError):
            headers += warnings_of(error.warnings)
        if negotiation.as_yaml(request.headers.get("accept", "")):
            headers[0] = ("Content-Type", "application/yaml")
            return Response(told["code"], negotiation.of_value(told, negotiation.YAML), headers)
        return Response(told["code"], status.encode(told), headers)

    def _answer(self, request: Request) -> Answer | Awaitable[Answer]:
        user = self._access.authenticate(request)
        if self._behind.active and (remote := self._behind.find(request.path)) is not None:
            return self._behind.answer(remote, request, user)
        route = self._routes.find(request.path)
        if route is None:
            return self._documents.answer(request, user)
        if route.resource.deprecation:
            return self._deprecated(user, route, request)
        return self._routed(user, route, request)

    async def _deprecated(self, user: User, route: Route, request: Request) -> Answer:
        answer = self._routed(user, route, request)
        if not isinstance(answer, (Response, Streamed, Upgraded)):
            answer = await answer
        answer.headers = (*answer.headers, *warnings_of([route.resource.deprecation]))
        return answer

    def _routed(self, user: User, route: Route, request: Request) -> Answer | Awaitable[Answer]:
        if route.resource.computed:
            return self._measured(user, route, request)
        method = request.method
        if method == "GET" and route.name and not route.part and "?" not in request.raw_path:
            self._access.check(user, route.asked("get"))
            return self._get(route, request)
        if route.part in CONNECT:
            verb = "create" if route.part in ALWAYS_CREATE else route.verb(method, False)
            self._allow(user, route, verb)
            return self._connected(user, route, request)
        asked = method == "GET" and not route.name and flag(request.query, "watch")
        verb = route.verb(method, asked)
        self._allow(user, route, verb, request)
        if verb == "watch":
            return self._watch(route, request)
        if verb in ("get", "list"):
            return self._read(verb, route, request)
        return self._write(verb, user, route, request)

    def _allow(self, user: User, route: Route, verb: str, request: Request | None = None) -> None:
        """A list of one object by its name is a matter of that name."""
        asked = route.asked(verb)
        if request is not None and (fields := one(request.query, "fieldSelector")):
            named = [f.value for f in parse_fields(fields) if f.path == "metadata.name" and f.equal]
            asked = asked._replace(fields=fields, name=asked.name or (named[0] if named else ""))
        self._access.check(user, asked)
        headed = request is not None and request.method == "HEAD" and not route.resource.custom
        if headed or not route.offers(verb):
            raise MethodNotAllowed(
                "the server does not allow this method on the requested resource"
            )

    async def _measured(self, user: User, route: Route, request: Request) -> Response:
        self._allow(user, route, route.verb(request.method, False))
        form = included(accepted(request.headers.get("accept", "")), request)
        told = await measured.answer(self._metrics, route, request, form)
        return Response(200, told, headers_of(form))

    async def _connected(self, user: User, route: Route, request: Request) -> Answer:
        resource, namespace, name, part = route.resource, route.namespace, route.name, route.part
        if self._engine.chain.active and part != "log":
            options = connections.options_of(resource, part, request.query, route.rest)
            await admitting.decided(
                self._engine.chain, "CONNECT", resource, part, namespace, name, options, Call(user)
            )
        return await self._connect.answer(
            request, user, resource, namespace, name, part, route.rest
        )

    # ------------------------------------------------------------ reads

    def _get(self, route: Route, request: Request) -> Answer | Awaitable[Answer]:
        if route.resource.conversion is not None:
            return self._get_converted(route, request)
        return self._got(route, request)

    async def _get_converted(self, route: Route, request: Request) -> Answer:
        stored = self._engine.find(route.resource, route.namespace, route.name)
        await encoding.prepare(route.resource, stored.value)
        return self._got(route, request)

    def _got(self, route: Route, request: Request) -> Response:
        form = accepted(request.headers.get("accept", ""))
        resource = route.resource
        if route.part == "scale":
            scale = self._engine.scale(resource, route.namespace, route.name)
            return Response(200, negotiation.of_value(scale, form), JSON_HEADERS)
        stored = self._engine.find(resource, route.namespace, route.name)
        if form is negotiation.PLAIN:
            return Response(200, encoding.served(resource, stored.value), JSON_HEADERS)
        form = included(form, request)
        return Response(200, negotiation.of_object(resource, stored.value, form), headers_of(form))

    def _read(self, verb: str, route: Route, request: Request) -> Answer | Awaitable[Answer]:
        """A get or list, once the revision that it names has been reached."""
        read = self._get if verb == "get" else self._list
        query = list_query(request)
        if verb == "get":
            lists.check_revision(query.revision)
            query = lists.Query(revision=query.revision)
        revision = lists.awaited(query)
        if revision <= self._engine.store.revision:
            return read(route, request)
        return self._read_later(revision, read, route, request)

    async def _read_later(
        self, revision: int, read: Read, route: Route, request: Request
    ) -> Answer:
        await reached(self._engine.store, revision)
        answer = read(route, request)
        return answer if isinstance(answer, (Response, Streamed, Upgraded)) else await answer

    async def _list_converted(self, route: Route, request: Request, form: Form) -> Answer:
        selection, query = selection_of(route, request), list_query(request)
        store, facts = self._engine.store, self._engine.facts
        page = await lists.read_converted(store, route.resource, selection, query, facts)
        await encoding.prepare(route.resource, *(stored.value for stored in page.items))
        body = negotiation.of_page(route.resource, page, form)
        answer = self._documents.packed(request, body, headers_of(form))
        return await answer if isinstance(answer, Awaitable) else answer

    def _list(self, route: Route, request: Request) -> Answer | Awaitable[Answer]:
        form = included(accepted(request.headers.get("accept", "")), request)
        if route.resource.conversion is not None:
            return self._list_converted(route, request, form)
        page = self._engine.page(route.resource, selection_of(route, request), list_query(request))
        body = negotiation.of_page(route.resource, page, form)
        return self._documents.packed(request, body, headers_of(form))

    def _watch(self, route: Route, request: Request) -> Answer:
        form = included(accepted(request.headers.get("accept", "")), request)
        return followed(self._engine, route, request, form, headers_of(form))

    # ------------------------------------------------------------ writes

    async def _write(self, verb: str, user: User, route: Route, request: Request) -> Answer:
        form = included(accepted(request.headers.get("accept", "")), request)
        body = await request.body(LIMIT)
        if verb in ("delete", "deletecollection"):
            return await self._delete(verb, user, route, request, body, form)
        option_kind = {"create": "CreateOptions", "update": "UpdateOptions"}.get(
            verb, "PatchOptions"
        )
        call = call_of(user, request.query, request.headers.get("user-agent", ""), option_kind)
        try:
            return await self._carry_out(verb, call, route, request, body, form)
        except CloudError as error:
            error.warnings = call.warnings
            raise

    async def _carry_out(
        self, verb: str, call: Call, route: Route, request: Request, body: bytes, form: Form
    ) -> Answer:
        content_type = request.headers.get("content-type", "")
        if verb == "patch":
            how = content_type.partition(";")[0].strip()
            patches.check(route.resource, how)
            changes, odd = parse(body, how, self._engine.registry)
            patch = patches.Patch(how, changes, odd)
            written = await self._engine.patch(
                route.resource, route.namespace, route.name, patch, call, route.part
            )
        elif verb == "create" and not route.part and route.resource.stored:
            written = await self._create(route, body, content_type, call)
        else:
            obj, odd = parse(body, content_type, self._engine.registry)
            if verb == "create":
                return await self._ask(call.user, route, obj, call, form)
            written = await self._engine.update(
                route.resource, route.namespace, route.name, obj, call, route.part, odd
            )
        await encoding.prepare(route.resource, written.value)
        return self._written(route, written, call, form)

    async def _create(self, route: Route, body: bytes, content_type: str, call: Call) -> Written:
        engine, resource, namespace = self._engine, route.resource, route.namespace
        as_json = content_type.partition(";")[0] in ("application/json", "")
        known = engine.templates.find(resource, namespace, body, call) if as_json else None
        if known is not None and known.template is not None:
            return await engine.templates.create(resource, namespace, known)
        obj, odd = parse(body, content_type, engine.registry)
        written = await engine.create(resource, namespace, obj, call, odd)
        engine.templates.learn(known, written, call)
        return written

    def _written(self, route: Route, written: Written, call: Call, form: Form) -> Response:
        if route.part == "scale":
            scale = negotiation.scale_of(route.resource, written.value)
            return Response(200, negotiation.of_value(scale, form), headers_of(form, call))
        body = negotiation.of_object(route.resource, written.value, form)
        return Response(201 if written.created else 200, body, headers_of(form, call))

    async def _ask(self, user: User, route: Route, obj: Any, call: Call, form: Form) -> Response:
        """A POST that stores nothing of its own kind: reviews, tokens, bindings, evictions."""
        resource, namespace, name = route.resource, route.namespace, route.name
        if not isinstance(obj, dict):
            raise BadRequest("couldn't get version/kind; json parse error: expected an object")
        if route.part == "eviction":
            check_type("Eviction", "v1", obj)
            told = await actions.evict(self._engine, resource, namespace, name, obj, call)
            return Response(told["code"], negotiation.of_value(told, form), headers_of(form, call))
        elif route.part == "binding" or resource.kind.name == BINDING.name:
            pods = self._engine.registry.by_url("", "v1", "pods")
            assert pods is not None
            check_type("Binding", "v1", obj)
            name = name or (obj.get("metadata") or {}).get("name", "")
            if not name:
                raise BadRequest("Name parameter required.")
            told = await actions.bind(self._engine, pods, namespace, name, obj, call)
        else:
            if not route.part:
                obj = check_kind(resource, obj)
                fit(resource, obj, call, [])
            obj = await admitting.decided(
                self._engine.chain, "CREATE", resource, route.part, namespace, name, obj, call
            )
            told = await reviews.review(
                resource, namespace, name, obj, user, self._access, self._tokens, self._engine.store
            )
        return Response(201, negotiation.of_value(told, form), headers_of(form, call))

    async def _delete(
        self, verb: str, user: User, route: Route, request: Request, body: bytes, form: Form
    ) -> Answer:
        resource, query = route.resource, request.query
        given: Object = {}
        if body.strip():
            value, _ = parse(body, request.headers.get("content-type", ""), self._engine.registry)
            if not isinstance(value, dict):
                raise BadRequest(
                    "couldn't get version/kind; json parse error: expected DeleteOptions"
                )
            given = check_options(value)
        options = delete_options(given, query)
        call = Call(user)
        if verb == "deletecollection":
            selection = selection_of(route, request)
            page = await self._engine.delete_collection(
                resource, selection, list_query(request), options, call
            )
            await encoding.prepare(resource, *(stored.value for stored in page.items))
            return Response(200, negotiation.of_page(resource, page, form), headers_of(form, call))
        deleted = await self._engine.delete(resource, route.namespace, route.name, options, call)
        if deleted.status is not None:
            return Response(200, negotiation.of_value(deleted.status, form), headers_of(form, call))
        await encoding.prepare(resource, deleted.value)
        told = negotiation.of_object(resource, deleted.value, form)
        return Response(202 if options.accepted else 200, told, headers_of(form, call))


def headers_of(form: Form, call: Call | None = None) -> Headers:
    if form.kind != "yaml" and (call is None or not call.warnings):
        return JSON_HEADERS
    headers = [("Content-Type", form.content_type), *JSON_HEADERS[1:]]
    return [*headers, *warnings_of(call.warnings if call else ())]
