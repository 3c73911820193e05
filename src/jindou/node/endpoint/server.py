"""The node's own endpoint: logs, exec, attach, port-forward, figures, and images.

Its paths and words are the kubelet's, so the API server (or anyone with a certificate that the
cloud trusts for it) can talk to us as to one. Nothing is answered for Pods of other machines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import orjson

from jindou.machine.images import Images
from jindou.machine.runtimes import Runtime, Session
from jindou.node import Containers
from jindou.node.endpoint import logs
from jindou.node.endpoint.image_routes import ImageRoutes
from jindou.node.endpoint.replies import JSON, PLAIN, flag, streamed
from jindou.node.endpoint.stats import Stats
from jindou.node.streams import Options
from jindou.node.streams.answers import forward_answer, refused, remote_answer
from jindou.node.streams.forward import dialler
from jindou.node.volumes.volumes import Volumes
from jindou.objects.errors import BadRequest, CloudError, NotFound
from jindou.objects.kinds import Object
from jindou.settings import Settings
from jindou.transport import Answer, Peer, Request, Response

API_SERVER = "kube-apiserver-kubelet-client"
MASTERS = "system:masters"
METRICS = (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),)

Route = Callable[[Request, list[str]], Answer | Awaitable[Answer]]


class NodeServer:
    """Give `handler` to `transport.server.serve`, over TLS that asks for a client certificate."""

    def __init__(
        self,
        settings: Settings,
        containers: Containers,
        runtime: Runtime,
        images: Images,
        volumes: Volumes | None = None,
        *,
        node_name: str = "",
        pods: Callable[[], Sequence[Object]] = tuple,
        images_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._containers = containers
        self._runtime = runtime
        self._pods = pods
        name = node_name or settings.node_name
        self._stats = Stats(name, settings, containers, runtime, images, volumes, pods)
        image_routes = ImageRoutes(images, images_changed)
        self._routes: dict[str, Route] = {
            "healthz": lambda request, rest: Response(200, b"ok", PLAIN),
            "pods": self._list,
            "containerLogs": self._logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._forward,
            "stats": self._summary,
            "metrics": self._metrics,
            "stop": self._stop,
            "images": image_routes.answer,
        }

    def handler(self, request: Request) -> Answer | Awaitable[Answer]:
        if request.path == "/healthz":
            return Response(200, b"ok", PLAIN)
        if (refusal := not_allowed(request.peer, request.method)) is not None:
            return refusal
        first, *rest = request.path.strip("/").split("/")
        route = self._routes.get(first)
        if route is None:
            return refused(404, "404 page not found")
        try:
            answer = route(request, rest)
        except CloudError as error:
            return refused(error.code, error.message)
        if isinstance(answer, Awaitable):
            return _told(answer)
        return answer

    # ------------------------------------------------------------ Pods

    def _list(self, request: Request, rest: list[str]) -> Answer:
        held = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(self._pods())}
        return Response(200, orjson.dumps(held), JSON)

    def _logs(self, request: Request, rest: list[str]) -> Answer:
        namespace, pod, container = _three(rest)
        wish = log_wish(request.query, time.time())
        previous = flag(request.query, "previous")
        path = self._containers.log(namespace, pod, container, previous)
        unit = "" if previous or not wish.follow else self._unit(namespace, pod, container)

        def running() -> bool:
            return bool(unit) and self._unit(namespace, pod, container) == unit

        return streamed(logs.read(path, wish, running), "text/plain")

    def _unit(self, namespace: str, pod: str, container: str) -> str:
        """The container's unit while it runs, else ""."""
        try:
            return self._containers.unit(namespace, pod, container)
        except CloudError:
            return ""

    def _exec(self, request: Request, rest: list[str]) -> Answer:
        namespace, pod, container = _three(rest)
        unit = self._containers.unit(namespace, pod, container)
        options = stream_options(request.query)
        argv = tuple(request.query.get("command", ()))
        if not argv:
            raise BadRequest("you must specify at least one command for the container")

        async def start() -> Session:
            return await self._runtime.execute(
                unit, argv, terminal=options.terminal, stdin=options.stdin
            )

        return remote_answer(request, options, start)

    def _attach(self, request: Request, rest: list[str]) -> Answer:
        namespace, pod, container = _three(rest)
        unit = self._containers.unit(namespace, pod, container)
        return remote_answer(
            request, stream_options(request.query), lambda: self._runtime.attach(unit)
        )

    def _forward(self, request: Request, rest: list[str]) -> Answer:
        if len(rest) not in (2, 3):
            raise NotFound("404 page not found")
        namespace, pod = rest[0], rest[1]
        network = self._containers.network(namespace, pod)
        return forward_answer(request, dialler(network), f"{pod}_{namespace}")

    # ------------------------------------------------------------ the machine

    async def _summary(self, request: Request, rest: list[str]) -> Answer:
        if rest[:1] != ["summary"]:
            raise NotFound("404 page not found")
        return Response(200, orjson.dumps(await self._stats.summary()), JSON)

    async def _metrics(self, request: Request, rest: list[str]) -> Answer:
        if rest == ["resource"]:
            return Response(200, (await self._stats.resource()).encode(), METRICS)
        if rest == ["cadvisor"]:
            return Response(200, (await self._stats.cadvisor()).encode(), METRICS)
        raise NotFound("404 page not found")

    async def _stop(self, request: Request, rest: list[str]) -> Answer:
        if request.method != "POST":
            return refused(405, "405: Method Not Allowed", ("Allow", "POST"))
        stopped = await self._containers.stop_all()
        return Response(200, orjson.dumps({"stopped": stopped}), JSON)


async def _told(answer: Awaitable[Answer]) -> Answer:
    try:
        return await answer
    except CloudError as error:
        return refused(error.code, error.message)


def not_allowed(peer: Peer, method: str) -> Response | None:
    """Who may talk to us: the API server and administrators; on a Unix socket, we and root."""
    if peer.uid is not None:
        if peer.uid in (0, os.getuid()):
            return None
        return refused(403, f"Forbidden (uid={peer.uid})")
    if not peer.common_name:
        return refused(401, "Unauthorized")
    if peer.common_name == API_SERVER or MASTERS in peer.organizations:
        return None
    verb = {"POST": "create", "DELETE": "delete"}.get(method, "get")
    return refused(
        403,
        f"Forbidden (user={peer.common_name}, verb={verb}, resource=nodes, subresource(s)=[proxy])",
    )


def _three(rest: list[str]) -> tuple[str, str, str]:
    """namespace/pod/container, or with the Pod's uid before the container."""
    if len(rest) == 4:
        rest = [rest[0], rest[1], rest[3]]
    if len(rest) != 3 or not all(rest):
        raise NotFound("404 page not found")
    return rest[0], rest[1], rest[2]


def stream_options(query: dict[str, list[str]]) -> Options:
    """In the kubelet's words or in those of the API. A terminal has no stderr of its own."""
    terminal = flag(query, "tty")
    return Options(
        stdin=flag(query, "input", "stdin"),
        stdout=flag(query, "output", "stdout"),
        stderr=flag(query, "error", "stderr") and not terminal,
        terminal=terminal,
    )


def log_wish(query: dict[str, list[str]], now: float) -> logs.Wish:
    def number(name: str, least: int) -> int:
        text = query.get(name, [""])[-1]
        if not text:
            return -1
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise BadRequest(
                f'Invalid value: "{text}": {name} must be greater than or equal to {least}'
            )
        return value

    since = 0.0
    if (age := number("sinceSeconds", 1)) > 0:
        since = now - age
    if text := query.get("sinceTime", [""])[-1]:
        try:
            since = datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
        except ValueError as error:
            raise BadRequest(f'Invalid value: "{text}": sinceTime is not a time') from error
    stream = query.get("stream", ["All"])[-1] or "All"
    if stream not in ("All", "Stdout", "Stderr"):
        raise BadRequest(f'Unsupported value: "{stream}": supported values: "All", "Stderr", "Stdout"')  # fmt: skip
    return logs.Wish(
        follow=flag(query, "follow"),
        tail=number("tailLines", 0),
        since=since,
        timestamps=flag(query, "timestamps"),
        limit=number("limitBytes", 1),
        stream="" if stream == "All" else stream.lower(),
    )
