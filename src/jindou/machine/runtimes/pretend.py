"""Units that are only said to run: for laptops without root, for demos, and for most tests.

What a unit does follows from its annotations, else from its arguments as far as `acting` knows
them. All of it is a function of its record and the clock, so a new process finds the same units in
the same states. Annotations:

    pretend/run-for: 10s         how long it runs
    pretend/exit-code: "7"       how it ends
    pretend/start-error: text    it can't be started
    pretend/stop-after: 3s       how long it takes to obey the stop signal
    pretend/log: text            written at the start, after what its arguments write
    pretend/oom-killed: "true"   it ends for want of memory
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from jindou.machine.runtimes import Session, StartFailed, State, Unit, Usage
from jindou.machine.runtimes.acting import FOREVER, Act, act, duration
from jindou.machine.runtimes.signals import signal_number
from jindou.settings import Settings

MEMORY = 8 << 20
NEVER = 1e12  # a Unix time that JSON can hold, as it can't hold infinity


class Role(msgspec.Struct):
    """What a unit was told to do, and since when."""

    id: str
    started: float
    log: str
    ends: float = NEVER  # Unix time
    code: int = 0
    oom_killed: bool = False
    stop_after: float = 0.0
    stop_signal: str = ""
    copies_input: bool = False


def plan_role(unit: Unit, now: float) -> tuple[Role, Act]:
    """Pure: the role of a unit that starts now, and what it writes first."""
    notes = {key: str(value) for key, value in unit.annotations.items()}
    if "pretend/start-error" in notes:
        raise StartFailed(notes["pretend/start-error"])
    done = act(unit.argv)
    if text := notes.get("pretend/log"):
        lines = tuple((1, line.encode() + b"\n") for line in text.splitlines())
        done = done._replace(output=done.output + lines)
    try:
        seconds = duration(notes["pretend/run-for"]) if "pretend/run-for" in notes else None
        stop_after = duration(notes.get("pretend/stop-after", "0"))
        code = int(notes.get("pretend/exit-code", done.code))
    except ValueError as error:
        raise StartFailed(f"an annotation under pretend/ is not a number: {error}") from error
    if seconds is None:
        ends_itself = done.known and not (done.copies_input and unit.stdin)
        seconds = done.seconds if ends_itself else FOREVER
        if seconds == FOREVER and "pretend/exit-code" in notes:
            seconds = 0.0
    oom = notes.get("pretend/oom-killed") == "true"
    role = Role(
        unit.id, now, str(unit.log), min(NEVER, now + seconds), 137 if oom else code, oom, stop_after,
        unit.stop_signal, done.copies_input,
    )  # fmt: skip
    return role, done


class PretendRuntime:
    def __init__(self, settings: Settings) -> None:
        self._folder = Path(settings.run) / "pretend"
        self._roles: dict[str, Role] = {}
        self._states: dict[str, State] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._queues: list[asyncio.Queue[State]] = []
        self._opened = False

    def _open(self) -> None:
        if self._opened:
            return
        self._opened = True
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.iterdir()):
            if path.suffix == ".json":
                self._follow(msgspec.json.decode(path.read_bytes(), type=Role), fresh=False)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    # ------------------------------------------------------------ start and end

    async def start(self, unit: Unit) -> State:
        self._open()
        if unit.id in self._states:
            return self._states[unit.id]
        role, first = plan_role(unit, time.time())
        write_log(Path(role.log), first.output)
        self._keep(role)
        running = self._follow(role, fresh=True)
        await asyncio.sleep(0)
        return running

    def _keep(self, role: Role) -> None:
        part = self._folder / f".{role.id}"
        part.write_bytes(msgspec.json.encode(role))
        part.rename(self._folder / f"{role.id}.json")

    def _follow(self, role: Role, fresh: bool) -> State:
        """The state now, and a timer for the end if it is known."""
        self._roles[role.id] = role
        state = State(role.id, "running", pid=1, started=role.started)
        self._states[role.id] = state
        self._ended.setdefault(role.id, asyncio.Event())
        if timer := self._timers.pop(role.id, None):
            timer.cancel()
        left = role.ends - time.time()
        if left <= 0 and not fresh:  # it ended while nobody looked
            self._end(role.id, tell=False)
        elif role.ends < NEVER:
            self._timers[role.id] = asyncio.get_running_loop().call_later(
                max(0.0, left), self._end, role.id
            )
        return state

    def _end(self, id: str, tell: bool = True) -> None:
        role = self._roles[id]
        self._states[id] = state = dataclasses.replace(
            self._states[id], phase="exited", code=role.code, pid=0,
            finished=min(role.ends, time.time()), oom_killed=role.oom_killed,
        )  # fmt: skip
        self._ended[id].set()
        if tell:
            for queue in self._queues:
                queue.put_nowait(state)

    def _end_at(self, id: str, moment: float, code: int) -> None:
        role = self._roles[id]
        if not self._ended[id].is_set() and moment < role.ends:
            role.ends, role.code, role.oom_killed = moment, code, False
            self._keep(role)
            self._follow(role, fresh=True)

    async def signal(self, id: str, signal: int) -> None:
        self._open()
        if id in self._roles:
            delay = 0.0 if signal == 9 else self._roles[id].stop_after
            self._end_at(id, time.time() + delay, 128 + signal)

    async def stop(self, id: str, grace: float) -> None:
        self._open()
        if id not in self._roles:
            return
        if grace > 0:
            await self.signal(id, signal_number(self._roles[id].stop_signal))
            try:
                async with asyncio.timeout(grace):
                    await self._ended[id].wait()
            except TimeoutError:
                pass
        await self.signal(id, signal.SIGKILL)
        await self._ended[id].wait()

    async def remove(self, id: str) -> None:
        await self.stop(id, 0)
        for table in (self._roles, self._states, self._ended):
            table.pop(id, None)
        self._timers.pop(id, None)
        (self._folder / f"{id}.json").unlink(missing_ok=True)

    # ------------------------------------------------------------ look

    async def observe(self) -> Mapping[str, State]:
        self._open()
        return dict(self._states)

    def changes(self) -> AsyncIterator[State]:
        queue: asyncio.Queue[State] = asyncio.Queue()
        self._queues.append(queue)
        return self._changes(queue)

    async def _changes(self, queue: asyncio.Queue[State]) -> AsyncIterator[State]:
        try:
            self._open()
            while True:
                yield await queue.get()
        finally:
            self._queues.remove(queue)

    async def usage(self, id: str) -> Usage:
        role = self._running(id)
        return Usage(0.001 * (time.time() - role.started), MEMORY, MEMORY, 1)

    async def reopen_log(self, id: str) -> None:
        self._open()
        if id in self._roles:
            write_log(Path(self._roles[id].log), ())

    def _running(self, id: str) -> Role:
        self._open()
        if id not in self._roles:
            raise StartFailed(f"there is no container {id}")
        if self._ended[id].is_set():
            raise StartFailed(f"container {id} is not running")
        return self._roles[id]

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
        self._running(id)
        done = act(argv)
        if not done.known:
            done = Act()
        return PretendSession(done, stdin and done.copies_input)

    async def attach(self, id: str) -> Session:
        role = self._running(id)
        return PretendSession(Act(), role.copies_input, self._ended[id])


class PretendSession:
    """Gives what the act writes, then what is sent to it if it copies its input."""

    def __init__(self, done: Act, copies: bool, until: asyncio.Event | None = None) -> None:
        self._act = done
        self._pieces: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        for piece in done.output:
            self._pieces.put_nowait(piece)
        self._copies = copies
        self._ended = asyncio.Event()
        self._waiting: asyncio.Task[None] | None = None
        if until is not None or not copies:
            self._waiting = asyncio.create_task(self._finish(until))

    async def _finish(self, until: asyncio.Event | None) -> None:
        if until:
            await until.wait()
        elif self._act.seconds:
            await asyncio.sleep(self._act.seconds)
        self._leave()

    def _leave(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._pieces.put_nowait(None)

    async def receive(self) -> tuple[int, bytes] | None:
        piece = await self._pieces.get()
        if piece is None:
            self._pieces.put_nowait(None)
        return piece

    async def send(self, data: bytes) -> None:
        if self._copies and not self._ended.is_set():
            self._pieces.put_nowait((1, data))

    async def end_input(self) -> None:
        if self._copies and self._waiting is None:
            self._leave()

    async def resize(self, width: int, height: int) -> None:
        pass

    async def wait(self) -> int:
        await self._ended.wait()
        return self._act.code

    async def close(self) -> None:
        if self._waiting:
            self._waiting.cancel()
        self._leave()


def write_log(path: Path, pieces: tuple[tuple[int, bytes], ...]) -> None:
    """In the CRI format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        if file.seekable() and file.name != "/dev/null":
            file.write(b"".join(_line(stream, data) for stream, data in pieces))


def _line(stream: int, data: bytes) -> bytes:
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000+00:00")
    name = "stderr" if stream == 2 else "stdout"
    return f"{stamp} {name} F ".encode() + data.rstrip(b"\n") + b"\n"
