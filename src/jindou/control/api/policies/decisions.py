"""What a policy says of one write, as plain data."""

from __future__ import annotations

from typing import NamedTuple


class Decision(NamedTuple):
    denied: bool
    message: str = ""
    reason: str = "Invalid"


class Verdict(NamedTuple):
    decisions: list[Decision]  # one for each validation
    notes: dict[str, str]  # audit annotations
    broken: list[str]  # those that could not be worked out
