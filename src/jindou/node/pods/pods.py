"""The Pods bound to this node: one worker for each, fed by the API and by the runtime.

    API ── informer ──▶ Pods ──▶ Worker of a uid ──▶ runtime, network, images, volumes
    runtime ── exits ──▶      ◀── status, events, removal of the object

Order at the start: hear of exits, look at what runs, read the records, and only then take up Pods.
What belongs to no Pod is removed once the API has told of all Pods, never before. `workers.py`
holds the state diagram of one Pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from jindou.client.informers import Informer
from jindou.machine.images import ImageError
from jindou.machine.network import NetworkError
from jindou.machine.runtimes import State
from jindou.machine.volumes import VolumesError
from jindou.node import Running
from jindou.node.pods.sandbox import release_sandbox
from jindou.node.pods.starting import remove_logs
from jindou.node.pods.workers import Worker
from jindou.node.state import units
from jindou.node.state.admission import refusal
from jindou.node.state.ending import TERMINAL
from jindou.node.state.parts import Parts
from jindou.node.state.progress import Progress
from jindou.node.state.records import Record
from jindou.node.volumes import storage
from jindou.objects.errors import BadRequest, NotFound
from jindou.objects.kinds import Object

log = logging.getLogger("jindou.pods")
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
AGAIN = 5.0  # seconds before what has failed unexpectedly is taken up again
MEASURE = 10.0  # seconds between looks at the disk that a Pod with a limit uses


class Pods:
    """Implements `node.Containers`."""

    def __init__(self, parts: Parts, informer: Informer) -> None:
        self._parts = parts
        self._informer = informer
        self._workers: dict[str, Worker] = {}  # by uid
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._states: dict[str, State] = {}  # that no worker has taken up yet
        self._records: dict[str, Record] = {}
        self._halted = False

    # ------------------------------------------------------------ the node's life

    async def start(self) -> None:
        """Look at what runs, then follow the API. The informer has to be run by the caller."""
        self._begin(self._follow_exits(), "following exits")
        await asyncio.sleep(0)
        self._states = {**await self._parts.runtime.observe(), **self._states}
        self._records = self._parts.records.all()
        self._informer.on_change(self._changed)
        self._begin(self._remove_leftovers(), "removing what belongs to no Pod")

    async def stop(self) -> None:
        """Leave everything running."""
        tasks = [*self._tasks.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow_exits(self) -> None:
        while True:
            try:
                async for state in self._parts.runtime.changes():
                    self._heard(state)
            except Exception:
                log.exception("exits can't be followed; looking again")
            await self._parts.clock.sleep(AGAIN)
            for state in (await self._parts.runtime.observe()).values():
                self._heard(state)

    def _heard(self, state: State) -> None:
        if state.phase != "exited":
            return
        name = units.parse_id(state.id)
        if name and (worker := self._workers.get(name.uid)):
            worker.on_exit(state)
        else:
            self._states[state.id] = state

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", task.get_name(), exc_info=error)

    # ------------------------------------------------------------ what the API says

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old
            uid = old["metadata"]["uid"]
            if worker := self._workers.get(uid):
                worker.removed()
                if uid not in self._tasks:
                    del self._workers[uid]
            return
        uid = new["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker:
            worker.update(new)
        elif not self._halted:
            self._take_up(new)

    def _take_up(self, pod: Object) -> None:
        """Make a worker; what is recorded of the Pod, and what runs of it, becomes its own."""
        uid = pod["metadata"]["uid"]
        record = self._records.pop(uid, None)
        known = record is not None or bool((pod.get("status") or {}).get("startTime"))
        refused = None if known else refusal(pod, self._active(), self._parts.allocatable)
        worker = self._workers[uid] = Worker(pod, self._parts, refused)
        if known:
            mine = [id for id in self._states if id.startswith(uid)]
            worker.adopt(record, {id: self._states.pop(id) for id in mine})
        name = f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
        task = self._tasks[uid] = asyncio.create_task(worker.run(), name=name)
        task.add_done_callback(lambda done: self._worker_ended(uid, done))
        if storage.limited(pod):
            self._begin(self._measure(worker), f"measuring the disk use of {name}")

    def _active(self) -> Iterator[Object]:
        return (worker.pod for worker in self._workers.values() if not worker.over)

    def _worker_ended(self, uid: str, task: asyncio.Task[None]) -> None:
        """An object that finalizers keep stays known, so that it is not started again."""
        self._tasks.pop(uid, None)
        worker = self._workers[uid]
        if not task.cancelled() and (error := task.exception()):
            log.error("the worker of %s failed", task.get_name(), exc_info=error)
            self._begin(self._take_up_again(worker), f"taking up {task.get_name()} again")
        elif worker.gone:
            del self._workers[uid]

    async def _take_up_again(self, worker: Worker) -> None:
        """As after a kill of the whole node, but for one Pod only."""
        await self._parts.clock.sleep(AGAIN)
        self._states |= {
            id: state
            for id, state in (await self._parts.runtime.observe()).items()
            if id.startswith(worker.uid)
        }
        if record := self._parts.records.all().get(worker.uid):
            self._records[worker.uid] = record
        del self._workers[worker.uid]
        self._take_up(worker.pod)
        if worker.gone:
            self._workers[worker.uid].removed()

    async def _measure(self, worker: Worker) -> None:
        """Evict a Pod that uses more disk than it may."""
        parts = self._parts
        while not worker.finished.is_set():
            await parts.clock.sleep(MEASURE)
            layers: dict[str, int] = {}
            for held in list(worker.progress.values()):
                if held.phase == "running":
                    logs = units.log_folder(parts.settings, worker.pod) / held.name
                    size = sum(path.stat().st_size for path in logs.glob("*"))
                    layers[held.name] = size + await parts.images.usage(held.unit)
            message = await parts.volumes.over_limit(worker.pod, layers)
            if message and not worker.ending:
                worker.evict("Evicted", message)
                return

    # ------------------------------------------------------------ leftovers

    async def _remove_leftovers(self) -> None:
        await self._informer.synced.wait()
        for id in list(self._states):
            name = units.parse_id(id)
            if name and name.uid not in self._workers:
                await self._remove_unit(id)
        for uid, record in list(self._records.items()):
            if uid not in self._workers:
                await self._forget(record)
        for sandbox in await self._parts.network.observe():
            if sandbox not in self._workers:
                await self._parts.network.detach(sandbox)

    async def _remove_unit(self, id: str) -> None:
        parts = self._parts
        log.info("removing %s: its Pod is gone", id)
        try:
            await parts.runtime.stop(id, 2.0)
            await parts.runtime.remove(id)
            await parts.images.unmount(id)
            self._states.pop(id, None)
        except (OSError, ImageError) as error:
            log.warning("%s could not be removed: %s", id, error)

    async def _forget(self, record: Record) -> None:
        meta = {"namespace": record.namespace, "name": record.name, "uid": record.uid}
        try:
            for held in record.containers.values():
                await self._parts.images.unmount(held["unit"])
            await release_sandbox(record.uid, self._parts)
        except (OSError, ImageError, NetworkError, VolumesError) as error:
            log.warning("what %s left could not be removed: %s", record.name, error)
            return
        remove_logs(self._parts, {"metadata": meta})
        self._parts.records.remove(record.uid)
        self._records.pop(record.uid, None)

    # ------------------------------------------------------------ what the endpoint asks

    def _worker(self, namespace: str, pod: str) -> Worker:
        held = self._informer.get(namespace, pod)
        worker = self._workers.get(held["metadata"]["uid"]) if held else None
        if worker is None:
            raise NotFound(f'pods "{pod}" not found', {"name": pod, "kind": "pods"})
        return worker

    def _container(self, worker: Worker, name: str) -> Progress:
        pod = worker.pod
        annotations = pod["metadata"].get("annotations") or {}
        chosen = name or annotations.get(DEFAULT_CONTAINER) or pod["spec"]["containers"][0]["name"]
        held = worker.progress.get(chosen)
        if held is None:
            raise BadRequest(f"container {chosen} is not valid for pod {pod['metadata']['name']}")
        return held

    def unit(self, namespace: str, pod: str, container: str) -> str:
        worker = self._worker(namespace, pod)
        held = self._container(worker, container)
        if held.phase != "running":
            if (worker.pod.get("status") or {}).get("phase") in TERMINAL:
                phase = worker.pod["status"]["phase"]
                raise BadRequest(
                    f"cannot exec into a container in a completed pod; current phase is {phase}"
                )
            raise NotFound(f'container not found ("{held.name}")')
        return held.unit

    def log(self, namespace: str, pod: str, container: str, previous: bool = False) -> Path:
        worker = self._worker(namespace, pod)
        held = self._container(worker, container)
        # Of a container that waits for its next start, the last attempt is the previous one.
        waits = held.phase == "exited" and held.waiting is not None and not held.done
        attempt = held.attempt - 1 if previous and not waits else held.attempt
        if previous and attempt < 0:
            raise BadRequest(
                f'previous terminated container "{held.name}" in pod "{pod}" not found'
            )
        if attempt < 0:
            reason = held.waiting.reason if held.waiting else "ContainerCreating"
            raise BadRequest(
                f'container "{held.name}" in pod "{pod}" is waiting to start: {_words(held, reason)}'
            )
        return units.log_path(self._parts.settings, worker.pod, held.name, attempt)

    def network(self, namespace: str, pod: str) -> Path | None:
        worker = self._worker(namespace, pod)
        if worker.pod["spec"].get("hostNetwork"):
            return None
        if worker.sandbox is None:
            raise BadRequest(f'unable to do port forwarding: pod "{pod}" is not running')
        return worker.sandbox.namespaces.get("network")

    async def stop_all(self) -> int:
        self._halted = True
        running = len(self.statistics())
        workers = [worker for worker in self._workers.values() if not worker.gone]
        for worker in workers:
            worker.halt()
        await asyncio.gather(*(worker.finished.wait() for worker in workers))
        return running

    def statistics(self) -> list[Running]:
        return [
            Running(
                worker.pod["metadata"]["namespace"], worker.pod["metadata"]["name"],
                uid, held.name, held.unit, held.began,
            )
            for uid, worker in self._workers.items()
            for held in worker.progress.values()
            if held.phase == "running"
        ]  # fmt: skip

    def logs(self) -> dict[str, Path]:
        """Of every running unit."""
        return {
            held.unit: units.log_path(self._parts.settings, worker.pod, held.name, held.attempt)
            for worker in self._workers.values()
            for held in worker.progress.values()
            if held.phase == "running"
        }

    def images_in_use(self) -> set[str]:
        """The digests of images that containers have, or had last: they are not to be collected."""
        return {
            held.image_id.rpartition("@")[2]
            for worker in self._workers.values()
            if not worker.over
            for held in worker.progress.values()
            if held.image_id
        }


def _words(held: Progress, reason: str) -> str:
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName"):
        return "trying and failing to pull image" if reason != "InvalidImageName" else reason
    return reason
