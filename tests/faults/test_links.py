"""Clients behind a bad line: what they follow is what there is, as soon as packets come through."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jindou.client.http import HttpClient
from jindou.client.informers import Informer
from jindou.objects.errors import AlreadyExists, CloudError
from jindou.objects.kinds import CONFIG_MAP
from jindou.transport.tls import client_context
from tests.cloud import Cloud, settings_for
from tests.faults.links import Line, link
from tests.wire import Api

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="there are no TUN devices"),
]
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(params=[1, 2], ids=lambda seed: f"seed {seed}")
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    with link(request.param) as made:
        yield made


@pytest.fixture
def beyond(line: Line, folder: Path) -> Iterator[Cloud]:
    """A server at the far end."""
    cloud = Cloud(settings_for(folder, pretend=True, api_address=line.far.address))
    try:
        with line.far.inside():
            cloud.start("server")
        cloud.wait_until_listening()
        yield cloud
    finally:
        cloud.stop()


def test_the_line_does_what_it_says(line):
    """The control: datagrams that are counted at the other end."""
    with line.far.inside():
        there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        there.bind((line.far.address, 7))
        there.settimeout(0.3)
    with line.near.inside():
        here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def arrive(count: int) -> list[bytes]:
        for number in range(count):
            here.sendto(b"%d" % number, (line.far.address, 7))
        found = []
        while True:
            try:
                found.append(there.recv(100))
            except TimeoutError:
                return found

    try:
        assert arrive(50) == [b"%d" % n for n in range(50)]
        line.delay = 0.05
        assert sorted(arrive(50)) == sorted(b"%d" % n for n in range(50))
        line.delay, line.loss, line.double = 0, 0.3, 0.3
        found = arrive(200)
        assert len(set(found)) < 200
        assert len(found) > len(set(found))
        line.loss, line.double, line.lets_through = 0, 0, {"far"}
        assert arrive(10) == []
    finally:
        there.close()
        here.close()


def client_of(cloud: Cloud) -> HttpClient:
    pki = Path(cloud.settings.data) / "pki"
    tls = client_context(*(str(pki / name) for name in ("ca.crt", "admin.crt", "admin.key")))
    return HttpClient(cloud.settings.url, tls=tls, timeout=3)


@pytest.mark.guarantee(7, 17, 18, 25)
def test_an_informer_behind_a_bad_line_comes_to_the_present(line, beyond):
    """Late, lost and doubled packets; then only one way; then nothing; then all is well again."""
    made: set[str] = set()
    failures: list[BaseException] = []

    def at_home() -> None:
        """In a thread that stays at the near end."""
        try:
            with line.near.inside():
                asyncio.run(scenario())
        except BaseException as error:
            failures.append(error)

    async def write(client: HttpClient, name: str) -> None:
        """As clients do who can't know: again, until it is there."""
        meta = {"name": name, "namespace": "default"}
        while True:
            try:
                await client.create(CONFIG_MAP, {"metadata": meta})
            except AlreadyExists:
                break
            except (CloudError, OSError):
                continue
            break
        made.add(name)

    async def scenario() -> None:
        writer, follower = client_of(beyond), client_of(beyond)
        informer = Informer(follower, CONFIG_MAP, "default")
        told: list[str] = []

        def note(old: Any, new: Any) -> None:
            told.append((new or old)["metadata"]["name"])

        informer.on_change(note)
        running = asyncio.create_task(informer.run())
        await asyncio.wait_for(informer.synced.wait(), 20)
        line.loss, line.double, line.delay = 0.03, 0.05, 0.02
        await asyncio.gather(*(write(writer, f"bad-{n}") for n in range(20)))
        for sender in ("near", "far"):
            line.lets_through = {sender}
            late = asyncio.create_task(write(writer, f"after-{sender}"))
            await asyncio.sleep(1)
            assert not late.done(), "it was not cut off"
            line.lets_through = {"near", "far"}
            await asyncio.wait_for(late, 20)
        line.loss = line.double = line.delay = 0
        last = await asyncio.to_thread(write_there, beyond)
        assert await informer.caught_up(last, 45), "it never comes to the present"
        assert {name for _, name in informer.names()} >= made
        assert len([name for name in told if name in made]) == len(made), "told twice"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        writer.close()
        follower.close()

    began = time.monotonic()
    thread = threading.Thread(target=at_home)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    assert line.counts["lost"], line.counts
    assert line.counts["doubled"], line.counts
    assert time.monotonic() - began < 120


def write_there(cloud: Cloud) -> str:
    """At the server itself."""
    made = Api(cloud.api.path).request("POST", MAPS, {"metadata": {"name": "last"}})
    return str(made["metadata"]["resourceVersion"])
