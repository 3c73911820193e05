"""An event loop of virtual time, whose tasks come in any order that a seed chooses.

    simulated(seed, lambda loop: scenario())    # an hour of timers passes at once

What may be otherwise in a real run is otherwise here: which task goes on first when many can, how
long a disk or a network takes (`loop.chance`). What asyncio promises stays: callbacks that are no
tasks are called in the order in which they were asked for. Work for a thread is done in the loop,
after a virtual while, one piece after another for each executor. Where everybody waits for
somebody else the run ends in `Stuck`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

HELD_BACK = 0.3  # the part of the tasks that have to wait for the next round
SLOW = 0.02  # virtual seconds that work in a thread takes at most


class Stuck(AssertionError):
    """Nothing is ready, and no timer is set."""


class SimLoop(asyncio.SelectorEventLoop):
    _ready: Any
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.moved = 0  # tasks that came in another order than asked for
        self._virtual = 0.0
        self._busy_until: dict[Any, float] = {}
        super().__init__()

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            super()._run_once()  # drops those, and runs nothing else that could not run now
            if self._ready or self._stopping:
                return
        if not self._ready and not self._stopping:
            if not self._scheduled:
                raise Stuck("everybody waits for somebody else")
            self._virtual = max(self._virtual, self._scheduled[0]._when)
        later = self._shuffle()
        super()._run_once()
        self._ready.extend(later)

    def _shuffle(self) -> list[Any]:
        """Another order for the steps of tasks; returns those that are held back."""
        handles = list(self._ready)
        places = [n for n, handle in enumerate(handles) if _is_task(handle)]
        if len(places) < 2:
            return []
        order = places[:]
        self.chance.shuffle(order)
        self.moved += order != places
        held = {n for n in order[1:] if self.chance.random() < HELD_BACK}
        moved = dict(zip(places, order))
        self._ready.clear()
        self._ready.extend(
            handles[moved.get(n, n)] for n in range(len(handles)) if moved.get(n, n) not in held
        )
        return [handles[n] for n in sorted(held)]

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        future = self.create_future()
        began = max(self._virtual, self._busy_until.get(executor, 0.0))
        done = began + self.chance.random() * SLOW
        self._busy_until[executor] = done

        def work() -> None:
            try:
                result = func(*args)
            except BaseException as error:
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(result)

        self.call_at(done, work)
        return future


def _is_task(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


def simulated(seed: int, scenario: Callable[[SimLoop], Coroutine[Any, Any, Any]]) -> Any:
    """What it returns. Failures of tasks that nobody awaits, and of callbacks, are the run's."""
    loop = SimLoop(seed)
    odd: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: odd.append(context))
    try:
        result = loop.run_until_complete(scenario(loop))
        _end(loop)
    except BaseException as error:
        error.add_note(f"SEED={seed}")
        raise
    finally:
        loop.close()
    assert not odd, f"SEED={seed}: {odd[0]}"
    return result


def _end(loop: SimLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
