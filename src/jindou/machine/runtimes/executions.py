"""Processes started inside units, by the OCI runtime's `exec`.

Their standard streams are pipes or a terminal. crun hands over the terminal that it made, through a socket; runc does that only when it
does not stay, so it gets a terminal of ours, which it copies to and from.

Sources: pty(7), ioctl_tty(2), unix(7) (SCM_RIGHTS).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import signal
import socket
import struct
import termios
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from jindou.machine.linux import processes
from jindou.machine.runtimes import StartFailed, conmon
from jindou.machine.runtimes.folders import Folders, Watch, alive, birth
from jindou.machine.runtimes.sessions import CHUNK, Waiting

PIPE_SIZE = 256 << 10
CLOSE_TIMEOUT = 2.0
SPAWN_NAMES = itertools.count(1)


class Execution(Waiting):
    """A process inside a unit, run by the OCI runtime's `exec`, which stays as its parent."""

    def __init__(
        self, runner: int, outputs: dict[int, int], input: int = -1, terminal: bool = False
    ) -> None:
        """`outputs` are our ends by stream, `input` is ours of stdin; a terminal is both."""
        super().__init__()
        self.done = asyncio.create_task(processes.wait(runner))
        self.inside = (0, 0)  # pid and start time of the process itself
        self._runner = runner
        self._outputs, self._input = outputs, input
        self._terminal = self._relayed = terminal
        self._aside: dict[int, int] = {}  # the runtime's own, while the process has a terminal
        for descriptor in {input, *outputs.values()} - {-1}:
            os.set_blocking(descriptor, False)

    def take_terminal(self, descriptor: int) -> None:
        """The process's terminal, in place of the pipes that the runtime itself writes to."""
        os.set_blocking(descriptor, False)
        self._aside = self._outputs
        self._outputs, self._input, self._terminal = {1: descriptor}, descriptor, True

    async def complaint(self) -> str:
        """What the runtime says when there is no process; with a terminal, crun says it there."""
        said = b""
        for outputs in (self._outputs, self._aside):
            self._outputs = outputs
            while part := await self.receive():
                said += part[1]
        self._aside = {}
        return conmon.sentence(said.decode(errors="replace"))

    async def receive(self) -> tuple[int, bytes] | None:
        while self._outputs and not self._left:
            for stream, descriptor in list(self._outputs.items()):
                try:
                    data = os.read(descriptor, CHUNK)
                except BlockingIOError:
                    continue
                except OSError:  # a terminal that nobody has open any more
                    data = b""
                if data:
                    return stream, data
                del self._outputs[stream]
                if descriptor != self._input:
                    os.close(descriptor)
            if self._outputs:
                await self._wait(self._outputs.values())
        return None

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._input >= 0 and not self._left:
            try:
                view = view[os.write(self._input, view) :]
            except BlockingIOError:
                await self._wait((), self._input)
            except OSError:  # it has closed its end
                return

    async def end_input(self) -> None:
        if self._input >= 0 and not self._terminal:
            os.close(self._input)
            self._input = -1

    async def resize(self, width: int, height: int) -> None:
        if self._terminal and self._input >= 0:
            _set_size(self._input, width, height)
            with contextlib.suppress(ProcessLookupError):
                if self._relayed and not self.done.done():
                    os.kill(self._runner, signal.SIGWINCH)

    async def wait(self) -> int:
        return await asyncio.shield(self.done)

    async def close(self) -> None:
        """The runtime reaps the process that is killed; it is killed itself only if it hangs."""
        if alive(*self.inside):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.inside[0], signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await asyncio.shield(self.done)
        if not self.done.done():
            os.kill(self._runner, signal.SIGKILL)
            await asyncio.shield(self.done)
        await self._leave()
        ours = {self._input, *self._outputs.values(), *self._aside.values()} - {-1}
        self._outputs.clear()
        self._aside.clear()
        for descriptor in ours:
            os.close(descriptor)
        self._input = -1


class Executor:
    """Starts processes inside units; knows from the pid file when one really runs."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._waiting: dict[str, asyncio.Event] = {}
        self._watch = Watch(folders.execs, self._found)

    def _found(self, name: str) -> None:
        if event := self._waiting.get(name):
            event.set()

    def close(self) -> None:
        self._watch.close()

    async def start(
        self, words: Callable[..., Sequence[str]], process: object, *,
        terminal: bool, stdin: bool, console: bool,
    ) -> Execution:  # fmt: skip
        """`words` makes the command line from more options of the runtime's `exec`; `console` says
        whether the runtime hands over its terminal while it stays."""
        name = f"{os.getpid()}-{next(SPAWN_NAMES)}"
        described = self._folders.execs / f"{name}.json"
        pid_file = self._folders.execs / f"{name}.pid"
        started = self._waiting[pid_file.name] = asyncio.Event()
        options = ["--process", str(described), "--pid-file", str(pid_file)]
        try:
            described.write_bytes(msgspec.json.encode(process))
            if terminal and console:
                session = await self._with_console(words, options, name)
            elif terminal:
                session = _spawn_terminal(words(*options))
            else:
                session = _spawn_pipes(words(*options), stdin)
            try:
                await self._wait_until_running(session, started, pid_file)
            except BaseException:
                await session.close()
                raise
            return session
        finally:
            del self._waiting[pid_file.name]
            described.unlink(missing_ok=True)
            pid_file.unlink(missing_ok=True)

    async def _with_console(
        self, words: Callable[..., Sequence[str]], options: list[str], name: str
    ) -> Execution:
        """The path goes through /proc on both sides: a socket's may have 107 bytes only."""
        folder = os.open(self._folders.execs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            path = f"/proc/{os.getpid()}/fd/{folder}/{name}.sock"
            listener.bind(path)
            listener.listen(1)
            listener.setblocking(False)
            session = _spawn_pipes(words("--console-socket", path, *options), False)
            try:
                if (terminal := await _receive_terminal(listener, session.done)) >= 0:
                    session.take_terminal(terminal)
            except BaseException:
                await session.close()
                raise
            return session
        finally:
            listener.close()
            os.close(folder)
            (self._folders.execs / f"{name}.sock").unlink(missing_ok=True)

    async def _wait_until_running(
        self, session: Execution, started: asyncio.Event, pid_file: Path
    ) -> None:
        runs = asyncio.create_task(started.wait())
        try:
            await asyncio.wait((runs, session.done), return_when=asyncio.FIRST_COMPLETED)
        finally:
            runs.cancel()
        pid = _read_pid(pid_file)
        if pid:
            session.inside = (pid, birth(pid))
            return
        raise StartFailed(await session.complaint())


async def _receive_terminal(listener: socket.socket, done: asyncio.Task[int]) -> int:
    """The descriptor that the runtime sends; -1 if it ended before."""
    loop = asyncio.get_running_loop()
    accepting = asyncio.create_task(loop.sock_accept(listener))
    try:
        await asyncio.wait((accepting, done), return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            return -1
        line, _ = await accepting
    finally:
        accepting.cancel()
    with line:
        await processes.readable(line.fileno())
        _, descriptors, _, _ = socket.recv_fds(line, 4096, 1)
    return descriptors[0] if descriptors else -1


def _read_pid(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _spawn_pipes(argv: Sequence[str], stdin: bool) -> Execution:
    ends: list[int] = []
    try:
        for _ in range(3 if stdin else 2):
            ends += os.pipe2(os.O_CLOEXEC)
            with contextlib.suppress(OSError):  # the user's share of large pipes may be used up
                fcntl.fcntl(ends[-1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        files = {1: ends[1], 2: ends[3]} | ({0: ends[4]} if stdin else {})
        pid = _spawn(argv, files)
    except BaseException:
        for end in ends:
            os.close(end)
        raise
    for end in files.values():
        os.close(end)
    return Execution(pid, {1: ends[0], 2: ends[2]}, ends[5] if stdin else -1)


def _spawn_terminal(argv: Sequence[str]) -> Execution:
    ours, theirs = os.openpty()
    try:
        pid = _spawn(argv, {0: theirs, 1: theirs, 2: theirs})
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Execution(pid, {1: ours}, ours, terminal=True)


def _spawn(argv: Sequence[str], files: dict[int, int]) -> int:
    try:
        return processes.spawn(argv, files=files, env={"PATH": processes.PATH})
    except FileNotFoundError as error:
        raise StartFailed(f"the container runtime {argv[0]} is gone") from error


def _set_size(descriptor: int, width: int, height: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
