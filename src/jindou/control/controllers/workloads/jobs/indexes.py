"""Sets of completion indexes as a Job's status writes them: `1,3-5,7`, few characters for many numbers.

Held as intervals in order, both ends included, with a gap between each two.
Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

Interval = tuple[int, int]
Intervals = Sequence[Interval]


def parse(text: str, completions: int) -> list[Interval]:
    """What is no number is left out, and so is what is not below `completions`."""
    found: list[Interval] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.isdigit() and (last.isdigit() or not last):
            found.append((int(first), min(int(last or first), completions - 1)))
    return merge(found)


def text(intervals: Intervals) -> str:
    words = []
    for first, last in intervals:
        if first == last:
            words.append(str(first))
        else:
            words.append(f"{first},{last}" if last == first + 1 else f"{first}-{last}")
    return ",".join(words)


def merge(*sets: Iterable[Interval]) -> list[Interval]:
    found: list[Interval] = []
    for first, last in sorted(one for intervals in sets for one in intervals):
        if last < first:
            continue
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def of(numbers: Iterable[int]) -> list[Interval]:
    return merge((number, number) for number in numbers)


def total(intervals: Intervals) -> int:
    return sum(last - first + 1 for first, last in intervals)


def has(intervals: Intervals, number: int) -> bool:
    place = bisect_left(intervals, number, key=lambda one: one[1])
    return place < len(intervals) and intervals[place][0] <= number


def common(one: Intervals, other: Intervals) -> int:
    """How many indexes are in both."""
    return sum(
        max(min(a[1], b[1]) - max(a[0], b[0]) + 1, 0)
        for a in one
        for b in other[bisect_left(other, a[0], key=lambda it: it[1]) :]
        if b[0] <= a[1]
    )


def missing(intervals: Intervals, completions: int) -> Iterator[int]:
    """In order, those below `completions` that are not there."""
    candidate = 0
    for first, last in intervals:
        yield from range(candidate, min(first, completions))
        candidate = last + 1
    yield from range(candidate, completions)
