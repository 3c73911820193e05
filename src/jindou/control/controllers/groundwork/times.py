"""Times as the API writes them: RFC 3339 in UTC, whole seconds, or microseconds for leases."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def now() -> float:
    return datetime.now(UTC).timestamp()


def text(moment: float | None = None) -> str:
    at = datetime.now(UTC) if moment is None else datetime.fromtimestamp(moment, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(4096)
def parse(value: str | None) -> float:
    """Seconds since the epoch; 0.0 for an absent time."""
    return datetime.fromisoformat(value).timestamp() if value else 0.0
