"""The names of the cluster, served to Pods: our DNS server on the gateway's address.

Follows Services, EndpointSlices and Pods; the cluster's zone is answered at once from memory, every
other name is forwarded to the machine's resolvers. Until all is known the zone's names are refused
with SERVFAIL, which clients try again: a false "no such name" would be remembered.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from jindou.client.informers import Informer
from jindou.machine.network import Endpoint
from jindou.node.names import resolv, wire
from jindou.node.names.forward import DNS_PORT, Forwarder
from jindou.node.names.listeners import Answer, Listeners
from jindou.node.names.resolv import machine_text as machine_text
from jindou.node.names.resolv import resolv_conf as resolv_conf
from jindou.node.names.wire import Edns, Malformed, Message, Question
from jindou.node.names.zone import Entry, Group, Key, Member, Reply, Zone
from jindou.node.services import owner
from jindou.objects.errors import Unavailable
from jindou.objects.kinds import Object
from jindou.settings import Settings

MOST_DATAGRAM, LEAST_DATAGRAM = 1232, 512
MOST_ALIASES = 8
EMPTY = Message(0, 0)


def entry_of(service: Object) -> Entry | None:
    spec = service.get("spec", {})
    if spec.get("type") == "ExternalName":
        return Entry((), (), spec.get("externalName", ""))
    addresses = [a for a in spec.get("clusterIPs") or [spec.get("clusterIP")] if a]
    if not addresses:
        return None
    ports = tuple(
        (port.get("name", ""), port.get("protocol", "TCP").lower(), port["port"])
        for port in spec.get("ports") or ()
    )
    return Entry(tuple(a for a in addresses if a != "None"), ports)


def group_of(item: Object) -> Group:
    """The ready endpoints of a slice. Those not ready that shall be known are marked as ready."""
    members = []
    if item.get("addressType") in ("IPv4", "IPv6"):
        for endpoint in item.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") in (True, None):
                hostname = endpoint.get("hostname") or ""
                members += [Member(address, hostname) for address in endpoint["addresses"][:1]]
    ports = tuple(
        (port.get("name") or "", (port.get("protocol") or "TCP").lower(), port["port"])
        for port in item.get("ports") or ()
        if port.get("port")
    )
    return Group(tuple(members), ports)


def _key(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _pod_addresses(pod: Object | None) -> set[str]:
    status = pod.get("status", {}) if pod else {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return set()
    return {str(ipaddress.ip_address(one["ip"])) for one in status.get("podIPs") or ()}


class Names:
    """Serves DNS at `addresses`. `resolvers` is the file that names the machine's resolvers.

    Another program of the machine may have its port 53 on every address. Then ours listens at some
    other, and `move` (of `Services`) leads there what units send to the port.
    """

    def __init__(
        self,
        settings: Settings,
        services: Informer,
        slices: Informer,
        pods: Informer | None = None,
        *,
        addresses: Sequence[str] = (),
        port: int = DNS_PORT,
        resolvers: Path = resolv.FILE,
        resolvers_port: int = DNS_PORT,
        move: Callable[[Endpoint, Endpoint, Iterable[str]], None] | None = None,
    ) -> None:
        self._addresses = tuple(addresses) or (resolv.gateway(settings),)
        self._port = port
        self._move = move
        self._informers = [one for one in (services, slices, pods) if one is not None]
        networks = [settings.service_cidr, settings.service_cidr6]
        networks += [settings.pod_cidr, settings.pod_cidr6]
        self._zone = Zone(settings.cluster_domain, self._addresses, networks)
        self._forwarder = Forwarder(resolvers, self._addresses, resolvers_port)
        self._listeners = Listeners(self.respond)
        services.on_change(self._service_changed)
        slices.on_change(self._slice_changed)
        if pods is not None:
            pods.on_change(self._pod_changed)

    @property
    def port(self) -> int:
        return self._listeners.port

    async def start(self) -> None:
        try:
            try:
                await self._listeners.open(self._addresses, self._port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self._move is None:
                    raise
                await self._listeners.open(self._addresses, 0)
                for address in self._addresses:
                    here = Endpoint(address, self.port)
                    self._move(Endpoint(address, self._port), here, ("udp", "tcp"))
        except OSError as error:
            where = ", ".join(self._addresses)
            raise Unavailable(
                f"the DNS server can't listen at {where} port {self._port}: {error.strerror}"
            ) from error

    async def stop(self) -> None:
        await self._listeners.close()
        await self._forwarder.close()

    # ------------------------------------------------------------ what there is

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        self._zone.set_service(_key(new or old or {}), entry_of(new) if new else None)

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        before = owner(old) if old else None
        after = owner(new) if new else None
        name = _key(new or old or {})[1]
        if before and before != after:
            self._zone.set_group(before, name, None)
        if after and new:
            self._zone.set_group(after, name, group_of(new))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        before, after = _pod_addresses(old), _pod_addresses(new)
        if before != after:
            namespace = _key(new or old or {})[0]
            self._zone.change_pod(namespace, before - after, after - before)

    # ------------------------------------------------------------ questions

    def respond(self, packet: bytes, stream: bool = False) -> Answer | Awaitable[Answer]:
        """The answer, at once where the zone has it; silence for what is not a question."""
        if len(packet) < wire.HEADER.size or packet[2] & 0x80:
            return None
        try:
            query = wire.decode(packet)
        except Malformed:
            id, flags = int.from_bytes(packet[:2], "big"), packet[2] << 8
            kept = flags & (0x7800 | wire.RECURSION_DESIRED)
            return wire.encode(Message(id, kept | wire.RESPONSE | wire.FORMERR))
        code = _unacceptable(query)
        if code:
            return _pack(query, code, stream=stream)
        (question,) = query.questions
        reply = self._zone.answer(question.name, question.kind)
        if reply is None:
            return self._forward(query, question, stream)
        if not all(informer.synced.is_set() for informer in self._informers):
            return _pack(query, wire.SERVFAIL, stream=stream)
        if reply.alias:
            return self._follow(query, question, reply, stream)
        return self._told(query, reply, stream)

    def _told(self, query: Message, reply: Reply, stream: bool) -> bytes:
        kind = query.questions[0].kind
        found = any(kind in (record.kind, wire.ANY) for record in reply.answers)
        return _pack(
            query,
            wire.NXDOMAIN if reply.missing else wire.NOERROR,
            Message(
                0,
                wire.AUTHORITATIVE,
                (),
                reply.answers,
                () if found else (self._zone.soa(),),
                reply.additional,
            ),
            stream=stream,
        )

    async def _forward(self, query: Message, question: Question, stream: bool) -> bytes:
        dnssec = bool(query.edns and query.edns.dnssec)
        found = await self._forwarder.resolve(question, dnssec=dnssec)
        if found is None:
            return _pack(query, wire.SERVFAIL, stream=stream)
        return _pack(query, found.code, found, stream=stream)

    async def _follow(
        self, query: Message, question: Question, reply: Reply, stream: bool
    ) -> bytes:
        """Another name's answers after the alias; an alias that nobody can follow stands alone."""
        answers = list(reply.answers)
        for _ in range(MOST_ALIASES):
            target = Question(wire.name_of(reply.alias), question.kind)
            inside = self._zone.answer(target.name, target.kind)
            if inside is None:
                found = await self._forwarder.resolve(target)
                if found is None:
                    return _pack(query, wire.SERVFAIL, stream=stream)
                message = found._replace(answers=(*answers, *found.answers), additional=())
                return _pack(query, found.code, message, stream=stream)
            answers += inside.answers
            if not inside.alias:
                return self._told(query, inside._replace(answers=tuple(answers)), stream)
            reply = inside
        return _pack(query, wire.SERVFAIL, stream=stream)


def _unacceptable(query: Message) -> int:
    """The code for what is refused whatever its name; 0 for a question that can be answered."""
    if query.opcode:
        return wire.NOTIMP
    if len(query.questions) != 1:
        return wire.FORMERR
    if query.edns and query.edns.version:
        return wire.BADVERS
    question = query.questions[0]
    if question.space != wire.IN or question.kind in (wire.AXFR, wire.IXFR):
        return wire.REFUSED
    return 0


def _pack(query: Message, code: int, content: Message = EMPTY, *, stream: bool) -> bytes:
    """`content` as the answer to `query`, as large as its sender can take."""
    kept = query.flags & (0x7800 | wire.RECURSION_DESIRED | wire.CHECKING_DISABLED)
    flags = kept | wire.RESPONSE | wire.RECURSION_AVAILABLE
    flags |= content.flags & wire.AUTHORITATIVE
    message = content._replace(
        id=query.id,
        flags=flags | (code & 0xF),
        questions=query.questions,
        edns=Edns(MOST_DATAGRAM, 0, query.edns.dnssec, code >> 4) if query.edns else None,
    )
    limit = 65535
    if not stream:
        asked = query.edns.size if query.edns else LEAST_DATAGRAM
        limit = min(max(asked, LEAST_DATAGRAM), MOST_DATAGRAM)
    return wire.encode(message, limit)
