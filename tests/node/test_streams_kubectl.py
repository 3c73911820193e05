"""exec, attach, cp, port-forward and logs by kubectl itself, over WebSocket and over SPDY."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pty
import re
import shutil
import struct
import termios

import pytest

from tests.node.endpoint import serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]
WIRES = {"websocket": "true", "spdy": "false"}
wires = pytest.mark.parametrize("wire", list(WIRES))


class Kubectl:
    def __init__(self, port: int, folder, wire: str) -> None:
        self.words = ("kubectl", f"--server=http://127.0.0.1:{port}", f"--cache-dir={folder}/cache")
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": WIRES[wire],
            "KUBECTL_PORT_FORWARD_WEBSOCKETS": WIRES[wire],
        }

    async def start(self, *words: str, stdin=asyncio.subprocess.DEVNULL):
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self.words, *words, stdin=stdin, stdout=pipe, stderr=pipe, env=self.env
        )

    async def run(self, *words: str, stdin: bytes | None = None):
        pipe = asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL
        process = await self.start(*words, stdin=pipe)
        out, err = await asyncio.wait_for(process.communicate(stdin), 30)
        if process.stdin is not None:
            with contextlib.suppress(ConnectionError):  # else it is complained of when collected
                await process.stdin.wait_closed()
        return process.returncode, out, err


def on_node(tmp_path, wire, scenario):
    async def main():
        async with serving(tmp_path, api=True) as (port, runtime, containers):
            await scenario(Kubectl(port, tmp_path, wire), runtime, containers)
            spoken = {"websocket": "websocket", "spdy": "spdy/3.1"}[wire]
            assert set(containers.upgrades) <= {spoken}

    asyncio.run(main())


@wires
def test_exec_shows_both_outputs_and_the_exit_code(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        code, out, err = await kubectl.run(
            "exec", "web", "--", "sh", "-c", "echo a; echo b >&2; exit 3"
        )
        assert (code, out) == (3, b"a\n")
        assert err.startswith(b"b\n")
        assert b"command terminated with exit code 3" in err

    on_node(tmp_path, wire, scenario)


@wires
def test_exec_hands_on_its_input_and_its_end(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        data = os.urandom(3_000_000)
        code, out, err = await kubectl.run("exec", "-i", "web", "--", "sha256sum", stdin=data)
        assert (code, err) == (0, b"")
        assert out.split()[0].decode() == hashlib.sha256(data).hexdigest()

    on_node(tmp_path, wire, scenario)


@wires
def test_exec_of_a_program_that_is_not_there_says_so(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        code, _, err = await kubectl.run("exec", "web", "--", "no-such-program")
        assert code == 1
        assert b"executable file not found" in err

    on_node(tmp_path, wire, scenario)


@wires
def test_large_output_arrives_whole(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        code, out, _ = await kubectl.run("exec", "web", "--", "head", "-c", "20000000", "/dev/zero")
        assert (code, len(out)) == (0, 20_000_000)

    on_node(tmp_path, wire, scenario)


@wires
def test_a_process_that_reads_no_more_ends_although_its_client_goes_on_writing(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        code, out, err = await kubectl.run(
            "exec", "-i", "web", "--", "head", "-c", "5", stdin=b"y" * 30_000_000
        )
        assert (code, out) == (0, b"yyyyy")
        # Nothing but what kubectl itself logs of having still been writing.
        assert [line for line in err.splitlines() if not re.match(rb"[EW]\d{4} ", line)] == []

    on_node(tmp_path, wire, scenario)


@wires
def test_a_client_that_leaves_ends_its_process(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        process = await kubectl.start("exec", "web", "--", "sh", "-c", "echo up; exec sleep 600")
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"up\n"
        process.kill()
        await process.communicate()
        await asyncio.wait_for(runtime.sessions[0].wait(), 10)

    on_node(tmp_path, wire, scenario)


@wires
def test_a_terminal_has_the_size_of_the_clients_and_one_output(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
        words = (
            "exec",
            "-it",
            "web",
            "--",
            "sh",
            "-c",
            "echo up; read x; stty size; tty >&2; exit 4",
        )
        process = await asyncio.create_subprocess_exec(
            *kubectl.words, *words, stdin=theirs, stdout=theirs, stderr=theirs,
            env=kubectl.env, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        while b"up" not in shown:
            shown += await asyncio.to_thread(os.read, ours, 4096)
        os.write(ours, b"go\n")
        while b"exit code" not in shown:
            shown += await asyncio.to_thread(os.read, ours, 4096)
        assert await asyncio.wait_for(process.wait(), 10) == 4
        os.close(ours)
        assert b"33 111" in shown
        assert b"/dev/pts/" in shown

    on_node(tmp_path, wire, scenario)


@wires
def test_attach_speaks_with_the_main_process(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        code, out, _ = await kubectl.run("attach", "-i", "web", stdin=b"hello\n")
        assert (code, out) == (0, b"hello\n")

    on_node(tmp_path, wire, scenario)


@wires
def test_files_are_copied_in_both_directions(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        here, there, back = (tmp_path / name for name in ("here", "there", "back"))
        here.write_bytes(os.urandom(700_000))
        code, _, err = await kubectl.run("cp", str(here), f"web:{there}")
        assert code == 0, err
        assert there.read_bytes() == here.read_bytes()
        code, _, err = await kubectl.run("cp", f"web:{there}", str(back))
        assert code == 0, err
        assert back.read_bytes() == here.read_bytes()

    on_node(tmp_path, wire, scenario)


async def forwarding(kubectl, port):
    process = await kubectl.start("port-forward", "web", f":{port}")
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    match = re.search(rb"127\.0\.0\.1:(\d+) ->", line)
    assert match, (line, await process.stderr.read())
    return process, int(match[1])


@wires
def test_forwarded_connections_carry_both_ways_at_once(tmp_path, wire):
    async def answer(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def scenario(kubectl, runtime, containers):
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        process, local = await forwarding(kubectl, server.sockets[0].getsockname()[1])

        async def one(n):
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            data = bytes([n]) * 500_000

            async def send():
                writer.write(data)
                await writer.drain()

            sending = asyncio.create_task(send())
            got = await reader.readexactly(len(data))
            await sending
            writer.close()
            await writer.wait_closed()
            return got == data

        try:
            assert await asyncio.wait_for(asyncio.gather(*map(one, range(5))), 30) == [True] * 5
        finally:
            process.kill()
            await process.communicate()
            server.close()
            await server.wait_closed()

    on_node(tmp_path, wire, scenario)


@wires
def test_a_port_where_nobody_listens_is_told_and_the_forwarding_goes_on(tmp_path, wire):
    async def scenario(kubectl, runtime, containers):
        process, local = await forwarding(kubectl, 1)
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            line = await asyncio.wait_for(process.stderr.readline(), 10)
            assert b"connection refused" in line
            break
        process.kill()
        await process.communicate()

    on_node(tmp_path, wire, scenario)


def test_logs_are_shown_and_followed_until_the_container_ends(tmp_path):
    async def scenario(kubectl, runtime, containers):
        with containers.path.open("ab", buffering=0) as log:
            log.write(b"2026-01-01T00:00:00.1Z stdout F one\n")
            process = await kubectl.start("logs", "-f", "web")
            assert await asyncio.wait_for(process.stdout.readline(), 20) == b"one\n"
            log.write(b"2026-01-01T00:00:01.1Z stderr F two\n")
            assert await asyncio.wait_for(process.stdout.readline(), 20) == b"two\n"
            containers.runs = False
        await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0

    on_node(tmp_path, "websocket", scenario)
