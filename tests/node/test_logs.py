"""Logs read from the end, from a time, followed over rotation; and the rotation itself."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from jindou.node.endpoint.logs import FILES, Wish, parts_of, read, rotate, seconds, utc

CORPUS = [
    b"2026-01-01T00:00:00.000000001Z stdout F one",
    b"2026-01-01T00:00:01.000000000Z stderr F two",
    b"2026-01-01T00:00:02.000000000Z stdout P thr",
    b"2026-01-01T00:00:02.500000000Z stdout F ee",
    b"2026-01-01T00:00:03.000000000Z stdout F ",
    b"2026-01-01T00:00:04.000000000Z stderr F five",
]


def shown(path, running=lambda: False, **wish) -> bytes:
    async def main():
        return b"".join([piece async for piece in read(path, Wish(**wish), running)])

    return asyncio.run(main())


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(b"\n".join(CORPUS) + b"\n")
    return path


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ({}, b"one\ntwo\nthree\n\nfive\n"),
        ({"tail": 0}, b""),
        ({"tail": 1}, b"five\n"),
        ({"tail": 2}, b"\nfive\n"),
        ({"tail": 3}, b"three\n\nfive\n"),
        ({"tail": 4}, b"two\nthree\n\nfive\n"),
        ({"tail": 99}, b"one\ntwo\nthree\n\nfive\n"),
        ({"stream": "stderr"}, b"two\nfive\n"),
        ({"stream": "stdout", "tail": 2}, b"three\n\n"),
        ({"stream": "stderr", "tail": 1}, b"five\n"),
        ({"limit": 5}, b"one\nt"),
        ({"limit": 4, "tail": 1}, b"five"),
        ({"since": seconds(b"2026-01-01T00:00:03Z")}, b"\nfive\n"),
        ({"since": seconds(b"2030-01-01T00:00:00Z")}, b""),
        ({"since": seconds(b"2026-01-01T00:00:03Z"), "tail": 1}, b"five\n"),
        (
            {"timestamps": True, "tail": 3},
            b"2026-01-01T00:00:02.000000000Z three\n2026-01-01T00:00:03.000000000Z \n2026-01-01T00:00:04.000000000Z five\n",
        ),
    ],
)
def test_what_is_wanted_is_shown(log, wish, text):
    assert shown(log, **wish) == text


def test_a_last_part_without_its_end_is_shown_and_counts_as_a_line(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(b"1Z stdout F a\n2Z stdout F b\n3Z stdout P prompt> \n")
    assert shown(path) == b"a\nb\nprompt> "
    assert shown(path, tail=1) == b"prompt> "
    assert shown(path, tail=2) == b"b\nprompt> "


def test_a_line_that_is_still_being_written_waits(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(b"1Z stdout F a\n2Z stdout F b")
    assert shown(path) == b"a\n"


def test_an_absent_log_is_empty(tmp_path):
    assert shown(tmp_path / "0.log") == b""


@pytest.mark.parametrize("lines", [1, 10, 999, 1000, 1001, 5000])
def test_the_end_of_a_long_log_is_found_over_blocks_and_rotated_files(tmp_path, lines):
    path = tmp_path / "0.log"
    held = [b"2026-01-01T00:00:00Z stdout F %06d %s" % (n, b"x" * (n % 700)) for n in range(4000)]
    for name, part in (
        ("0.log.1", held[:1000]),
        ("0.log.2", held[1000:3000]),
        ("0.log", held[3000:]),
    ):
        (tmp_path / name).write_bytes(b"\n".join(part) + b"\n")
    expected = b"".join(line.split(b" ", 3)[3] + b"\n" for line in held[-lines:])
    assert shown(path, tail=lines) == expected


def test_a_time_in_a_long_log_is_found_by_halving(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(
        b"".join(
            b"2026-01-01T%02d:%02d:%02d.5Z stdout F %d %s\n"
            % (n // 3600, n // 60 % 60, n % 60, n, b"x" * 50)
            for n in range(20000)
        )
    )
    got = shown(path, since=seconds(b"2026-01-01T05:00:00Z"))
    assert got.startswith(b"18000 ")
    assert got.count(b"\n") == 2000


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        (b"2026-01-01T00:00:00.123456789Z", b"2026-01-01T00:00:00.123456789Z"),
        (b"2026-01-01T00:00:00.123456789+00:00", b"2026-01-01T00:00:00.123456789Z"),
        (b"2026-01-01T01:30:00.123456789+02:00", b"2025-12-31T23:30:00.123456789Z"),
        (b"2026-01-01T01:30:00-01:00", b"2026-01-01T02:30:00Z"),
        (b"nonsense", b"nonsense"),
    ],
)
def test_times_are_shown_in_utc(stamp, text):
    assert utc(stamp) == text


class Following:
    """A follower whose output can be waited for."""

    def __init__(self, path, running, **wish):
        self.text = b""
        self._more = asyncio.Event()
        self.task = asyncio.create_task(self._run(path, running, wish))

    async def _run(self, path, running, wish):
        async for piece in read(path, Wish(follow=True, **wish), running):
            self.text += piece
            self._more.set()

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(5):
            while self.text != text:
                self._more.clear()
                await self._more.wait()


def test_a_follower_sees_each_line_and_goes_on_over_rotations(tmp_path):
    path = tmp_path / "0.log"
    runs = [True]

    async def main():
        file = path.open("ab", buffering=0)
        file.write(b"1Z stdout F a\n")
        following = Following(path, lambda: runs[0])
        await following.until(b"a\n")
        file.write(b"2Z stdout F b\n")
        await following.until(b"a\nb\n")
        os.rename(path, tmp_path / "0.log.1")
        file.write(b"3Z stdout F c\n")  # its writer has not been told yet
        file.close()
        file = path.open("ab", buffering=0)
        file.write(b"4Z stdout F d\n")
        await following.until(b"a\nb\nc\nd\n")
        file.write(b"5Z stdout P e\n")
        await following.until(b"a\nb\nc\nd\ne")
        file.write(b"6Z stdout F f\n")
        runs[0] = False
        file.close()
        await asyncio.wait_for(following.task, 5)
        assert following.text == b"a\nb\nc\nd\nef\n"

    asyncio.run(main())


def test_a_follower_of_a_log_that_is_not_there_yet_waits_for_it(tmp_path):
    path = tmp_path / "0.log"

    async def main():
        following = Following(path, lambda: True)
        for _ in range(3):
            await asyncio.sleep(0)
        path.write_bytes(b"1Z stdout F a\n")
        await following.until(b"a\n")
        following.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following.task

    asyncio.run(main())


def test_a_follower_ends_at_its_limit(tmp_path):
    path = tmp_path / "0.log"

    async def main():
        path.write_bytes(b"1Z stdout F abc\n")
        following = Following(path, lambda: True, limit=5)
        await following.until(b"abc\n")
        with path.open("ab") as file:
            file.write(b"2Z stdout F def\n")
        await asyncio.wait_for(following.task, 5)
        assert following.text == b"abc\nd"

    asyncio.run(main())


class Reopener:
    def __init__(self, path):
        self.path, self.calls = path, 0

    async def reopen_log(self, unit):
        self.calls += 1
        self.path.write_bytes(b"")


def test_a_log_is_rotated_when_it_has_grown_and_only_the_newest_files_stay(tmp_path):
    path = tmp_path / "0.log"
    runtime = Reopener(path)

    async def main():
        path.write_bytes(b"x" * 9)
        assert not await rotate(path, "u", runtime, largest=10)
        for n in range(FILES + 2):
            path.write_bytes(b"%d" % n * 10)
            assert await rotate(path, "u", runtime, largest=10)
        held = [part.read_bytes()[:1] for part in parts_of(path)]
        assert held == [b"3", b"4", b"5", b"6", b""]
        assert runtime.calls == FILES + 2

    asyncio.run(main())


def test_a_rotation_that_was_cut_off_is_finished(tmp_path):
    path = tmp_path / "0.log"
    runtime = Reopener(path)
    assert asyncio.run(rotate(path, "u", runtime))
    assert path.exists()
