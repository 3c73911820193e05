"""DNS: packets, the zone of the specification, forwarding, and what a Pod's resolv.conf says."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jindou.machine.network import Plug
from jindou.machine.network.bridge import BridgeNetwork
from jindou.node.dns import Names, resolv_conf
from jindou.node.names import wire
from jindou.node.names.forward import Cache, lifetime
from jindou.node.names.listeners import Listeners
from jindou.node.names.wire import Edns, Malformed, Message, Question, Record
from jindou.node.services import Services
from jindou.objects.errors import Unavailable
from jindou.settings import Settings
from tests.machine.isolation import isolated
from tests.node.feed import Feed, endpoint, endpoint_slice, pod, service

# ---------------------------------------------------------------- packets

labels = st.binary(min_size=1, max_size=20)
dns_names = st.lists(labels, max_size=5).map(tuple)
soas = st.builds(wire.soa_data, dns_names, dns_names, st.just(1), st.just(5))
contents = st.one_of(
    st.tuples(st.sampled_from([wire.A, wire.TXT, 65280]), st.binary(max_size=40)),
    st.tuples(st.sampled_from([wire.NS, wire.CNAME, wire.PTR]), dns_names.map(wire.packed)),
    st.tuples(st.just(wire.SRV), st.builds(wire.srv_data, st.integers(0, 65535), dns_names)),
    st.tuples(st.just(wire.SOA), soas),
)
records = st.tuples(dns_names, st.integers(0, 2**32 - 1), contents).map(
    lambda drawn: Record(drawn[0], drawn[2][0], drawn[1], drawn[2][1])
)
some_records = st.lists(records, max_size=4).map(tuple)
messages = st.builds(
    Message,
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.lists(
        st.builds(Question, dns_names, st.integers(0, 65535), st.integers(0, 65535)), max_size=2
    ).map(tuple),
    some_records,
    some_records,
    some_records,
    st.none()
    | st.builds(
        Edns, st.integers(0, 65535), st.integers(0, 255), st.booleans(), st.integers(0, 255)
    ),
)


def folded(message: Message) -> Message:
    """Compression may take a name from where it was written in another case."""

    def low(records):
        return tuple(r._replace(name=wire.lower(r.name), data=r.data.lower()) for r in records)

    return message._replace(
        questions=tuple(q._replace(name=wire.lower(q.name)) for q in message.questions),
        answers=low(message.answers),
        authority=low(message.authority),
        additional=low(message.additional),
    )


@given(messages)
def test_what_is_encoded_is_decoded_again(message):
    assert folded(wire.decode(wire.encode(message))) == folded(message)


@given(messages, st.integers(512, 700))
def test_a_limit_is_kept_and_the_rest_is_whole(message, limit):
    packet = wire.encode(message, limit)
    assert len(packet) <= limit
    found = wire.decode(packet)
    assert folded(found).answers == folded(message).answers[: len(found.answers)]
    if len(found.answers) < len(message.answers):
        assert found.flags & wire.TRUNCATED


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data):
    try:
        wire.decode(data)
    except Malformed:
        pass


@given(messages, st.data())
def test_damaged_messages_too(message, data):
    packet = bytearray(wire.encode(message))
    for _ in range(3):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = wire.decode(bytes(packet))
    except Malformed:
        return
    wire.encode(again)


def test_names_are_compressed():
    name = wire.name_of("web.default.svc.cluster.local")
    other = wire.name_of("DEFAULT.svc.cluster.local")
    packet = wire.encode(
        Message(1, 0, (Question(name, 1),), (Record(name, wire.CNAME, 5, wire.packed(other)),))
    )
    assert len(packet) == 12 + 31 + 4 + 2 + 10 + 2


def test_a_pointer_to_itself_is_malformed():
    with pytest.raises(Malformed):
        wire.decode(b"\0\1\0\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1")


# ---------------------------------------------------------------- the zone

SERVICES = [
    service("web", "10.211.0.9", "fd00:10:211::9", ports=((80, "http"), (9, "discard"))),
    service("db", "None", ports=((5432, "sql"),)),
    service("empty", "None"),
    service("out", type="ExternalName", externalName="example.org"),
    service("inner", type="ExternalName", externalName="web.default.svc.cluster.local"),
    service("lost", type="ExternalName", externalName="no.default.svc.cluster.local"),
    service("loop", type="ExternalName", externalName="loop.default.svc.cluster.local"),
]
SLICES = [
    endpoint_slice("web", endpoint("10.210.0.9")),
    endpoint_slice(
        "db",
        endpoint("10.210.0.2", hostname="db-0"),
        endpoint("10.210.0.3"),
        endpoint("10.210.0.4", ready=False),
        ports=((5432, "sql"),),
    ),
    endpoint_slice(
        "db", endpoint("fd00:10:210::2", hostname="db-0"), suffix="b", ports=((5432, "sql"),)
    ),
]
PODS = [pod("one", "10.210.0.9", "fd00:10:210::9"), pod("done", "10.210.0.8", phase="Succeeded")]


@asynccontextmanager
async def names(folder, *, upstreams=(), port=0, synced=True, **options):
    file = folder / "resolv.conf"
    file.write_text("".join(f"nameserver {address}\n" for address in upstreams))
    served = Names(
        Settings(),
        Feed(*SERVICES, synced=synced),
        Feed(*SLICES),
        Feed(*PODS),
        addresses=options.pop("addresses", ["127.0.0.1"]),
        port=0,
        resolvers=file,
        resolvers_port=port,
    )
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


async def dig(port: int, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "dig",
        "@127.0.0.1",
        "-p",
        str(port),
        "+tries=1",
        "+time=5",
        *words,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return "\n".join("\t".join(line.split()) for line in out.decode().splitlines())


def ask(served: Names, name: str, kind: int, stream=False, **options) -> Message:
    query = Message(7, wire.RECURSION_DESIRED, (Question(wire.name_of(name), kind),), **options)
    answer = served.respond(wire.encode(query), stream)
    assert isinstance(answer, bytes)
    return wire.decode(answer)


def shown(record: Record) -> str:
    if record.kind in (wire.A, wire.AAAA):
        return str(ipaddress.ip_address(record.data))
    if record.kind == wire.SRV:
        port = int.from_bytes(record.data[4:6], "big")
        return f"{port} {wire.text_of(wire.read_name(record.data, 6)[0])}"
    if record.kind in (wire.CNAME, wire.PTR, wire.NS):
        return wire.text_of(wire.read_name(record.data, 0)[0])
    return repr(record.data)


SVC = "default.svc.cluster.local"
CASES = [
    (f"web.{SVC}", wire.A, ["10.211.0.9"]),
    ("WEB.Default.svc.CLUSTER.local", wire.A, ["10.211.0.9"]),
    (f"web.{SVC}", wire.AAAA, ["fd00:10:211::9"]),
    (f"web.{SVC}", wire.TXT, []),
    (f"_http._tcp.web.{SVC}", wire.SRV, [f"80 web.{SVC}."]),
    (f"_http._udp.web.{SVC}", wire.SRV, None),
    (f"_http._tcp.web.{SVC}", wire.A, []),
    (f"_tcp.web.{SVC}", wire.A, []),
    (f"web.{SVC}", wire.SRV, [f"80 web.{SVC}.", f"9 web.{SVC}."]),
    (f"db.{SVC}", wire.A, ["10.210.0.2", "10.210.0.3"]),
    (f"db.{SVC}", wire.AAAA, ["fd00:10:210::2"]),
    (f"db-0.db.{SVC}", wire.A, ["10.210.0.2"]),
    (f"db-0.db.{SVC}", wire.AAAA, ["fd00:10:210::2"]),
    (f"10-210-0-3.db.{SVC}", wire.A, ["10.210.0.3"]),
    (f"10-210-0-4.db.{SVC}", wire.A, None),
    (f"10-210-0-9.web.{SVC}", wire.A, None),
    (f"_sql._tcp.db.{SVC}", wire.SRV, [f"5432 10-210-0-3.db.{SVC}.", f"5432 db-0.db.{SVC}."]),
    (f"empty.{SVC}", wire.A, []),
    (f"none.{SVC}", wire.A, None),
    (f"out.{SVC}", wire.CNAME, ["example.org."]),
    (f"x.out.{SVC}", wire.A, None),
    (SVC, wire.A, []),
    ("svc.cluster.local", wire.A, []),
    ("cluster.local", wire.A, []),
    ("cluster.local", wire.NS, ["ns.dns.cluster.local."]),
    ("ns.dns.cluster.local", wire.A, ["127.0.0.1"]),
    ("other.svc.cluster.local", wire.A, None),
    ("x.cluster.local", wire.A, None),
    ("dns-version.cluster.local", wire.TXT, [repr(b"\x051.1.0")]),
    ("10-210-0-9.default.pod.cluster.local", wire.A, ["10.210.0.9"]),
    ("fd00-10-210--9.default.pod.cluster.local", wire.AAAA, ["fd00:10:210::9"]),
    ("10-210-0-8.default.pod.cluster.local", wire.A, None),
    ("10-210-0-9.other.pod.cluster.local", wire.A, None),
    ("9.0.211.10.in-addr.arpa", wire.PTR, [f"web.{SVC}."]),
    ("2.0.210.10.in-addr.arpa", wire.PTR, [f"db-0.db.{SVC}."]),
    ("77.0.211.10.in-addr.arpa", wire.PTR, None),
]


@pytest.mark.parametrize(("name", "kind", "expected"), CASES)
def test_what_the_zone_says(tmp_path, name, kind, expected):
    async def scenario():
        async with names(tmp_path) as served:
            answer = ask(served, name, kind)
            if expected is None:
                assert answer.code == wire.NXDOMAIN
            else:
                assert answer.code == wire.NOERROR
                assert sorted(map(shown, answer.answers)) == sorted(expected)
                assert all(record.name == wire.name_of(name) for record in answer.answers)
            assert answer.flags & wire.AUTHORITATIVE
            if not expected:
                assert [record.kind for record in answer.authority] == [wire.SOA]
                assert answer.authority[0].ttl == 5

    asyncio.run(scenario())


def test_an_ipv6_address_has_a_name(tmp_path):
    async def scenario():
        async with names(tmp_path) as served:
            pointer = ipaddress.ip_address("fd00:10:211::9").reverse_pointer
            assert [*map(shown, ask(served, pointer, wire.PTR).answers)] == [f"web.{SVC}."]

    asyncio.run(scenario())


def test_srv_brings_the_addresses_along(tmp_path):
    async def scenario():
        async with names(tmp_path) as served:
            answer = ask(served, f"_sql._tcp.db.{SVC}", wire.SRV)
            assert sorted(map(shown, answer.additional)) == [
                "10.210.0.2",
                "10.210.0.3",
                "fd00:10:210::2",
            ]

    asyncio.run(scenario())


def test_names_follow_the_objects(tmp_path):
    async def scenario():
        services, slices, pods = Feed(*SERVICES), Feed(*SLICES), Feed(*PODS)
        served = Names(Settings(), services, slices, pods, addresses=["127.0.0.1"], port=0)
        services.put(service("web", "10.211.0.77"))
        slices.remove("default", "db-a")
        pods.remove("default", "one")
        assert [*map(shown, ask(served, f"web.{SVC}", wire.A).answers)] == ["10.211.0.77"]
        assert not ask(served, f"db.{SVC}", wire.A).answers
        assert ask(served, "9.0.211.10.in-addr.arpa", wire.PTR).code == wire.NXDOMAIN
        assert ask(served, "10-210-0-9.default.pod.cluster.local", wire.A).code == wire.NXDOMAIN
        for one in SERVICES:
            services.remove("default", one["metadata"]["name"])
        assert ask(served, SVC, wire.A).code == wire.NXDOMAIN

    asyncio.run(scenario())


def test_until_all_is_known_nothing_is_denied(tmp_path):
    async def scenario():
        async with names(tmp_path, synced=False) as served:
            assert ask(served, f"none.{SVC}", wire.A).code == wire.SERVFAIL

    asyncio.run(scenario())


@pytest.mark.slow
def test_where_the_port_is_taken_another_is_used_and_told(tmp_path):
    async def scenario():
        moved = []
        async with names(tmp_path) as first:
            second = Names(
                Settings(),
                Feed(*SERVICES),
                Feed(*SLICES),
                addresses=["127.0.0.1"],
                port=first.port,
                move=lambda *words: moved.append(words),
            )
            await second.start()
            (words,) = moved
            place, to, protocols = words
            assert place == ("127.0.0.1", first.port)
            assert to == ("127.0.0.1", second.port)
            assert set(protocols) == {"udp", "tcp"}
            assert "10.211.0.9" in await dig(second.port, f"web.{SVC}")
            await second.stop()
            stubborn = Names(Settings(), Feed(), Feed(), addresses=["127.0.0.1"], port=first.port)
            with pytest.raises(Unavailable, match=f"127.0.0.1 port {first.port}: "):
                await stubborn.start()

    asyncio.run(scenario())


# ---------------------------------------------------------------- odd questions


def odd(flags=0, questions=1, **options) -> bytes:
    question = Question(wire.name_of(f"web.{SVC}"), wire.A)
    return wire.encode(Message(7, flags, (question,) * questions, **options))


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        pytest.param(odd(4 << 11), wire.NOTIMP, id="notify"),
        pytest.param(odd(questions=0), wire.FORMERR, id="no-question"),
        pytest.param(odd(questions=2), wire.FORMERR, id="two-questions"),
        pytest.param(odd()[:-3], wire.FORMERR, id="cut"),
        pytest.param(odd(edns=Edns(version=1)), wire.BADVERS, id="edns-version"),
        pytest.param(odd()[:-1] + b"\3", wire.REFUSED, id="class"),
        pytest.param(odd()[:-3] + b"\xfc\0\1", wire.REFUSED, id="transfer"),
        pytest.param(b"short", None, id="shorter-than-a-header"),
        pytest.param(odd(wire.RESPONSE), None, id="an-answer"),
    ],
)
def test_odd_questions(tmp_path, packet, code):
    async def scenario():
        async with names(tmp_path) as served:
            answer = served.respond(packet)
            if code is None:
                assert answer is None
            else:
                assert isinstance(answer, bytes)
                assert wire.decode(answer).code == code
                assert wire.decode(answer).id == 7

    asyncio.run(scenario())


@given(st.binary(max_size=120))
def test_no_packet_breaks_the_server(packet):
    async def scenario():
        served = Names(Settings(), Feed(*SERVICES), Feed(*SLICES), addresses=["127.0.0.1"])
        answer = served.respond(packet)
        if not isinstance(answer, bytes | None):
            answer.close()

    asyncio.run(scenario())


# ---------------------------------------------------------------- real clients


@pytest.mark.slow
def test_dig_gets_answers_over_both_transports(tmp_path):
    async def scenario():
        async with names(tmp_path) as served:
            for transport in ("+notcp", "+tcp"):
                out = await dig(served.port, transport, f"web.{SVC}", "A")
                assert "status:\tNOERROR" in out
                assert f"web.{SVC}.\t5\tIN\tA\t10.211.0.9" in out
                assert "malformed" not in out
            assert "status:\tNXDOMAIN" in await dig(served.port, f"no.{SVC}")
            assert "IN\tSOA\tns.dns.cluster.local." in await dig(served.port, f"empty.{SVC}")
            out = await dig(served.port, "-x", "10.211.0.9", "+noedns", "+short")
            assert out == f"web.{SVC}."
            out = await dig(served.port, "+short", f"inner.{SVC}", "A")
            assert out == f"web.{SVC}.\n10.211.0.9"
            assert "status:\tNXDOMAIN" in await dig(served.port, f"lost.{SVC}")
            assert "status:\tSERVFAIL" in await dig(served.port, f"loop.{SVC}")

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_large_answer_is_truncated_and_told_whole_over_tcp(tmp_path):
    async def scenario():
        async with names(tmp_path) as served:
            many = [endpoint(f"10.210.1.{n}", hostname=f"h{n}") for n in range(1, 200)]
            served._informers[1].put(endpoint_slice("db", *many, ports=((5432, "sql"),)))
            out = await dig(served.port, "+ignore", "+notcp", f"db.{SVC}", "A")
            assert "flags:\tqr\taa\ttc\trd\tra;" in out
            out = await dig(served.port, "+short", f"db.{SVC}", "A")
            assert len(out.split()) == 199

    asyncio.run(scenario())


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("taken", [False, True])
@isolated
def test_a_unit_asks_the_gateway_also_where_another_program_has_its_port(tmp_path, taken):
    async def scenario():
        network = BridgeNetwork(Settings(run=str(tmp_path / "run")))
        await network.open()
        unit = await network.attach(Plug("one", "one"))
        feeds = [Feed(*SERVICES), Feed(*SLICES)]
        following = Services(network, *feeds, "here")
        served = Names(
            Settings(), *feeds, addresses=network.gateway, resolvers=tmp_path / "none",
            move=following.move,
        )  # fmt: skip
        other = Listeners(lambda *_: None)
        await other.open(["0.0.0.0"] if taken else [], 53)
        await served.start()
        assert (served.port == 53) != taken
        following.start()
        for transport in ("+notcp", "+tcp"):
            for address in network.gateway:
                words = ["+short", transport, "+tries=3", "+time=2", f"@{address}", f"web.{SVC}"]
                process = await asyncio.create_subprocess_exec(
                    "nsenter", f"--net={unit.namespaces['network']}", "dig", *words,
                    stdout=asyncio.subprocess.PIPE,
                )  # fmt: skip
                assert await process.communicate() == (b"10.211.0.9\n", None)
        await served.stop()
        await other.close()
        await following.stop()
        await network.close()

    asyncio.run(scenario())


# ---------------------------------------------------------------- other names


class Upstream:
    """A resolver that counts, and answers as a test wants."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.asked = []
        self.listeners = Listeners(self._respond)

    def _respond(self, packet, stream):
        query = wire.decode(packet)
        self.asked.append(stream)
        found = self.answer(query, stream)
        return found and wire.encode(found._replace(id=query.id, questions=query.questions))


@asynccontextmanager
async def upstream(answer, port=0, address="127.0.0.2"):
    made = Upstream(answer)
    await made.listeners.open([address], port)
    try:
        yield made
    finally:
        await made.listeners.close()


def told(query, *addresses, ttl=60, code=0, flags=0, authority=()):
    name = query.questions[0].name
    records = tuple(
        Record(name, *wire.address_data(a)[:1], ttl, wire.address_data(a)[1]) for a in addresses
    )
    return Message(0, wire.RESPONSE | flags | code, (), records, authority)


async def later(served: Names, name: str, kind=wire.A, **options) -> Message:
    query = Message(9, wire.RECURSION_DESIRED, (Question(wire.name_of(name), kind),), **options)
    return wire.decode(await served.respond(wire.encode(query)))


def test_other_names_are_asked_of_the_machines_resolver_and_remembered(tmp_path):
    async def scenario():
        async with (
            upstream(lambda query, _: told(query, "192.0.2.1")) as above,
            names(tmp_path, upstreams=["127.0.0.2"], port=above.listeners.port) as served,
        ):
            together = await asyncio.gather(*(later(served, "Example.org") for _ in range(5)))
            again = await later(served, "example.ORG", edns=Edns())
            for answer in (*together, again):
                assert [*map(shown, answer.answers)] == ["192.0.2.1"]
                assert answer.id == 9
                assert not answer.flags & wire.AUTHORITATIVE
            assert again.edns
            assert not together[0].edns
            assert len(above.asked) == 1

    asyncio.run(scenario())


def test_an_alias_to_a_name_outside_is_followed(tmp_path):
    async def scenario():
        async with (
            upstream(lambda query, _: told(query, "192.0.2.1")) as above,
            names(tmp_path, upstreams=["127.0.0.2"], port=above.listeners.port) as served,
        ):
            answer = await later(served, f"out.{SVC}")
            assert [*map(shown, answer.answers)] == ["example.org.", "192.0.2.1"]

    asyncio.run(scenario())


def test_a_truncated_answer_is_fetched_over_tcp(tmp_path):
    def answer(query, stream):
        return told(query, "192.0.2.1") if stream else told(query, flags=wire.TRUNCATED)

    async def scenario():
        async with (
            upstream(answer) as above,
            names(tmp_path, upstreams=["127.0.0.2"], port=above.listeners.port) as served,
        ):
            assert [*map(shown, (await later(served, "example.org")).answers)] == ["192.0.2.1"]
            assert above.asked == [False, True]

    asyncio.run(scenario())


def test_without_a_resolver_nobody_can_tell(tmp_path):
    async def scenario():
        async with names(tmp_path) as served:
            assert (await later(served, "example.org")).code == wire.SERVFAIL

    asyncio.run(scenario())


def test_we_never_ask_ourselves(tmp_path):
    async def scenario():
        async with names(tmp_path, upstreams=["127.0.0.1"]) as served:
            assert (await later(served, "example.org")).code == wire.SERVFAIL

    asyncio.run(scenario())


def test_a_helpless_resolver_is_passed_over(tmp_path):
    async def scenario():
        async with upstream(lambda query, _: told(query, code=wire.SERVFAIL)) as first:
            port = first.listeners.port
            async with (
                upstream(lambda query, _: told(query, "192.0.2.1"), port, "127.0.0.3") as second,
                names(tmp_path, upstreams=["127.0.0.2", "127.0.0.3"], port=port) as served,
            ):
                for name in ("one.example.org", "two.example.org"):
                    assert [*map(shown, (await later(served, name)).answers)] == ["192.0.2.1"]
                assert (len(first.asked), len(second.asked)) == (1, 2)

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_silent_resolver_is_passed_over(tmp_path):
    async def scenario():
        async with upstream(lambda *_: None) as first:
            port = first.listeners.port
            async with (
                upstream(lambda query, _: told(query, "192.0.2.1"), port, "127.0.0.3"),
                names(tmp_path, upstreams=["127.0.0.2", "127.0.0.3"], port=port) as served,
            ):
                assert [*map(shown, (await later(served, "example.org")).answers)] == ["192.0.2.1"]

    asyncio.run(scenario())


SOA = Record((b"org",), wire.SOA, 600, wire.soa_data((b"a",), (b"b",), 1, 30))


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        (Message(0, 0, (), (Record((), 1, 60, b""), Record((), 1, 20, b""))), 20),
        (Message(0, 0, (), (Record((), 1, 10**6, b""),)), 3600),
        (Message(0, 0, (), (Record((), 1, 2**31, b""),)), 0),
        (Message(0, wire.NXDOMAIN, (), (), (SOA,)), 30),
        (Message(0, wire.NXDOMAIN), 0),
        (Message(0, wire.SERVFAIL, (), (), (SOA,)), 0),
        (Message(0, wire.TRUNCATED, (), (Record((), 1, 60, b""),)), 0),
    ],
)
def test_how_long_an_answer_may_be_used_again(message, seconds):
    assert lifetime(message) == seconds


def test_the_cache_ages_and_is_bounded():
    now = [100.0]
    cache = Cache(lambda: now[0], most=2)
    message = Message(0, 0, (), (Record((), 1, 60, b""),))
    keys = [((bytes([n]),), 1, 1, False) for n in range(3)]
    cache.put(keys[0], message)
    now[0] += 10
    held = cache.get(keys[0])
    assert held
    assert held.answers[0].ttl == 50
    cache.put(keys[1], message)
    cache.get(keys[0])
    cache.put(keys[2], message)
    assert len(cache) == 2
    assert cache.get(keys[1]) is None
    now[0] += 50
    assert cache.get(keys[0]) is None


# ---------------------------------------------------------------- resolv.conf

MACHINE = (
    "# x\nsearch lan example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.53\noptions edns0\n"
)
CLUSTER = "search ns.svc.cluster.local svc.cluster.local cluster.local lan example.org\nnameserver 10.210.0.1\noptions ndots:5\n"
CONFIG = {
    "nameservers": ["192.0.2.9", "10.210.0.1"],
    "searches": ["lan", "more"],
    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, CLUSTER, id="default-of-the-field"),
        pytest.param(
            {"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True}, CLUSTER, id="host-net"
        ),
        pytest.param(
            {"dnsPolicy": "ClusterFirst", "hostNetwork": True},
            "search lan example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.53\noptions edns0\n",
            id="cluster-first-on-the-host",
        ),
        pytest.param(
            {"dnsPolicy": "Default"},
            "search lan example.org\nnameserver 192.0.2.53\noptions edns0\n",
            id="default",
        ),
        pytest.param(
            {"dnsPolicy": "None", "dnsConfig": CONFIG},
            "search lan more\nnameserver 192.0.2.9\nnameserver 10.210.0.1\noptions ndots:2 edns0\n",
            id="none",
        ),
        pytest.param(
            {"dnsConfig": CONFIG},
            "search ns.svc.cluster.local svc.cluster.local cluster.local lan example.org more\n"
            "nameserver 10.210.0.1\nnameserver 192.0.2.9\noptions ndots:2 edns0\n",
            id="merged",
        ),
        pytest.param(
            {
                "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["1.1.1.1"] * 2 + ["1.1.1.2", "1.1.1.3", "1.1.1.4"]},
            },
            "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n",
            id="at-most-three",
        ),
    ],
)
def test_what_a_pods_resolv_conf_says(spec, expected):
    assert resolv_conf({"spec": spec}, Settings(), "ns", MACHINE) == expected


def test_a_machine_with_only_a_local_resolver_lends_ours():
    said = resolv_conf({"spec": {"dnsPolicy": "Default"}}, Settings(), "ns", "nameserver ::1\n")
    assert said == "nameserver 10.210.0.1\n"
