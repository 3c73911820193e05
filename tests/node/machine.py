"""A node on a machine that the test steers: real API, real worker, containers that do as told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
from pathlib import Path

from jindou.client.informers import Informer
from jindou.machine.images import Image
from jindou.machine.network.pretend import PretendNetwork
from jindou.machine.runtimes import StartFailed, State
from jindou.machine.volumes.pretend import PretendVolumes
from jindou.node.clock import Clock
from jindou.node.events import Events
from jindou.node.images import Puller
from jindou.node.pods.pods import Pods
from jindou.node.references import References
from jindou.node.state.parts import Parts
from jindou.node.state.records import Records
from jindou.node.volumes.volumes import Volumes
from jindou.objects.kinds import EVENT, POD, Ref
from jindou.settings import Settings

TURNS = 50  # of the loop, in which everything that can happen without time has happened


class Still(Clock):
    """Time that passes only when the test says so."""

    def __init__(self) -> None:
        self.at = 1000.0
        self._sleepers = []
        self._number = itertools.count()

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1_800_000_000.0 + self.at

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        entry = (self.at + seconds, next(self._number), future)
        self._sleepers.append(entry)
        try:
            await future
        finally:
            with contextlib.suppress(ValueError):
                self._sleepers.remove(entry)

    async def wait(self, event, seconds) -> bool:
        if seconds is None or event.is_set():
            return await event.wait()
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        return event.is_set()

    async def pass_by(self, seconds: float) -> None:
        """Everybody wakes in the order of their times."""
        end = self.at + seconds
        await turns()
        while due := sorted(entry[:2] for entry in self._sleepers if entry[0] <= end):
            first = next(entry for entry in self._sleepers if entry[:2] == due[0])
            self.at = max(self.at, first[0])
            self._sleepers.remove(first)
            if not first[2].done():
                first[2].set_result(None)
            await turns()
        self.at = end
        await turns()


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Session:
    def __init__(self, code: int, output: bytes) -> None:
        self._code, self._output = code, [(1, output)] if output else []

    async def receive(self):
        return self._output.pop() if self._output else None

    async def wait(self) -> int:
        return self._code

    async def close(self) -> None:
        pass


class Containers:
    """Implements `Runtime`. It outlives the node, as containers do."""

    def __init__(self, clock) -> None:
        self.units, self.states = {}, {}
        self.clock = clock
        self.refuse = ""  # why the next start fails
        self.stubborn = False  # containers do not end by the stop signal
        self.answer = (0, b"")  # of commands that are run inside
        self.asked = []
        self.stopped = []  # (unit, grace)
        self._queues = []
        self._pids = itertools.count(100)

    async def start(self, unit) -> State:
        if self.refuse:
            raise StartFailed(self.refuse)
        assert unit.id not in self.units, "started twice"
        unit.log.parent.mkdir(parents=True, exist_ok=True)
        unit.log.write_text("")
        self.units[unit.id] = unit
        state = State(unit.id, "running", pid=next(self._pids), started=self.clock.wall())
        self.states[unit.id] = state
        return state

    def exit(self, id: str, code: int, **more) -> None:
        state = State(id, "exited", code, finished=self.clock.wall(), **more)
        self.states[id] = state
        for queue in self._queues:
            queue.put_nowait(state)

    async def signal(self, id: str, signal: int) -> None: ...

    async def stop(self, id: str, grace: float) -> None:
        if id not in self.states or self.states[id].phase == "exited":
            return
        self.stopped.append((id, grace))
        if self.stubborn:
            await self.clock.sleep(grace)
            self.exit(id, 137)
        else:
            self.exit(id, 143)

    async def remove(self, id: str) -> None:
        self.units.pop(id, None)
        self.states.pop(id, None)

    async def observe(self):
        return dict(self.states)

    async def changes(self):
        queue = asyncio.Queue()
        self._queues.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.remove(queue)

    async def execute(self, id: str, argv, **more) -> Session:
        self.asked.append((id, argv))
        return Session(*self.answer)


class Store:
    """Implements `Images`: every image is there but those called missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.mounted = set()
        self.config = {"Cmd": ["/bin/sh"], "Env": ["A=image"]}

    def find(self, reference: str):
        if "missing" in reference:
            return None
        return Image("sha256:" + "0" * 64, (reference,), {"config": self.config}, 1000)

    def all(self):
        return []

    async def pull(self, reference: str, credentials=()):
        from jindou.machine.images import ImageError

        raise ImageError(f"{reference}: not found", missing=True)

    async def mount(self, digest: str, unit: str) -> Path:
        self.mounted.add(unit)
        return self._folder

    async def unmount(self, unit: str) -> None:
        self.mounted.discard(unit)

    async def usage(self, unit: str) -> int:
        return 0

    async def collect(self, in_use) -> int:
        return 0


class Folders(PretendVolumes):
    """Without threads: the test counts turns of the loop."""

    async def remove(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)


class Bench:
    """One API and one machine; nodes come and go."""

    def __init__(self, folder: Path, client) -> None:
        self.client = client
        self.clock = Still()
        self.settings = Settings(
            data=str(folder / "data"),
            run=str(folder / "run"),
            logs=str(folder / "logs"),
            pretend=True,
        )
        self.runtime = Containers(self.clock)
        self.network = PretendNetwork(self.settings)
        self.images = Store(folder)
        self.pods = None
        self._tasks = []

    async def start_node(self, **more) -> None:
        await self.network.open()
        references = References(self.client)
        events = Events(self.client, "here", self.clock)
        puller = Puller(self.images, references, events.record, clock=self.clock)
        driver = Folders()

        async def environment(pod, container, addresses, volumes, report):
            return [(held["name"], held.get("value", "")) for held in container.get("env") or ()]

        self.parts = Parts(
            settings=self.settings, client=self.client, runtime=self.runtime,
            network=self.network, images=self.images, puller=puller,
            volumes=Volumes(self.settings, driver, references, self.client), folders=driver,
            environment=environment, resolve_user=lambda root, user: (int(user or 0), 0, ()),
            resolv_conf=lambda pod: "nameserver 10.0.0.1\n", events=events,
            records=Records(self.settings), clock=self.clock, host_addresses=("10.0.0.9",), **more,
        )  # fmt: skip
        informer = Informer(self.client, POD, fields="spec.nodeName=here")
        self.references = references
        self.pods = Pods(self.parts, informer)
        await self.pods.start()
        self._tasks = [
            asyncio.create_task(informer.run()),
            asyncio.create_task(events.run()),
        ]
        await informer.synced.wait()
        await turns()

    async def kill_node(self) -> None:
        """As kill -9 leaves it: whatever is going on ends in the middle."""
        await self.pods.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.references.close()

    def reboot(self) -> None:
        self.runtime.units.clear()
        self.runtime.states.clear()
        shutil.rmtree(self.settings.run)

    async def create(self, name: str, **spec):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeName": "here",
                "automountServiceAccountToken": False,
                "containers": [container("main")],
                **spec,
            },
        }
        made = await self.client.create(POD, pod)
        await turns()
        return made

    async def pod(self, name: str):
        return await self.client.get(Ref(POD, "default", name))

    async def phase(self, name: str) -> str:
        return (await self.pod(name))["status"]["phase"]

    async def events(self, name: str):
        found = (await self.client.find(EVENT, "default")).items
        return [
            (event["reason"], event["message"])
            for event in found
            if event["involvedObject"]["name"] == name
        ]

    def running(self, name: str = ""):
        return [
            id
            for id, state in self.runtime.states.items()
            if state.phase == "running" and f"-{name}" in id
        ]


def container(name: str, **more):
    return {"name": name, "image": "busybox:1", **more}


def bench(test):
    """The test gets a bench whose node runs, in a loop of its own."""
    import functools

    @functools.wraps(test)
    def run(tmp_path):
        async def main():
            async with cloud(tmp_path) as client:
                held = Bench(tmp_path, client)
                await held.start_node()
                try:
                    await test(held)
                finally:
                    await held.kill_node()

        asyncio.run(main())

    del run.__wrapped__
    return run


@contextlib.asynccontextmanager
async def cloud(folder: Path):
    from jindou.control.api.access.tokens import Tokens
    from jindou.control.api.server import ApiServer
    from jindou.control.store.memory import MemoryStore

    settings = Settings()
    api = ApiServer(MemoryStore(), settings, Tokens(folder / "sa.key", settings.cluster_domain))
    await api.start()
    client = api.local()
    from jindou.objects.kinds import SERVICE_ACCOUNT

    await client.create(SERVICE_ACCOUNT, {"metadata": {"name": "default", "namespace": "default"}})
    try:
        yield client
    finally:
        api.close()
