"""Which address belongs to which sandbox: the lowest free one, in both families at once.

The n-th host of the IPv4 network goes with the n-th of the IPv6 network, so one number says both.
What is taken is what the records say (one small file for each sandbox, written before the address
is used), so that nothing can be handed out twice, also after a kill at any moment.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections.abc import Iterable

GATEWAY = 1  # the bridge's own number


class Exhausted(Exception):
    """Every address of the network is in use."""


class Addresses:
    """The numbers in use. Pure: nothing here touches a file or the machine."""

    def __init__(self, network: str, network6: str = "") -> None:
        self.network = ipaddress.IPv4Network(network)
        self.network6 = ipaddress.IPv6Network(network6) if network6 else None
        sizes = [self.network.num_addresses - 1]  # the last IPv4 address is the broadcast
        if self.network6:
            sizes.append(self.network6.num_addresses)
        self._end = min(sizes)
        self._fresh = GATEWAY + 1  # every number from here on has never been taken
        self._freed: list[int] = []  # a heap; may hold numbers taken since
        self._taken: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    @property
    def gateway(self) -> tuple[str, ...]:
        return self.of(GATEWAY)

    def of(self, number: int) -> tuple[str, ...]:
        """The addresses with that number: IPv4 first, then IPv6."""
        first = str(self.network[number])
        return (first, str(self.network6[number])) if self.network6 else (first,)

    def take(self, sandbox: str) -> int:
        """The sandbox's number; the same again for one that has one."""
        if (mine := self._numbers.get(sandbox)) is not None:
            return mine
        number = self._lowest()
        self._taken[number] = sandbox
        self._numbers[sandbox] = number
        return number

    def _lowest(self) -> int:
        while self._freed:
            number = heapq.heappop(self._freed)
            if number not in self._taken:
                return number
        while self._fresh in self._taken:
            self._fresh += 1
        if self._fresh >= self._end:
            raise Exhausted(f"all {self._end - GATEWAY - 1} addresses of {self.network} are in use")
        self._fresh += 1
        return self._fresh - 1

    def release(self, sandbox: str) -> None:
        number = self._numbers.pop(sandbox, None)
        if number is not None:
            del self._taken[number]
            heapq.heappush(self._freed, number)

    def restore(self, records: Iterable[tuple[str, int]]) -> None:
        """What was in use before a restart. A number that two claim stays with the first."""
        for sandbox, number in records:
            if self._taken.setdefault(number, sandbox) == sandbox:
                self._numbers[sandbox] = number
        top = max(self._taken, default=GATEWAY) + 1
        self._fresh = max(self._fresh, top)
        self._freed = [n for n in range(GATEWAY + 1, self._fresh) if n not in self._taken]

    def __contains__(self, sandbox: str) -> bool:
        return sandbox in self._numbers
