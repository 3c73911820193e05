"""Children and descriptors: nothing that happens to a number elsewhere makes us wait for ever."""

from __future__ import annotations

import asyncio
import os

import pytest

from jindou.machine.linux import processes


def test_output_input_and_code():
    async def main():
        done = await processes.run("sh", "-c", "cat; echo no >&2; exit 3", stdin=b"x" * 200_000)
        assert (len(done.stdout), done.stderr, done.code) == (200_000, b"no\n", 3)

    asyncio.run(main())


def test_a_number_that_was_closed_without_a_word_hides_nobody():
    async def main():
        loop = asyncio.get_running_loop()
        old, other = os.pipe()
        loop.add_reader(old, lambda: None)
        os.close(old)  # and the loop still believes in it
        os.close(other)
        ours, theirs = os.pipe()
        assert ours == old
        loop.call_later(0.05, os.write, theirs, b"x")
        async with asyncio.timeout(0.5):
            await processes.readable(ours)
        os.close(ours)
        os.close(theirs)

    asyncio.run(main())


@pytest.mark.slow
def test_one_that_is_taken_out_behind_our_back_is_asked_again():
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = os.pipe()
        loop.call_later(0.05, loop.remove_reader, ours)
        loop.call_later(0.1, os.write, theirs, b"x")
        async with asyncio.timeout(5):
            await processes.readable(ours)
        os.close(ours)
        os.close(theirs)

    asyncio.run(main())
