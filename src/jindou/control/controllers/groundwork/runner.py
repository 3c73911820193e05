"""Runs controllers: shared informers, a queue for each, and nothing that one failure can stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.client.retry import Backoff
from jindou.control.controllers import CanFollow, CanRun, Controller, Wake
from jindou.control.controllers.groundwork.owners import controller_of
from jindou.control.controllers.groundwork.queue import Counters, Queue
from jindou.objects.kinds import Kind, Object, Ref, ref_of

log = logging.getLogger("jindou.controllers")


class Runner:
    """`run` until cancelled. A controller may set `workers` and `pace`, as `Queue` means them."""

    def __init__(
        self,
        client: Client,
        controllers: Sequence[Controller | CanRun],
        informers: Informers | None = None,
    ) -> None:
        self.informers = informers or Informers(client)
        self.synced = asyncio.Event()
        self._client = client
        self._queues: dict[str, Queue[Ref]] = {}
        self._loops: list[CanRun] = []
        for controller in controllers:
            self._add(controller)

    def _add(self, controller: Controller | CanRun) -> None:
        wake: Wake = _nobody
        if isinstance(controller, Controller):
            queue = Queue(
                _name(controller),
                partial(self._reconcile, controller),
                workers=getattr(controller, "workers", 8),
                pace=getattr(controller, "pace", 0.0),
            )
            self._queues[queue.name] = queue
            wake = queue.add
        if isinstance(controller, CanFollow):
            controller.follow(self.informers, wake)
        if isinstance(controller, Controller):
            kind = controller.kind
            self.informers.of(kind).on_change(partial(_wake_itself, queue, kind))
            for owned in controller.owns:
                self.informers.of(owned).on_change(partial(_wake_owner, queue, kind))
        if isinstance(controller, CanRun):
            self._loops.append(controller)

    async def _reconcile(self, controller: Controller, ref: Ref) -> float | None:
        return await controller.reconcile(ref, self._client)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.informers.run())
            await self.informers.wait_until_synced()
            self.synced.set()
            for loop in self._loops:
                tasks.create_task(self._run(loop))
            try:
                for queue in self._queues.values():
                    queue.start()
                await asyncio.Event().wait()
            finally:
                await asyncio.gather(*(queue.stop() for queue in self._queues.values()))

    async def _run(self, controller: CanRun) -> None:
        backoff = Backoff(0.1, 60.0)
        while True:
            try:
                await controller.run(self._client)
                return
            except Exception:
                log.exception("%s failed and is begun again", _name(controller))
            await asyncio.sleep(backoff.delay())

    @property
    def idle(self) -> bool:
        """No controller has anything to do at this moment (delayed looks aside)."""
        return all(queue.idle for queue in self._queues.values())

    def metrics(self) -> dict[str, Counters]:
        return {name: queue.counters for name, queue in self._queues.items()}

    def lines(self) -> Iterable[str]:
        """Of /metrics, under the names that people chart of work queues."""
        queues = sorted(self._queues.items())
        for name, kind, value in WORK:
            yield f"# TYPE workqueue_{name} {kind}"
            for queue, held in queues:
                yield f'workqueue_{name}{{name="{queue}"}} {value(held)}'
        yield "# TYPE workqueue_work_duration_seconds summary"
        for queue, held in queues:
            done, seconds = held.counters.done, held.counters.seconds
            yield f'workqueue_work_duration_seconds_sum{{name="{queue}"}} {seconds:.6f}'
            yield f'workqueue_work_duration_seconds_count{{name="{queue}"}} {done}'


WORK: tuple[tuple[str, str, Callable[[Queue[Ref]], int]], ...] = (
    ("adds_total", "counter", lambda queue: queue.counters.added),
    ("depth", "gauge", lambda queue: queue.depth),
    ("retries_total", "counter", lambda queue: queue.counters.failed),
)


def _name(controller: object) -> str:
    name = getattr(controller, "name", "")
    return name if isinstance(name, str) and name else type(controller).__name__


def _nobody(ref: Ref) -> None:
    """Who only runs a loop has no queue to wake."""


def _wake_itself(queue: Queue[Ref], kind: Kind, old: Object | None, new: Object | None) -> None:
    obj = new if new is not None else old
    if obj is not None:
        queue.add(ref_of(kind, obj))


def _wake_owner(queue: Queue[Ref], kind: Kind, old: Object | None, new: Object | None) -> None:
    before = controller_of(old) if old is not None else None
    after = controller_of(new) if new is not None else None
    for obj, owner in ((old, before), (new, after)):
        if obj is None or owner is None or (obj is new and owner == before):
            continue
        group = owner["apiVersion"].rpartition("/")[0]
        if owner["kind"] == kind.name and group == kind.group:
            namespace = obj["metadata"].get("namespace", "") if kind.namespaced else ""
            queue.add(Ref(kind, namespace, owner["name"]))
