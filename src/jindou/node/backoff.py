"""How long to wait before the next try, as the kubelet does it.

The first try after a failure is immediate for a container that ran, delayed for a pull; each
further one doubles the delay, and a long quiet time forgets it.
"""

from __future__ import annotations

FIRST, LONGEST = 10.0, 300.0


class BackOff:
    __slots__ = ("_delay", "_first", "_longest", "_tried")

    def __init__(self, first: float = FIRST, longest: float = LONGEST) -> None:
        self._first, self._longest = first, longest
        self._delay = 0.0
        self._tried = 0.0

    def next_after(self, failed: float) -> float:
        """When the next try may be made, given the time of the failure."""
        return failed if self._forgotten(failed) else failed + self._delay

    def tried(self, failed: float, now: float) -> float:
        """Count a try made now; returns the delay that a further failure brings."""
        self._delay = (
            self._first if self._forgotten(failed) else min(self._delay * 2, self._longest)
        )
        self._tried = now
        return self._delay

    @property
    def delay(self) -> float:
        return self._delay

    def _forgotten(self, failed: float) -> bool:
        return not self._delay or failed - self._tried > 2 * self._longest
