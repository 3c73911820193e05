"""The runtime contract: every runtime passes every test here, or it is not a runtime."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest

from jindou.machine.linux.cgroups import Cgroups
from jindou.machine.runtimes import Limits, StartFailed
from tests.machine.containers import NOTHING, Bench, output, texts

OBEYS = 'trap "exit 143" TERM; sleep 1000 & wait'
REAL = [
    pytest.param("crun", marks=pytest.mark.root),
    pytest.param("runc", marks=pytest.mark.root),
]


@pytest.fixture(params=["pretend", *REAL])
def bench(request):
    return Bench(request.param)


@pytest.fixture(params=REAL)
def real(request):
    return Bench(request.param)


async def until_exited(runtime, id):
    """The state at the unit's end, as `changes` tells it or as it already is."""
    changes = runtime.changes()
    state = (await runtime.observe())[id]
    while state.phase != "exited" or state.id != id:
        async with asyncio.timeout(10):
            state = await anext(changes)
    await changes.aclose()
    return state


async def until(condition, what):
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within two seconds: {what}")


def test_a_unit_runs_and_its_end_is_told(bench):
    async def scenario(box):
        runtime = box.runtime()
        before = time.time()
        changes = runtime.changes()
        state = await runtime.start(box.unit("one", "sleep 0.05; exit 7"))
        assert (state.id, state.phase, state.code) == ("one", "running", None)
        assert before <= state.started <= time.time()
        assert state.pid > 0
        async with asyncio.timeout(10):
            ended = await anext(changes)
        assert (ended.id, ended.phase, ended.code, ended.oom_killed) == ("one", "exited", 7, False)
        assert ended.started == state.started <= ended.finished + 0.01
        assert await runtime.observe() == {"one": ended}

    bench.run(scenario)


def test_starting_twice_is_starting_once(bench):
    async def scenario(box):
        runtime = box.runtime()
        first = await runtime.start(box.unit("one"))
        assert await runtime.start(box.unit("one")) == first
        both = await asyncio.gather(*(runtime.start(box.unit("two")) for _ in range(3)))
        assert both[0] == both[1] == both[2]
        assert set(await runtime.observe()) == {"one", "two"}

    bench.run(scenario)


def test_the_stop_signal_is_obeyed(bench):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one", OBEYS))
        if box.real:
            await asyncio.sleep(0.1)  # until the shell has its trap
        began = time.monotonic()
        await runtime.stop("one", 20)
        assert time.monotonic() - began < 5
        assert (await runtime.observe())["one"].code == 143

    bench.run(scenario)


@pytest.mark.guarantee(29)
def test_a_stubborn_unit_is_killed_after_its_grace(bench):
    async def scenario(box):
        runtime = box.runtime()
        stubborn = {"pretend/stop-after": "1h"}
        await runtime.start(box.unit("one", "sleep 1000", annotations=stubborn))
        began = time.monotonic()
        await runtime.stop("one", 0.1)
        assert time.monotonic() - began >= 0.1
        assert (await runtime.observe())["one"].code == 137
        await runtime.stop("one", 0.1)
        await runtime.stop("nosuch", 0.1)

    bench.run(scenario)


def test_a_signal_reaches_the_main_process(bench):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one"))
        await runtime.signal("one", signal.SIGKILL)
        assert (await until_exited(runtime, "one")).code == 137
        await runtime.signal("one", signal.SIGTERM)
        await runtime.signal("nosuch", signal.SIGTERM)

    bench.run(scenario)


@pytest.mark.guarantee(29)
def test_removing_frees_all_and_may_be_repeated(bench):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one", "echo hello"))
        await runtime.start(box.unit("two"))
        await until_exited(runtime, "one")
        for id in ("one", "two", "one", "nosuch"):  # a running one is killed
            await runtime.remove(id)
        assert await runtime.observe() == {}
        assert texts(box.log("one")) == ["hello"]
        await until(lambda: box.left() == NOTHING, box.left())
        await runtime.start(box.unit("one", "exit 3"))
        assert (await until_exited(runtime, "one")).code == 3

    bench.run(scenario)


def test_the_log_has_both_streams_and_is_rotated(bench):
    async def scenario(box):
        runtime = box.runtime()
        notes = {"pretend/log": "more"}
        script = "echo out; echo err >&2; sleep 0.2; echo more; sleep 1000"
        await runtime.start(box.unit("one", script, annotations=notes))
        log = box.log("one")
        await until(lambda: log.exists() and texts(log, "stderr") == ["err"], "the first lines")
        assert "out" in texts(log)
        log.rename(log.with_suffix(".old"))
        await runtime.reopen_log("one")
        assert log.exists()
        if box.real:
            await until(lambda: texts(log) == ["more"], "a line in the new log")
        await runtime.stop("one", 0)
        await runtime.reopen_log("one")

    bench.run(scenario)


def test_a_process_inside_has_its_own_exit_code(bench):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one"))
        session = await runtime.execute("one", ("sh", "-c", "echo out; echo err >&2; exit 5"))
        assert await output(session) == (b"out\n", b"err\n")
        assert await session.wait() == 5
        assert await session.wait() == 5
        await session.close()

    bench.run(scenario)


def test_a_process_inside_gets_what_is_sent(bench):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one"))
        session = await runtime.execute("one", ("cat",), stdin=True)
        await session.send(b"abc")
        assert await session.receive() == (1, b"abc")
        await session.send(b"def")
        await session.end_input()
        assert (await output(session))[0] == b"def"
        assert await session.wait() == 0
        await session.send(b"too late")
        await session.close()

    bench.run(scenario)


@pytest.mark.parametrize("id", ["nosuch", "ended"])
def test_nothing_can_be_done_inside_what_does_not_run(bench, id):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("ended", "exit 0"))
        await until_exited(runtime, "ended")
        for call in (runtime.execute(id, ("true",)), runtime.attach(id), runtime.usage(id)):
            with pytest.raises(StartFailed, match=id):
                await call

    bench.run(scenario)


def test_usage_grows(bench):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one", "while true; do :; done"))
        first = second = await runtime.usage("one")
        async with asyncio.timeout(20):
            while not second.cpu > first.cpu > 0:
                await asyncio.sleep(0.02)
                first, second = second if first.cpu == 0 else first, await runtime.usage("one")
        assert second.memory >= second.working_set > 0
        assert second.pids == 1

    bench.run(scenario)


@pytest.mark.guarantee(29)
def test_want_of_memory_is_told(bench):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(
            box.unit(
                "one",
                "exec dd if=/dev/zero of=/dev/null bs=64M count=1",
                limits=Limits(memory=16 << 20),
                annotations={"pretend/oom-killed": "true", "pretend/run-for": "10ms"},
            )
        )
        ended = await until_exited(runtime, "one")
        assert (ended.code, ended.oom_killed) == (137, True)
        assert (await box.again(runtime).observe())["one"].oom_killed

    bench.run(scenario)


def test_a_new_process_adopts_what_runs(bench):
    async def scenario(box):
        runtime = box.runtime()
        started = await runtime.start(box.unit("long"))
        await runtime.start(box.unit("short", "sleep 0.1; exit 4"))
        await runtime.start(box.unit("over", "exit 6"))
        await until_exited(runtime, "over")
        runtime = box.again(runtime)
        await asyncio.sleep(0.3)
        runtime = box.again(runtime)
        states = await runtime.observe()
        assert states["long"] == started
        assert (states["short"].phase, states["short"].code) == ("exited", 4)
        assert states["over"].code == 6
        assert await runtime.start(box.unit("long")) == started
        changes = runtime.changes()
        await runtime.stop("long", 0)
        async with asyncio.timeout(10):
            assert (await anext(changes)).code == 137
        for id in states:
            await runtime.remove(id)
        await until(lambda: box.left() == NOTHING, box.left())

    bench.run(scenario)


def test_a_start_that_fails_leaves_nothing(bench):
    async def scenario(box):
        runtime = box.runtime()
        says = 'exec: "nosuch": executable file not found in $PATH'
        unit = box.unit("one", argv=("nosuch",), annotations={"pretend/start-error": says})
        for _ in range(2):
            with pytest.raises(StartFailed) as failure:
                await runtime.start(unit)
            assert str(failure.value) == says
        assert await runtime.observe() == {}
        await until(lambda: box.left() == NOTHING, box.left())
        await runtime.start(box.unit("one", "exit 0"))
        assert (await until_exited(runtime, "one")).code == 0

    bench.run(scenario)


# ---------------------------------------------------------------- only where there is a kernel


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"argv": ()}, "."),
        ({"cwd": "/bin/sh/x"}, "."),
        ({"seccomp": "/nosuch.json"}, "seccomp profile '/nosuch.json': No such file"),
        ({"runtime": "nosuch"}, "container runtime nosuch is not installed"),
        ({"devices": ("/dev/nosuch",)}, "/dev/nosuch is not a device"),
        ({"namespaces": {"network": "/nosuch"}}, "/nosuch"),
        ({"log": Path("/proc")}, "log"),
        ({"log": Path("/nosuch\0")}, "NUL"),
        ({"env": ("A=1\0",)}, "NUL"),
        ({"id": "../one"}, "can't name a container"),
    ],
)
def test_what_can_not_be_started_says_why(real, change, says):
    async def scenario(box):
        runtime = box.runtime()
        with pytest.raises(StartFailed, match=says) as failure:
            await runtime.start(dataclasses.replace(box.unit("one"), **change))
        assert str(failure.value)
        assert "\n" not in str(failure.value)
        await until(lambda: box.left() == NOTHING, box.left())

    real.run(scenario)


def test_a_process_inside_that_is_missing(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one"))
        for terminal in (False, True):
            with pytest.raises(StartFailed, match="executable file not found in"):
                await runtime.execute("one", ("nosuch",), terminal=terminal)
        assert os.listdir(runtime.folders.execs) == []

    real.run(scenario)


def test_a_terminal_inside_is_resized(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one"))
        session = await runtime.execute(
            "one",
            ("sh", "-c", "read x; stty size; read x; stty size; echo err >&2; exit 9"),
            terminal=True,
            stdin=True,
            env=("EXTRA=1",),
        )
        await session.resize(100, 30)
        await asyncio.sleep(0.1)
        await session.send(b"go\n")
        seen = b""
        while b"30 100" not in seen:
            seen += (await session.receive())[1]
        await session.resize(132, 50)
        await asyncio.sleep(0.1)
        await session.send(b"go\n")
        rest, errors = await output(session)
        assert b"50 132" in rest
        assert b"err" in rest
        assert errors == b""
        assert await session.wait() == 9
        await session.close()

    real.run(scenario)


def test_closing_a_session_ends_its_process(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one"))
        sessions = [
            await runtime.execute("one", ("sleep", "1000"), terminal=terminal)
            for terminal in (False, True)
        ]
        group = f"{box.group}/one"
        assert len(runtime.cgroups.processes(group)) == 3
        for session in sessions:
            await session.close()
        assert len(runtime.cgroups.processes(group)) == 1

    real.run(scenario)


def test_a_slow_reader_slows_the_process(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one"))
        session = await runtime.execute("one", ("yes", "x" * 1000))
        for _ in range(100):
            await session.receive()
        used = (await runtime.usage("one")).cpu
        await asyncio.sleep(0.2)
        assert (await runtime.usage("one")).cpu - used < 0.05
        await session.close()

    real.run(scenario)


def test_closing_wakes_who_waits(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one", stdin=True))
        sessions = [
            await runtime.execute("one", ("sh", "-c", "sleep 1000 & exec sleep 1000"), stdin=True),
            await runtime.attach("one"),
        ]
        for session in sessions:
            reader = asyncio.create_task(session.receive())
            writer = asyncio.create_task(session.send(b"x" * (8 << 20)))
            await asyncio.sleep(0.05)
            assert not reader.done()
            assert not writer.done()
            await session.close()
            assert await reader is None
            assert await writer is None

    real.run(scenario)


def test_much_data_goes_through_a_process(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one"))
        data = os.urandom(4 << 20)
        session = await runtime.execute("one", ("cat",), stdin=True)

        async def send():
            await session.send(data)
            await session.end_input()

        received, _ = await asyncio.gather(output(session), send())
        assert received[0] == data
        await session.close()

    real.run(scenario)


def test_attaching_gives_the_streams_of_the_main_process(real):
    async def scenario(box):
        runtime = box.runtime()
        script = "while read x; do echo got $x; echo err $x >&2; done; exit 8"
        await runtime.start(box.unit("one", script, stdin=True, stdin_once=True))
        session = await runtime.attach("one")
        await session.send(b"abc\n")
        seen = {await session.receive(), await session.receive()}
        assert seen == {(1, b"got abc\n"), (2, b"err abc\n")}
        await session.end_input()
        assert await output(session) == (b"", b"")
        assert await session.wait() == 0
        await session.close()
        assert (await until_exited(runtime, "one")).code == 8
        assert texts(box.log("one")) == ["got abc"]

    real.run(scenario)


def test_leaving_an_attachment_leaves_the_process(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one", "while read x; do echo got $x; done", stdin=True))
        for text in (b"one", b"two"):
            session = await runtime.attach("one")
            await session.send(text + b"\n")
            assert await session.receive() == (1, b"got " + text + b"\n")
            await session.close()
        assert (await runtime.observe())["one"].phase == "running"

    real.run(scenario)


def test_the_main_process_may_have_a_terminal(real):
    async def scenario(box):
        runtime = box.runtime()
        unit = box.unit("one", "read x; stty size; tty; exit 2", terminal=True, stdin=True)
        await runtime.start(unit)
        session = await runtime.attach("one")
        await session.resize(90, 20)
        await asyncio.sleep(0.1)
        await session.send(b"go\n")
        assert b"20 90" in (await output(session))[0]
        await session.close()
        assert (await until_exited(runtime, "one")).code == 2

    real.run(scenario)


def test_what_was_created_but_never_ran_is_removed_at_adoption(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.observe()
        unit = box.unit("one")
        launch = runtime._launch(unit, box.kind)
        runtime._write_bundle(unit, box.kind, launch.bundle)
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        from jindou.machine.runtimes import conmon

        await conmon.create(launch)
        (runtime.folders.bundles / "two").mkdir()  # killed before anything else was done
        assert len(box.left()["processes"]) >= 1
        runtime = box.again(runtime)
        assert await runtime.observe() == {}
        await until(lambda: box.left() == NOTHING, box.left())

    real.run(scenario)


@pytest.mark.slow
def test_a_start_that_is_cancelled_leaves_nothing(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.observe()
        for number in range(16):
            start = asyncio.create_task(runtime.start(box.unit("one")))
            await asyncio.sleep(0.002 * number)
            start.cancel()
            await asyncio.wait([start])
            await runtime.remove("one")
            assert await runtime.observe() == {}
            await until(lambda: box.left() == NOTHING, box.left())

    real.run(scenario)


@pytest.mark.slow
def test_the_end_without_a_conmon_is_told_with_its_reason(real):
    async def scenario(box):
        runtime = box.runtime()
        first = await runtime.start(box.unit("one", "sleep 0.5; exit 3"))
        await runtime.start(box.unit("two"))
        for id in ("one", "two"):
            os.kill(int((runtime.folders.bundles / id / "conmon.pid").read_text()), signal.SIGKILL)
        await asyncio.sleep(0.05)
        assert (await runtime.observe())["one"] == first
        ended = await until_exited(runtime, "one")
        assert ended.code == 137
        assert "not known" in ended.message
        runtime = box.again(runtime)
        states = await runtime.observe()
        assert (states["one"].code, states["two"].phase) == (137, "running")
        await runtime.stop("two", 0)
        for id in ("one", "two"):
            await runtime.remove(id)
        await until(lambda: box.left() == NOTHING, box.left())

    real.run(scenario)


@pytest.mark.guarantee(29)
def test_a_frozen_unit_can_be_stopped(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.start(box.unit("one", OBEYS))
        runtime.cgroups.freeze(f"{box.group}/one")
        async with asyncio.timeout(10):
            await runtime.stop("one", 0.1)
        assert (await runtime.observe())["one"].code == 137
        await runtime.remove("one")
        await until(lambda: box.left() == NOTHING, box.left())

    real.run(scenario)


def test_limits_are_those_of_the_unit(real):
    async def scenario(box):
        runtime = box.runtime()
        limits = Limits(cpu=0.5, cpu_shares=512, memory=64 << 20, pids=20)
        await runtime.start(box.unit("one", limits=limits))
        groups = Cgroups()
        name = f"{box.group}/one"
        if groups.version == "v2":
            assert (groups.path(name) / "memory.max").read_text().strip() == str(64 << 20)
            assert (groups.path(name) / "cpu.max").read_text().split() == ["50000", "100000"]
            return
        read = {
            file: (groups.path(name, controller) / file).read_text().strip()
            for controller, file in (
                ("memory", "memory.limit_in_bytes"),
                ("cpu", "cpu.cfs_quota_us"),
                ("cpu", "cpu.shares"),
                ("pids", "pids.max"),
            )
        }
        assert list(read.values()) == [str(64 << 20), "50000", "512", "20"]

    real.run(scenario)


def own_children() -> set[str]:
    """Of this process, those that wait to be reaped among them; clouds of other tests may be here too."""
    return {
        pid
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    }


@pytest.mark.slow
def test_no_descriptor_and_no_child_stays(real):
    async def scenario(box):
        runtime = box.runtime()
        await runtime.observe()
        before, children = os.listdir("/proc/self/fd"), own_children()
        for terminal in (False, True):
            await runtime.start(box.unit("one", terminal=terminal, stdin=True))
            session = await runtime.execute("one", ("true",), terminal=terminal, stdin=True)
            await output(session)
            await session.close()
            with pytest.raises(StartFailed):
                await runtime.execute("one", ("nosuch",), terminal=terminal)
            session = await runtime.attach("one")
            await session.close()
            await runtime.remove("one")
            with pytest.raises(StartFailed):
                await runtime.start(box.unit("one", argv=("nosuch",)))
        assert len(os.listdir("/proc/self/fd")) == len(before)
        assert own_children() == children

    real.run(scenario)


@pytest.mark.slow
def test_many_start_and_end_side_by_side(real):
    async def scenario(box):
        runtime = box.runtime()
        ids = [f"u{number}" for number in range(20)]
        changes = runtime.changes()
        await asyncio.gather(
            *(runtime.start(box.unit(id, f"exit {n}")) for n, id in enumerate(ids))
        )
        codes = {}
        async with asyncio.timeout(20):
            while len(codes) < len(ids):
                state = await anext(changes)
                codes[state.id] = state.code
        assert codes == {id: number for number, id in enumerate(ids)}
        await asyncio.gather(*(runtime.remove(id) for id in ids))
        await until(lambda: box.left() == NOTHING, box.left())

    real.run(scenario)
