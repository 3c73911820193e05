"""Promises to those who follow a real server: a slow reader, and one whose server is restored."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from jindou.client.http import HttpClient
from jindou.client.informers import Informer
from jindou.control.store.sqlite import backup, restore
from jindou.objects.kinds import CONFIG_MAP
from tests.faults.test_promises import MAPS, revision_of
from tests.faults.test_silence import until

pytestmark = pytest.mark.slow


@pytest.mark.guarantee(17, 24)
def test_a_slow_reader_misses_nothing_and_holds_up_nobody(server, api):
    """As long as it is not further behind than it may be."""
    start = revision_of(api.get(MAPS))
    longest = 0.0
    with api.raw() as wire:
        path = f"{MAPS}?watch=true&resourceVersion={start}&timeoutSeconds=300"
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.recv(1) == b"H"
        for turn in range(300):
            began = time.monotonic()
            document = {"metadata": {"name": f"slow-{turn}"}, "data": {"x": "x" * 10_000}}
            api.make(MAPS, document)
            longest = max(longest, time.monotonic() - began)
            if turn % 10 == 0:
                wire.recv(100)
        body, taken = b"", 0
        wire.settimeout(20)
        while taken < 280:
            body += wire.recv(4096)
            taken = body.count(b'"type":"ADDED"')
    names = [f'"name":"slow-{turn}"'.encode() for turn in range(20, 280)]
    places = [body.find(name) for name in names]
    assert places == sorted(places)
    assert min(places) >= 0
    assert longest < 5


@pytest.mark.guarantee(12, 26)
def test_who_followed_a_server_that_is_restored_from_a_backup_begins_anew(server, api, tmp_path):
    """What was written after the backup is gone, and every follower is told so."""
    store, pki = Path(server.settings.data) / "store.db", Path(server.settings.data) / "pki"

    def make(name: str) -> int:
        return revision_of(api.make(MAPS, {"metadata": {"name": name}}))

    async def follow(ready: asyncio.Event, told: list[tuple[str, str]]) -> Informer:
        files = [str(pki / name) for name in ("ca.crt", "admin.crt", "admin.key")]
        client = HttpClient.from_files(server.settings.url, *files)
        informer = Informer(client, CONFIG_MAP, "default")

        def note(old: Any, new: Any) -> None:
            told.append(("+" if new else "-", (new or old)["metadata"]["name"]))
            if told[-1] == ("+", "restored-after"):
                ready.set()

        informer.on_change(note)
        running = asyncio.create_task(informer.run())
        try:
            await asyncio.wait_for(informer.synced.wait(), 30)
            before = await asyncio.to_thread(lose_and_restore)
            assert await informer.caught_up(str(before), 60)
            await asyncio.wait_for(ready.wait(), 60)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            client.close()
        return informer

    def lose_and_restore() -> int:
        assert backup(store, tmp_path / "copy.db") >= make("kept-not") - 1
        last = make("lost")
        server.stop("server")
        restore(tmp_path / "copy.db", store)
        server.start("server")
        server.wait_until_listening()
        api.close()
        after = make("restored-after")
        assert after > last, "time ran backwards"
        return after

    make("kept")
    told: list[tuple[str, str]] = []
    informer = asyncio.run(follow(asyncio.Event(), told))
    held = {name for _, name in informer.names()}
    until(10, "the server", lambda: api.ask("GET", "/readyz").code == 200)
    there = {item["metadata"]["name"] for item in api.get(MAPS)["items"]}
    assert held == there
    assert {"kept", "restored-after"} <= there
    assert not there & {"lost", "kept-not"}
    assert ("-", "lost") in told or ("+", "lost") not in told
    with api.watch(MAPS, resourceVersion="1") as watch:
        assert watch.next()["object"]["code"] == 410
