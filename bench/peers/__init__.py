"""Beside kube-apiserver with etcd, verb by verb: same client, same objects, one core, in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bench.api import deleting, fan
from bench.api.asked import (
    CREATE_MAP,
    CREATE_NEW,
    CREATE_SEEN,
    FAN,
    GET,
    MAPS,
    PATCH,
    PLACES,
    PODS,
    UPDATE,
    WATCHED,
    config_map,
    pod,
)
from bench.api.clients import SECONDS, Asked, H2load, Wrk, missing
from bench.api.fan import Shape
from bench.api.ours import Ours
from bench.peers.kubernetes import CannotBuild, Kubernetes, program
from bench.table import Table, spread

ROUNDS = 5
LISTED, DELETED = 5_000, 2_000
GOAL = ">= 2 x"


class Server(Protocol):
    """Either of the two."""

    port: int
    token: str
    wrk: Wrk
    h2load: H2load
    folder: Path

    def ask(self, method: str, path: str, body: object = None) -> object: ...


def run(table: Table) -> None:
    absent = missing("wrk", "h2load", "etcd")
    if absent:
        table.add(f"left out: {', '.join(absent)} not here", "-")
        return
    try:
        program()
    except CannotBuild as why:
        table.add(f"left out: {why}", "-")
        return
    with tempfile.TemporaryDirectory(prefix="jb") as name:
        ours = Ours(Path(name) / "ours")
        try:
            peer = Kubernetes(Path(name) / "peer")
            try:
                compare(ours, peer, table)
            finally:
                peer.end()
        finally:
            ours.end()


def compare(ours: Server, peer: Server, table: Table) -> None:
    for server in (ours, peer):
        fill(server)

    def row(what: str, measure: Callable[[Server], float]) -> None:
        mine, theirs = [], []
        for _ in range(ROUNDS):
            mine.append(measure(ours))
            theirs.append(measure(peer))
        table.add(f"{what}: kube-apiserver", spread(theirs, "/s", 1))
        times = sorted(mine)[ROUNDS // 2] / sorted(theirs)[ROUNDS // 2]
        table.add(f"{what}: Jindou", spread(mine, "/s", 1), f"{times:.2f} x", GOAL)

    def sent(asked: Asked) -> Callable[[Server], float]:
        return lambda server: server.wrk.run(asked).rate

    row("get", sent(GET))
    row("get, h2, 1 x 50 streams", lambda server: server.h2load.run(GET.path, 1, 50).rate)
    row("update", sent(UPDATE))
    row("patch", sent(PATCH))
    row("create a ConfigMap", sent(CREATE_MAP))
    row("create a Pod, every spec new", sent(CREATE_NEW))
    row("create a Pod, spec seen before", sent(CREATE_SEEN))
    row("delete", deletion)
    shape = Shape(100)
    watchers = {s.port: fan.watching(s.port, s.token, shape) for s in (ours, peer)}
    try:
        row("events told, 100 connections", lambda s: fan.measure(watchers[s.port], s.wrk, SECONDS))
    finally:
        for one in watchers.values():
            one.end()
    for server in (ours, peer):
        server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "many"}})
        account = {"metadata": {"name": "default"}}
        if server is peer:
            server.ask("POST", "/api/v1/namespaces/many/serviceaccounts", account)
        many = PODS.replace("default", "many")
        server.h2load.run(many, 1, 20, pod("", generateName="listed-"), count=LISTED)
    row(
        f"list of {LISTED} Pods, 4 connections",
        lambda server: server.h2load.run(many, 4, 1, seconds=2).rate,
    )


def fill(server: Server) -> None:
    server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "fan"}})
    for n in range(WATCHED):
        server.ask("POST", FAN, config_map(f"f-{n}", "0"))
    server.ask("POST", PODS, pod("one"))
    for n in range(PLACES):
        server.ask("POST", MAPS, config_map(f"c-{n}", "0"))


def deletion(server: Server) -> float:
    """Of objects that were made for it."""
    folder = MAPS.replace("default", "fan")
    body = {**config_map("", "x"), "metadata": {"generateName": "gone-"}}
    server.h2load.run(folder, 1, 20, body, count=DELETED)
    held = server.ask("GET", folder)
    assert isinstance(held, dict)
    names = [item["metadata"]["name"] for item in held["items"]]
    paths = [f"{folder}/{name}" for name in names if name.startswith("gone-")]
    return deleting.rate(server.port, server.token, paths, server.folder)
