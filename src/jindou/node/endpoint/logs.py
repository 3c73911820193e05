"""The logs of containers: read, followed over rotations, rotated, as `kubectl logs` wants them.

A log is a file in the CRI format, TIME stream F|P text, that a container's monitor writes; rotated
parts are beside it as NAME.YYYYMMDD-HHMMSS and belong to the same log. Reading from the end looks at
no more than it shows; following waits for the kernel to tell of a change.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from jindou.machine.linux import inotify
from jindou.machine.runtimes import Runtime

log = logging.getLogger("jindou.logs")

BLOCK = 64 * 1024
LINE_LIMIT = 1024 * 1024  # bytes of one line of the file; a longer one is given up
LARGEST, FILES = 10 * 1024 * 1024, 5  # bytes of a log file; files of one log
CHECK = 10.0  # seconds between looks at the sizes
LONGEST_WAIT = 5.0  # seconds that a follower sleeps without asking whether its container runs


class Wish(NamedTuple):
    """What of a log is wanted. Negative numbers mean no limit."""

    follow: bool = False
    tail: int = -1  # lines
    since: float = 0.0  # Unix seconds
    timestamps: bool = False
    limit: int = -1  # bytes
    stream: str = ""  # stdout, stderr; "": both


class Formatter:
    """Turns whole lines of the file into what is shown."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._left = wish.limit
        self._joined = False  # is what comes next the rest of a line?
        self._early = wish.since > 0

    @property
    def full(self) -> bool:
        return self._left == 0

    def take(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        only = self._wish.stream.encode()
        for line in data.split(b"\n"):
            stamp, _, rest = line.partition(b" ")
            stream, _, rest = rest.partition(b" ")
            tag, _, text = rest.partition(b" ")
            if not tag or (only and stream != only):
                continue
            if self._early:
                if seconds(stamp) < self._wish.since:
                    continue
                self._early = False
            if self._wish.timestamps and not self._joined:
                parts.append(utc(stamp) + b" ")
            parts.append(text)
            self._joined = tag[:1] == b"P"
            if not self._joined:
                parts.append(b"\n")
        shown = b"".join(parts)
        if self._left >= 0:
            shown = shown[: self._left]
            self._left -= len(shown)
        return shown


def seconds(stamp: bytes) -> float:
    try:
        return datetime.fromisoformat(stamp.decode().replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def utc(stamp: bytes) -> bytes:
    """In UTC, with all digits of the fraction."""
    if stamp.endswith(b"Z"):
        return stamp
    if stamp.endswith(b"+00:00"):
        return stamp[:-6] + b"Z"
    whole, dot, rest = stamp.partition(b".")
    digits = rest[:-6] if dot else b""
    try:
        moment = datetime.fromisoformat((whole + rest[-6:] if dot else stamp).decode())
    except ValueError:
        return stamp
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
    return text + (b"." + digits if digits else b"") + b"Z"


# ------------------------------------------------------------ where to begin


def parts_of(path: Path) -> list[Path]:
    """The files of a log that are there, oldest first."""
    found = sorted(path.parent.glob(f"{path.name}.*"))
    return [*found, path] if path.exists() else found


def tail_offset(
    file: BinaryIO, lines: int, stream: str, began: bool = False, block: int = BLOCK
) -> tuple[int, int, bool]:
    """Where the last `lines` lines begin (0: in this file or before), and how many begin here.

    `began`: a later file goes on with a line whose first parts may be at the end of this one; the
    same is answered for the file before.
    """
    mark = stream.encode()
    at = begin = file.seek(0, os.SEEK_END)
    rest, found = b"", 0
    while at > 0:
        size = min(block, at)
        at -= size
        file.seek(at)
        data = file.read(size) + rest
        edge = 0 if at == 0 else data.find(b"\n") + 1
        if edge == 0 and at > 0:
            rest = data
            continue
        position = len(data)
        for line in reversed(data[edge:].split(b"\n")):
            position -= len(line)
            fields = line.split(b" ", 3)
            if len(fields) >= 3 and (not mark or fields[1] == mark):
                if fields[2][:1] != b"P" or not began:  # a last part without its end is a line
                    if found == lines:
                        return begin, found, began
                    found += 1
                began = True
                begin = at + position
            position -= 1
        rest = data[:edge]
    return 0, found, began


def since_offset(file: BinaryIO, since: float) -> int:
    """The start of a line that isn't later than the first one to show: found by halving."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > BLOCK:
        middle = (low + high) // 2
        file.seek(middle)
        data = file.read(LINE_LIMIT)
        edge = data.find(b"\n") + 1
        if edge == 0:
            break
        if seconds(data[edge : edge + 64].partition(b" ")[0]) < since:
            low = middle + edge
        else:
            high = middle
    return low


def beginning(parts: list[Path], wish: Wish) -> tuple[int, int]:
    """Index of the first file to read, and the offset in it."""
    if wish.tail >= 0:
        wanted, began = wish.tail, False
        for index in range(len(parts) - 1, -1, -1):
            with open(parts[index], "rb") as file:
                offset, found, began = tail_offset(file, wanted, wish.stream, began)
            wanted -= found
            if offset > 0 or index == 0:
                return index, offset
    if wish.since > 0:
        first = 0
        while first < len(parts) - 1 and parts[first].stat().st_mtime < wish.since:
            first += 1
        if parts:
            with open(parts[first], "rb") as file:
                return first, since_offset(file, wish.since)
    return 0, 0


# ------------------------------------------------------------ reading


async def read(path: Path, wish: Wish, running: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
    """What is wanted of the log at `path`. A follower ends when its container does."""
    parts = parts_of(path)
    first, offset = beginning(parts, wish)
    formatter = Formatter(wish)
    watch = inotify.Inotify() if wish.follow else None
    file: BinaryIO | None = None
    try:
        if watch is not None:
            watch.add(path.parent, inotify.CREATE | inotify.MOVED_TO)
        for index in range(first, len(parts)):
            if file is not None:
                file.close()
            file = open(parts[index], "rb")  # noqa: SIM115
            file.seek(offset if index == first else 0)
            async with aclosing(_rest_of(file, formatter)) as rest:
                async for shown in rest:
                    yield shown
            if formatter.full:
                return
        if watch is not None:
            follower = Follower(path, watch, running, file)
            file = None
            try:
                async with aclosing(follower.blocks()) as blocks:
                    async for data in blocks:
                        if shown := formatter.take(data):
                            yield shown
                        if formatter.full:
                            return
            finally:
                follower.close()
    finally:
        if file is not None:
            file.close()
        if watch is not None:
            watch.close()


async def _rest_of(file: BinaryIO, formatter: Formatter) -> AsyncGenerator[bytes, None]:
    """To the end of the file, as far as there are whole lines; it stands behind the last one."""
    while data := _lines(file):
        if shown := formatter.take(data):
            yield shown
        if formatter.full:
            return
        await asyncio.sleep(0)  # others have their turn


def _lines(file: BinaryIO) -> bytes:
    """The next whole lines, b"" where there is none (yet)."""
    start = file.tell()
    data = file.read(BLOCK)
    while data and b"\n" not in data and len(data) < LINE_LIMIT:
        more = file.read(BLOCK)
        if not more:
            break
        data += more
    edge = data.rfind(b"\n") + 1
    if edge == 0 and len(data) >= LINE_LIMIT:
        return data
    file.seek(start + edge)
    return data[:edge]


class Follower:
    """Waits for more at the end of a log, over rotations, until its container has ended."""

    def __init__(
        self,
        path: Path,
        watch: inotify.Inotify,
        running: Callable[[], bool],
        file: BinaryIO | None,
    ) -> None:
        self._path, self._watch, self._running, self._file = path, watch, running, file
        self._wait = LONGEST_WAIT
        self._add()

    def _add(self) -> None:
        if self._file is not None:
            place = f"/proc/self/fd/{self._file.fileno()}"
            self._watch.add(place, inotify.MODIFY | inotify.CLOSE_WRITE)

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        while True:
            runs = self._running()
            fresh = self._replaced()
            while self._file is not None and (data := _lines(self._file)):
                yield data
                await asyncio.sleep(0)
            if fresh is not None:
                self.close()
                self._file = fresh
                self._add()
                continue
            if not runs:
                return
            await self._change()

    def _replaced(self) -> BinaryIO | None:
        """The file that is at the log's path now, if that isn't ours."""
        try:
            found = open(self._path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            return None
        if self._file is not None and os.path.samestat(
            os.fstat(found.fileno()), os.fstat(self._file.fileno())
        ):
            found.close()
            return None
        return found

    async def _change(self) -> None:
        """After its writer has closed the log the container has ended, or will be seen to soon."""
        try:
            async with asyncio.timeout(self._wait):
                events = await self._watch.events()
        except TimeoutError:
            self._wait = min(self._wait * 2, LONGEST_WAIT)
            return
        if any(event.mask & inotify.CLOSE_WRITE for event in events):
            self._wait = 0.02
        elif any(event.mask & (inotify.MODIFY | inotify.CREATE) for event in events):
            self._wait = LONGEST_WAIT

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


# ------------------------------------------------------------ rotation


async def rotate(path: Path, unit: str, runtime: Runtime, largest: int = LARGEST) -> bool:
    """Begin a new file where the log has grown too large; only the newest files stay.

    A log that is missing was renamed by a process that was killed before it could go on.
    """
    try:
        if path.stat().st_size < largest:
            return False
        os.rename(path, f"{path}.{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}")
    except FileNotFoundError:
        pass
    await runtime.reopen_log(unit)
    for old in sorted(path.parent.glob(f"{path.name}.*"))[: -(FILES - 1)]:
        old.unlink(missing_ok=True)
    return True


async def keep_small(runtime: Runtime, logs: Callable[[], Mapping[str, Path]]) -> None:
    """Rotate the logs of running units (`logs`: unit -> path), until cancelled."""
    while True:
        await asyncio.sleep(CHECK)
        for unit, path in logs().items():
            try:
                await rotate(path, unit, runtime)
            except Exception as error:
                log.info("the log of %s was not rotated: %s", unit, error)
