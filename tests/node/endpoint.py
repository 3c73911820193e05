"""The node's endpoint with one Pod whose "container" is this machine: real processes, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import termios
from pathlib import Path

import orjson

from jindou.machine.runtimes import StartFailed, Usage
from jindou.node import Running
from jindou.node.endpoint.server import NodeServer
from jindou.objects.errors import BadRequest, NotFound
from jindou.settings import Settings
from jindou.transport import Response
from jindou.transport.server import listening, serve

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
    "spec": {"nodeName": "here", "containers": [{"name": "main", "image": "x"}]},
    "status": {
        "phase": "Running",
        "containerStatuses": [
            {"name": "main", "ready": True, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
        ],
    },
}  # fmt: skip


class Process:
    """A session that is a process of this machine, with a terminal or with pipes."""

    def __init__(self, process, terminal: int) -> None:
        self.process = process
        self.terminal = terminal
        self.items: asyncio.Queue = asyncio.Queue(16)
        self.closed = False
        self.pumped = 0
        self.blocked = asyncio.Event()
        self.tasks = [asyncio.create_task(self._pump())]

    @classmethod
    async def start(cls, argv, terminal: bool, stdin: bool):
        if terminal:
            ours, theirs = pty.openpty()
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
            )
            os.close(theirs)
            return cls(process, ours)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=pipe if stdin else asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        return cls(process, -1)

    async def _pump(self) -> None:
        if self.terminal >= 0:
            with contextlib.suppress(OSError):
                while data := await asyncio.to_thread(os.read, self.terminal, 65536):
                    await self.items.put((1, data))
        else:

            async def copy(number, reader):
                while data := await reader.read(65536):
                    self.pumped += len(data)
                    if self.items.full():
                        self.blocked.set()
                    await self.items.put((number, data))

            await asyncio.gather(copy(1, self.process.stdout), copy(2, self.process.stderr))
        await self.items.put(None)

    async def receive(self):
        return await self.items.get()

    async def send(self, data: bytes) -> None:
        if self.terminal >= 0:
            os.write(self.terminal, data)
        else:
            self.process.stdin.write(data)
            with contextlib.suppress(ConnectionError):  # it reads no more
                await self.process.stdin.drain()

    async def end_input(self) -> None:
        if self.terminal < 0 and self.process.stdin is not None:
            self.process.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def wait(self) -> int:
        code = await self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(ConnectionError):  # else it is complained of when collected
                self.process.stdin.close()
                await self.process.stdin.wait_closed()
        return code

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self.process._transport.close()  # kills; only then does `wait` not wait for the pipes
            await self.process.wait()
            if self.terminal >= 0:
                os.close(self.terminal)


class ProcessRuntime:
    def __init__(self) -> None:
        self.sessions: list[Process] = []
        self.started = asyncio.Event()
        self.main = ("sh", "-c", "cat")

    async def execute(self, id, argv, *, terminal=False, stdin=False, env=()):
        try:
            session = await Process.start(argv, terminal, stdin)
        except FileNotFoundError as error:
            raise StartFailed(f'exec: "{argv[0]}": executable file not found in $PATH') from error
        self.sessions.append(session)
        self.started.set()
        return session

    async def attach(self, id):
        return await self.execute(id, self.main, stdin=True)

    async def usage(self, id):
        return Usage(1.5, 1000, 800, 3)


class OnePod:
    """What the endpoint asks of its Pods."""

    def __init__(self, log: Path) -> None:
        self.path = log
        self.runs = True
        self.stopped = False
        self.upgrades: list[str] = []  # what clients have asked to speak

    def unit(self, namespace, pod, container):
        if (namespace, pod) != ("default", "web"):
            raise NotFound(f'pod "{pod}" does not exist')
        if container not in ("main", ""):
            raise NotFound(f'container "{container}" not found in pod "{pod}"')
        if not self.runs:
            raise BadRequest(f"container {container} is not running")
        return "unit-1"

    def log(self, namespace, pod, container, previous=False):
        if (namespace, pod, container) != ("default", "web", "main"):
            raise NotFound(f'pod "{pod}" does not exist')
        if previous:
            raise BadRequest(
                f'previous terminated container "{container}" in pod "{pod}" not found'
            )
        return self.path

    def network(self, namespace, pod):
        self.unit(namespace, pod, "")
        return None

    async def stop_all(self):
        self.stopped = True
        return 1

    def statistics(self):
        return [Running("default", "web", "u1", "main", "unit-1", 1_700_000_000.0)]


class NoImages:
    def all(self):
        return []

    async def usage(self, unit):
        return 4096


def discovery(path: str):
    """The little of the API that kubectl asks before it execs, copies or forwards."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
    if path == "/api/v1":
        verbs = ["get", "list", "create"]
        held = {
            "name": "pods",
            "singularName": "pod",
            "namespaced": True,
            "kind": "Pod",
            "verbs": verbs,
        }
        return {"kind": "APIResourceList", "groupVersion": "v1", "resources": [held]}
    if path == "/version":
        return {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
    if path == "/api/v1/namespaces/default/pods/web":
        return POD
    return None


PARTS = {"exec": "exec", "attach": "attach", "portforward": "portForward", "log": "containerLogs"}


def as_api_server(endpoint: NodeServer, upgrades: list[str]):
    """A handler that passes streaming requests to the endpoint as the API server does."""

    def handle(request):
        if "upgrade" in request.headers:
            upgrades.append(request.headers["upgrade"].lower())
        if (found := discovery(request.path)) is not None:
            body = orjson.dumps(found)
            return Response(200, body, (("Content-Type", "application/json"),))
        place, _, part = request.path.rpartition("/")
        if part in PARTS and place == "/api/v1/namespaces/default/pods/web":
            tail = "" if part == "portforward" else "/main"
            query = request.raw_path.partition("?")[2]
            request.raw_path = f"/{PARTS[part]}/default/web{tail}?{query}"
            request._path = request._query = None
            request.peer = request.peer._replace(uid=os.getuid())
            return endpoint.handler(request)
        return Response(404, b'{"kind":"Status","status":"Failure","code":404,"reason":"NotFound"}')

    return handle


@contextlib.asynccontextmanager
async def serving(folder: Path, api: bool = False, **parts):
    """(port, runtime, containers) of an endpoint behind a plain TCP socket."""
    runtime, containers = ProcessRuntime(), OnePod(folder / "0.log")
    endpoint = NodeServer(
        Settings(node_name="here", data=str(folder), run=str(folder)),
        containers, runtime, parts.get("images") or NoImages(), pods=lambda: [POD],
    )  # fmt: skip

    def trusted(request):
        request.peer = request.peer._replace(uid=os.getuid())
        return endpoint.handler(request)

    sock = listening("127.0.0.1", 0)
    failures: list[Exception] = []
    server = await serve(
        as_api_server(endpoint, containers.upgrades) if api else trusted,
        [sock],
        report=lambda error, request: failures.append(error),
    )
    try:
        yield sock.getsockname()[1], runtime, containers
    finally:
        for session in runtime.sessions:
            await session.close()
        await server.close(0.5)
        assert failures == []
