"""What the node must still know after it was killed, and after a reboot.

    {run}/pods/UID.jsonl      all of a Pod's progress; gone at a reboot, like its containers
    {data}/records/UID.jsonl  attempts and how they ended: what a reboot must not lose

A line is appended before the step that it tells of (intent first), and the last whole line counts;
appending is a tenth of the cost of replacing a file on a journaling file system. Nothing is synced:
after a power cut the status in the API is the second source.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from jindou.node.state.progress import Progress
from jindou.objects.kinds import Object
from jindou.settings import Settings

log = logging.getLogger("jindou.records")
LONGEST = 64 * 1024  # bytes of a file before it begins anew
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Record(NamedTuple):
    uid: str
    namespace: str
    name: str
    containers: Mapping[str, dict[str, Any]]
    begun: bool = False  # main containers were started in this sandbox
    rebooted: bool = False  # the machine was started anew since: nothing of it runs
    start_time: float = 0.0


class Records:
    def __init__(self, settings: Settings) -> None:
        self._volatile = Path(settings.run) / "pods"
        self._durable = Path(settings.data) / "records"
        self._written: dict[str, dict[str, tuple[int, bool]]] = {}
        for folder in (self._volatile, self._durable):
            folder.mkdir(parents=True, exist_ok=True)
        self._boot = _boot_id()

    def write(
        self, pod: Object, progress: Mapping[str, Progress], begun: bool, start_time: float
    ) -> None:
        meta = pod["metadata"]
        uid = meta["uid"]
        whose = {"uid": uid, "namespace": meta["namespace"], "name": meta["name"]}
        kept = {name: held.kept() for name, held in progress.items() if held.attempt >= 0}
        rest = {"begun": begun, "boot": self._boot, "start_time": start_time}
        _append(self._volatile / f"{uid}.jsonl", {**whose, **rest, "containers": kept})
        ends = {name: (held["attempt"], held["terminated"] is None) for name, held in kept.items()}
        if self._written.get(uid) != ends:
            self._written[uid] = ends
            _append(
                self._durable / f"{uid}.jsonl",
                {**whose, "start_time": start_time, "containers": kept},
            )

    def remove(self, uid: str) -> None:
        self._written.pop(uid, None)
        for folder in (self._volatile, self._durable):
            with contextlib.suppress(FileNotFoundError):
                (folder / f"{uid}.jsonl").unlink()

    def all(self) -> dict[str, Record]:
        """Every Pod that was ever worked on here and is not forgotten."""
        found = {held["uid"]: _record(held, rebooted=True) for held in _read(self._durable)}
        for held in _read(self._volatile):
            if held.get("boot") == self._boot:
                found[held["uid"]] = _record(held, rebooted=False)
        return found


def _record(held: dict[str, Any], rebooted: bool) -> Record:
    return Record(
        held["uid"], held["namespace"], held["name"], held["containers"],
        bool(held.get("begun")) and not rebooted, rebooted, held.get("start_time", 0.0),
    )  # fmt: skip


def _read(folder: Path) -> Iterator[dict[str, Any]]:
    for path in folder.glob("*.jsonl"):
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            log.warning("the record %s can't be read: %s", path, error)
            continue
        for line in reversed(lines):
            with contextlib.suppress(orjson.JSONDecodeError):
                yield orjson.loads(line)
                break


def _append(path: Path, held: dict[str, Any]) -> None:
    line = orjson.dumps(held) + b"\n"
    with path.open("ab") as file:
        if file.tell() < LONGEST:
            file.write(line)
            return
    temporary = path.with_suffix(".new")
    temporary.write_bytes(line)
    os.replace(temporary, path)


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
