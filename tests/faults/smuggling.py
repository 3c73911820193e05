"""Bytes that are no good HTTP/1.1: each is refused, and the connection ends, for a server must not guess."""

from __future__ import annotations

import random

SMUGGLED = (
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\na",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA\0b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"G\xffT / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\rHost: x\r\r",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET " + b"/x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
)
AFTER = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"  # a second request, which must not be found in the first

GOOD = (
    b"GET /api/v1/namespaces?limit=1 HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n",
    b"POST /api/v1/namespaces/fuzz/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /api/v1/namespaces/fuzz/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;a=b\r\n}\r\n0\r\nA: b\r\n\r\n",
    b"DELETE /api/v1/namespaces/fuzz/configmaps/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET /version HTTP/1.0\r\n\r\n",
)
PIECES = (b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"HTTP/1.1", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"\xff", b"A" * 9000, b";", b"%", b"-", b"Host: y\r\n")  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """A good request with one to four things changed."""
    made = bytearray(chance.choice(GOOD))
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(made) + 1)
        match chance.randrange(4):
            case 0:
                made[place:place] = chance.choice(PIECES)
            case 1:
                del made[place : place + chance.randrange(1, 12)]
            case 2:
                made[place : place + 1] = bytes([chance.randrange(256)])
            case _:
                other = chance.randrange(len(made) + 1)
                made[place:place] = made[other : other + chance.randrange(30)]
    return bytes(made)
