"""The variables of one evaluation, those that are worked out when they are asked for, and what it may still cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from jindou.control.api.expressions.language.values import CelError, CostExceeded

GLANCE = 4096  # cost between two looks at the clock
LISTED, MAPPED, STRUCTURED = 10, 30, 40  # what it costs to make a list, a map, a message


class Frame:
    """The variables of one evaluation, and what it may still cost."""

    __slots__ = ("ends", "glance", "left", "variables")

    def __init__(self, variables: dict[str, Any], left: int, ends: float) -> None:
        self.variables = variables
        self.left = left
        self.ends = ends
        self.glance = left - GLANCE

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < self.glance:
            self.glance = self.left - GLANCE
            if self.left < 0 or time.monotonic() > self.ends:
                raise CostExceeded("operation cancelled: actual cost limit exceeded")


Run = Callable[[Frame], Any]


class Failed:
    """What a macro has gathered so far, when that is an error."""

    __slots__ = ("error",)

    def __init__(self, error: CelError) -> None:
        self.error = error


class Lazy:
    """A variable that is worked out when it is asked for, once; an error is told each time."""

    __slots__ = ("_error", "_value", "_work")

    def __init__(self, work: Callable[[Frame], Any]) -> None:
        self._work: Callable[[Frame], Any] | None = work
        self._value: Any = None
        self._error: CelError | None = None

    def get(self, frame: Frame) -> Any:
        if self._work is not None:
            work, self._work = self._work, None
            try:
                self._value = work(frame)
            except CelError as error:
                self._error = error
            except RecursionError:
                self._error = CelError("the expression is nested too deeply")
        if self._error is not None:
            raise self._error
        return self._value


class Lazies(dict[str, Lazy]):
    """`variables` of a policy."""
