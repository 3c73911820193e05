"""What probes and hooks do: run a command inside, ask by HTTP or gRPC, connect, sleep.

Each attempt is one connection of its own, closed after it. An answer is read up to a limit, since
it comes from the container.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from jindou.node.clock import Clock
from jindou.node.pods import health
from jindou.objects.kinds import Object

LIMIT = 10 * 1024
HEAD = 64 * 1024
AGENT = "kube-probe/1.37"
REDIRECTS = 10
ASKING = ("httpGet", "tcpSocket", "grpc")


class Result(NamedTuple):
    ok: bool
    output: str = ""


class Target(NamedTuple):
    """The container that is acted on."""

    container: Object
    address: str  # of its Pod
    execute: Callable[[tuple[str, ...]], Awaitable[Result]]
    clock: Clock = Clock()
    played: bool = False  # it listens nowhere, and its address may be somebody else's


async def perform(handler: Object, target: Target, agent: str = AGENT) -> Result:
    """One attempt; the caller limits its time. What fails is in the result, not raised."""
    if action := handler.get("exec"):
        return await target.execute(tuple(action.get("command") or ()))
    asked = next((handler[kind] for kind in ASKING if kind in handler), None)
    if target.played and asked is not None and "host" not in asked:
        return Result(True)
    try:
        if action := handler.get("httpGet"):
            return await _http(action, target, agent)
        if action := handler.get("tcpSocket"):
            return await _tcp(action, target)
        if action := handler.get("grpc"):
            tls = _unverified() if action.get("mode") == "TLS" else None
            if tls:
                tls.set_alpn_protocols(["h2"])
            service = action.get("service") or ""
            return Result(*await health.check(target.address, action["port"], service, tls))
        if action := handler.get("sleep"):
            await target.clock.sleep(action.get("seconds", 0))
            return Result(True)
    except ValueError as error:
        return Result(False, str(error))
    return Result(False, "no handler")


def port_number(port: int | str, container: Object) -> int:
    """A named port is that of the container."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for held in container.get("ports") or ():
        if held.get("name") == port:
            return int(held["containerPort"])
    raise ValueError(f"couldn't find port: {port!r}")


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _dialed(host: str, port: int, error: Exception) -> str:
    """The sentence that people know from Go programs."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, ConnectionRefusedError):
        reason = "connect: connection refused"
    elif isinstance(error, OSError) and error.errno == 113:
        reason = "connect: no route to host"
    return f"dial tcp {_host(host)}:{port}: {reason}"


async def _tcp(action: Object, target: Target) -> Result:
    host = action.get("host") or target.address
    port = port_number(action["port"], target.container)
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Result(False, _dialed(host, port, error))
    writer.transport.abort()
    return Result(True)


async def _http(action: Object, target: Target, agent: str) -> Result:
    host = action.get("host") or target.address
    port = port_number(action["port"], target.container)
    scheme = (action.get("scheme") or "HTTP").lower()
    path = action.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    headers = [(held["name"], held.get("value", "")) for held in action.get("httpHeaders") or ()]
    for _ in range(REDIRECTS):
        url = f"{scheme}://{_host(host)}:{port}{path}"
        try:
            code, location, body = await _get(scheme, host, port, path, headers, agent)
        except OSError as error:
            return Result(False, f'Get "{url}": {_dialed(host, port, error)}')
        except (EOFError, ValueError) as error:
            return Result(False, f'Get "{url}": {error or "EOF"}')
        if not (300 <= code < 400 and location):
            break
        there = urlsplit(location)
        if there.hostname not in (None, host):
            return Result(True, body)
        scheme, port = there.scheme or scheme, there.port or port
        path = (there.path or "/") + (f"?{there.query}" if there.query else "")
    else:
        return Result(False, f'Get "{url}": stopped after {REDIRECTS} redirects')
    if 200 <= code < 400:
        return Result(True, body)
    return Result(False, f"HTTP probe failed with statuscode: {code}")


def request(
    scheme: str, host: str, port: int, path: str, headers: Iterable[tuple[str, str]], agent: str
) -> bytes:
    given = list(headers)
    names = {name.lower() for name, _ in given}
    default = {"http": 80, "https": 443}[scheme]
    where = _host(host) if port == default else f"{_host(host)}:{port}"
    lines = [f"GET {path} HTTP/1.1"]
    for name, value in (("Host", where), ("User-Agent", agent), ("Accept", "*/*")):
        if name.lower() not in names:
            lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in given if value or name.lower() != "accept"]
    text = "\r\n".join([*lines, "Connection: close", "", ""])
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header of the probe holds a line break")
    return text.encode("utf-8")


async def _get(
    scheme: str, host: str, port: int, path: str, headers: list[tuple[str, str]], agent: str
) -> tuple[int, str, str]:
    """Status, Location and the start of the body."""
    context = _unverified() if scheme == "https" else None
    sent = request(scheme, host, port, path, headers, agent)
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=HEAD)
    try:
        writer.write(sent)
        while True:
            code, fields = await _head(reader)
            if code >= 200:
                break
        body = await reader.read(LIMIT)
        return code, fields.get("location", ""), body.decode(errors="replace")
    except asyncio.LimitOverrunError as error:
        raise ValueError("the answer's head is too long") from error
    finally:
        writer.transport.abort()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Lines may end without a carriage return, as those of simple servers do."""
    lines, size = [], 0
    while line := (await _line(reader)):
        lines.append(line)
        size += len(line)
        if size > HEAD:
            raise ValueError("the answer's head is too long")
    first, *rest = lines or [""]
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise ValueError(f"malformed HTTP response {first[:80]!r}")
    fields = (line.partition(":") for line in rest)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in fields}


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        raise EOFError("EOF") from error
    return line.decode("latin-1").rstrip("\r\n")


def _unverified() -> ssl.SSLContext:
    """Probes ask whether it answers, not who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
