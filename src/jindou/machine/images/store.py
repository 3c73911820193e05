"""The images of one machine: what is here, how it came, and the roots that units get from it.

Everything that blocks runs in threads: long jobs in a few of our own, short calls in the loop's.
A call that is cancelled in the middle of a system call's work waits for that to end first, so that
whatever the caller does next (`unmount` after a cancelled `mount`) finds a settled machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jindou.machine.images import Image, ImageError, Progress, Report, archives, bootstrap, exports
from jindou.machine.images.contents import Contents
from jindou.machine.images.roots import Roots
from jindou.machine.images.work import follow, in_thread
from jindou.settings import Settings

LONG_JOBS = 8


class ImageStore:
    """The `Images` of a real machine. Opening checks what is on disk; close it before another opens."""

    def __init__(self, settings: Settings) -> None:
        self._contents = Contents(settings)
        self._roots = Roots(self._contents.paths)
        self._threads = ThreadPoolExecutor(LONG_JOBS, thread_name_prefix="images")

    async def close(self) -> None:
        self._threads.shutdown(wait=True)
        self._contents.close()

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
            self._contents.sweep(self._roots.images.values(), only=digest)

        await in_thread(None, work)

    async def collect(self, in_use: Collection[str]) -> int:
        def work(report: Report) -> int:
            known = [self._contents.resolve(one) for one in in_use]
            keep = {*self._roots.images.values(), *(one for one in known if one)}
            return self._contents.sweep(keep)

        return await in_thread(None, work)

    async def verify(self) -> list[str]:
        return await in_thread(self._threads, lambda report: self._contents.verify())

    # jobs

    def bootstrap(self, name: str, force: bool = False) -> AsyncIterator[Progress]:
        async def job(report: Report) -> None:
            recipe = bootstrap.recipe_name(name)
            if recipe == "busybox":
                await in_thread(
                    self._threads,
                    lambda tell: bootstrap.make_busybox(self._contents, force, tell),
                    report,
                )

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
                found = self._contents.resolve(digest)
                if found is None:
                    raise ImageError(f"image {digest} is not here", missing=True)
                hold.add(found)
                layers = [
                    self._contents.layers.get(key) for key in self._contents.record(found).layers
                ]
                owner = next((one.root for one in reversed(layers) if one and one.root), None)
                lower = [self._contents.layers.root(one.key) for one in layers if one]
                if len(lower) != len(layers):
                    raise ImageError(f"image {digest} has lost a layer: delete it and get it again")
                return self._roots.mount(unit, found, lower, owner)

        return await in_thread(None, work)

    async def unmount(self, unit: str) -> None:
        await in_thread(None, lambda report: self._roots.unmount(unit))

    async def usage(self, unit: str) -> int:
        return await in_thread(None, lambda report: self._roots.usage(unit))
