"""All other names: asked of the machine's resolvers, and remembered for as long as they allow.

Equal questions that come while one is under way wait for its answer. So a loop (a resolver of the
machine that asks us again) ends with a time-out instead of a storm. Resolvers are read anew when
their file changes; the one that answered last is asked first.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple, cast

from jindou.node.names import resolv, wire
from jindou.node.names.wire import Edns, Malformed, Message, Name, Question, Record

PATIENCE = (0.8, 1.2, 1.6)  # seconds for each try; clients give up after five
STREAM_SECONDS = 3.0
REREAD_SECONDS = 1.0
MOST_ENTRIES, MOST_SECONDS = 4096, 3600
MOST_WAITING = 1000
DNS_PORT = 53
# That this resolver can't help does not mean that no other can.
HELPLESS = (wire.SERVFAIL, wire.REFUSED, wire.NOTIMP, wire.FORMERR)

Address = tuple[str, int]
Key = tuple[Name, int, int, bool]


class Held(NamedTuple):
    message: Message
    since: float
    until: float


def lifetime(message: Message) -> int:
    """Seconds that an answer may be used again; 0: not at all (RFC 2181 section 5.2, 2308)."""
    if message.flags & wire.TRUNCATED or message.code not in (wire.NOERROR, wire.NXDOMAIN):
        return 0
    if message.answers and message.code == wire.NOERROR:
        times = [record.ttl for record in (*message.answers, *message.authority)]
    else:
        times = [record.ttl for record in message.answers]
        soas = [record for record in message.authority if record.kind == wire.SOA]
        if not soas:
            return 0
        times += [min(soa.ttl, int.from_bytes(soa.data[-4:], "big")) for soa in soas]
    return min(*times, MOST_SECONDS) if all(t < 1 << 31 for t in times) else 0


def aged(message: Message, seconds: int) -> Message:
    def older(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(record._replace(ttl=max(0, record.ttl - seconds)) for record in records)

    return message._replace(
        answers=older(message.answers),
        authority=older(message.authority),
        additional=older(message.additional),
    )


class Cache:
    """The answers of the last while; the one not used for longest makes room."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST_ENTRIES):
        self._clock = clock
        self._most = most
        self._held: dict[Key, Held] = {}

    def get(self, key: Key) -> Message | None:
        held = self._held.pop(key, None)
        now = self._clock()
        if held is None or now >= held.until:
            return None
        self._held[key] = held
        return aged(held.message, int(now - held.since))

    def put(self, key: Key, message: Message) -> None:
        seconds = lifetime(message)
        if seconds:
            self._held.pop(key, None)
            now = self._clock()
            self._held[key] = Held(message, now, now + seconds)
            if len(self._held) > self._most:
                del self._held[next(iter(self._held))]

    def __len__(self) -> int:
        return len(self._held)


class Forwarder:
    """`own` are the addresses that we answer at ourselves: never asked."""

    def __init__(
        self, file: Path = resolv.FILE, own: Collection[str] = (), port: int = DNS_PORT
    ) -> None:
        self._file = file
        self._own = frozenset(own)
        self._port = port
        self._cache = Cache()
        self._asking: dict[Key, asyncio.Task[Message | None]] = {}
        self._servers: list[str] = []
        self._read_at = float("-inf")
        self._stamp: tuple[int, int] | None = None

    async def resolve(self, question: Question, *, dnssec: bool = False) -> Message | None:
        """None: nobody could tell."""
        key = (wire.lower(question.name), question.kind, question.space, dnssec)
        found = self._cache.get(key)
        if found is None:
            task = self._asking.get(key)
            if task is None:
                if len(self._asking) >= MOST_WAITING:
                    return None
                task = asyncio.get_running_loop().create_task(self._ask(question, key))
                self._asking[key] = task
                task.add_done_callback(lambda _: self._asking.pop(key, None))
            found = await asyncio.shield(task)
        return found

    async def close(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, question: Question, key: Key) -> Message | None:
        helpless: Message | None = None
        tries = 0
        servers = self.servers()
        while servers and tries < max(len(PATIENCE), len(servers)):
            server = servers[tries % len(servers)]
            patience = PATIENCE[min(tries, len(PATIENCE) - 1)]
            tries += 1
            try:
                answer = await exchange((server, self._port), question, key[3], patience)
            except (OSError, TimeoutError, Malformed):
                continue
            if answer.code in HELPLESS:
                helpless = answer
                if tries >= len(servers):
                    break
                continue
            if server != servers[0] and server in self._servers:
                self._servers.remove(server)
                self._servers.insert(0, server)
            self._cache.put(key, answer)
            return answer
        return helpless

    def servers(self) -> list[str]:
        now = time.monotonic()
        if now - self._read_at >= REREAD_SECONDS:
            self._read_at = now
            try:
                status = self._file.stat()
                stamp = (status.st_mtime_ns, status.st_ino)
            except OSError:
                stamp = None
            if stamp is None or stamp != self._stamp:
                self._stamp = stamp
                said = resolv.parse(resolv.machine_text(self._file)).servers
                self._servers = [s for s in said if s not in self._own and _is_address(s)]
        return list(self._servers)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class _Asker(asyncio.DatagramProtocol):
    """One question on a port of its own, so that an answer is hard to forge."""

    def __init__(self, packet: bytes, wanted: Message) -> None:
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._packet = packet
        self._wanted = wanted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._packet)

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            message = wire.decode(data)
        except Malformed:
            return
        if answers(message, self._wanted) and not self.answer.done():
            self.answer.set_result(message)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


def answers(message: Message, query: Message) -> bool:
    if message.id != query.id or not message.flags & wire.RESPONSE:
        return False
    if not message.questions:  # how some refuse EDNS
        return message.code != wire.NOERROR
    (wanted,) = query.questions
    got = message.questions[0]
    return wire.lower(got.name) == wire.lower(wanted.name) and got[1:] == wanted[1:]


async def exchange(server: Address, question: Question, dnssec: bool, patience: float) -> Message:
    flags = wire.RECURSION_DESIRED
    edns = Edns(dnssec=dnssec)
    query = Message(secrets.randbelow(1 << 16), flags, (question,), edns=edns)
    answer = await _by_datagram(server, query, patience)
    if answer.code == wire.FORMERR:  # a resolver from before EDNS
        query = query._replace(edns=None)
        answer = await _by_datagram(server, query, patience)
    if answer.flags & wire.TRUNCATED:
        async with asyncio.timeout(STREAM_SECONDS):
            answer = await _by_stream(server, query)
    return answer


async def _by_datagram(server: Address, query: Message, patience: float) -> Message:
    loop = asyncio.get_running_loop()
    packet = wire.encode(query)
    transport, asker = await loop.create_datagram_endpoint(
        lambda: _Asker(packet, query), remote_addr=server
    )
    try:
        async with asyncio.timeout(patience):
            return await asker.answer
    finally:
        asker.answer.cancel()
        transport.close()


async def _by_stream(server: Address, query: Message) -> Message:
    packet = wire.encode(query)
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(packet).to_bytes(2, "big") + packet)
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = wire.decode(await reader.readexactly(size))
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the resolver closed the connection") from error
    finally:
        writer.close()
    if not answers(answer, query):
        raise Malformed("an answer to another question")
    return answer
