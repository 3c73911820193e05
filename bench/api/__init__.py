"""The API through TLS, authentication, authorization and admission, each row beside its floor, in turn.

The server has a core of its own and the client another. `floors` says what the floors are, `held`
what is measured at rest; `bench.peers` compares with kube-apiserver.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.api import etcd, fan, held, ours
from bench.api.asked import CREATE_NEW, CREATE_SEEN, FAN, GET, PATCH, PODS, UPDATE, pod
from bench.api.clients import CLIENT, SECONDS, Asked, Wrk, missing, on_core
from bench.api.fan import Shape
from bench.api.ours import Ours
from bench.table import Table, ratio, spread

ROUNDS = 5
LISTED = 5_000
NEEDS = {"wrk": "wrk", "h2load": "nghttp2-client", "etcd": "etcd-server"}
FANS = ((Shape(100), ">= 0.75 x"), (Shape(1000), ">= 0.45 x"), (Shape(10, 100), ">= 2.5 x"))


def run(table: Table) -> None:
    absent = missing(*NEEDS)
    for program in absent:
        table.add(f"{program} is not here (package {NEEDS[program]}): its rows are left out", "-")
    with tempfile.TemporaryDirectory(prefix="jb") as name:
        folder = Path(name)
        if "wrk" not in absent:
            server = Ours(folder)
            try:
                kept = folder / "kept"
                kept.write_bytes(server.fill())
                getting(server, kept, absent, table)
                creating(server, kept, absent, table)
                changing(server, table)
                fanning(server, folder, table)
                listing(server, folder, table)
            finally:
                server.end()
        held.run(folder, table)


def getting(server: Ours, kept: Path, absent: list[str], table: Table) -> None:
    floors, rates, ones, many = [], [], [], []
    with ours.floor("get", server.pki, kept) as port:
        empty = Wrk(server.folder, "", f"https://127.0.0.1:{port}")
        for _ in range(ROUNDS):
            floors.append(empty.run(Asked("GET", "/")).rate)
            rates.append(server.wrk.run(GET).rate)
            if "h2load" not in absent:
                ones.append(server.h2load.run(GET.path, 50, 1).rate)
                many.append(server.h2load.run(GET.path, 1, 50).rate)
    table.add("empty handler, 50 connections (floor)", spread(floors, "/s", 1))
    table.add(
        "get by name, 50 connections", spread(rates, "/s", 1), ratio(rates, floors), ">= 0.45 x"
    )
    if ones:
        table.add(
            "get by name, h2, 50 connections",
            spread(ones, "/s", 1),
            ratio(ones, floors),
            ">= 0.40 x",
        )
        table.add(
            "get by name, h2, 1 x 50 streams",
            spread(many, "/s", 1),
            ratio(many, floors),
            ">= 0.50 x",
        )


def creating(server: Ours, kept: Path, absent: list[str], table: Table) -> None:
    floors, new, seen, streams, peers = [], [], [], [], []
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(etcd.running(server.folder)) if "etcd" not in absent else 0
        for _ in range(ROUNDS):
            floors.append(ours.puts(kept))
            new.append(server.wrk.run(CREATE_NEW))
            if port:
                peers.append(etcd.puts(port, kept))
            seen.append(server.wrk.run(CREATE_SEEN))
            if "h2load" not in absent:
                body = pod("", generateName="h-")
                streams.append(server.h2load.run(PODS, 1, 50, body).rate)
            server.clear()
    table.add("durable puts of the same objects, 50 writers (floor)", spread(floors, "/s", 1))
    for what, found, goal in (
        ("create a Pod, every spec new", new, ">= 0.10 x"),
        ("create a Pod, spec seen before", seen, ">= 0.18 x"),
    ):
        rates = [one.rate for one in found]
        table.add(what, spread(rates, "/s", 1), ratio(rates, floors), goal)
        table.add(f"{what}, 99th percentile", spread([one.p99 for one in found]), "", "<= 20 ms")
    rates = [one.rate for one in seen]
    if streams:
        table.add(
            "create, seen before, h2, 1 x 50 streams",
            spread(streams, "/s", 1),
            ratio(streams, floors),
        )
    if peers:
        table.add("etcd's own puts, gRPC, 50 writers", spread(peers, "/s", 1))
        table.add("creates to etcd's puts", "", ratio(rates, peers), ">= 1 x")
        if streams:
            table.add("creates to etcd's puts, h2", "", ratio(streams, peers))


def changing(server: Ours, table: Table) -> None:
    for what, asked in (("update a ConfigMap", UPDATE), ("patch a ConfigMap", PATCH)):
        rates = [server.wrk.run(asked).rate for _ in range(ROUNDS)]
        table.add(what, spread(rates, "/s", 1))


def fanning(server: Ours, folder: Path, table: Table) -> None:
    event = folder / "event"
    event.write_bytes(fan.event_of(server.ask("GET", f"{FAN}/f-0")))
    for shape, goal in FANS:
        floor = fan.Floor(server.pki, event, Shape(shape.watches if shape.streams == 0 else 100))
        watchers = fan.watching(server.port, server.token, shape)
        floors, rates = [], []
        try:
            for _ in range(ROUNDS):
                floors.append(floor.measure(SECONDS))
                rates.append(fan.measure(watchers, server.wrk, SECONDS))
        finally:
            watchers.end()
            floor.end()
        how = f"{shape.connections} connections" + (
            f" x {shape.streams} streams" if shape.streams else ""
        )
        table.add(
            f"sendall to {floor.shape.connections} connections (floor)", spread(floors, "/s", 1)
        )
        table.add(f"events told, {how}", spread(rates, "/s", 1), ratio(rates, floors), goal)


def listing(server: Ours, folder: Path, table: Table) -> None:
    server.clear()
    for n in range(LISTED):
        server.ask("POST", PODS, pod(f"listed-{n}"))
    request = (
        f"GET {PODS} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {server.token}\r\nConnection: close\r\n\r\n"
    ).encode()
    context = ssl.create_default_context(cafile=str(server.pki / "ca.crt"))
    whole = folder / "list"
    with on_core(CLIENT), connected(server.port, context) as tls:
        tls.sendall(request)
        whole.write_bytes(b"".join(iter(lambda: tls.recv(1 << 18), b"")))
    samples, floors = [], []
    with ours.floor("copy", server.pki, whole) as port, on_core(CLIENT):
        for _ in range(20):
            floors.append(read_all(port, context, b"x", whole.stat().st_size))
            samples.append(read_all(server.port, context, request, whole.stat().st_size))
    table.add(f"TLS copy of {whole.stat().st_size / 1e6:.1f} MB (floor)", spread(floors))
    table.add(f"list of {LISTED} Pods", spread(samples), ratio(samples, floors), "<= 1.6 x")


def read_all(port: int, context: ssl.SSLContext, request: bytes, size: int) -> float:
    with connected(port, context) as tls:
        began = time.perf_counter()
        tls.sendall(request)
        while size > 0 and (data := tls.recv(1 << 18)):
            size -= len(data)
        return time.perf_counter() - began


@contextlib.contextmanager
def connected(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    raw = socket.create_connection(("127.0.0.1", port))
    with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        yield tls
