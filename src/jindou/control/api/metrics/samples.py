"""Two looks at a node make a rate: what its counters said, and what was used in between. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from jindou.objects.quantities import written

LINE = re.compile(r"(\w+)(?:\{(.*)\})? ([-+.\deE]+)(?: \d+)?")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
APART = 10.0  # seconds between the two looks, where there is a choice
CLOSE = 5.0  # a look this soon after another replaces it
KEPT = 90.0  # seconds

Place = tuple[str, str, str]  # namespace, Pod, container; all "" for the node itself
NODE: Place = ("", "", "")
FAMILIES = {
    "node_cpu_usage_seconds_total": "cpu",
    "node_memory_working_set_bytes": "memory",
    "container_cpu_usage_seconds_total": "cpu",
    "container_memory_working_set_bytes": "memory",
    "container_start_time_seconds": "started",
}


class Counters(NamedTuple):
    cpu: float = 0.0  # seconds since it started
    memory: float = 0.0
    started: float = 0.0


class Look(NamedTuple):
    at: float  # seconds since the epoch
    found: Mapping[Place, Counters]


class Used(NamedTuple):
    cpu: float  # cores
    memory: float  # bytes

    def amounts(self) -> dict[str, str]:
        nanos = Decimal(max(0, round(self.cpu * 1e9))) / 1_000_000_000
        return {"cpu": written(nanos), "memory": written(Decimal(int(self.memory)), True)}


def parse(text: str) -> dict[Place, Counters]:
    """Of the node's /metrics/resource."""
    found: dict[Place, dict[str, float]] = {}
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        field = FAMILIES.get(match[1]) if match else None
        if match is None or field is None:
            continue
        labels = dict(LABEL.findall(match[2] or ""))
        place = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
        found.setdefault(place, {})[field] = float(match[3])
    return {place: Counters(**held) for place, held in found.items()}


def kept(looks: Sequence[Look], new: Look) -> list[Look]:
    """With a new look: old ones forgotten, and none too close to another."""
    held = [look for look in looks if new.at - look.at <= KEPT]
    if len(held) > 1 and held[-1].at - held[-2].at < CLOSE:
        held.pop()
    return [*held, new]


def base_of(looks: Sequence[Look]) -> Look | None:
    """What the last look is compared with: the nearest that is far enough, else the farthest."""
    if len(looks) < 2:
        return None
    last = looks[-1].at
    far = [look for look in looks[:-1] if last - look.at >= APART]
    return far[-1] if far else looks[0]


def rates(before: Look, after: Look) -> Iterator[tuple[Place, Used]]:
    """A container that was started in between counts from its start."""
    for place, new in after.found.items():
        old = before.found.get(place)
        spent, seconds = new.cpu, after.at - max(before.at, new.started)
        if old is not None and old.started == new.started and new.cpu >= old.cpu:
            spent, seconds = new.cpu - old.cpu, after.at - before.at
        yield place, Used(spent / max(seconds, 0.001), new.memory)


def duration(seconds: float) -> str:
    """As Go writes it: 15.302s, 1m2s."""
    text = f"{seconds % 60:.3f}".rstrip("0").rstrip(".")
    minutes = int(seconds // 60)
    return f"{minutes}m{text}s" if minutes else f"{text}s"
