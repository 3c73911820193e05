"""Kernel settings that the network needs, with the values of before kept for the day we leave.

The file of previous values is written before a setting is changed, and the first value ever seen
is the one that stays, so any number of crashes still ends with the machine as it was found.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson

ROOT = Path("/proc/sys")


def path_of(name: str) -> Path:
    """Accepts both spellings: net.ipv4.ip_forward and, for names with dots, net/ipv4/ip_forward."""
    return ROOT / (name if "/" in name else name.replace(".", "/"))


def read(name: str) -> str | None:
    try:
        return path_of(name).read_text().strip()
    except OSError:
        return None


def write(name: str, value: str) -> None:
    path_of(name).write_text(value)


class Remembered:
    """Settings that we changed. `file` holds {name: value before}."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._before: dict[str, str] = orjson.loads(file.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            self._before = {}

    def set(self, wanted: dict[str, str]) -> None:
        """Settings that this kernel doesn't have, and values already right, are left alone."""
        changes = {}
        for name, value in wanted.items():
            now = read(name)
            if now is not None and now != value:
                changes[name] = value
                self._before.setdefault(name, now)
        if not changes:
            return
        temporary = self._file.with_suffix(".new")
        temporary.write_bytes(orjson.dumps(self._before))
        os.replace(temporary, self._file)
        for name, value in changes.items():
            write(name, value)

    def restore(self) -> None:
        for name, value in self._before.items():
            if read(name) not in (None, value):
                write(name, value)
        self._before = {}
        self._file.unlink(missing_ok=True)
