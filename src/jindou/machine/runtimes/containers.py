"""Containers by crun or runc, each with a conmon: the driver that real machines use.

    no bundle -> bundle (the intent) -> record (created, its pid known) -> no exec.fifo (it runs)
              -> exit file (it ended) -> nothing (removed)

We may be killed at any arrow. A new process adopts what runs, learns from the exit files what ended
meanwhile, and kills and removes what was begun but never ran. Nothing is decided from memory that
the folders do not also say. Every call may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from jindou.machine.linux import processes
from jindou.machine.linux.cgroups import Cgroups
from jindou.machine.runtimes import (
    Session,
    StartFailed,
    State,
    Unit,
    Usage,
    bundle,
    conmon,
    filters,
    host,
    probe,
    removal,
    seccomp,
)  # fmt: skip
from jindou.machine.runtimes.executions import Executor
from jindou.machine.runtimes.exits import Supervised, Supervisor
from jindou.machine.runtimes.folders import (
    Folders,
    Record,
    birth,
    read_record,
    write_record,
)  # fmt: skip
from jindou.machine.runtimes.sessions import Attachment
from jindou.machine.runtimes.signals import signal_number
from jindou.settings import Settings

AT_ONCE = 4  # starts side by side: more only compete for the processors


class ContainerRuntime:
    """One per process; `runtime` overrides what the probe finds (crun, runc)."""

    def __init__(
        self, settings: Settings, *, runtime: str = "", cgroups: Cgroups | None = None
    ) -> None:
        self.folders = Folders(Path(settings.run))
        self.cgroups = cgroups or Cgroups()
        self._settings = settings
        self._chosen = runtime
        self._host = host.facts(self.cgroups)
        self._filters: dict[object, bundle.Filter] = {}
        self._paths: dict[str, str] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._queues: list[asyncio.Queue[State]] = []
        self._opening: asyncio.Task[None] | None = None
        self._supervisor: Supervisor | None = None
        self._executor: Executor | None = None
        self._hastening: asyncio.Future[None] | None = None

    # ------------------------------------------------------------ adoption

    async def _open(self) -> Supervisor:
        """Once: watch for exits first, then look what is there, so that nothing falls between."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._adopt())
        try:
            await asyncio.shield(self._opening)
        except OSError:
            self.close()  # the next call tries again
            raise
        assert self._supervisor
        return self._supervisor

    async def _adopt(self) -> None:
        self.folders.make()
        self._supervisor = supervisor = Supervisor(self.folders, self.cgroups, self._tell)
        self._executor = Executor(self.folders)
        for path in self.folders.execs.iterdir():
            path.unlink(missing_ok=True)
        leftovers = self._names()
        for path in self.folders.records.iterdir():
            record = None if path.name.startswith(".") else read_record(path)
            if record is None:  # or half written: what it tells of was never released
                path.unlink(missing_ok=True)
            elif not (self.folders.state(record.runtime, record.id) / "exec.fifo").exists():
                supervisor.add(record)
        leftovers -= supervisor.units.keys()
        await removal.end_strays(self.folders, leftovers)
        await asyncio.gather(*(self._purge(unit) for unit in sorted(leftovers)))

    def _names(self) -> set[str]:
        """Of all units that have left anything. conmon writes ID.XXXXXX before an exit file ID."""
        names = {path.name for path in self.folders.bundles.iterdir()}
        for states in self.folders.states.iterdir():
            names |= {path.name for path in states.iterdir()}
        for path in self.folders.exits.iterdir():
            known = (self.folders.records / name for name in (path.name, path.stem))
            if not any(record.exists() for record in known):
                names.add(path.name)
        return names

    def close(self) -> None:
        """Let go of watches; what runs goes on running."""
        if self._supervisor:
            self._supervisor.close()
        if self._executor:
            self._executor.close()
        self._opening = self._supervisor = self._executor = None

    # ------------------------------------------------------------ start

    def expect(self) -> None:
        if self._hastening is None or self._hastening.done():
            loop = asyncio.get_running_loop()
            self._hastening = loop.run_in_executor(None, self.cgroups.hasten)

    async def start(self, unit: Unit) -> State:
        supervisor = await self._open()
        if not unit.id or "/" in unit.id or unit.id.startswith((".", "-")):
            raise StartFailed(f"{unit.id!r} can't name a container")
        if any("\0" in text for text in (unit.id, unit.cwd, str(unit.log), *unit.argv, *unit.env)):
            raise StartFailed("a NUL character can't be part of what a program is started with")
        async with self._lock(unit.id):
            if known := supervisor.units.get(unit.id):
                return known.state
            async with self._slots:
                try:
                    return await self._start(unit, supervisor)
                except BaseException as error:
                    supervisor.forget(unit.id)
                    finished = isinstance(error, StartFailed)
                    await asyncio.shield(self._give_up(unit, finished))
                    raise

    async def _give_up(self, unit: Unit, finished: bool) -> None:
        """After a failure nobody works on the container any more; after a cancellation, somebody."""
        if not finished:
            await removal.end_strays(self.folders, [unit.id])
        await self._purge(unit.id, self._group(unit))

    async def _start(self, unit: Unit, supervisor: Supervisor) -> State:
        name = unit.runtime or self.runtime
        launch = self._launch(unit, name)
        try:
            self._write_bundle(unit, name, launch.bundle)
            unit.log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartFailed(f"preparing container {unit.id}: {error}") from error
        pid = await conmon.create(launch)
        keeper = conmon.pid_of(launch.bundle)
        self._set_apart(keeper)
        record = Record(
            unit.id, name, pid, birth(pid), keeper, birth(keeper), time.time(),
            self._group(unit), str(unit.log), unit.stop_signal, unit.terminal, unit.stdin,
        )  # fmt: skip
        write_record(self.folders.records, record)
        known = supervisor.add(record)
        if not await conmon.release(name, self.folders.state(name, unit.id)):
            done = await processes.run(launch.runtime, f"--root={launch.root}", "start", unit.id)
            if done.code:
                raise StartFailed(conmon.sentence(done.stderr.decode(errors="replace")))
        return known.state

    def _set_apart(self, keeper: int) -> None:
        """Out of our own group, as whoever ends all that is in it must not end the keepers of
        containers. In version 1 that would cost milliseconds for each hierarchy."""
        if keeper and self.cgroups.version == "v2":
            with contextlib.suppress(OSError):  # it may have ended
                self.cgroups.move(keeper, f"{self._settings.name}/keepers")

    def _launch(self, unit: Unit, name: str) -> conmon.Launch:
        return conmon.Launch(
            unit.id, self._path(name), self.folders.states / name, self.folders.bundles / unit.id,
            self.folders.exits, unit.log, unit.terminal, unit.stdin, unit.stdin_once,
        )  # fmt: skip

    def _write_bundle(self, unit: Unit, name: str, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        (self.folders.exits / unit.id).unlink(missing_ok=True)
        document = bundle.config(
            unit,
            self._host,
            self.cgroups.full(self._group(unit)),
            self._filter(unit, name),
            host.devices(unit),
        )
        (place / "config.json").write_bytes(msgspec.json.encode(document))

    def _group(self, unit: Unit) -> str:
        return unit.cgroup.strip("/") or f"{self._settings.name}/{unit.id}"

    def _filter(self, unit: Unit, name: str) -> bundle.Filter:
        """The unit's system call filter; the default is worked out once per set of capabilities."""
        if not unit.seccomp or unit.privileged:
            return bundle.Filter()
        capabilities = tuple(bundle.granted_capabilities(unit, self._host))
        if unit.seccomp != "default":
            profile = seccomp.load(Path(unit.seccomp), capabilities)
            return self._compile(profile, name)
        key = (name, capabilities)
        if key not in self._filters:
            self._filters[key] = self._compile(seccomp.default_profile(capabilities), name)
        return self._filters[key]

    def _compile(self, profile: seccomp.Profile, name: str) -> bundle.Filter:
        """Only crun takes it compiled; the plain profile stays beside it, so that a crun which
        does not know the annotation applies that one."""
        if name != "crun":
            return bundle.Filter(profile)
        return bundle.Filter(
            profile, filters.compiled(profile, Path(self._settings.data) / "seccomp")
        )

    @property
    def runtime(self) -> str:
        if not self._chosen:
            verdict = probe.choose(self._settings)
            if verdict is None:
                raise StartFailed("no container runtime works on this machine: see jindou doctor")
            self._chosen = verdict.name
        return self._chosen

    @property
    def version(self) -> str:
        """Of the runtime that is used."""
        verdicts = probe.probe(self._settings)
        return next((one.version for one in verdicts if one.name == self.runtime), "")

    def _path(self, name: str) -> str:
        if name not in self._paths:
            found = shutil.which(name, path=processes.PATH)
            if not found:
                raise StartFailed(f"the container runtime {name} is not installed")
            self._paths[name] = found
        return self._paths[name]

    def _lock(self, id: str) -> asyncio.Lock:
        """Kept as long as somebody holds or awaits it."""
        lock = self._locks.get(id) or asyncio.Lock()
        self._locks[id] = lock
        return lock

    # ------------------------------------------------------------ end

    async def signal(self, id: str, signal: int) -> None:
        known = (await self._open()).units.get(id)
        if known and not known.ended.is_set():
            known.signal(signal)

    async def stop(self, id: str, grace: float) -> None:
        known = (await self._open()).units.get(id)
        if known is None or known.ended.is_set():
            return
        if grace > 0:
            known.signal(signal_number(known.record.stop_signal))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await known.ended.wait()
        await self._kill(known)

    async def _kill(self, known: Supervised) -> None:
        if not known.ended.is_set():
            known.signal(signal.SIGKILL)
            self.cgroups.kill(known.record.cgroup)
            await known.ended.wait()

    async def remove(self, id: str) -> None:
        supervisor = await self._open()
        async with self._lock(id):
            if known := supervisor.units.get(id):
                await self._kill(known)
                await self._purge(id, known.record.cgroup)
            elif (self.folders.bundles / id).exists():
                await self._purge(id)
            supervisor.forget(id)

    async def _purge(self, id: str, cgroup: str = "") -> None:
        await removal.purge(self.folders, self.cgroups, id, cgroup)

    # ------------------------------------------------------------ look

    async def observe(self) -> Mapping[str, State]:
        supervisor = await self._open()
        return {id: known.state for id, known in supervisor.units.items()}

    def changes(self) -> AsyncIterator[State]:
        queue: asyncio.Queue[State] = asyncio.Queue()
        self._queues.append(queue)
        return self._changes(queue)

    async def _changes(self, queue: asyncio.Queue[State]) -> AsyncIterator[State]:
        try:
            await self._open()
            while True:
                yield await queue.get()
        finally:
            self._queues.remove(queue)

    def _tell(self, state: State) -> None:
        for queue in self._queues:
            queue.put_nowait(state)

    async def usage(self, id: str) -> Usage:
        stats = self.cgroups.stats((await self._running(id)).record.cgroup)
        return Usage(stats.cpu, stats.memory, stats.working_set, stats.pids)

    async def reopen_log(self, id: str) -> None:
        known = (await self._open()).units.get(id)
        if known is None or not conmon.reopen_log(self.folders.bundles / id):
            return  # it has ended: nothing more will be written
        for _ in range(200):
            if known.ended.is_set() or os.path.exists(known.record.log):
                return
            await asyncio.sleep(0.005)

    # ------------------------------------------------------------ streams

    async def execute(
        self,
        id: str,
        argv: tuple[str, ...],
        *,
        terminal: bool = False,
        stdin: bool = False,
        env: tuple[str, ...] = (),
    ) -> Session:
        record = (await self._running(id)).record
        document = msgspec.json.decode((self.folders.bundles / id / "config.json").read_bytes())
        process = bundle.exec_process(document["process"], argv, env, terminal)
        state = f"--root={self.folders.states / record.runtime}"
        assert self._executor
        return await self._executor.start(
            lambda *options: (self._path(record.runtime), state, "exec", *options, id),
            process,
            terminal=terminal,
            stdin=stdin,
            console=record.runtime == "crun",
        )

    async def attach(self, id: str) -> Session:
        record = (await self._running(id)).record
        place = self.folders.bundles / id
        try:
            line = await conmon.connect(place)
        except OSError as error:
            raise StartFailed(f"container {id} can't be attached to: {error}") from error
        return Attachment(line, place, record.stdin, record.terminal)

    async def _running(self, id: str) -> Supervised:
        known = (await self._open()).units.get(id)
        if known is None:
            raise StartFailed(f"there is no container {id}")
        if known.ended.is_set():
            raise StartFailed(f"container {id} is not running")
        return known
