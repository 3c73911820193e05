"""An API server over a store in memory, asked without a socket; and kubectl against one with TLS."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from jindou.control.api.access import certificates
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.server import ApiServer
from jindou.control.store.memory import MemoryStore
from jindou.settings import Settings
from jindou.transport import Peer, Response, Streamed
from jindou.transport.server import HttpRequest, listening, serve
from jindou.transport.tls import server_context

ADMIN = Peer("127.0.0.1:1", "kubernetes-admin", ("system:masters",))
NOBODY = Peer("127.0.0.1:2")


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Lines:
    """The sink of a watch: what it was told, as objects."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.closed = False
        self.pending = 0
        self._callbacks: list[Any] = []

    def write(self, data: bytes) -> None:
        assert data.endswith(b"\n")
        self.events += [orjson.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        self.closed = True
        for callback in self._callbacks:
            callback()

    abort = close

    def on_close(self, callback: Any) -> None:
        self._callbacks.append(callback)

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


class Api:
    """`ask` sends a request, `watch` opens a stream."""

    def __init__(self, server: ApiServer, store: Any) -> None:
        self.server = server
        self.store = store
        self.client = server.local()

    async def ask(
        self, method: str, path: str, body: Any = None, peer: Peer = ADMIN, **headers: str
    ) -> Reply:
        answer = self._send(method, path, body, peer, headers)
        if not isinstance(answer, (Response, Streamed)):
            answer = await answer
        assert isinstance(answer, Response), answer
        whole = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
        return Reply(answer.status, dict(answer.headers), whole)

    def _send(self, method: str, path: str, body: Any, peer: Peer, headers: dict[str, str]) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = HttpRequest(method, path, named, peer, False)
        if body is not None:
            request.feed(body if isinstance(body, bytes) else orjson.dumps(body))
        request.feed_end()
        return self.server.handler(request)

    def watch(self, path: str, peer: Peer = ADMIN, **headers: str) -> Lines:
        answer = self._send("GET", path, None, peer, headers)
        assert isinstance(answer, Streamed), answer
        sink = Lines()
        answer.start(sink)
        return sink


def on_api(scenario: Any, store: Any = None) -> Any:
    """Run `scenario(api)` against a fresh server; `store` is one, or makes one inside the loop."""

    async def main() -> Any:
        held = store() if callable(store) else store or MemoryStore()
        server = ApiServer(held, Settings(), Tokens(Path("/nonexistent"), "cluster.local"))
        await server.start()
        try:
            return await asyncio.wait_for(scenario(Api(server, held)), 30)
        finally:
            server.close()
            if hasattr(held, "close"):
                await held.close()

    return asyncio.run(main())


class Kubectl:
    def __init__(self, config: Path, home: Path) -> None:
        self._env = {
            "KUBECONFIG": str(config),
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "KUBECTL_EXTERNAL_DIFF": "diff -u",
        }

    async def run(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            "kubectl", *words, env=self._env, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        return process.returncode or 0, out.decode(), err.decode()

    async def __call__(self, *words: str, stdin: str = "") -> str:
        """What it prints; it has to succeed."""
        code, out, err = await self.run(*words, stdin=stdin)
        assert code == 0, (words, out, err)
        return out

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "kubectl", *words, env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )  # fmt: skip


def on_kubectl(tmp_path: Path, scenario: Any, store: Any = None) -> Any:
    """Run `scenario(kubectl, api)` against a server with TLS and client certificates."""
    pki = tmp_path / "pki"
    certificates.ensure(pki, certificates.leaves("here", ("127.0.0.1",), "cluster.local"))

    async def main() -> Any:
        held = store() if store else MemoryStore()
        server = ApiServer(
            held, Settings(), Tokens(pki / "service-accounts.key", "cluster.local"), pki=pki
        )
        await server.start()
        sock = listening("127.0.0.1", 0)
        tls = server_context(str(pki / "server.crt"), str(pki / "server.key"), str(pki / "ca.crt"))
        running = await serve(server.handler, [sock], tls)
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        config = tmp_path / "kubeconfig"
        config.write_text(json.dumps(certificates.kubeconfig(pki, "test", url)))
        try:
            return await scenario(Kubectl(config, tmp_path), Api(server, held))
        finally:
            await running.close(0.2)
            server.close()
            if hasattr(held, "close"):
                await held.close()

    return asyncio.run(main())
