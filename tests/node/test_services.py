"""From Services and slices to balances: the table of cases, and changes against all at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jindou.machine.network import Balance, Endpoint, NetworkError, Rules
from jindou.node.services import Services, rules
from tests.node.feed import Feed, endpoint, endpoint_slice, service

IP, IP6 = "10.211.0.9", "fd00:10:211::9"
A, B = "10.210.0.2", "10.210.0.3"
TWO = (endpoint(A), endpoint(B, node="other"))


def at(*addresses, port=8080):
    return tuple(Endpoint(address, port) for address in addresses)


@pytest.mark.parametrize(
    ("spec", "slices", "expected"),
    [
        pytest.param(
            service("web", IP),
            [endpoint_slice("web", *TWO)],
            [Balance(IP, "tcp", 80, at(A, B))],
            id="cluster-ip",
        ),
        pytest.param(
            service("web", IP), [], [Balance(IP, "tcp", 80, ())], id="no-endpoints-is-refused"
        ),
        pytest.param(
            service("web", "None"), [endpoint_slice("web", *TWO)], [], id="headless-has-no-rules"
        ),
        pytest.param(
            service("web", type="ExternalName", externalName="example.org"),
            [],
            [],
            id="external-name-has-no-rules",
        ),
        pytest.param(
            service("web", IP, IP6),
            [endpoint_slice("web", *TWO), endpoint_slice("web", endpoint("fd00::2"), suffix="b")],
            [Balance(IP, "tcp", 80, at(A, B)), Balance(IP6, "tcp", 80, at("fd00::2"))],
            id="dual-stack",
        ),
        pytest.param(
            service("web", IP, type="NodePort", ports=((80, {"name": "http", "nodePort": 30080}),)),
            [endpoint_slice("web", *TWO)],
            [Balance(IP, "tcp", 80, at(A, B)), Balance("", "tcp", 30080, at(A, B))],
            id="node-port",
        ),
        pytest.param(
            service("dns", IP, ports=((53, {"name": "dns", "protocol": "UDP"}),)),
            [
                {
                    **endpoint_slice("dns", endpoint(A)),
                    "ports": [{"name": "dns", "port": 5353, "protocol": "UDP"}],
                }
            ],
            [Balance(IP, "udp", 53, at(A, port=5353))],
            id="udp",
        ),
        pytest.param(
            service("web", IP, internalTrafficPolicy="Local"),
            [endpoint_slice("web", *TWO)],
            [Balance(IP, "tcp", 80, at(A))],
            id="internal-local",
        ),
        pytest.param(
            service(
                "web",
                IP,
                type="LoadBalancer",
                externalTrafficPolicy="Local",
                externalIPs=["192.0.2.1"],
                ports=((80, {"name": "http", "nodePort": 30080}),),
                status={
                    "loadBalancer": {
                        "ingress": [{"ip": "192.0.2.2"}, {"ip": "192.0.2.3", "ipMode": "Proxy"}]
                    }
                },
            ),
            [endpoint_slice("web", *TWO)],
            [
                Balance(IP, "tcp", 80, at(A, B)),
                Balance("192.0.2.1", "tcp", 80, at(A)),
                Balance("192.0.2.2", "tcp", 80, at(A)),
                Balance("", "tcp", 30080, at(A)),
            ],
            id="external-local",
        ),
        pytest.param(
            service(
                "web",
                IP,
                sessionAffinity="ClientIP",
                sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
            ),
            [endpoint_slice("web", endpoint(A))],
            [Balance(IP, "tcp", 80, at(A), 60)],
            id="affinity",
        ),
        pytest.param(
            service("web", IP),
            [
                endpoint_slice(
                    "web", endpoint(A, ready=False, serving=True, terminating=True), endpoint(B)
                )
            ],
            [Balance(IP, "tcp", 80, at(B))],
            id="ready-before-draining",
        ),
        pytest.param(
            service("web", IP),
            [
                endpoint_slice(
                    "web",
                    endpoint(A, ready=False, serving=True, terminating=True),
                    endpoint(B, ready=False, serving=False, terminating=True),
                )
            ],
            [Balance(IP, "tcp", 80, at(A))],
            id="draining-when-none-is-ready",
        ),
        pytest.param(
            service("web", IP),
            [endpoint_slice("web", endpoint(A, ready=None), endpoint(B, ready=False))],
            [Balance(IP, "tcp", 80, at(A))],
            id="unknown-is-ready",
        ),
        pytest.param(
            service("web", IP, ports=((80, "http"), (443, "https"))),
            [endpoint_slice("web", endpoint(A), ports=((8080, "http"), (8443, "https")))],
            [Balance(IP, "tcp", 80, at(A)), Balance(IP, "tcp", 443, at(A, port=8443))],
            id="ports-by-name",
        ),
        pytest.param(
            service("web", IP),
            [endpoint_slice("web", endpoint(A)), endpoint_slice("web", endpoint(A), suffix="b")],
            [Balance(IP, "tcp", 80, at(A))],
            id="an-endpoint-in-two-slices",
        ),
        pytest.param(
            service("web", IP),
            [endpoint_slice("web", endpoint(A), namespace="other"), endpoint_slice("not", *TWO)],
            [Balance(IP, "tcp", 80, ())],
            id="slices-of-others",
        ),
    ],
)
def test_what_a_service_becomes(spec, slices, expected):
    assert list(rules([spec], slices, "here").balances) == expected


def test_an_api_on_the_loopback_address_is_reached_through_the_gateway():
    api = Endpoint("127.0.0.1", 6443)
    kubernetes = service("kubernetes", IP, ports=((443, "https"),))
    slices = [endpoint_slice("kubernetes", endpoint("10.210.0.1"), ports=((6443, "https"),))]
    found = rules([kubernetes], slices, "here", ["10.210.0.1"], api)
    assert found == Rules((Balance(IP, "tcp", 443, (api,)),))


def test_addresses_have_one_spelling_and_nonsense_is_left_out():
    web = service("web", "FD00:10:211:0::9", externalIPs=["no; flush ruleset"])
    slices = [endpoint_slice("web", endpoint("fd00:0::2"))]
    assert rules([web], slices, "here") == Rules(
        (Balance("fd00:10:211::9", "tcp", 80, at("fd00::2")),)
    )


class Recorder:
    """A network that notes what it is asked for, and may fail first."""

    gateway = ("10.210.0.1", "fd00:10:210::1")

    def __init__(self, failures: int = 0) -> None:
        self.programmed = []
        self.failures = failures
        self.happened = asyncio.Event()

    async def program(self, wanted) -> None:
        self.happened.set()
        if self.failures:
            self.failures -= 1
            raise NetworkError("not now")
        self.programmed.append(wanted)

    async def next(self):
        await asyncio.wait_for(self.happened.wait(), 5)
        self.happened.clear()
        return self.programmed[-1] if self.programmed else None


def test_nothing_is_programmed_before_both_informers_are_synced():
    async def scenario():
        network = Recorder()
        services, slices = Feed(service("web", IP)), Feed(synced=False)
        following = Services(network, services, slices, "here")
        following.start()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not network.programmed
        slices.put(endpoint_slice("web", *TWO))
        slices.synced.set()
        assert (await network.next()).balances == (Balance(IP, "tcp", 80, at(A, B)),)
        await following.stop()

    asyncio.run(scenario())


def test_changes_of_one_turn_go_out_together_and_leave_other_balances_the_same_objects():
    async def scenario():
        network = Recorder()
        services = Feed(service("one", IP), service("two", "10.211.0.10"))
        slices = Feed(endpoint_slice("one", endpoint(A)), endpoint_slice("two", endpoint(B)))
        following = Services(network, services, slices, "here")
        following.start()
        before = await network.next()
        slices.put(endpoint_slice("two", endpoint(A), endpoint(B)))
        services.put(service("three", "10.211.0.11"))
        after = await network.next()
        assert len(network.programmed) == 2
        assert after.balances[0] is before.balances[0]
        assert set(after.balances) == set(rules(services.all(), slices.all(), "here").balances)
        services.remove("default", "one")
        assert len((await network.next()).balances) == 2
        await following.stop()

    asyncio.run(scenario())


def test_what_was_moved_is_forwarded_and_reached_through_services():
    async def scenario():
        network = Recorder()
        feeds = Feed(service("api", IP)), Feed(endpoint_slice("api", endpoint("10.210.0.1")))
        api = Endpoint("127.0.0.1", 8080)
        following = Services(network, *feeds, "here", ("10.210.0.1",), api)
        following.move(Endpoint("10.210.0.1", 53), Endpoint("10.210.0.1", 999), ("udp",))
        following.start()
        assert (await network.next()).balances == (
            Balance("10.210.0.1", "tcp", 8080, (api,)),
            Balance("10.210.0.1", "udp", 53, (Endpoint("10.210.0.1", 999),)),
            Balance(IP, "tcp", 80, (api,)),
        )
        await following.stop()

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_failure_is_tried_again():
    async def scenario():
        network = Recorder(failures=1)
        following = Services(network, Feed(service("web", IP)), Feed(), "here")
        following.start()
        assert await network.next() is None
        assert (await network.next()).balances == (Balance(IP, "tcp", 80, ()),)
        await following.stop()

    asyncio.run(scenario())


names = st.sampled_from(["a", "b", "c"])
changes = st.lists(
    st.one_of(
        st.tuples(st.just("service"), names, st.sampled_from([IP, "10.211.0.10", "None"])),
        st.tuples(st.just("slice"), names, st.lists(st.sampled_from([A, B]), unique=True)),
        st.tuples(st.just("gone"), names, st.none()),
        st.tuples(st.just("slice gone"), names, st.none()),
    ),
    max_size=12,
)


@given(changes)
def test_any_course_of_changes_ends_where_all_at_once_does(course):
    async def scenario():
        network = Recorder()
        services, slices = Feed(), Feed()
        following = Services(network, services, slices, "here")
        following.start()
        await network.next()
        for what, name, value in course:
            if what == "service":
                services.put(service(name, value))
            elif what == "slice":
                slices.put(endpoint_slice(name, *map(endpoint, value)))
            else:
                feed, suffix = (services, "") if what == "gone" else (slices, "-a")
                if ("default", name + suffix) in feed._held:
                    feed.remove("default", name + suffix)
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        expected = rules(services.all(), slices.all(), "here").balances
        assert set(network.programmed[-1].balances) == set(expected)
        await following.stop()

    asyncio.run(scenario())
