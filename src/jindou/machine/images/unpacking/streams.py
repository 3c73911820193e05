"""Bytes on their way from a network or a file into a layer: handed over, verified, inflated.

A `Feed` joins the event loop, which receives, to the one thread that hashes, inflates and unpacks.
Every stage is an iterator of pieces that pulls from the one before, so that nothing piles up; an
error or a cancellation at either end ends the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import zstandard

from jindou.machine.images import ImageError

PIECE = 1 << 20
HIGH_WATER = 8 << 20
SLICE = 4096
LARGEST_WINDOW = 1 << 27  # of zstd: 128 MiB, what its own tools accept without asking
LARGEST_LAYER = 256 << 30
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Stopped(Exception):
    """The other end has gone."""


class Feed:
    """Pieces from the event loop to a thread, with back-pressure."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._condition = threading.Condition()
        self._space = asyncio.Event()
        self._ended = False
        self._stopped = False

    async def put(self, piece: bytes) -> None:
        with self._condition:
            if self._stopped:
                raise Stopped
            self._pieces.append(piece)
            self._size += len(piece)
            full = self._size > HIGH_WATER
            if full:
                self._space.clear()
            self._condition.notify()
        if full:
            await self._space.wait()

    def end(self) -> None:
        """All is sent."""
        with self._condition:
            self._ended = True
            self._condition.notify()

    def stop(self) -> None:
        """Give up, from either side: the reader raises Stopped, the writer too."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        self._loop.call_soon_threadsafe(self._space.set)

    def __iter__(self) -> Iterator[bytes]:
        """In the thread."""
        while True:
            with self._condition:
                while not self._pieces and not self._ended and not self._stopped:
                    self._condition.wait()
                if self._stopped:
                    raise Stopped
                if not self._pieces:
                    return
                piece = self._pieces.popleft()
                full = self._size > HIGH_WATER
                self._size -= len(piece)
                roomy = full and self._size <= HIGH_WATER
            if roomy:
                self._loop.call_soon_threadsafe(self._space.set)
            yield piece


class Ahead:
    """Runs a stage of the way in a thread of its own, some pieces ahead of its reader.

    The thread has ended when the `with` block has; it stops at its next piece where it must.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._source = pieces
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._condition = threading.Condition()
        self._error: BaseException | None = None
        self._ended = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="images-ahead", daemon=True)

    def __enter__(self) -> Iterator[bytes]:
        self._thread.start()
        return self._read()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        self._thread.join()
        if isinstance(error, Exception) and self._error not in (None, error):
            raise self._error from error  # what came first is the reason

    def _run(self) -> None:
        try:
            for piece in self._source:
                with self._condition:
                    while self._size > HIGH_WATER and not self._stopped:
                        self._condition.wait()
                    if self._stopped:
                        return
                    self._pieces.append(piece)
                    self._size += len(piece)
                    self._condition.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._condition:
                self._ended = True
                self._condition.notify_all()

    def _read(self) -> Iterator[bytes]:
        while True:
            with self._condition:
                while not self._pieces and not self._ended:
                    self._condition.wait()
                if not self._pieces:
                    break
                piece = self._pieces.popleft()
                self._size -= len(piece)
                self._condition.notify_all()
            yield piece
        if self._error is not None:
            raise self._error


def read_file(file: IO[bytes], size: int | None = None) -> Iterator[bytes]:
    """From where the file stands: to its end, or `size` bytes."""
    while size is None or size > 0:
        piece = file.read(PIECE if size is None else min(PIECE, size))
        if not piece:
            return
        if size is not None:
            size -= len(piece)
        yield piece


def verified(
    pieces: Iterator[bytes],
    digest: str,
    size: int | None = None,
    copy: IO[bytes] | None = None,
    what: str = "a blob",
) -> Iterator[bytes]:
    """The same pieces, also written to `copy`; raises ImageError at the end if they are others."""
    algorithm, _, expected = digest.partition(":")
    state = hashlib.new(algorithm)
    done = 0
    for piece in pieces:
        done += len(piece)
        if size is not None and done > size:
            raise ImageError(
                f"{what} is damaged: it is longer than the {size} bytes it should have"
            )
        state.update(piece)
        if copy is not None:
            copy.write(piece)
        yield piece
    if size is not None and done != size:
        raise ImageError(f"{what} is damaged: it has {done} bytes and should have {size}")
    if state.hexdigest() != expected:
        raise ImageError(
            f"{what} is damaged: its digest is {algorithm}:{state.hexdigest()}, not {digest}"
        )


def counted(pieces: Iterator[bytes], state: hashlib._Hash) -> Iterator[bytes]:
    """The same pieces, hashed on the way."""
    for piece in pieces:
        state.update(piece)
        yield piece


def inflate(pieces: Iterator[bytes], largest: int = LARGEST_LAYER) -> Iterator[bytes]:
    """Plain bytes of a gzip, zstd or plain stream, told apart by their first bytes."""
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= 4:
            break
    source = _chain(first, pieces)
    if first.startswith(GZIP):
        plain = _gunzip(source)
    elif first.startswith(ZSTD):
        plain = _unzstd(source)
    else:
        plain = source
    done = 0
    for piece in plain:
        done += len(piece)
        if done > largest:
            raise ImageError(f"a layer is larger than {largest >> 30} GiB when unpacked")
        yield piece


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Any number of members; zeros may follow the last."""
    machine = None
    started = False
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if machine is None:
                    rest = rest.lstrip(b"\0") if started else rest
                    if not rest:
                        break
                    machine, started = zlib.decompressobj(wbits=31), True
                if plain := machine.decompress(rest, PIECE):
                    yield plain
                if machine.eof:
                    rest, machine = machine.unused_data, None
                else:
                    rest = machine.unconsumed_tail
    except zlib.error as error:
        raise ImageError(f"a layer can't be inflated: {error}") from error
    if machine is not None:
        raise ImageError("a layer can't be inflated: it ends too early")


def _unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Any number of frames. Fed in small slices, as one block of 4 bytes can become 128 KiB."""
    machine = None
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                if machine is None:
                    machine = zstandard.ZstdDecompressor(
                        max_window_size=LARGEST_WINDOW
                    ).decompressobj(write_size=PIECE)
                if plain := machine.decompress(view[:SLICE]):
                    yield plain
                view = view[SLICE:]
                if machine.eof:
                    if rest := machine.unused_data:
                        view = memoryview(rest + view)
                    machine = None
    except zstandard.ZstdError as error:
        raise ImageError(f"a layer can't be inflated: {error}") from error
    if machine is not None:
        raise ImageError("a layer can't be inflated: it ends too early")


def compress(pieces: Iterator[bytes], write: Callable[[bytes], object]) -> None:
    """To gzip, which every tool reads, without a time in it: the same bytes come out each time."""
    machine = zlib.compressobj(1, wbits=31)
    for piece in pieces:
        if packed := machine.compress(piece):
            write(packed)
    write(machine.flush())


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
