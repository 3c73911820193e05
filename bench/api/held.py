"""What is held at rest: memory of objects and of watches, pauses of the collector, the state file."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.api.asked import CREATE_MAP, FAN, MAPS, PODS, UPDATE, config_map, pod
from bench.api.clients import missing
from bench.api.fan import Shape, Watchers
from bench.api.ours import Ours
from bench.rest import memory
from bench.table import Table
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.server import ApiServer
from jindou.control.store.sqlite import SqliteStore
from jindou.settings import Settings

HELD = 20_000
FIRST, CHANGES = 10_000, 1_000_000
LIVE, WRITERS = 1_000, 50
WATCHES = 1_000
IDLE = f"{FAN}?watch=true&fieldSelector=metadata.name=f-0"

NOTE_PAUSES = """
import gc, os, signal, time
began, longest = 0.0, 0.0
def note(phase, info):
    global began, longest
    if phase == "start":
        began = time.thread_time()
    else:
        longest = max(longest, time.thread_time() - began)
def tell(*_):
    global longest
    with open(os.environ["PAUSES"] + ".part", "w") as file:
        file.write(f"{longest}")
    os.replace(os.environ["PAUSES"] + ".part", os.environ["PAUSES"])
    longest = 0.0
gc.callbacks.append(note)
signal.signal(signal.SIGUSR1, tell)
"""


def run(folder: Path, table: Table) -> None:
    for what in ("configmap", "pod"):
        size, each = by_the_api(what)
        table.add(
            f"memory of one {what} of {size} bytes, {HELD} held by store and API",
            f"{each:.0f} bytes", f"{each / size:.2f} x", "<= 1.3 x",
        )  # fmt: skip
    if not missing("wrk", "h2load"):
        in_a_server(folder, table)
    growth(table)


def by_the_api(what: str) -> tuple[int, float]:
    """The size of an object as it is kept, and what each takes: in a process of its own, without the
    controllers."""
    words = [sys.executable, "-c", f"from bench.api.held import tell; tell({what!r})"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    size, each = done.stdout.split()
    return int(size), float(each)


async def hold(what: str, folder: Path) -> tuple[int, float]:
    store = SqliteStore.open(folder / "store.db")
    api = ApiServer(store, Settings(data=str(folder)), Tokens(folder / "none", "cluster.local"))
    await api.start()
    client = api.local()
    kinds = {kind.plural: kind for kind in (r.kind for r in api.registry.all()) if not kind.group}
    account = {"metadata": {"name": "default", "namespace": "default"}}
    await client.create(kinds["serviceaccounts"], account)
    made = config_map("", "x") if what == "configmap" else pod("")
    made["metadata"] = {"generateName": "held-", "namespace": "default"}
    size = 0

    async def create(count: int) -> None:
        nonlocal size
        for _ in range(count // WRITERS):
            size = len(encoded(await client.create(kinds[f"{what}s"], made))) + 1

    await asyncio.gather(*(create(1_000) for _ in range(WRITERS)))
    gc.collect()
    before = memory(os.getpid())
    await asyncio.gather(*(create(HELD) for _ in range(WRITERS)))
    gc.collect()
    each = (memory(os.getpid()) - before) / HELD
    api.close()
    await store.close()
    return size, each


def in_a_server(folder: Path, table: Table) -> None:
    """One with a note of every collection, in the process itself."""
    (folder / "sitecustomize.py").write_text(NOTE_PAUSES)
    pauses = folder / "pauses"
    before = os.environ.get("PYTHONPATH", "")
    os.environ |= {"PYTHONPATH": f"{folder}:{before}", "PAUSES": str(pauses)}
    try:
        server = Ours(folder / "held")
    finally:
        os.environ["PYTHONPATH"] = before
        del os.environ["PAUSES"]
    try:
        server.fill()
        watches(server, table)
        objects(server, table)
        table.add(
            f"longest collection (CPU), {HELD} Pods held, while written to",
            f"{longest(server, pauses) * 1000:.1f} ms", "", "<= 20 ms",
        )  # fmt: skip
    finally:
        server.end()


def longest(server: Ours, pauses: Path) -> float:
    asked(server, pauses)  # what the start took is not meant
    server.wrk.run(UPDATE, seconds=2)
    server.wrk.run(CREATE_MAP, seconds=2)
    return asked(server, pauses)


def asked(server: Ours, pauses: Path) -> float:
    """The longest collection since this was asked before."""
    pauses.unlink(missing_ok=True)
    os.kill(server.pid, signal.SIGUSR1)
    while not pauses.exists():
        time.sleep(0.01)
    return float(pauses.read_text())


def objects(server: Ours, table: Table) -> None:
    """In the whole server, where nearly every controller knows something of each Pod."""
    for what, path, body in (
        ("ConfigMap", MAPS, {**config_map("", "x"), "metadata": {"generateName": "held-"}}),
        ("Pod", PODS, pod("", generateName="held-")),
    ):
        server.h2load.run(path, 1, 50, body, count=1_000)
        one = server.ask("GET", f"{path}?limit=1")["items"][0]
        before = settled(server.pid)
        server.h2load.run(path, 1, 50, body, count=HELD)
        after = settled(server.pid)
        size = len(encoded(one))
        each = (after - before) / HELD
        table.add(
            f"the same with all controllers, a {what}",
            f"{each:.0f} bytes", f"{each / size:.2f} x",
        )  # fmt: skip


def encoded(obj: Any) -> bytes:
    import orjson

    return orjson.dumps(obj)


def settled(pid: int) -> int:
    """Memory of a process that no longer has anything to do."""
    last = 0
    while abs((now := memory(pid)) - last) > 200_000:
        last = now
        time.sleep(1.0)
    return now


def watches(server: Ours, table: Table) -> None:
    for shape, what, goal in (
        (Shape(WATCHES), "HTTP/1.1 connection", "<= 60 KB"),
        (Shape(10, WATCHES // 10), "h2 stream", "<= 5 KB"),
    ):
        before = settled(server.pid)
        watchers = Watchers(server.port, IDLE, server.token, shape)
        watchers.ready()
        each = (settled(server.pid) - before) / WATCHES
        watchers.end()
        table.add(f"an idle watch, {what}", f"{each / 1024:.1f} KB", "", goal)


def growth(table: Table) -> None:
    """The store alone, changed a million times."""
    with tempfile.TemporaryDirectory(prefix="jb") as folder:
        first, _ = changed(Path(folder) / "store.db", FIRST)
        last, seconds = changed(Path(folder) / "store.db", CHANGES)
    table.add(
        f"state file after {CHANGES:,} changes, and after {FIRST:,}",
        f"{last / 1e6:.1f} MB, {first / 1e6:.1f} MB", f"{last / first:.2f} x", "<= 1 x",
    )  # fmt: skip
    table.add("changes that the store alone takes", f"{CHANGES / seconds:.0f} /s")


def changed(path: Path, count: int) -> tuple[int, float]:
    """The size of a state file after so many changes more, and how long they took."""

    async def main() -> float:
        store = SqliteStore.open(path)
        numbers, text = itertools.count(), b"x" * 1_000

        async def write() -> None:
            while (number := next(numbers)) < count:
                await store.commit(
                    f"core/configmaps/default/c{number % LIVE}",
                    lambda revision: b"%d%s" % (revision, text),
                )

        began = time.perf_counter()
        await asyncio.gather(*(write() for _ in range(WRITERS)))
        took = time.perf_counter() - began
        await store.close()
        return took

    took = asyncio.run(main())
    return path.stat().st_size, took


def tell(what: str) -> None:
    with tempfile.TemporaryDirectory(prefix="jb") as name:
        print(*asyncio.run(hold(what, Path(name))))
