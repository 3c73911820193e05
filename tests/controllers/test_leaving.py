"""Pods on their way out are remembered only as long as somebody will tell of their end."""

from __future__ import annotations

import asyncio
from typing import Any

from jindou.client.informers import Informers
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.service_accounts import ServiceAccounts
from jindou.control.controllers.workloads.leaving import Leaving
from jindou.objects.kinds import POD, ref_of
from tests.controllers.world import in_world, pod_object


def test_who_is_gone_is_forgotten_and_who_ends_is_remembered_until_then() -> None:
    async def scenario(world: Any) -> None:
        await world.account()
        informers = Informers(world.client)
        leaving = Leaving(Recorder("test"))
        leaving.follow(informers.of(POD))

        async def in_step() -> None:
            revision = str(world.server.engine.store.revision)
            assert await informers.of(POD).caught_up(revision)

        running = asyncio.create_task(informers.run())
        try:
            await informers.wait_until_synced()
            pods = [await world.client.create(POD, pod_object(name)) for name in ("a", "b")]
            named = [(ref_of(POD, pod), pod["metadata"]["uid"]) for pod in pods]
            await in_step()
            await world.client.delete(named[0][0], grace=0)
            await in_step()
            assert await leaving.delete(world.client, pods[0], named) == []
            await in_step()
            assert leaving.uids == set()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    in_world(lambda server: [ServiceAccounts()], scenario)
