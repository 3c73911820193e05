"""DNS packets: decoded to tuples and encoded again, with names compressed both ways.

Record data is kept as it is on the wire, except that names in it are written out, so it means the
same anywhere. Whatever bytes come in, decoding gives a message or raises `Malformed`.

Sources: RFC 1035 (packets), 2782 (SRV), 6891 (EDNS), 3597 (types not known here).
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

Name = tuple[bytes, ...]  # labels, without the root

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 15, 16, 28, 33, 41
DNAME, IXFR, AXFR, ANY = 39, 251, 252, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
# Flags of the header; opcode and response code are parts of the same 16 bits.
RESPONSE, AUTHORITATIVE, TRUNCATED = 0x8000, 0x0400, 0x0200
RECURSION_DESIRED, RECURSION_AVAILABLE, CHECKING_DISABLED = 0x0100, 0x0080, 0x0010
DNSSEC_OK = 0x8000  # in the flags of EDNS

# Where names are in the data of the types of RFC 1035, whose names may be compressed: the bytes
# before the first, the number of names. Only those are compressed when we write them.
COMPRESSIBLE = {NS: (0, 1), CNAME: (0, 1), SOA: (0, 2), PTR: (0, 1), MX: (2, 1)}
# Some senders compress these as well.
NAMED = {**COMPRESSIBLE, SRV: (6, 1), DNAME: (0, 1)}

HEADER = struct.Struct(">HHHHHH")
QUESTION = struct.Struct(">HH")
RECORD = struct.Struct(">HHIH")


class Malformed(ValueError):
    """These bytes are not a DNS message."""


class Question(NamedTuple):
    name: Name
    kind: int
    space: int = IN  # the class


class Record(NamedTuple):
    name: Name
    kind: int
    ttl: int
    data: bytes
    space: int = IN


class Edns(NamedTuple):
    """What of an OPT record counts here."""

    size: int = 1232  # of a UDP message that its sender can take
    version: int = 0
    dnssec: bool = False
    code: int = 0  # the upper bits of the response code


class Message(NamedTuple):
    id: int
    flags: int
    questions: tuple[Question, ...] = ()
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    edns: Edns | None = None

    @property
    def code(self) -> int:
        return self.flags & 0xF | (self.edns.code << 4 if self.edns else 0)

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 0xF


def name_of(text: str) -> Name:
    """Of a text without escapes, which all names of Kubernetes are."""
    return tuple(label.encode() for label in text.strip(".").split(".") if label)


def text_of(name: Name) -> str:
    return ".".join(label.decode("ascii", "backslashreplace") for label in name) + "."


def lower(name: Name) -> Name:
    return tuple(label.lower() for label in name)


def packed(name: Name) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in name) + b"\0"


def address_data(address: str) -> tuple[int, bytes]:
    """The type and data of an address's record."""
    return AAAA if ":" in address else A, ipaddress.ip_address(address).packed


def srv_data(port: int, target: Name, weight: int = 100) -> bytes:
    return struct.pack(">HHH", 0, weight, port) + packed(target)


def soa_data(server: Name, mailbox: Name, serial: int, minimum: int) -> bytes:
    numbers = struct.pack(">IIIII", serial, 7200, 1800, 86400, minimum)
    return packed(server) + packed(mailbox) + numbers


def text_data(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def read_name(data: bytes, start: int) -> tuple[Name, int]:
    """The name there, and where what follows it begins. Pointers lead backwards only."""
    labels: list[bytes] = []
    length, end, limit, place = 1, 0, start, start
    while True:
        if place >= len(data):
            raise Malformed("a name runs over the end")
        size = data[place]
        if size >= 0xC0:
            if place + 1 >= len(data):
                raise Malformed("a pointer runs over the end")
            end = end or place + 2
            place = (size & 0x3F) << 8 | data[place + 1]
            if place >= limit:
                raise Malformed("a pointer leads forwards")
            limit = place
        elif size > 63:
            raise Malformed("a label of a kind that nobody uses")
        elif size == 0:
            return tuple(labels), end or place + 1
        else:
            label = data[place + 1 : place + 1 + size]
            length += size + 1
            if len(label) < size or length > 255:
                raise Malformed("a name is too long")
            labels.append(label)
            place += 1 + size


def _read_data(data: bytes, start: int, end: int, kind: int) -> bytes:
    if kind not in NAMED:
        return data[start:end]
    before, count = NAMED[kind]
    found = [data[start : start + before]]
    place = start + before
    for _ in range(count):
        name, place = read_name(data, place)
        found.append(packed(name))
    if place > end:
        raise Malformed("a name runs over its record")
    found.append(data[place:end])
    return b"".join(found)


def decode(data: bytes) -> Message:
    if len(data) < HEADER.size:
        raise Malformed("shorter than a header")
    id, flags, *counts = HEADER.unpack_from(data)
    place = HEADER.size
    questions = []
    for _ in range(counts[0]):
        name, place = read_name(data, place)
        if place + 4 > len(data):
            raise Malformed("a question runs over the end")
        questions.append(Question(name, *QUESTION.unpack_from(data, place)))
        place += 4
    sections: list[tuple[Record, ...]] = []
    edns: Edns | None = None
    for section in (1, 2, 3):
        records = []
        for _ in range(counts[section]):
            name, place = read_name(data, place)
            if place + RECORD.size > len(data):
                raise Malformed("a record runs over the end")
            kind, space, ttl, size = RECORD.unpack_from(data, place)
            place += RECORD.size
            if place + size > len(data):
                raise Malformed("a record's data runs over the end")
            if kind == OPT:
                if edns or section != 3 or name:
                    raise Malformed("more than one OPT record, or one where none belongs")
                edns = Edns(space, ttl >> 16 & 0xFF, bool(ttl & DNSSEC_OK), ttl >> 24)
            else:
                content = _read_data(data, place, place + size, kind)
                records.append(Record(name, kind, ttl, content, space))
            place += size
        sections.append(tuple(records))
    answers, authority, additional = sections
    return Message(id, flags, tuple(questions), answers, authority, additional, edns)


class _Writer:
    def __init__(self, head: bytes) -> None:
        self.out = bytearray(head)
        self._known: dict[Name, int] = {}

    def name(self, name: Name) -> None:
        """Compressed, by the longest end that was written before (in whatever case)."""
        for skip in range(len(name)):
            rest = lower(name[skip:])
            place = self._known.get(rest)
            if place is not None:
                self.out += struct.pack(">H", 0xC000 | place)
                return
            if len(self.out) < 0x4000:
                self._known[rest] = len(self.out)
            self.out.append(len(name[skip]))
            self.out += name[skip]
        self.out.append(0)

    def record(self, record: Record) -> None:
        self.name(record.name)
        self.out += RECORD.pack(record.kind, record.space, record.ttl, 0)
        start = len(self.out)
        if record.kind in COMPRESSIBLE:
            before, count = COMPRESSIBLE[record.kind]
            self.out += record.data[:before]
            place = before
            for _ in range(count):
                name, place = read_name(record.data, place)
                self.name(name)
            self.out += record.data[place:]
        else:
            self.out += record.data
        struct.pack_into(">H", self.out, start - 2, len(self.out) - start)


def encode(message: Message, limit: int = 65535) -> bytes:
    """At most `limit` bytes: what doesn't fit is left out and the message marked as truncated
    (additional records may be missing without a word, as RFC 2181 section 9 has it)."""
    tail = b""
    if message.edns:
        edns = message.edns
        ttl = edns.code << 24 | edns.version << 16 | (DNSSEC_OK if edns.dnssec else 0)
        tail = b"\0" + RECORD.pack(OPT, edns.size, ttl, 0)
    writer = _Writer(bytes(HEADER.size))
    for question in message.questions:
        writer.name(question.name)
        writer.out += QUESTION.pack(question.kind, question.space)
    counts = [0, 0, 0]
    flags = message.flags
    sections = (message.answers, message.authority, message.additional)
    for section, records in enumerate(sections):
        for record in records:
            before = len(writer.out)
            writer.record(record)
            if len(writer.out) + len(tail) > limit:
                del writer.out[before:]
                if section < 2:
                    flags |= TRUNCATED
                break
            counts[section] += 1
        if counts[section] < len(records):
            break
    counts[2] += bool(tail)
    HEADER.pack_into(writer.out, 0, message.id, flags, len(message.questions), *counts)
    return bytes(writer.out + tail)
