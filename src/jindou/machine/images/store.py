"""The images of one machine: what is here, how it came, and the roots that units get from it.

Everything that blocks runs in threads: long jobs in a few of our own, short calls in the loop's.
A call that is cancelled in the middle of a system call's work waits for that to end first, so that
whatever the caller does next (`unmount` after a cancelled `mount`) finds a settled machine.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jindou.machine.images import Credentials, Image, ImageError, Progress, Report
from jindou.machine.images.content.contents import Contents, remove
from jindou.machine.images.content.roots import Roots
from jindou.machine.images.content.work import follow, in_thread
from jindou.machine.images.making import bootstrap, busybox, packages
from jindou.machine.images.references import Reference, is_digest, parse
from jindou.machine.images.transfer import archives, exports
from jindou.machine.images.transfer.pulls import Puller
from jindou.machine.images.transfer.registry import Registry
from jindou.settings import Settings
from jindou.transport.client import Pool

LONG_JOBS = 8


class Pulling:
    """One pull that any number of callers wait for; it ends early when the last of them leaves."""

    task: asyncio.Task[Image]

    def __init__(self, forget: Callable[[], object]) -> None:
        self._forget = forget
        self._waiting = 0
        self._reports: list[Report] = []

    def report(self, progress: Progress) -> None:
        for report in self._reports:
            report(progress)

    async def wait(self, report: Report | None) -> Image:
        self._waiting += 1
        if report:
            self._reports.append(report)
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if report:
                self._reports.remove(report)
            if not self._waiting and not self.task.done():
                self._forget()  # who asks from now on begins anew
                self.task.cancel()
                await asyncio.wait([self.task])
                if not self.task.cancelled():
                    self.task.exception()


class ImageStore:
    """The `Images` of a real machine. Opening checks what is on disk; close it before another opens."""

    def __init__(
        self, settings: Settings, *, insecure: Collection[str] = (), pause: float = 0.5
    ) -> None:
        """`insecure`: registries that are spoken to without TLS; `pause`: seconds, before the
        second attempt at one that fails (each further one waits twice as long)."""
        self._contents = Contents(settings)
        self._threads = ThreadPoolExecutor(LONG_JOBS, thread_name_prefix="images")
        self._roots = Roots(self._contents.paths, self._discard)
        for left in self._contents.leftovers:
            self._discard(left)
        self._puller = Puller(self._contents, self._threads)
        self._bootstrapping = asyncio.Lock()
        self._insecure = frozenset(insecure)
        self._pause = pause
        self._pool: Pool | None = None
        self._pulls: dict[Hashable, Pulling] = {}

    async def close(self) -> None:
        for pulling in [*self._pulls.values()]:
            pulling.task.cancel()
            await asyncio.wait([pulling.task])
        if self._pool is not None:
            self._pool.close()
        await in_thread(None, lambda report: self._threads.shutdown())
        self._contents.close()

    def _discard(self, folder: Path) -> None:
        self._threads.submit(remove, folder)

    @property
    def problems(self) -> list[str]:
        """What was found damaged when the store was opened."""
        return self._contents.problems

    @property
    def units(self) -> Mapping[str, str]:
        """The units that have a writable layer, and the digests of their images."""
        return self._roots.images

    def find(self, reference: str) -> Image | None:
        return self._contents.find(reference)

    def all(self) -> list[Image]:
        return self._contents.all()

    async def tag(self, reference: str, name: str) -> None:
        await in_thread(None, lambda report: self._contents.tag(reference, name))

    async def delete(self, reference: str) -> None:
        """The name goes; so does the content, unless another name or a unit needs it."""

        def work(report: Report) -> None:
            digest = self._contents.untag(reference)
            self._contents.sweep(lambda: {*self._roots.images.values()}, only=digest)

        await in_thread(None, work)

    async def collect(self, in_use: Collection[str]) -> int:
        def work(report: Report) -> int:
            known = [self._contents.resolve(one) for one in in_use]
            used = {one for one in known if one}
            return self._contents.sweep(lambda: {*self._roots.images.values(), *used})

        return await in_thread(None, work)

    async def verify(self) -> list[str]:
        return await in_thread(self._threads, lambda report: self._contents.verify())

    # jobs

    async def pull(
        self,
        reference: str,
        credentials: Collection[Credentials] = (),
        report: Report | None = None,
    ) -> Image:
        if is_digest(reference):
            if image := self.find(reference):
                return image
            raise ImageError(f"{reference} names no registry to get it from", missing=True)
        parsed = parse(reference)
        key = (parsed.name, tuple(credentials))
        pulling = self._pulls.get(key)
        if pulling is None:
            pulling = self._pulls[key] = Pulling(lambda: self._pulls.pop(key, None))
            work = self._pull(parsed, credentials, pulling.report)
            pulling.task = asyncio.create_task(work)
            pulling.task.add_done_callback(lambda task: self._pulled(key, task))
        return await pulling.wait(report)

    def _pulled(self, key: Hashable, task: asyncio.Task[Image]) -> None:
        if key in self._pulls and self._pulls[key].task is task:
            del self._pulls[key]

    async def _pull(
        self, reference: Reference, credentials: Collection[Credentials], report: Report
    ) -> Image:
        if self._pool is None:
            self._pool = Pool(ssl.create_default_context())
        registry = Registry(
            self._pool, reference, credentials, insecure=self._insecure, pause=self._pause
        )
        try:
            return await self._puller.pull(registry, reference, report)
        except ImageError as error:
            if why := self._contents.damaged.get(reference.name):
                both = f"{error}; the copy that is here can't be used: {why}"
                raise ImageError(both, error.missing, unreachable=error.unreachable) from error
            raise

    def bootstrap(self, name: str, force: bool = False) -> AsyncIterator[Progress]:
        async def job(report: Report) -> None:
            recipe = bootstrap.recipe_name(name)
            async with self._bootstrapping:
                if recipe == "busybox" and busybox.is_here():
                    await in_thread(
                        self._threads,
                        lambda tell: bootstrap.make_busybox(self._contents, force, tell),
                        report,
                    )
                elif recipe != "busybox" and packages.can_bootstrap():
                    await bootstrap.make(self._contents, self._threads, recipe, force, report)
                else:
                    await self.pull(recipe, (), report)

        return follow(job)

    def load(self, path: Path) -> AsyncIterator[Progress]:
        def work(report: Report) -> list[Image]:
            return archives.load(self._contents, path, report)

        return follow(lambda report: in_thread(self._threads, work, report))

    def save(self, reference: str, path: Path, form: str = "oci") -> AsyncIterator[Progress]:
        def work(report: Report) -> None:
            exports.save(self._contents, reference, path, form, report)

        return follow(lambda report: in_thread(self._threads, work, report))

    # units

    async def mount(self, digest: str, unit: str) -> Path:
        def work(report: Report) -> Path:
            with self._contents.holding() as hold:
                record = self._contents.take(hold, digest)
                lower, owner = self._contents.lower(record)
                return self._roots.mount(unit, record.digest, lower, owner)

        return await in_thread(None, work)

    async def unmount(self, unit: str) -> None:
        await in_thread(None, lambda report: self._roots.unmount(unit))

    async def usage(self, unit: str) -> int:
        return await in_thread(None, lambda report: self._roots.usage(unit))
