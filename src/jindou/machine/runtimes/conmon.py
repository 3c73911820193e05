"""conmon, the small program that stays with each container: it holds its terminal, writes its log
in the CRI format and keeps its exit code, whatever becomes of us.

We start it, learn from its pipe whether the runtime could create the container, and later speak to
it through two things in the bundle: the fifo `ctl` (log rotation, window size) and the socket
`attach` (one packet, one piece of a stream). An exit code is a file of the container's name in the
exits folder. Sources: conmon(8); its behaviour, version 2.1.6.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import NamedTuple

from jindou.machine.linux import processes
from jindou.machine.runtimes import StartFailed

PACKET = 8192  # of stdin; conmon's buffer is larger, and a longer packet would be cut off there
RELEASE_TIMEOUT = 2.0
SOCKET_FOLDER = 85  # conmon makes a terminal's socket in TMPDIR; its whole path has 107 bytes
STAMP = re.compile(r"^(?:\w{4}\[\d+\] |\d{4}-\d\d-\d\dT[\d:.]+Z?:? )")
OWN_NAME = re.compile(r"^(?:runc create failed|runc run failed|exec failed): ")


class Launch(NamedTuple):
    """What one conmon is started with."""

    id: str
    runtime: str  # path of crun or runc
    root: Path  # where the runtime keeps its states
    bundle: Path
    exits: Path
    log: Path
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False


def arguments(launch: Launch) -> list[str]:
    words = [
        "conmon", "--api-version", "1", "-c", launch.id, "-u", launch.id, "-n", launch.id,
        "-r", launch.runtime, "-b", str(launch.bundle),
        "-p", str(launch.bundle / "pid"), "-P", str(launch.bundle / "conmon.pid"),
        "-l", f"k8s-file:{launch.log}", "--exit-dir", str(launch.exits),
        "--full-attach", "--no-sync-log", "--log-level", "error",
        "--runtime-arg", f"--root={launch.root}",
    ]  # fmt: skip
    if launch.terminal:
        words.append("-t")
    if launch.stdin:
        words.append("-i")
        if not launch.stdin_once:
            words.append("--leave-stdin-open")
    return words


async def create(launch: Launch) -> int:
    """Start conmon and let it create the container; the container's pid. Raises StartFailed."""
    ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    complaints = os.memfd_create("conmon", os.MFD_CLOEXEC)
    env = {"PATH": processes.PATH, "_OCI_SYNCPIPE": "3"}
    if len(str(launch.exits.parent)) < SOCKET_FOLDER:
        env["TMPDIR"] = str(launch.exits.parent)
    try:
        try:
            os.set_blocking(theirs, True)
            first = processes.spawn(arguments(launch), files={2: complaints, 3: theirs}, env=env)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            why = "is not installed" if missing else f"can't be run: {error.strerror}"
            raise StartFailed(
                f"conmon, which keeps containers' logs, {why}: see jindou doctor"
            ) from error
        finally:
            os.close(theirs)
        try:
            answer = await _line(ours)
            await processes.wait(first)
        except BaseException:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(first, signal.SIGKILL)
                os.waitpid(first, 0)  # noqa: ASYNC222 - it was killed
            raise
        said = b"" if answer else os.pread(complaints, 4096, 0)
    finally:
        os.close(ours)
        os.close(complaints)
    return read_answer(answer, said)


def read_answer(answer: bytes, said: bytes = b"") -> int:
    """The pid from conmon's line, or StartFailed with the runtime's sentence or conmon's own."""
    if not answer.strip():
        lines = said.decode(errors="replace").strip().splitlines()
        why = lines[-1].rpartition(">: ")[2] if lines else "it says nothing"
        raise StartFailed(f"conmon ended before the container was created: {why}")
    line = json.loads(answer, strict=False)
    pid = int(line.get("data", -1))
    if pid <= 0:
        raise StartFailed(sentence(str(line.get("message", ""))))
    return pid


def sentence(text: str) -> str:
    """A runtime's complaint without time stamps, levels and its own name before it."""
    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    said = lines[-1] if lines else "the runtime could not create the container"
    if match := re.search(r'level=(?:error|fatal)\s+msg="((?:[^"\\]|\\.)*)"', said):
        said = match[1].replace('\\"', '"').replace("\\\\", "\\")
    said = OWN_NAME.sub("", STAMP.sub("", said))
    if match := re.match(r"executable file [`'](.*)['`] not found in \$PATH", said):
        return f'exec: "{match[1]}": executable file not found in $PATH'
    return re.sub(r"^unable to start container process: ", "", said)


async def _line(descriptor: int) -> bytes:
    parts = b""
    while b"\n" not in parts:
        try:
            part = os.read(descriptor, 65536)
        except BlockingIOError:
            await processes.readable(descriptor)
            continue
        if not part:
            break
        parts += part
    return parts


async def release(runtime: str, state: Path) -> bool:
    """Let a created container run, as the runtime's `start` does; False where that is not possible.

    Its init waits at a fifo: crun's reads a byte from it, runc's writes one. A fifo whose other end
    has died would block us, so neither is opened that way.
    """
    fifo = state / "exec.fifo"
    mode = {"crun": os.O_WRONLY, "runc": os.O_RDONLY}.get(runtime)
    if mode is None:
        return False
    with contextlib.suppress(OSError, TimeoutError):
        descriptor = os.open(fifo, mode | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if runtime == "crun":
                os.write(descriptor, b"\0")
            else:
                async with asyncio.timeout(RELEASE_TIMEOUT):
                    await processes.readable(descriptor)
                if not os.read(descriptor, 1):
                    return False
            fifo.unlink()
        finally:
            os.close(descriptor)
        return True
    return False


def control(bundle: Path, text: str) -> bool:
    """Write a line to conmon; False when it is gone."""
    try:
        descriptor = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    return True


def resize(bundle: Path, width: int, height: int) -> bool:
    return control(bundle, f"1 {height} {width}\n")


def reopen_log(bundle: Path) -> bool:
    return control(bundle, "2 0 0\n")


async def connect(bundle: Path) -> socket.socket:
    """To the container's streams. Through /proc: a socket's path may have 107 bytes only."""
    folder = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        line.setblocking(False)
        await asyncio.get_running_loop().sock_connect(line, f"/proc/self/fd/{folder}/attach")
    except BaseException:
        line.close()
        raise
    finally:
        os.close(folder)
    return line


def pid_of(bundle: Path) -> int:
    """The pid of the bundle's conmon; 0 where there is none."""
    try:
        pid = int((bundle / "conmon.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if os.fsencode(bundle) in words else 0


def read_exit(path: Path) -> tuple[int, float] | None:
    """(exit code, Unix time of the end) once conmon has written it."""
    try:
        code = int(path.read_text())
        return code, path.stat().st_mtime
    except (OSError, ValueError):
        return None
