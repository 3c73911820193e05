"""Probes and hooks: against real sockets, and in still time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from jindou.control.api.access import certificates
from jindou.node.pods import actions, health
from jindou.node.pods.actions import Result, Target, perform
from jindou.node.pods.hooks import run_hook, run_hook_within
from jindou.node.pods.probes import Verdict, follow, probes_of
from jindou.transport.tls import server_context
from tests.node.machine import Still, turns


async def nothing(argv):
    return Result(True)


def target(container=None, execute=nothing, clock=None):
    return Target(container or {"name": "c"}, "127.0.0.1", execute, clock or Still())


@contextlib.asynccontextmanager
async def answering(reply):
    """A server that reads one request's head and answers."""
    heads, served = [], []

    async def serve(reader, writer):
        served.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head.decode())
            writer.write(reply(head) if callable(reply) else reply)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        await closed(server, served)


async def closed(server, served):
    """With all that it served: nothing may outlive the loop."""
    await turns()
    server.close()
    await asyncio.gather(*served)
    await turns()


def http(reply, **more):
    async def main():
        async with answering(reply) as (port, heads):
            container = {"name": "c", "ports": [{"name": "web", "containerPort": port}]}
            result = await perform({"httpGet": {"port": "web", **more}}, target(container))
            return result, heads

    return asyncio.run(main())


def response(status, body=b"", **fields):
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_http_statuses():
    assert http(response("200 OK", b"fine"))[0] == Result(True, "fine")
    assert http(response("399 Odd"))[0].ok
    assert http(response("500 No"))[0] == Result(False, "HTTP probe failed with statuscode: 500")
    assert http(b"garbage\r\n\r\n")[0].ok is False
    assert "EOF" in http(b"")[0].output


def test_http_sends_what_was_asked_for():
    headers = [{"name": "Host", "value": "shop"}, {"name": "X-A", "value": "1"}]
    _, heads = http(response("200 OK"), path="health?x=1", httpHeaders=headers)
    assert heads[0].startswith("GET /health?x=1 HTTP/1.1\r\nUser-Agent: kube-probe/1.37\r\n")
    assert "Host: shop\r\nX-A: 1\r\n" in heads[0]
    assert heads[0].count("Host:") == 1


def test_http_follows_redirects_to_the_same_host_only():
    def here(head):
        if b"/new" in head.split(b"\r\n")[0]:
            return response("503 Busy")
        return response("302 Found", Location="/new")

    assert http(here)[0].output == "HTTP probe failed with statuscode: 503"
    assert http(response("302 Found", Location="http://elsewhere.example/"))[0].ok


def test_headers_can_not_be_smuggled():
    with pytest.raises(ValueError):
        actions.request("http", "h", 80, "/", [("A", "b\r\nC: d")], "agent")


def test_a_closed_port_is_told_as_people_know_it():
    async def main():
        for handler in ({"tcpSocket": {"port": 1}}, {"httpGet": {"port": 1}}):
            result = await perform(handler, target())
            assert not result.ok
            assert "dial tcp 127.0.0.1:1: connect: connection refused" in result.output
        assert not (await perform({"grpc": {"port": 1}}, target())).ok
        unknown = await perform({"httpGet": {"port": "nope"}}, target())
        assert unknown == Result(False, "couldn't find port: 'nope'")

    asyncio.run(main())


def test_an_open_port_is_enough_for_tcp():
    async def main():
        async with answering(b"") as (port, _):
            assert (await perform({"tcpSocket": {"port": port}}, target())).ok

    asyncio.run(main())


# ---------------------------------------------------------------- gRPC


def grpc(status, headers=(), trailers=(("grpc-status", "0"),), tls=None):
    import h2.config
    import h2.connection
    import h2.events

    asked, served = [], []

    async def serve(reader, writer):
        served.append(asyncio.current_task())
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        link = h2.connection.H2Connection(config)
        link.initiate_connection()
        writer.write(link.data_to_send())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for event in link.receive_data(data):
                    if isinstance(event, h2.events.DataReceived):
                        asked.append(event.data)
                    if isinstance(event, h2.events.StreamEnded):
                        link.send_headers(1, [(":status", "200"), ("content-type", "application/grpc"), *headers])  # fmt: skip
                        if status is not None:
                            link.send_data(1, b"\0\0\0\0\x02\x08" + bytes([status]))
                        link.send_headers(1, list(trailers), end_stream=True)
                writer.write(link.data_to_send())
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        try:
            port = server.sockets[0].getsockname()[1]
            action = {"port": port, "service": "shop", **({"mode": "TLS"} if tls else {})}
            return await perform({"grpc": action}, target())
        finally:
            await closed(server, served)

    return asyncio.run(main()), asked


def test_grpc_health():
    result, asked = grpc(1)
    assert result.ok
    assert asked == [b"\0\0\0\0\x06\x0a\x04shop"]
    assert 'responded with "NOT_SERVING"' in grpc(2)[0].output
    missing = grpc(None, trailers=(("grpc-status", "5"), ("grpc-message", "unknown%20service")))
    assert missing[0].output == "error: health rpc failed: unknown service"
    assert "does not implement" in grpc(None, trailers=(("grpc-status", "12"),))[0].output
    assert health.answer(b"") == 0


def test_grpc_health_by_tls_of_whomever(tmp_path):
    certificates.ensure(tmp_path, certificates.leaves("here", ("127.0.0.1",), "cluster.local"))
    tls = server_context(str(tmp_path / "server.crt"), str(tmp_path / "server.key"))
    assert grpc(1, tls=tls)[0].ok
    assert 'responded with "NOT_SERVING"' in grpc(2, tls=tls)[0].output


# ---------------------------------------------------------------- in still time


class Heard:
    def __init__(self):
        self.started, self.ready, self.failing, self.unhealthy = 0, [], [], []

    def on_started(self):
        self.started += 1

    def on_ready(self, ready):
        if not self.ready or self.ready[-1] != ready:
            self.ready.append(ready)

    def on_failing(self, probe):
        self.failing.append(probe.kind)

    def on_unhealthy(self, probe, result):
        self.unhealthy.append((probe.kind, result.output))


def probed(scenario, **container):
    """`scenario(clock, heard, answer)`, where answer["ok"] is what every probe gets."""

    async def main():
        clock, heard, answer, asked = Still(), Heard(), {"ok": True}, []

        async def execute(argv):
            asked.append((clock.now() - 1000, argv[0]))
            if answer["ok"] is None:
                await clock.sleep(1000)
            return Result(bool(answer["ok"]), "said")

        held = {"name": "c", **container}
        task = asyncio.create_task(follow(probes_of(held), target(held, execute, clock), heard))
        try:
            await scenario(clock, heard, answer, asked)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def asks(name, **more):
    return {"exec": {"command": [name]}, "periodSeconds": 10, **more}


def test_thresholds():
    probe = probes_of({"livenessProbe": asks("x", failureThreshold=3, successThreshold=2)})[
        "liveness"
    ]
    verdict = Verdict(probe)
    assert [verdict.add(ok) for ok in (0, 0, 1, 0, 0, 0, 0, 1, 1)] == [
        None, None, None, None, None, False, False, None, True,
    ]  # fmt: skip


def test_liveness_waits_for_startup():
    async def scenario(clock, heard, answer, asked):
        answer["ok"] = False
        await clock.pass_by(25)
        assert {name for _, name in asked} == {"start"}
        assert heard.started == 0
        answer["ok"] = True
        await clock.pass_by(10)
        assert heard.started == 1
        assert heard.ready == [True]
        answer["ok"] = False
        await clock.pass_by(35)
        assert heard.failing == ["liveness"]

    probed(scenario, startupProbe=asks("start", failureThreshold=30), livenessProbe=asks("live"))


def test_a_startup_that_never_succeeds_ends_the_container():
    async def scenario(clock, heard, answer, asked):
        answer["ok"] = False
        await clock.pass_by(31)
        assert heard.failing == ["startup"]
        assert heard.unhealthy == [("startup", "said")] * 3

    probed(scenario, startupProbe=asks("start"))


def test_readiness_comes_soon_and_goes_by_its_threshold():
    async def scenario(clock, heard, answer, asked):
        answer["ok"] = False
        await clock.pass_by(0.05)
        answer["ok"] = True
        await clock.pass_by(0.1)  # an extra question, long before the period is over
        assert heard.ready == [True]
        assert heard.unhealthy == [("readiness", "said")]
        answer["ok"] = False
        await clock.pass_by(25)
        assert heard.ready == [True]
        await clock.pass_by(10)
        assert heard.ready == [True, False]

    probed(scenario, readinessProbe=asks("ready"))


def test_the_first_question_waits_for_its_delay():
    async def scenario(clock, heard, answer, asked):
        await clock.pass_by(4.9)
        assert asked == []
        await clock.pass_by(0.2)
        assert asked == [(5.0, "ready")]

    probed(scenario, readinessProbe=asks("ready", initialDelaySeconds=5))


def test_a_probe_that_hangs_has_failed():
    async def scenario(clock, heard, answer, asked):
        answer["ok"] = None
        await clock.pass_by(2.5)
        assert heard.unhealthy == [("liveness", 'command timed out: "live" timed out after 2s')]

    probed(scenario, livenessProbe=asks("live", timeoutSeconds=2))


# ---------------------------------------------------------------- hooks


def test_hooks():
    async def main():
        clock = Still()
        hook = asyncio.create_task(run_hook({"sleep": {"seconds": 3}}, target(clock=clock)))
        await clock.pass_by(2)
        assert not hook.done()
        await clock.pass_by(2)
        assert hook.result().ok
        late = asyncio.create_task(
            run_hook_within({"sleep": {"seconds": 9}}, target(clock=clock), 5)
        )
        await clock.pass_by(6)
        assert late.result().ok is False
        async with answering(response("500 No")) as (port, heads):
            assert (await run_hook({"httpGet": {"port": port, "path": "/bye"}}, target())).ok
            assert "kube-lifecycle" in heads[0]
        await turns()

    asyncio.run(main())
