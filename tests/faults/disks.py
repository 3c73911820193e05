"""Disks that fail in chosen ways: one that loses power, and one that refuses the N-th operation.

`RecordingDisk` is SQLite's own file system with a log of what was asked of it. `crash_images` makes
from that log what could be on the platters if the power went at any moment: everything synced, and
of what was not synced nothing, all, a part, or a torn sector.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import apsw

from jindou.control.store.sqlite import MAKING


class Step(NamedTuple):
    what: str  # write, truncate, sync, delete, ack
    file: str = ""
    offset: int = 0
    data: bytes = b""


def name_of(path: str) -> str:
    """A store that is being made is moved to its place, which SQLite does not see."""
    return Path(path).name.replace(MAKING, "")


class RecordingFile(apsw.VFSFile):
    def __init__(self, disk: Disk, base: str, name, flags) -> None:
        super().__init__(base, name, flags)
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.disk, self.name = disk, name_of(text) if text else ""

    def xWrite(self, data, offset):
        self.disk.note(Step("write", self.name, offset, bytes(data)))
        return super().xWrite(data, offset)

    def xTruncate(self, size):
        self.disk.note(Step("truncate", self.name, size))
        return super().xTruncate(size)

    def xSync(self, flags):
        self.disk.note(Step("sync", self.name))
        return super().xSync(flags)


class Disk(apsw.VFS):
    """`fail_at`: the operation (counted from 1) that raises `error`, and all after it if `for_good`."""

    def __init__(self, name: str) -> None:
        self.log: list[Step] = []
        self.count = 0
        self.fail_at = 0
        self.for_good = False
        self.error: type[apsw.Error] = apsw.IOError
        super().__init__(name, "")

    def note(self, step: Step) -> None:
        self.count += 1
        if self.fail_at and (
            self.count == self.fail_at or (self.for_good and self.count > self.fail_at)
        ):
            raise self.error("the disk said no")
        self.log.append(step)

    def acknowledge(self, text: str) -> None:
        self.log.append(Step("ack", data=text.encode()))

    def xOpen(self, name, flags):
        return RecordingFile(self, "", name, flags)

    def xDelete(self, name, sync_folder):
        self.note(Step("delete", name_of(name)))
        return super().xDelete(name, sync_folder)


def crash_images(
    log: list[Step], seed: int, every: int = 1
) -> Iterator[tuple[dict[str, bytes], set[str]]]:
    """(what the disk holds, what had been acknowledged) for a cut after each step."""
    chance = random.Random(seed)
    synced: dict[str, bytearray] = {}
    loose: dict[str, list[Step]] = {}
    acknowledged: set[str] = set()
    for number, step in enumerate(log):
        if step.what == "ack":
            acknowledged.add(step.data.decode())
        elif step.what == "delete":
            synced.pop(step.file, None)
            loose.pop(step.file, None)
        elif step.what == "sync":
            held = synced.setdefault(step.file, bytearray())
            for one in loose.pop(step.file, []):
                apply(held, one)
        else:
            loose.setdefault(step.file, []).append(step)
        if number % every == 0:
            for how in ("none", "all", "some", "torn"):
                yield survivors(synced, loose, how, chance), set(acknowledged)


def survivors(synced, loose, how: str, chance: random.Random) -> dict[str, bytes]:
    files = {name: bytearray(data) for name, data in synced.items()}
    if how != "none":
        for name, steps in loose.items():
            held = files.setdefault(name, bytearray())
            for step in steps:
                if how == "some" and chance.random() < 0.5:
                    continue
                if how == "torn" and step.what == "write":
                    cut = chance.randrange(0, len(step.data) + 1, 512)
                    step = step._replace(data=step.data[:cut])
                apply(held, step)
    return {name: bytes(data) for name, data in files.items()}


def apply(held: bytearray, step: Step) -> None:
    if step.what == "truncate":
        del held[step.offset :]
        held.extend(bytes(step.offset - len(held)))
    elif step.data:
        held.extend(bytes(max(0, step.offset - len(held))))
        held[step.offset : step.offset + len(step.data)] = step.data
