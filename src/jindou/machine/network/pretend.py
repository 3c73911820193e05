"""A network that only keeps account: the same addresses and records, no namespaces, no root.

For `--pretend` and for tests. What was programmed last is in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jindou.machine.network import Attachment, NetworkError, Plug, Rules
from jindou.machine.network.addresses import Addresses, Exhausted
from jindou.machine.network.records import Record, Records
from jindou.settings import Settings


class PretendNetwork:
    """Implements `Network`."""

    def __init__(self, settings: Settings) -> None:
        self._folder = Path(settings.run) / "network"
        self._records = Records(self._folder)
        self._attached: dict[str, Record] = {}
        self.addresses = Addresses(settings.pod_cidr, settings.pod_cidr6)
        self.rules = Rules()

    @property
    def gateway(self) -> tuple[str, ...]:
        return self.addresses.gateway

    async def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._attached = {record.sandbox: record for record in self._records.read()}
        self.addresses.restore((r.sandbox, r.number) for r in self._attached.values())

    async def attach(self, plug: Plug) -> Attachment:
        if plug.sandbox not in self._attached:
            try:
                number = self.addresses.take(plug.sandbox)
                self._attached[plug.sandbox] = self._records.write(plug, number)
            except (OSError, Exhausted) as error:
                self.addresses.release(plug.sandbox)
                raise NetworkError(f"network of {plug.sandbox}: {error}") from error
        return self._attachment(self._attached[plug.sandbox])

    async def detach(self, sandbox: str) -> None:
        self._attached.pop(sandbox, None)
        self._records.remove(sandbox)
        self.addresses.release(sandbox)

    async def observe(self) -> Mapping[str, Attachment]:
        return {name: self._attachment(record) for name, record in self._attached.items()}

    def _attachment(self, record: Record) -> Attachment:
        return Attachment(self.addresses.of(record.number))

    async def program(self, rules: Rules) -> None:
        self.rules = rules

    async def leave(self) -> None:
        pass

    async def close(self) -> None:
        for sandbox in list(self._attached):
            await self.detach(sandbox)
        if self._folder.exists():
            for leftover in self._folder.iterdir():
                leftover.unlink()
            self._folder.rmdir()
