"""What a container left to say when it ended: its message file, or the tail of its log."""

from __future__ import annotations

import os
from pathlib import Path

MESSAGE = 4096  # bytes of one container
ALL_MESSAGES = 12288  # ... and of all of a Pod
LOG_TAIL, LOG_LINES = 2048, 80


def message(file: Path, log: Path, policy: str, failed: bool, containers: int) -> str:
    limit = min(MESSAGE, ALL_MESSAGES // max(containers, 1))
    text = _head(file, limit)
    if not text and failed and policy == "FallbackToLogsOnError":
        text = tail(log)[-limit:]
    return text


def _head(file: Path, limit: int) -> str:
    """The container may have put anything there; only a plain file is read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, limit).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def tail(log: Path) -> str:
    """The last lines of a log in the CRI format, without their heads."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 4 * LOG_TAIL - 4096))
            data = file.read()
    except OSError:
        return ""
    parts: list[bytes] = []
    for line in data.split(b"\n"):
        fields = line.split(b" ", 3)
        if len(fields) == 4 and fields[2] in (b"F", b"P"):
            parts.append(fields[3] + (b"\n" if fields[2] == b"F" else b""))
    lines = b"".join(parts).splitlines(keepends=True)[-LOG_LINES:]
    return b"".join(lines)[-LOG_TAIL:].decode(errors="replace")
