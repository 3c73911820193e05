"""Flows that the kernel tracks (ctnetlink): found and ended.

A UDP client that keeps its port keeps its flow, also when the endpoint it was sent to is gone;
ending the flow makes its next packet a new one. TCP needs none of this.

Sources: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jindou.machine.linux.netlink import Message, Netlink, attributes

NETLINK_NETFILTER = 12
GET, DELETE = 0x101, 0x102  # subsystem 1, messages 1 and 2
TUPLE_ORIGINAL, TUPLE_REPLY, ZONE = 1, 2, 18
TUPLE_IP, TUPLE_PROTOCOL = 1, 2
NUMBER, SOURCE_PORT, DESTINATION_PORT = 1, 2, 3
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Flow(NamedTuple):
    """Who asked for whom, and who answers."""

    protocol: int
    source: str
    destination: str
    port: int
    answering: str
    answering_port: int
    key: bytes  # the attributes that name it to the kernel


def flows(netlink: Netlink, version: int) -> Iterator[Flow]:
    question = struct.pack(">BBH", FAMILIES[version], 0, 0)
    for body in netlink.dump(GET, question, "listing flows"):
        values = dict(attributes(body, 4))
        if TUPLE_ORIGINAL not in values or TUPLE_REPLY not in values:
            continue
        protocol, source, destination, port = _tuple(values[TUPLE_ORIGINAL], version)
        _, answering, _, _ = _tuple(values[TUPLE_REPLY], version)
        answering_port = _port(values[TUPLE_REPLY], SOURCE_PORT)
        key = _nested(TUPLE_ORIGINAL, values[TUPLE_ORIGINAL])
        if ZONE in values:
            key += struct.pack("=HH", 6, ZONE) + values[ZONE] + b"\0\0"
        yield Flow(protocol, source, destination, port, answering, answering_port, key)


def end(version: int, unwanted: Callable[[Flow], bool]) -> int:
    """End all flows that are unwanted; how many."""
    with Netlink(NETLINK_NETFILTER) as netlink:
        head = struct.pack(">BBH", FAMILIES[version], 0, 0)
        ended = [
            Message(DELETE, 0, head + flow.key, f"ending a flow to {flow.destination}")
            for flow in flows(netlink, version)
            if unwanted(flow)
        ]
        netlink.batch(ended, ignore=(errno.ENOENT,))
        return len(ended)


def _tuple(data: bytes, version: int) -> tuple[int, str, str, int]:
    parts = dict(attributes(data))
    addresses = dict(attributes(parts[TUPLE_IP]))
    first = 1 if version == 4 else 3
    family = FAMILIES[version]
    protocol = dict(attributes(parts[TUPLE_PROTOCOL]))[NUMBER][0]
    return (
        protocol,
        socket.inet_ntop(family, addresses[first]),
        socket.inet_ntop(family, addresses[first + 1]),
        _port(data, DESTINATION_PORT),
    )


def _port(data: bytes, which: int) -> int:
    parts = dict(attributes(dict(attributes(data))[TUPLE_PROTOCOL]))
    return int.from_bytes(parts.get(which, b""), "big")


def _nested(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind | 0x8000) + data + b"\0" * (-len(data) & 3)
