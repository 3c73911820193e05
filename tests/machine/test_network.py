"""The bridge network on the real kernel, each test in namespaces of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jindou.machine.linux import namespaces
from jindou.machine.network import (
    Attachment,
    Balance,
    Endpoint,
    HostPort,
    NetworkError,
    Plug,
    Rules,
)
from jindou.machine.network.bridge import BridgeNetwork
from jindou.settings import Settings
from tests.machine.isolation import isolated, shell

KEPT = (".network", ".uts", ".ipc")
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture(params=["routed", "filtered"])
def tmp_path(tmp_path, request):
    """Every test twice: the kernel may pass packets between a bridge's ports by its packet filter
    (br_netfilter). The folder's name says so to `network`."""
    folder = tmp_path / request.param
    folder.mkdir()
    return folder


def settings(folder: Path) -> Settings:
    return Settings(run=str(folder))


@asynccontextmanager
async def network(folder: Path):
    made = BridgeNetwork(settings(folder))
    for word in ("iptables", "ip6tables"):
        switch = Path(f"/proc/sys/net/bridge/bridge-nf-call-{word}")
        if switch.exists():
            switch.write_text(str(int("filtered" in folder.parts)))
    await made.open()
    try:
        yield made
    finally:
        await made.leave()
        await BridgeNetwork(settings(folder)).close()


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


def outside(folder: Path) -> Attachment:
    """Another machine, 192.0.2.2, on our uplink, 192.0.2.1."""
    path = folder / "outside"
    namespaces.make({"network": path}, "", lambda: None)
    shell(f"ip link add up0 type veth peer name eth0 netns {path}")
    shell("ip addr add 192.0.2.1/24 dev up0; ip -6 addr add 2001:db8::1/64 dev up0 nodad")
    shell("ip link set lo up; ip link set up0 up; ip route add default via 192.0.2.2")
    shell("ip link set lo up; ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0", path)
    shell("ip -6 addr add 2001:db8::2/64 dev eth0 nodad; ip route add default via 192.0.2.1", path)
    return Attachment(("192.0.2.2", "2001:db8::2"), {"network": path})


async def until(done) -> None:
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


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
            assert shell(f"nsenter --uts={one.namespaces['uts']} hostname") == "host-one\n"

    asyncio.run(scenario())


@isolated
def test_services_from_units_from_the_machine_and_through_themselves(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            one = await net.attach(Plug("one", "one"))
            two = await net.attach(Plug("two", "two"))
            outside(tmp_path)
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


@isolated
def test_units_leave_by_the_machines_address_and_are_reached_from_outside(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            other = outside(tmp_path)
            one = await net.attach(Plug("one", "one"))
            await net.program(
                Rules((Balance("", "tcp", 30080, (Endpoint(one.addresses[0], 80),)),))
            )
            async with echo("other", other, 80), echo("one", one, 80):
                assert await ask("192.0.2.2", 80, one) == "other 192.0.2.1"
                assert await ask("192.0.2.1", 30080, other) == "one 192.0.2.2"
                assert await ask("192.0.2.1", 30080, one) == "one 10.210.0.1"
            async with echo("other", other, 80, family=socket.AF_INET6):
                assert await ask("2001:db8::2", 80, one) == "other 2001:db8::1"

    asyncio.run(scenario())


@isolated
def test_an_endpoint_outside_answers_through_us(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            other = outside(tmp_path)
            one = await net.attach(Plug("one", "one"))
            endpoint = (Endpoint("192.0.2.2", 80),)
            await net.program(
                Rules(
                    (
                        Balance("10.211.0.9", "tcp", 80, endpoint),
                        Balance("", "tcp", 30080, endpoint),
                    )
                )
            )
            async with echo("other", other, 80):
                for address, port, where in (
                    ("10.211.0.9", 80, one),
                    ("10.211.0.9", 80, None),
                    ("192.0.2.1", 30080, other),
                ):
                    assert await ask(address, port, where) == "other 192.0.2.1"

    asyncio.run(scenario())


@isolated
def test_host_ports_on_every_address_or_on_one(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            other = outside(tmp_path)
            ports = (
                HostPort("tcp", 8080, 80),
                HostPort("tcp", 8081, 80, "127.0.0.1"),
                HostPort("tcp", 8082, 80, "192.0.2.1"),
            )
            one = await net.attach(Plug("one", "one", host_ports=ports))
            async with echo("one", one, 80):
                assert await ask("192.0.2.1", 8080, other) == "one 192.0.2.2"
                assert await ask("127.0.0.1", 8080) == "one 10.210.0.1"
                assert await ask("127.0.0.1", 8081) == "one 10.210.0.1"
                assert await ask("192.0.2.1", 8081, other) == "ConnectionRefusedError"
                assert await ask("192.0.2.1", 8082, other) == "one 192.0.2.2"
                assert await ask("127.0.0.1", 8082) == "ConnectionRefusedError"
            await net.detach("one")
            assert await ask("127.0.0.1", 8080) == "ConnectionRefusedError"

    asyncio.run(scenario())


@isolated
def test_a_server_on_the_loopback_address_is_reached_from_units_but_not_from_outside(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            other = outside(tmp_path)
            one = await net.attach(Plug("one", "one"))
            api = (Endpoint("127.0.0.1", 6443),)
            gateway = net.gateway[0]
            await net.program(
                Rules((Balance("10.211.0.1", "tcp", 443, api), Balance(gateway, "tcp", 6443, api)))
            )
            made = socket_in(None, socket.AF_INET, socket.SOCK_STREAM)
            made.bind(("127.0.0.1", 6443))

            async def answer(_, writer) -> None:
                writer.write(b"api")
                writer.close()

            async with await asyncio.start_server(answer, sock=made):
                for where in (one, None):
                    assert await ask("10.211.0.1", 443, where) == "api"
                    assert await ask(gateway, 6443, where) == "api"
                assert await ask("192.0.2.1", 6443, other) == "ConnectionRefusedError"

    asyncio.run(scenario())


@isolated
def test_a_client_stays_with_its_endpoint(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            units = [await net.attach(Plug(name, name)) for name in "abc"]
            endpoints = tuple(Endpoint(unit.addresses[0], 80) for unit in units[:2])

            async def choices(balance: Balance) -> list[str]:
                await net.program(Rules((balance,)))
                return [await ask("10.211.0.9", 80, units[2]) for _ in range(24)]

            async with echo("a", units[0], 80), echo("b", units[1], 80):
                free = await choices(Balance("10.211.0.9", "tcp", 80, endpoints))
                assert len(set(free)) == 2
                (chosen,) = set(await choices(Balance("10.211.0.9", "tcp", 80, endpoints, 60)))
                more = (*endpoints, Endpoint(units[2].addresses[0], 80))
                async with echo("c", units[2], 80):
                    again = await choices(Balance("10.211.0.9", "tcp", 80, more, 60))
                    assert set(again) == {chosen}
                left = tuple(e for e, name in zip(endpoints, "ab") if not chosen.startswith(name))
                (other,) = set(await choices(Balance("10.211.0.9", "tcp", 80, left, 60)))
                assert other != chosen
                assert len(set(await choices(Balance("10.211.0.9", "tcp", 80, endpoints)))) == 2

    asyncio.run(scenario())


@isolated
def test_a_flow_of_datagrams_moves_when_its_endpoint_goes(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            one, two, client = [await net.attach(Plug(name, name)) for name in ("one", "two", "c")]
            first = (Endpoint(one.addresses[0], 53),)
            second = (Endpoint(two.addresses[0], 53),)
            made = socket_in(client, socket.AF_INET, socket.SOCK_DGRAM)
            made.bind(("0.0.0.0", 4000))
            udp = socket.SOCK_DGRAM

            async def answer() -> str:
                return await ask("10.211.0.9", 53, kind=udp, made=made)

            async with echo("one", one, 53, udp), echo("two", two, 53, udp):
                await net.program(Rules((Balance("10.211.0.9", "udp", 53, first),)))
                assert (await answer()).startswith("one")
                await net.program(Rules((Balance("10.211.0.9", "udp", 53, second),)))
                assert (await answer()).startswith("two")
                later = BridgeNetwork(settings(tmp_path / "run"))
                await net.leave()
                await later.open()
                assert (await answer()).startswith("two")
                await later.program(Rules((Balance("10.211.0.9", "udp", 53, first),)))
                assert (await answer()).startswith("one")
                await later.leave()
            made.close()

    asyncio.run(scenario())


@isolated
def test_a_flushed_table_comes_back_and_those_of_others_stay(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            one = await net.attach(Plug("one", "one"))
            await net.program(
                Rules((Balance("10.211.0.9", "tcp", 80, (Endpoint(one.addresses[0], 80),)),))
            )
            async with echo("one", one, 80):
                assert await ask("10.211.0.9", 80) == "one 10.210.0.1"
                shell("nft flush ruleset; nft add table inet others")
                await until(lambda: "jindou" in shell("nft list tables"))
                assert await ask("10.211.0.9", 80) == "one 10.210.0.1"
        assert shell("nft list tables").split() == ["table", "inet", "others"]

    asyncio.run(scenario())


@isolated
def test_a_machine_without_ipv6_has_units_without_it(tmp_path):
    async def scenario():
        shell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        async with network(tmp_path / "run") as net:
            one = await net.attach(Plug("one", "one", host_ports=(HostPort("tcp", 8080, 80),)))
            assert (net.gateway, one.addresses) == (("10.210.0.1",), ("10.210.0.2",))
            six = Balance("fd00:10:211::9", "udp", 53, ())
            four = Balance("10.211.0.9", "tcp", 80, (Endpoint("10.210.0.2", 80),))
            await net.program(Rules((six, four)))
            async with echo("one", one, 80):
                assert await ask("10.211.0.9", 80, one) == "one 10.210.0.1"
                assert await ask("127.0.0.1", 8080) == "one 10.210.0.1"

    asyncio.run(scenario())


@isolated
def test_a_units_settings_are_its_own_and_a_wrong_one_is_named(tmp_path):
    async def scenario():
        async with network(tmp_path / "run") as net:
            one = await net.attach(Plug("one", "one", {"net.core.somaxconn": "77"}))
            assert "77" in shell("sysctl -n net.core.somaxconn", one.namespaces["network"])
            with pytest.raises(NetworkError, match=r"setting net.no.such to 1: No such file"):
                await net.attach(Plug("two", "two", {"net.no.such": "1"}))
            ports = (HostPort("tcp", 80, 80, "nonsense"),)
            with pytest.raises(NetworkError, match="'nonsense' does not appear to be"):
                await net.attach(Plug("two", "two", host_ports=ports))
            assert [*await net.observe()] == ["one"]
            assert (await net.attach(Plug("two", "two"))).addresses[0] == "10.210.0.3"

    asyncio.run(scenario())


@isolated
def test_a_firewall_that_drops_everything_else_is_told_about(tmp_path, caplog):
    async def scenario():
        shell(
            "nft 'add table ip filter; add chain ip filter DOCKER-USER; add chain ip filter"
            " FORWARD { type filter hook forward priority 0; policy drop; }'"
        )
        async with network(tmp_path / "run"):
            assert "ip filter FORWARD drops what it does not know" in caplog.text
            assert "iptables -I DOCKER-USER -i jin0 -j ACCEPT" in caplog.text

    asyncio.run(scenario())


@isolated
def test_close_leaves_the_machine_as_it_was(tmp_path):
    def state() -> str:
        return shell(
            "ip -br link; ip route; ip -6 route; nft list ruleset; mount | grep -c nsfs || true;"
            "sysctl -a 2>/dev/null | grep -E 'forward|accept_ra =|localnet' | grep -v stable"
        )

    async def scenario():
        outside(tmp_path)
        before = state()
        async with network(tmp_path / "run") as net:
            await net.attach(Plug("one", "one", host_ports=(HostPort("tcp", 8080, 80),)))
            assert state() != before
        assert state() == before
        assert not (tmp_path / "run" / "network").exists()

    asyncio.run(scenario())


CHURN = """
import asyncio, sys
from jindou.machine.network import HostPort, Plug
from jindou.machine.network.bridge import BridgeNetwork
from jindou.settings import Settings

async def main():
    net = BridgeNetwork(Settings(run=sys.argv[1]))
    await net.open()
    print("open", flush=True)
    while True:
        names = [f"s{n}" for n in range(6)]
        await asyncio.gather(*(
            net.attach(Plug(name, name, host_ports=(HostPort("tcp", 9000 + n, 80),)))
            for n, name in enumerate(names)
        ))
        await asyncio.gather(*(net.detach(name) for name in names[::2]))

asyncio.run(main())
"""


@pytest.mark.slow
@isolated
def test_a_kill_at_any_moment_leaves_whole_sandboxes_or_none(tmp_path):
    """Each killed somewhere else in the middle of attaching and detaching."""
    run = tmp_path / "run"

    async def check() -> None:
        net = BridgeNetwork(settings(run))
        await net.open()
        found = await net.observe()
        for attachment in found.values():
            for address in net.gateway:
                shell(f"ping -c1 -W2 {address}", attachment.namespaces["network"])
        kept = {path.name for one in found.values() for path in one.namespaces.values()}
        made = {path.name for path in (run / "network").iterdir() if path.suffix in KEPT}
        assert made == kept
        await net.program(Rules())
        await net.leave()

    for milliseconds in range(20, 140, 12):
        churn = subprocess.Popen(
            [sys.executable, "-c", CHURN, str(run)], stdout=subprocess.PIPE, text=True
        )
        assert churn.stdout
        assert churn.stdout.readline() == "open\n"
        time.sleep(milliseconds / 1000)
        churn.kill()
        churn.wait()
        churn.stdout.close()
        asyncio.run(check())
    asyncio.run(BridgeNetwork(settings(run)).close())
    assert shell("mount | grep -c nsfs || true") == "0\n"
    assert "jin0" not in shell("ip -br link")
