"""Services in the kernel: an endpoint changes among 5 000 Services; what 5 000 cost a packet.

All in network namespaces of its own, which end with it; needs root. `endpoint_changes` gives the
seconds from the change of an EndpointSlice to its rules in the kernel; `packets` the seconds of one
packet of a known flow, and of one new connection, with few Services and with many, interleaved.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bench.table import Table, ratio, spread
from jindou.machine.linux import namespaces
from jindou.machine.network import Balance, Endpoint, Plug, Rules
from jindou.machine.network.bridge import BridgeNetwork
from jindou.node.services import Services
from jindou.settings import Settings
from tests.machine.isolation import isolated
from tests.node.feed import Feed, endpoint, endpoint_slice, service

FEW, MANY = 5, 5000
T = TypeVar("T")


class Packets(NamedTuple):
    flow_few: list[float]
    flow_many: list[float]
    connect_few: list[float]
    connect_many: list[float]


def address(number: int) -> str:
    return f"10.211.{1 + number // 200}.{1 + number % 200}"


def isolated_run(scenario: Callable[[BridgeNetwork, Path], Any]) -> Any:
    found: list[Any] = []

    @isolated
    def inside() -> None:
        async def main() -> None:
            with tempfile.TemporaryDirectory() as folder:
                network = BridgeNetwork(Settings(run=f"{folder}/run"))
                await network.open()
                try:
                    found.append(await scenario(network, Path(folder)))
                finally:
                    await network.close()

        asyncio.run(main())

    inside()
    return found[0]


def endpoint_changes(services: int = MANY, rounds: int = 50) -> list[float]:
    async def scenario(network: BridgeNetwork, _: Path) -> list[float]:
        done = asyncio.Event()

        class Watched:
            gateway = network.gateway

            async def program(self, rules: Rules) -> None:
                await network.program(rules)
                done.set()

        feeds = (
            Feed(*(service(f"s{n}", address(n)) for n in range(services))),
            Feed(*(endpoint_slice(f"s{n}", endpoint("10.210.0.2")) for n in range(services))),
        )
        following = Services(Watched(), *feeds, "here")  # type: ignore[arg-type]
        following.start()
        await done.wait()
        samples = []
        for number in range(rounds):
            done.clear()
            changed = endpoint_slice(f"s{number}", endpoint("10.210.0.3"), endpoint("10.210.0.4"))
            begin = time.perf_counter()
            feeds[1].put(changed)
            await done.wait()
            samples.append(time.perf_counter() - begin)
        await following.stop()
        return samples

    return list(isolated_run(scenario))


def packets(few: int = FEW, many: int = MANY, rounds: int = 20) -> Packets:
    async def scenario(network: BridgeNetwork, _: Path) -> Packets:
        server = await network.attach(Plug("server", "server"))
        client = await network.attach(Plug("client", "client"))
        endpoints = (Endpoint(server.addresses[0], 80),)
        listening = _inside(server, lambda: _listener(socket.SOCK_STREAM))
        silent = _inside(server, lambda: _listener(socket.SOCK_DGRAM))
        sender = _inside(client, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        found = Packets([], [], [], [])
        for _ in range(rounds):
            for count, flow, connect in (
                (few, found.flow_few, found.connect_few),
                (many, found.flow_many, found.connect_many),
            ):
                balances = [
                    Balance(address(n), p, 80, endpoints)
                    for n in range(count)
                    for p in ("tcp", "udp")
                ]
                await network.program(Rules(tuple(balances)))
                flow.append(_send(sender))
                connect.append(_inside(client, lambda: _connect(listening)))
        for one in (listening, silent, sender):
            one.close()
        return found

    found = isolated_run(scenario)
    assert isinstance(found, Packets)
    return found


def _inside(attachment: Any, call: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(namespaces.enter, attachment.namespaces["network"], call).result()


def _listener(kind: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("0.0.0.0", 80))
    if kind == socket.SOCK_STREAM:
        made.listen(64)
    return made


def _send(sender: socket.socket, count: int = 3000) -> float:
    """A veth carries a packet to its receiver within the call that sends it."""
    sender.connect((address(0), 80))
    sender.send(b"?")
    begin = time.perf_counter()
    for _ in range(count):
        sender.send(b"?")
    return (time.perf_counter() - begin) / count


def _connect(listening: socket.socket, count: int = 200) -> float:
    total = 0.0
    for _ in range(count):
        with socket.socket() as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            begin = time.perf_counter()
            made.connect((address(0), 80))
            total += time.perf_counter() - begin
            listening.accept()[0].close()
    return total / count


def run(table: Table) -> None:
    changes = endpoint_changes()
    table.add(f"endpoint change -> rules, {MANY} Services", spread(changes), "", "<= 50 ms")
    found = packets()
    table.add(f"packet of a flow, {FEW} Services", spread(found.flow_few, "us", 1e6))
    table.add(
        f"packet of a flow, {MANY} Services",
        spread(found.flow_many, "us", 1e6),
        ratio(found.flow_many, found.flow_few),
        "<= 1.05 x",
    )
    table.add(f"new connection, {FEW} Services", spread(found.connect_few, "us", 1e6))
    table.add(
        f"new connection, {MANY} Services",
        spread(found.connect_many, "us", 1e6),
        ratio(found.connect_many, found.connect_few),
        "<= 1.05 x",
    )
