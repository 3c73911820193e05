"""The cluster's own names, per the Kubernetes DNS specification: what the zone says to a question.

    SERVICE.NS.svc.DOMAIN                A, AAAA; SRV of all ports     (headless: of its endpoints)
    _PORT._PROTOCOL.SERVICE.NS.svc.DOMAIN         SRV
    HOSTNAME.SERVICE.NS.svc.DOMAIN       A, AAAA of endpoints with that host name
    A-B-C-D.NS.pod.DOMAIN                A, AAAA of a Pod
    D.C.B.A.in-addr.arpa, ...ip6.arpa    PTR of Service addresses and headless endpoints

Holds the few fields that answers are made of, and makes no call. A name that exists without the
type asked for is told apart from one that doesn't exist, as resolvers depend on it.
"""

from __future__ import annotations

import ipaddress
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from jindou.node.names import wire
from jindou.node.names.wire import ANY, CNAME, NS, PTR, SOA, SRV, TXT, Name, Record

TTL = 5  # seconds: how long a Pod may be mistaken
VERSION = b"1.1.0"  # of the specification

Key = tuple[str, str]  # namespace and name of a Service


class Entry(NamedTuple):
    """What of a Service its names say."""

    addresses: tuple[str, ...]  # empty: headless
    ports: tuple[tuple[str, str, int], ...]  # name, protocol, number
    external: str = ""  # the name that this is another name of


class Member(NamedTuple):
    """A ready endpoint."""

    address: str
    hostname: str

    @property
    def label(self) -> str:
        return self.hostname or self.address.replace(".", "-").replace(":", "-")


class Group(NamedTuple):
    """Endpoints that have the same ports: a slice."""

    members: tuple[Member, ...]
    ports: tuple[tuple[str, str, int], ...]


class Reply(NamedTuple):
    """`missing`: there is no such name, of whatever type. `alias`: to be followed by the caller."""

    answers: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    missing: bool = False
    alias: str = ""


MISSING, NOTHING = Reply(missing=True), Reply()


class Zone:
    def __init__(self, domain: str, servers: Sequence[str] = (), networks: Sequence[str] = ()):
        """`servers` are the addresses of the name server; for `networks` we know all there is."""
        self.apex = wire.lower(wire.name_of(domain))
        self._servers = tuple(servers)
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._services: dict[Key, Entry] = {}
        self._namespaces: Counter[str] = Counter()
        self._groups: dict[Key, dict[str, Group]] = {}
        self._pods: Counter[tuple[str, str]] = Counter()  # (namespace, address)
        self._owners: dict[str, Counter[Key]] = {}  # of addresses

    # ------------------------------------------------------------ what there is

    def set_service(self, key: Key, entry: Entry | None) -> None:
        old = self._services.pop(key, None)
        if old:
            self._namespaces[key[0]] -= 1
            self._disown(key, old.addresses)
        if entry:
            self._services[key] = entry
            self._namespaces[key[0]] += 1
            self._own(key, entry.addresses)

    def set_group(self, key: Key, slice_name: str, group: Group | None) -> None:
        groups = self._groups.setdefault(key, {})
        old = groups.pop(slice_name, None)
        if old:
            self._disown(key, (member.address for member in old.members))
        if group:
            groups[slice_name] = group
            self._own(key, (member.address for member in group.members))
        if not groups:
            del self._groups[key]

    def change_pod(self, namespace: str, gone: Iterable[str], come: Iterable[str]) -> None:
        for address in gone:
            self._pods[namespace, address] -= 1
            self._namespaces[namespace] -= 1
            if self._pods[namespace, address] <= 0:
                del self._pods[namespace, address]
        for address in come:
            self._pods[namespace, str(ipaddress.ip_address(address))] += 1
            self._namespaces[namespace] += 1

    def _own(self, key: Key, addresses: Iterable[str]) -> None:
        for address in addresses:
            self._owners.setdefault(address, Counter())[key] += 1

    def _disown(self, key: Key, addresses: Iterable[str]) -> None:
        for address in addresses:
            owners = self._owners[address]
            owners[key] -= 1
            if owners[key] <= 0:
                del owners[key]
            if not owners:
                del self._owners[address]

    # ------------------------------------------------------------ what it says

    def answer(self, name: Name, kind: int) -> Reply | None:
        """None: not a name of this zone. Answers bear the name as it was asked."""
        low = wire.lower(name)
        depth = len(self.apex)
        if low[-depth:] == self.apex:
            return self._inside(name, [label.decode("latin-1") for label in low[:-depth]], kind)
        if low[-1:] == (b"arpa",):
            return self._reverse(name, low, kind)
        return None

    def soa(self) -> Record:
        """The authority of negative answers, and for how long these hold."""
        data = wire.soa_data(self._own_name("ns", "dns"), self._own_name("hostmaster"), 1, TTL)
        return Record(self.apex, SOA, TTL, data)

    def _own_name(self, *labels: str) -> Name:
        return (*(label.encode() for label in labels), *self.apex)

    def _inside(self, name: Name, labels: list[str], kind: int) -> Reply:
        match labels:
            case []:
                return self._apex(name, kind)
            case ["dns-version"]:
                return _chosen(kind, Record(name, TXT, TTL, wire.text_data(VERSION)))
            case ["dns"] | ["svc"] | ["pod"]:
                return NOTHING
            case ["ns", "dns"]:
                return _chosen(kind, *_address_records(name, self._servers))
            case [namespace, "svc" | "pod"]:
                return NOTHING if self._namespaces[namespace] > 0 else MISSING
            case [dashed, namespace, "pod"]:
                return self._pod(name, dashed, namespace, kind)
            case [*front, service, namespace, "svc"]:
                return self._service(name, front, (namespace, service), kind)
        return MISSING

    def _apex(self, name: Name, kind: int) -> Reply:
        server = self._own_name("ns", "dns")
        reply = _chosen(kind, self.soa(), Record(name, NS, TTL, wire.packed(server)))
        return reply._replace(additional=_address_records(server, self._servers))

    def _pod(self, name: Name, dashed: str, namespace: str, kind: int) -> Reply:
        for mark in (".", ":"):
            try:
                address = str(ipaddress.ip_address(dashed.replace("-", mark)))
            except ValueError:
                continue
            if self._pods.get((namespace, address)):
                return _chosen(kind, *_address_records(name, (address,)))
        return MISSING

    def _service(self, name: Name, front: list[str], key: Key, kind: int) -> Reply:
        entry = self._services.get(key)
        if entry is None:
            return MISSING
        if entry.external:
            if front:
                return MISSING
            target = wire.packed(wire.name_of(entry.external))
            alias = "" if kind in (CNAME, ANY) else entry.external
            return Reply((Record(name, CNAME, TTL, target),), alias=alias)
        match front:
            case []:
                if kind == SRV:
                    return self._srv(name, key, entry, "", "")
                return _chosen(kind, *_address_records(name, self._reached_at(key, entry)))
            case [port, protocol] if port[:1] == "_" and protocol[:1] == "_":
                reply = self._srv(name, key, entry, port[1:], protocol[1:])
                if not reply.answers:
                    return MISSING
                return reply if kind in (SRV, ANY) else NOTHING
            case [protocol] if protocol in ("_tcp", "_udp", "_sctp"):
                return NOTHING
            case [hostname] if not entry.addresses:
                found = [m.address for m in self._members(key) if m.label.lower() == hostname]
                return _chosen(kind, *_address_records(name, found)) if found else MISSING
        return MISSING

    def _members(self, key: Key) -> Iterator[Member]:
        groups = self._groups.get(key, {}).values()
        return itertools.chain.from_iterable(group.members for group in groups)

    def _reached_at(self, key: Key, entry: Entry) -> list[str]:
        """In a random order, so that clients which take the first spread over all."""
        if entry.addresses:
            return list(entry.addresses)
        found = list(dict.fromkeys(member.address for member in self._members(key)))
        random.shuffle(found)
        return found

    def _srv(self, name: Name, key: Key, entry: Entry, port: str, protocol: str) -> Reply:
        namespace, service = key
        own = self._own_name(service, namespace, "svc")
        targets: list[tuple[int, Name, tuple[str, ...]]] = []
        if entry.addresses:
            for number in _matching(entry.ports, port, protocol):
                targets.append((number, own, entry.addresses))
        else:
            for group in self._groups.get(key, {}).values():
                for number in _matching(group.ports, port, protocol):
                    for member in group.members:
                        target = (member.label.encode(), *own)
                        targets.append((number, target, (member.address,)))
        weight = max(1, 100 // max(1, len(targets)))
        answers = dict.fromkeys(
            Record(name, SRV, TTL, wire.srv_data(number, target, weight))
            for number, target, _ in targets
        )
        additional = dict.fromkeys(
            record
            for _, target, addresses in targets
            for record in _address_records(target, addresses)
        )
        return Reply(tuple(answers), tuple(additional))

    def _reverse(self, name: Name, low: Name, kind: int) -> Reply | None:
        address = _reversed_address(low)
        if address is None:
            return None
        found = [
            Record(name, PTR, TTL, wire.packed(target))
            for key in self._owners.get(address, ())
            for target in self._names_of(key, address)
        ]
        if found:
            return _chosen(kind, *found)
        parsed = ipaddress.ip_address(address)
        return MISSING if any(parsed in network for network in self._networks) else None

    def _names_of(self, key: Key, address: str) -> Iterator[Name]:
        entry = self._services.get(key)
        if entry is None:
            return
        namespace, service = key
        own = self._own_name(service, namespace, "svc")
        if address in entry.addresses:
            yield own
        elif not entry.addresses and not entry.external:
            for member in self._members(key):
                if member.address == address:
                    yield (member.label.encode(), *own)


def _matching(ports: Iterable[tuple[str, str, int]], port: str, protocol: str) -> Iterator[int]:
    for name, of, number in ports:
        if not protocol or (name.lower() == port and name and of == protocol):
            yield number


def _address_records(name: Name, addresses: Iterable[str]) -> tuple[Record, ...]:
    pairs = (wire.address_data(address) for address in addresses)
    return tuple(Record(name, kind, TTL, data) for kind, data in pairs)


def _chosen(kind: int, *records: Record) -> Reply:
    return Reply(tuple(record for record in records if kind in (record.kind, ANY)))


def _reversed_address(low: Name) -> str | None:
    """The address that a name under in-addr.arpa or ip6.arpa stands for, if it is a whole one."""
    try:
        if low[-2:] == (b"in-addr", b"arpa") and len(low) == 6:
            return str(ipaddress.IPv4Address(b".".join(low[3::-1]).decode()))
        if low[-2:] == (b"ip6", b"arpa") and len(low) == 34:
            digits = b"".join(low[31::-1]).decode()
            return str(ipaddress.IPv6Address(int(digits, 16)))
    except ValueError:
        pass
    return None
