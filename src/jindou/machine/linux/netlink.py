"""Interfaces, addresses and routes by rtnetlink, packed by hand: one send for a batch of changes.

A socket belongs for ever to the network namespace of the thread that made it, and may be used from
any thread. A batch does not stop at an error: every message is tried, the first error is raised
with the words of the message that caused it. The kernel answers within the call, so calls are
short and blocking; whoever can't wait a millisecond calls from a worker thread.

Sources: rtnetlink(7), linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h, linux/veth.h.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")  # length, type
LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
ADDRESS = struct.Struct("=BBBBi")  # family, prefix, flags, scope, index
ROUTE = struct.Struct("=BBBBBBBBI")  # family, to, from, tos, table, protocol, scope, type, flags

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400
ERROR, DONE = 2, 3
NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26

IFLA_ADDRESS, IFLA_NAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_NETNS_FD, IFLA_TX_QUEUES, IFLA_RX_QUEUES = 28, 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_PEER, BRIDGE_FORWARD_DELAY, PORT_HAIRPIN, PORT_ISOLATED = 1, 1, 4, 33
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
IFA_ADDRESS, IFA_LOCAL, IFA_PERMANENT_NODAD, IFA_PERMANENT = 1, 2, 0x82, 0x80
RTA_DESTINATION, RTA_INTERFACE, RTA_GATEWAY, RTA_PREFERRED_SOURCE, RTA_TABLE = 1, 4, 5, 7, 15
TABLE_MAIN, PROTOCOL_STATIC, SCOPE_UNIVERSE, SCOPE_LINK, UNICAST, ONLINK = 254, 4, 0, 253, 1, 0x4

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NetlinkError(OSError):
    """The kernel refused one message; `strerror` names it."""


class Message(NamedTuple):
    """One request. `what` is how an error message calls it."""

    kind: int
    flags: int
    body: bytes
    what: str


class Link(NamedTuple):
    id: int
    name: str
    up: bool
    loopback: bool
    mtu: int
    kind: str  # bridge, veth, ... or "" for hardware
    master: int
    mac: bytes


class Route(NamedTuple):
    destination: str  # "" for a default route
    prefix: int
    gateway: str
    interface: int


def attribute(kind: int, data: bytes) -> bytes:
    return ATTRIBUTE.pack(4 + len(data), kind) + data + b"\0" * (-len(data) & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | 0x8000, b"".join(attributes))


def word(value: int) -> bytes:
    return struct.pack("=I", value)


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def attributes(data: bytes | memoryview, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes of an answer, without their flag bits."""
    while start + 4 <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        yield kind & 0x3FFF, bytes(data[start + 4 : start + length])
        start += (length + 3) & ~3


def _family(address: Address | Interface | Network) -> int:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET


def bridge(name: str, mtu: int, mac: bytes) -> Message:
    """Born down. A fixed MAC: else a bridge takes that of a port, and changes it with its ports."""
    body = (
        LINK.pack(0, 0, 0, 0, 0)
        + attribute(IFLA_NAME, text(name))
        + attribute(IFLA_MTU, word(mtu))
        + attribute(IFLA_ADDRESS, mac)
        + nested(
            IFLA_LINKINFO,
            attribute(IFLA_INFO_KIND, b"bridge"),
            nested(IFLA_INFO_DATA, attribute(BRIDGE_FORWARD_DELAY, word(0))),
        )
    )
    return Message(NEW_LINK, CREATE | EXCLUSIVE, body, f"making bridge {name}")


def veth(name: str, master: int, mtu: int, namespace: int, peer: str, mac: bytes) -> Message:
    """Both ends of a cable in one message: ours up and plugged into `master`, the other born in the
    namespace (a file descriptor) as its second interface. That one can't be born up (ENOTCONN)."""
    queues = attribute(IFLA_TX_QUEUES, word(1)) + attribute(IFLA_RX_QUEUES, word(1))
    inside = (
        LINK.pack(0, 0, 2, 0, 0)
        + attribute(IFLA_NAME, text(peer))
        + attribute(IFLA_MTU, word(mtu))
        + attribute(IFLA_ADDRESS, mac)
        + queues
        + attribute(IFLA_NETNS_FD, word(namespace))
    )
    body = (
        LINK.pack(0, 0, 0, IFF_UP, IFF_UP)
        + attribute(IFLA_NAME, text(name))
        + attribute(IFLA_MTU, word(mtu))
        + queues
        + attribute(IFLA_MASTER, word(master))
        + nested(
            IFLA_LINKINFO,
            attribute(IFLA_INFO_KIND, b"veth"),
            nested(IFLA_INFO_DATA, nested(VETH_PEER, inside)),
        )
    )
    return Message(NEW_LINK, CREATE | EXCLUSIVE, body, f"making veth {name}")


def port(name: str, *, hairpin: bool = False, isolated: bool = False) -> Message:
    """Settings of a bridge's port: may frames go back where they came from, or to its peers?"""
    body = (
        LINK.pack(0, 0, 0, 0, 0)
        + attribute(IFLA_NAME, text(name))
        + nested(
            IFLA_LINKINFO,
            attribute(IFLA_INFO_SLAVE_KIND, b"bridge"),
            nested(
                IFLA_INFO_SLAVE_DATA,
                attribute(PORT_HAIRPIN, bytes([hairpin])),
                attribute(PORT_ISOLATED, bytes([isolated])),
            ),
        )
    )
    return Message(NEW_LINK, 0, body, f"setting bridge port {name}")


def plug(name: str, master: int) -> Message:
    """Make an interface a port of a bridge."""
    body = LINK.pack(0, 0, 0, 0, 0) + attribute(IFLA_NAME, text(name))
    body += attribute(IFLA_MASTER, word(master))
    return Message(NEW_LINK, 0, body, f"plugging {name} into bridge {master}")


def link_up(index: int, mtu: int = 0) -> Message:
    body = LINK.pack(0, 0, index, IFF_UP, IFF_UP)
    if mtu:
        body += attribute(IFLA_MTU, word(mtu))
    return Message(NEW_LINK, 0, body, f"bringing up interface {index}")


def delete_link(index: int) -> Message:
    """Never for a veth: freeing its namespace takes it along, fifty times cheaper."""
    return Message(DELETE_LINK, 0, LINK.pack(0, 0, index, 0, 0), f"deleting interface {index}")


def address(index: int, interface: Interface) -> Message:
    """Usable at once: IPv6 duplicate detection would keep it tentative for two seconds."""
    packed = interface.ip.packed
    flags = IFA_PERMANENT_NODAD if interface.version == 6 else IFA_PERMANENT
    body = ADDRESS.pack(_family(interface), interface.network.prefixlen, flags, 0, index)
    body += attribute(IFA_ADDRESS, packed)
    if interface.version == 4:
        body += attribute(IFA_LOCAL, packed)
    return Message(NEW_ADDRESS, CREATE | REPLACE, body, f"adding address {interface}")


def route(
    destination: Network | None,
    index: int,
    gateway: Address | None = None,
    source: Address | None = None,
) -> Message:
    """A route (None: the default one). Its gateway needs no address of ours in its network."""
    one = destination or gateway
    assert one is not None
    head = ROUTE.pack(
        _family(one),
        destination.prefixlen if destination else 0,
        0,
        0,
        TABLE_MAIN,
        PROTOCOL_STATIC,
        SCOPE_UNIVERSE if gateway or one.version == 6 else SCOPE_LINK,
        UNICAST,
        ONLINK if gateway else 0,
    )
    body = head + attribute(RTA_INTERFACE, word(index))
    if destination:
        body += attribute(RTA_DESTINATION, destination.network_address.packed)
    if gateway:
        body += attribute(RTA_GATEWAY, gateway.packed)
    if source:
        body += attribute(RTA_PREFERRED_SOURCE, source.packed)
    what = f"adding route to {destination or 'everywhere'}" + (f" by {gateway}" if gateway else "")
    return Message(NEW_ROUTE, CREATE | REPLACE, body, what)


class Netlink:
    """A rtnetlink socket of the network namespace it was made in."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def batch(self, messages: Sequence[Message], ignore: Collection[int] = ()) -> None:
        """Send all, wait once. `ignore` holds error numbers that are fine (EEXIST, ENODEV...)."""
        if not messages:
            return
        first = self._sequence + 1
        last = self._sequence = self._sequence + len(messages)
        packed = []
        for number, message in enumerate(messages, first):
            flags = message.flags | REQUEST | (ACK if number == last else 0)
            packed.append(
                HEADER.pack(16 + len(message.body), message.kind, flags, number, 0) + message.body
            )
        self._socket.send(b"".join(packed))
        failed: NetlinkError | None = None
        while True:
            for kind, number, body in self._receive():
                if kind != ERROR or not first <= number <= last:
                    continue
                code = -int(struct.unpack_from("=i", body)[0])
                if code and code not in ignore and failed is None:
                    what = messages[number - first].what
                    failed = NetlinkError(code, f"{what}: {os.strerror(code)}")
                if number == last:
                    if failed:
                        raise failed
                    return

    def dump(self, kind: int, body: bytes, what: str) -> list[bytes]:
        """The bodies of all answers to one question."""
        self._sequence += 1
        header = HEADER.pack(16 + len(body), kind, REQUEST | DUMP, self._sequence, 0)
        self._socket.send(header + body)
        found: list[bytes] = []
        while True:
            for answer, number, content in self._receive():
                if number != self._sequence:
                    continue
                if answer == DONE:
                    return found
                if answer == ERROR:
                    code = -int(struct.unpack_from("=i", content)[0])
                    raise NetlinkError(code, f"{what}: {os.strerror(code)}")
                found.append(bytes(content))

    def _receive(self) -> Iterator[tuple[int, int, memoryview]]:
        data = memoryview(self._socket.recv(1 << 18))
        start = 0
        while start + 16 <= len(data):
            length, kind, _, number, _ = HEADER.unpack_from(data, start)
            yield kind, number, data[start + 16 : start + length]
            start += (length + 3) & ~3

    def links(self) -> list[Link]:
        found = []
        for body in self.dump(GET_LINK, LINK.pack(0, 0, 0, 0, 0), "listing interfaces"):
            _, _, index, flags, _ = LINK.unpack_from(body)
            values = dict(attributes(body, LINK.size))
            info = dict(attributes(values.get(IFLA_LINKINFO, b"")))
            found.append(
                Link(
                    index,
                    values[IFLA_NAME].rstrip(b"\0").decode(),
                    bool(flags & IFF_UP),
                    bool(flags & IFF_LOOPBACK),
                    int.from_bytes(values[IFLA_MTU], "little"),
                    info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
                    int.from_bytes(values.get(IFLA_MASTER, b""), "little"),
                    values.get(IFLA_ADDRESS, b""),
                )
            )
        return found

    def addresses(self) -> list[tuple[int, str]]:
        """(interface, address/prefix) of every address."""
        found = []
        for body in self.dump(GET_ADDRESS, ADDRESS.pack(0, 0, 0, 0, 0), "listing addresses"):
            family, prefix, _, _, index = ADDRESS.unpack_from(body)
            values = dict(attributes(body, ADDRESS.size))
            packed = values.get(IFA_LOCAL) or values.get(IFA_ADDRESS)
            if packed and family in (socket.AF_INET, socket.AF_INET6):
                found.append((index, f"{socket.inet_ntop(family, packed)}/{prefix}"))
        return found

    def routes(self) -> list[Route]:
        """The main table."""
        found = []
        question = ROUTE.pack(0, 0, 0, 0, TABLE_MAIN, 0, 0, 0, 0)
        for body in self.dump(GET_ROUTE, question, "listing routes"):
            family, prefix, _, _, table, _, _, kind, _ = ROUTE.unpack_from(body)
            if table != TABLE_MAIN or kind != UNICAST or family not in (2, 10):
                continue
            values = dict(attributes(body, ROUTE.size))
            place, way = values.get(RTA_DESTINATION), values.get(RTA_GATEWAY)
            found.append(
                Route(
                    socket.inet_ntop(family, place) if place else "",
                    prefix,
                    socket.inet_ntop(family, way) if way else "",
                    int.from_bytes(values.get(RTA_INTERFACE, b""), "little"),
                )
            )
        return found

    def find(self, name: str) -> Link | None:
        return next((link for link in self.links() if link.name == name), None)


def is_missing(error: OSError) -> bool:
    return error.errno in (errno.ENODEV, errno.ENOENT, errno.ESRCH)
