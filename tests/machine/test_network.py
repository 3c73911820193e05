"""The bridge network on the real kernel, each test in namespaces of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jindou.machine.linux import namespaces
from jindou.machine.network import Balance, Endpoint, Plug, Rules
from jindou.machine.network.bridge import BridgeNetwork
from jindou.settings import Settings
from tests.machine.isolation import isolated, shell

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def settings(folder: Path) -> Settings:
    return Settings(run=str(folder))


@asynccontextmanager
async def network(folder: Path):
    made = BridgeNetwork(settings(folder))
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def socket_in(attachment, family: int, kind: int) -> socket.socket:
    """A socket belongs to the network namespace it was made in, whoever uses it."""

    def make() -> socket.socket:
        made = socket.socket(family, kind)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return made

    if attachment is None:
        return make()
    with ThreadPoolExecutor(1) as pool:
        path = attachment.namespaces["network"]
        return pool.submit(namespaces.enter, path, make).result()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self.name = name

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, address) -> None:
        self.transport.sendto(f"{self.name} {address[0]}".encode(), address)


@asynccontextmanager
async def echo(name: str, attachment, port: int, kind=socket.SOCK_STREAM, family=socket.AF_INET):
    """Answers inside a unit with a name and the address of who asked."""
    made = socket_in(attachment, family, kind)
    made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))

    async def answer(_, writer) -> None:
        writer.write(f"{name} {writer.get_extra_info('peername')[0]}".encode())
        writer.close()
        await writer.wait_closed()

    if kind == socket.SOCK_STREAM:
        async with await asyncio.start_server(answer, sock=made):
            yield
    else:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(name), sock=made)
        yield
        transport.close()
        await asyncio.sleep(0)


async def ask(address: str, port: int, attachment=None, kind=socket.SOCK_STREAM, made=None) -> str:
    """Connect from a unit (or from the machine), and return the answer, or the error's name."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = made or socket_in(attachment, family, kind)
    try:
        async with asyncio.timeout(5):
            if kind == socket.SOCK_DGRAM:
                await loop.sock_sendto(made, b"?", (address, port))
            else:
                await loop.sock_connect(made, (address, port))
            return (await loop.sock_recv(made, 100)).decode()
    except OSError as error:
        return type(error).__name__
    finally:
        if kind == socket.SOCK_STREAM:
            made.close()


@isolated
def test_units_reach_the_gateway_and_each_other_in_both_families(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            one = await net.attach(Plug("one", "host-one"))
            two = await net.attach(Plug("two", "host-two"))
            assert one.addresses == ("10.210.0.2", "fd00:10:210::2")
            assert two.addresses == ("10.210.0.3", "fd00:10:210::3")
            for address in (*net.gateway, *two.addresses, "127.0.0.1", "::1"):
                shell(f"ping -c1 -W2 {address}", one.namespaces["network"])
            for address in two.addresses:
                shell(f"ping -c1 -W2 {address}")
            name = subprocess.run(
                ["nsenter", f"--uts={one.namespaces['uts']}", "hostname"], capture_output=True
            )
            assert name.stdout == b"host-one\n"

    asyncio.run(scenario())


@isolated
def test_services_from_units_from_the_machine_and_through_themselves(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            one = await net.attach(Plug("one", "one"))
            two = await net.attach(Plug("two", "two"))
            v4, v6 = one.addresses
            balances = (
                Balance("10.211.0.9", "tcp", 80, (Endpoint(v4, 8080),)),
                Balance("fd00:10:211::9", "tcp", 80, (Endpoint(v6, 8080),)),
                Balance("", "tcp", 30080, (Endpoint(v4, 8080), Endpoint(v6, 8080))),
                Balance("192.0.2.77", "tcp", 80, (Endpoint(v4, 8080),)),
                Balance("10.211.0.10", "tcp", 80, ()),
                Balance("", "tcp", 30081, ()),
                Balance("192.0.2.78", "tcp", 80, ()),
            )
            await net.program(Rules(balances))
            gateway, gateway6 = net.gateway
            two4, two6 = two.addresses
            async with echo("one", one, 8080, family=socket.AF_INET6):
                assert await ask("10.211.0.9", 80, two) == f"one ::ffff:{two4}"
                assert await ask("fd00:10:211::9", 80, two) == f"one {two6}"
                assert await ask("10.211.0.9", 80, one) == f"one ::ffff:{gateway}"
                assert await ask("fd00:10:211::9", 80, one) == f"one {gateway6}"
                assert await ask("10.211.0.9", 80) == f"one ::ffff:{gateway}"
                assert await ask("fd00:10:211::9", 80) == f"one {gateway6}"
                assert await ask("127.0.0.1", 30080) == f"one ::ffff:{gateway}"
                assert await ask(gateway, 30080) == f"one ::ffff:{gateway}"
                assert await ask(gateway, 30080, two) == f"one ::ffff:{two4}"
                assert await ask(gateway6, 30080, two) == f"one {two6}"
                assert await ask("192.0.2.77", 80, two) == f"one ::ffff:{two4}"
                for where in (two, None):
                    for address in ("10.211.0.10", "10.211.0.200", "fd00:10:211::77"):
                        assert await ask(address, 80, where) == "ConnectionRefusedError"
                assert await ask("192.0.2.78", 80, two) == "ConnectionRefusedError"
                assert await ask("127.0.0.1", 30081) == "ConnectionRefusedError"
                assert await ask(gateway, 30081, two) == "ConnectionRefusedError"

    asyncio.run(scenario())
