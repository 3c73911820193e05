"""The network contract: every driver passes every test here, or it is not a network."""

from __future__ import annotations

import asyncio
import os

import pytest

from jindou.machine.network import Balance, Endpoint, HostPort, NetworkError, Plug, Rules
from jindou.machine.network.bridge import BridgeNetwork
from jindou.machine.network.pretend import PretendNetwork
from jindou.settings import Settings
from tests.machine.isolation import isolated

needs_root = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


class Bench:
    """Runs one scenario over a network of the kind under test."""

    def __init__(self, make, folder):
        self._make, self.folder = make, folder

    def run(self, scenario, **options):
        async def main():
            network = self.make(**options)
            await network.open()
            try:
                await scenario(network)
            finally:
                await network.leave()
                await self.make(**options).close()

        asyncio.run(main())

    def make(self, **options):
        return self._make(Settings(run=str(self.folder / "run"), **options))


@pytest.fixture(params=["pretend", pytest.param("bridge", marks=needs_root)])
def bench(request, tmp_path):
    if request.param == "pretend":
        return Bench(PretendNetwork, tmp_path)
    made = Bench(BridgeNetwork, tmp_path)
    made.run = isolated(made.run)
    return made


def test_each_sandbox_has_its_own_addresses_next_to_the_gateways(bench):
    async def scenario(network):
        one = await network.attach(Plug("one", "one"))
        two = await network.attach(Plug("two", "two"))
        found = {*network.gateway, *one.addresses, *two.addresses}
        assert len(found) == 3 * len(network.gateway)
        assert one.addresses[0] == "10.210.0.2"
        assert await network.observe() == {"one": one, "two": two}

    bench.run(scenario)


def test_attaching_again_gives_the_same(bench):
    async def scenario(network):
        once = await network.attach(Plug("one", "one"))
        assert await network.attach(Plug("one", "one")) == once
        both = await asyncio.gather(*(network.attach(Plug("two", "two")) for _ in range(2)))
        assert both[0] == both[1]

    bench.run(scenario)


def test_a_detached_sandbox_is_gone_and_detaching_again_is_fine(bench):
    async def scenario(network):
        await network.attach(Plug("one", "one"))
        await network.detach("one")
        await network.detach("one")
        await network.detach("never")
        assert await network.observe() == {}

    bench.run(scenario)


def test_a_new_process_finds_all_and_hands_nothing_out_twice(bench):
    async def scenario(network):
        ports = (HostPort("tcp", 8080, 80),)
        one = await network.attach(Plug("one", "one", host_ports=ports))
        await network.attach(Plug("two", "two"))
        await network.detach("two")
        await network.leave()
        later = bench.make()
        await later.open()
        assert await later.observe() == {"one": one}
        assert await later.attach(Plug("one", "one", host_ports=ports)) == one
        other = await later.attach(Plug("three", "three"))
        assert not {*other.addresses} & {*one.addresses}
        await later.leave()

    bench.run(scenario)


def test_a_full_network_says_so_and_recovers(bench):
    async def scenario(network):
        for number in range(5):
            await network.attach(Plug(f"s{number}", "s"))
        with pytest.raises(NetworkError, match=r"all 5 addresses of 10.210.0.0/29 are in use"):
            await network.attach(Plug("more", "more"))
        await network.detach("s3")
        assert (await network.attach(Plug("more", "more"))).addresses[0] == "10.210.0.5"

    bench.run(scenario, pod_cidr="10.210.0.0/29")


def test_any_rules_are_taken_again_and_again(bench):
    async def scenario(network):
        some = Balance("10.211.0.9", "tcp", 80, (Endpoint("10.210.0.2", 80),), 60)
        for balances in ((), (some,), (some,), ()):
            await network.program(Rules(balances))
        await network.open()

    bench.run(scenario)
