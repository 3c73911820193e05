"""Pulling an image: its layers are fetched side by side, each verified and unpacked as it arrives.

Nothing gets the image's name before all of it is here. One layer that two pulls need at once is
fetched once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from weakref import WeakValueDictionary

from jindou.machine.images import Image, ImageError, Progress, Report
from jindou.machine.images.content import manifests
from jindou.machine.images.content.contents import Contents, Hold
from jindou.machine.images.content.intake import (
    Taken,
    assemble,
    discard,
    known_layer,
    take_blob,
    take_layer,
)
from jindou.machine.images.content.layers import chain_ids
from jindou.machine.images.content.manifests import Descriptor, Manifest
from jindou.machine.images.content.work import in_thread
from jindou.machine.images.references import Reference
from jindou.machine.images.transfer.registry import Registry
from jindou.machine.images.unpacking.streams import Feed, Stopped

ASKING, FETCHING, KEEPING = "ask the registry", "fetch", "keep"
AT_ONCE = 6  # layers; fewer than there are threads
DEEPEST_INDEX = 4


class Puller:
    def __init__(self, contents: Contents, threads: Executor) -> None:
        self._contents = contents
        self._threads = threads
        self._room = asyncio.Semaphore(AT_ONCE)
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def pull(self, registry: Registry, reference: Reference, report: Report) -> Image:
        report(Progress(ASKING, 0, 0, reference.registry))
        data, media_type = await self._manifest(registry, reference.target)
        found = manifests.manifest(manifests.document(data, "the manifest"), media_type)
        with self._contents.holding() as hold:
            config = await self._config(registry, hold, found)
            diffs = manifests.diff_ids(manifests.configuration(config, len(found.layers)))
            meter = Meter(report, sum(layer.size for layer in found.layers))
            taken = await self._layers(registry, hold, found.layers, diffs, meter)
            report(Progress(KEEPING, 0, 0))
            return await in_thread(
                self._threads,
                lambda tell: assemble(
                    self._contents, hold, data, media_type, taken, [reference.name]
                ),
            )

    async def _manifest(self, registry: Registry, target: str) -> tuple[bytes, str]:
        """Through indexes to the manifest for this machine."""
        for _ in range(DEEPEST_INDEX):
            data, media_type = await registry.manifest(target)
            document = manifests.document(data, "the manifest")
            if not manifests.is_index(document, media_type):
                return data, media_type
            target = manifests.choose(document).digest
        raise ImageError("the image's index leads through too many indexes")

    async def _config(self, registry: Registry, hold: Hold, found: Manifest) -> bytes:
        wanted = found.config
        hold.add(wanted.digest)
        if self._contents.blobs.has(wanted.digest):
            with suppress(ImageError):  # damaged here: fetched again
                return await in_thread(None, lambda tell: self._contents.blobs.read(wanted.digest))
        data = await registry.document(wanted)
        await in_thread(
            None,
            lambda tell: take_blob(self._contents, hold, iter((data,)), wanted.digest, wanted.size),
        )
        return data

    async def _layers(
        self,
        registry: Registry,
        hold: Hold,
        layers: Sequence[Descriptor],
        diffs: Sequence[str],
        meter: Meter,
    ) -> list[Taken]:
        chains = chain_ids(diffs)
        tasks: dict[str, asyncio.Task[Taken]] = {}
        for layer, diff, chain in zip(layers, diffs, chains):
            if layer.digest not in tasks:
                work = self._layer(registry, hold, layer, diff, chain, meter)
                tasks[layer.digest] = asyncio.create_task(work)
            else:
                meter.add(layer.size)
        try:
            await asyncio.gather(*tasks.values())
        except BaseException:
            for task in tasks.values():
                task.cancel()
            ended, _ = await asyncio.wait(tasks.values())
            discard([t.result() for t in ended if not t.cancelled() and not t.exception()])
            raise
        return [tasks[layer.digest].result() for layer in layers]

    async def _layer(
        self,
        registry: Registry,
        hold: Hold,
        layer: Descriptor,
        diff: str,
        chain: str,
        meter: Meter,
    ) -> Taken:
        lock = self._fetching.setdefault(layer.digest, asyncio.Lock())
        async with lock, self._room:
            known = await in_thread(
                None, lambda tell: known_layer(self._contents, hold, diff, chain, layer)
            )
            if known is not None:
                meter.add(layer.size)
                return known
            return await self._fetch(registry, hold, layer, diff, meter)

    async def _fetch(
        self, registry: Registry, hold: Hold, layer: Descriptor, diff: str, meter: Meter
    ) -> Taken:
        feed = Feed()

        def take(tell: Report) -> Taken:
            try:
                what = f"layer {layer.digest}"
                return take_layer(
                    self._contents, hold, iter(feed), diff, layer.digest, layer.size, what
                )
            finally:
                feed.stop()

        taking = asyncio.create_task(in_thread(self._threads, take))
        try:
            async with aclosing(registry.blob(layer)) as pieces:
                async for piece in pieces:
                    await feed.put(piece)
                    meter.add(len(piece))
            feed.end()
        except Stopped:
            pass  # `taking` knows why
        except BaseException:
            feed.stop()
            await asyncio.wait([taking])
            taking.exception()
            raise
        try:
            return await taking
        except asyncio.CancelledError:
            feed.stop()
            await asyncio.wait([taking])
            raise


class Meter:
    """Bytes of one image that have come."""

    def __init__(self, report: Report, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0

    def add(self, size: int) -> None:
        self._done += size
        self._report(Progress(FETCHING, min(self._done, self._total), self._total))
