"""Rows of a bench: what, how much (median, least, most), beside what floor, and the goal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Row(NamedTuple):
    what: str
    value: str
    ratio: str = ""
    goal: str = ""


class Table:
    def __init__(self, name: str, says: str) -> None:
        self.name = name
        self.says = says.strip().splitlines()[0] if says else ""
        self.rows: list[Row] = []

    def add(self, what: str, value: str, ratio: str = "", goal: str = "") -> None:
        self.rows.append(Row(what, value, ratio, goal))

    def print(self) -> None:
        head = Row("what", "median [least..most]", "ratio", "goal")
        widths = [max(len(row[n]) for row in [head, *self.rows]) for n in range(4)]
        print(f"## {self.name}: {self.says}\n")
        for number, row in enumerate([head, *self.rows]):
            print("| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |")
            if number == 0:
                print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
        print(flush=True)


def spread(samples: Sequence[float], unit: str = "ms", scale: float = 1000.0) -> str:
    low, middle, high = min(samples) * scale, median(samples) * scale, max(samples) * scale
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return f"{middle:.{digits}f} {unit} [{low:.{digits}f}..{high:.{digits}f}]"


def ratio(samples: Sequence[float], floor: Sequence[float]) -> str:
    return f"{median(samples) / median(floor):.2f} x"
