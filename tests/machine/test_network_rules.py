"""From rules to the table: what changes is what differs, and it ends where a new table would."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jindou.machine.linux.conntrack import Flow
from jindou.machine.linux.nftables import Nftables
from jindou.machine.network import Balance, Endpoint
from jindou.machine.network.addresses import Addresses, Exhausted
from jindou.machine.network.forwarding import is_stale
from jindou.machine.network.services import LEAST_REACH, Key, Program, Stale
from jindou.machine.network.table import Frame
from tests.machine.isolation import isolated

FRAME = Frame(
    "t", "jin0", ("10.210.0.0/16", "fd00:10:210::/64"), ("10.211.0.0/16", "fd00:10:211::/112")
)
A, B, C = (Endpoint(f"10.210.0.{n}", 80) for n in (2, 3, 4))
SIX = Endpoint("fd00:10:210::2", 80)
WEB = Balance("10.211.0.9", "tcp", 80, (A, B))


def changed(before, after):
    program = Program(FRAME)
    program.replace(before)
    commands, stale = program.change(after)
    return commands.splitlines(), stale


@pytest.mark.parametrize(
    ("before", "after", "commands"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([WEB], [WEB], [], id="the-same"),
        pytest.param([WEB], [Balance("10.211.0.9", "tcp", 80, (A, B))], [], id="an-equal-one"),
        pytest.param(
            [],
            [WEB],
            [
                "add element inet t services4 { 10.211.0.9 . tcp . 80 : goto n2 }",
                "add element inet t endpoints4 { 10.211.0.9 . tcp . 80 . 0 : 10.210.0.2 . 80, "
                "10.211.0.9 . tcp . 80 . 1 : 10.210.0.3 . 80 }",
                "add element inet t hairpin4 { 10.210.0.2 . 10.210.0.2, 10.210.0.3 . 10.210.0.3 }",
            ],
            id="a-service",
        ),
        pytest.param(
            [WEB],
            [Balance("10.211.0.9", "tcp", 80, (A, C))],
            [
                "delete element inet t endpoints4 { 10.211.0.9 . tcp . 80 . 1 }",
                "delete element inet t hairpin4 { 10.210.0.3 . 10.210.0.3 }",
                "add element inet t endpoints4 { 10.211.0.9 . tcp . 80 . 1 : 10.210.0.4 . 80 }",
                "add element inet t hairpin4 { 10.210.0.4 . 10.210.0.4 }",
            ],
            id="an-endpoint",
        ),
        pytest.param(
            [],
            [Balance("192.0.2.9", "udp", 53, ()), Balance("10.211.0.9", "udp", 53, ())],
            ["add element inet t refused4 { 192.0.2.9 . udp . 53 }"],
            id="no-endpoints",
        ),
        pytest.param(
            [],
            [Balance("", "tcp", 30080, (SIX,))],
            [
                "add element inet t nodeports6 { tcp . 30080 : goto p1 }",
                "add element inet t node_endpoints6 { tcp . 30080 . 0 : fd00:10:210::2 . 80 }",
                "add element inet t hairpin6 { fd00:10:210::2 . fd00:10:210::2 }",
            ],
            id="a-node-port-of-one-family",
        ),
    ],
)
def test_only_what_differs_is_sent(before, after, commands):
    assert changed(before, after)[0] == commands


def test_of_two_with_one_place_the_first_counts_and_the_second_follows():
    first, second = Balance("", "tcp", 30080, (A,)), Balance("", "tcp", 30080, (B,))
    program = Program(FRAME)
    program.replace([first, second])
    assert program.change([first, second])[0] == ""
    assert program.change([first])[0] == ""
    program.change([first, second])
    assert "tcp . 30080 . 0 : 10.210.0.3 . 80" in program.change([second])[0]


def flow(address, port, answering, answering_port, protocol=17):
    return Flow(protocol, "10.210.0.9", address, port, answering, answering_port, b"")


def test_flows_of_datagrams_to_a_lost_endpoint_are_stale():
    before = Balance("10.211.0.9", "udp", 53, (A, B))
    _, stale = changed([before], [Balance("10.211.0.9", "udp", 53, (A,))])
    assert stale == [Stale(Key(4, "10.211.0.9", "udp", 53), (B,))]
    assert is_stale(flow("10.211.0.9", 53, *B), stale)
    assert not is_stale(flow("10.211.0.9", 53, *A), stale)
    assert not is_stale(flow("10.211.0.8", 53, *B), stale)
    assert not is_stale(flow("10.211.0.9", 53, *B, 6), stale)
    _, stale = changed([WEB], [])
    assert stale == []


def test_flows_that_were_never_balanced_are_stale_once_there_are_endpoints():
    _, stale = changed([], [Balance("", "udp", 30053, (A,))])
    assert is_stale(flow("192.0.2.1", 30053, "192.0.2.1", 30053), stale)


def test_a_new_table_tells_flows_astray():
    program = Program(FRAME)
    program.replace([Balance("10.211.0.9", "udp", 53, (A,)), Balance("", "udp", 30053, (A,))])
    assert program.is_astray(flow("10.211.0.9", 53, *B))
    assert not program.is_astray(flow("10.211.0.9", 53, *A))
    assert program.is_astray(flow("192.0.2.1", 30053, *B))
    assert not program.is_astray(flow("192.0.2.1", 30053, *A))
    assert not program.is_astray(flow("192.0.2.1", 30053, "192.0.2.1", 30053))
    assert not program.is_astray(flow("10.211.0.9", 53, *B, 6))


def test_more_endpoints_than_chains_ask_for_a_new_table():
    program = Program(FRAME)
    assert f"chain n{LEAST_REACH} " in program.replace([])
    many = Balance(
        "10.211.0.9",
        "tcp",
        80,
        tuple(Endpoint(f"10.210.1.{n}", 80) for n in range(LEAST_REACH + 1)),
    )
    program.change([many])
    assert program.outgrown
    assert f"chain n{LEAST_REACH + 1} " in program.replace([many])
    assert not program.outgrown


# ---------------------------------------------------------------- the kernel's word

endpoints = st.lists(st.sampled_from([A, B, C, SIX]), unique=True, max_size=4).map(tuple)
balances = st.builds(
    Balance,
    st.sampled_from(["10.211.0.9", "192.0.2.9", "fd00:10:211::9", ""]),
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from([80, 30080]),
    endpoints,
    st.sampled_from([0, 0, 60, 90]),
)
courses = st.lists(st.lists(balances, max_size=4), min_size=1, max_size=5)


def held(nftables: Nftables):
    """What the table has, in any order. Chains of affinity have names that tell their content."""
    found = []
    for row in nftables.read("list table inet t"):
        for kind, value in row.items():
            if kind == "rule" and value["chain"].startswith("a_"):
                found.append((value["chain"], str(value["expr"])))
            elif kind in ("map", "set", "chain"):
                elements = sorted(map(str, value.get("elem", [])))
                found.append((kind, value["name"], str(elements)))
    return sorted(found)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@isolated
def test_any_course_of_changes_ends_where_a_new_table_would():
    changing, fresh = Nftables(), Nftables()

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
    )
    @given(courses)
    def check(course):
        program = Program(FRAME)
        changing.run(program.replace([]))
        for wanted in course:
            commands, _ = program.change(wanted)
            if commands:
                changing.run(commands)
        found = held(changing)
        fresh.run(Program(FRAME).replace(course[-1]))
        assert found == held(fresh)

    check()
    changing.close()
    fresh.close()


# ---------------------------------------------------------------- addresses

steps = st.lists(st.tuples(st.sampled_from(["take", "release", "restart"]), st.integers(0, 9)))


@given(steps)
def test_no_address_is_given_twice_and_each_sandbox_keeps_its_own(course):
    addresses = Addresses("10.0.0.0/29", "fd00::/64")
    expected: dict[str, int] = {}
    for what, number in course:
        sandbox = f"s{number}"
        if what == "take":
            try:
                got = addresses.take(sandbox)
            except Exhausted:
                assert len(expected) == 5
                assert sandbox not in expected
                continue
            free = min(set(range(2, 7)) - set(expected.values()), default=0)
            assert got == expected.get(sandbox, free)
            expected[sandbox] = got
        elif what == "release":
            addresses.release(sandbox)
            expected.pop(sandbox, None)
        else:
            addresses = Addresses("10.0.0.0/29", "fd00::/64")
            addresses.restore(expected.items())
        assert (sandbox in addresses) == (sandbox in expected)
    assert len(set(expected.values())) == len(expected)
