"""Long jobs: in threads that can be told to stop, and shown as a stream of progress.

A function in a thread hears of a cancellation at its next report, which raises Stopped; the
coroutine that waits for it returns only when the thread has cleaned up.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar

from jindou.machine.images import ImageError, Progress, Report
from jindou.machine.images.unpacking.streams import Stopped

T = TypeVar("T")


def silent(progress: Progress) -> None:
    """For jobs that nobody watches."""


async def in_thread(
    threads: Executor | None, function: Callable[[Report], T], report: Report = silent
) -> T:
    loop = asyncio.get_running_loop()
    stopped = threading.Event()

    def tell(progress: Progress) -> None:
        if stopped.is_set():
            raise Stopped
        loop.call_soon_threadsafe(report, progress)

    future = loop.run_in_executor(threads, function, tell)
    try:
        return await asyncio.shield(future)
    except OSError as error:
        raise ImageError(sentence(error)) from error
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise


def sentence(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk that holds the images is full"
    place = f"{error.filename}: " if error.filename else ""
    return f"the images on disk can't be used: {place}{error.strerror or error}"


async def follow(job: Callable[[Report], Awaitable[object]]) -> AsyncIterator[Progress]:
    """What a job reports, while it runs; steps that come faster than they are read are merged.
    Leaving early cancels the job; its error ends the stream."""
    waiting: list[Progress] = []
    news = asyncio.Event()

    def report(progress: Progress) -> None:
        if waiting and waiting[-1].step == progress.step:
            waiting[-1] = progress
        else:
            waiting.append(progress)
        news.set()

    async def run() -> None:
        try:
            await job(report)
        finally:
            news.set()

    task = asyncio.create_task(run())
    try:
        while waiting or not task.done():
            await news.wait()
            news.clear()
            while waiting:
                yield waiting.pop(0)
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
