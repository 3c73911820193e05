"""What was promised to each sandbox, one small file each, so that a new process knows it.

A record is written before anything is made for the sandbox and removed after the last of it is
gone: whatever a kill leaves behind has a record. They lie in the run folder, which a reboot
empties as it does the namespaces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from jindou.machine.network import HostPort, Plug


class Record(NamedTuple):
    sandbox: str
    number: int
    host_ports: tuple[HostPort, ...]


class Records:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, sandbox: str) -> Path:
        return self._folder / f"{sandbox}.json"

    def write(self, plug: Plug, number: int) -> Record:
        path = self._path(plug.sandbox)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(
            orjson.dumps({"number": number, "ports": [*map(list, plug.host_ports)]})
        )
        os.replace(temporary, path)
        return Record(plug.sandbox, number, plug.host_ports)

    def remove(self, sandbox: str) -> None:
        self._path(sandbox).unlink(missing_ok=True)

    def read(self) -> Iterator[Record]:
        """Every whole record; an unfinished one was never acted upon."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                said = orjson.loads(path.read_bytes())
                ports = tuple(HostPort(*port) for port in said["ports"])
                yield Record(path.stem, int(said["number"]), ports)
            except (OSError, ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)
