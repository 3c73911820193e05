"""Control groups: what is written for which limit, and real groups in both kinds of tree."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jindou.machine.linux import cgroups
from jindou.machine.linux.cgroups import Cgroups, own_groups

UNIFIED = Path("/sys/fs/cgroup/unified")


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 100), (2, 1), (1, 1), (1024, 39), (262144, 10000), (999999, 10000)]
)
def test_shares_become_weights(shares, weight):
    assert cgroups.weight(shares) == weight


@pytest.mark.parametrize(
    ("version", "given", "written"),
    [
        (
            "v1",
            {"cpu": 0.25, "cpu_shares": 256, "memory": 1 << 20, "pids": 9},
            ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=25000", "cpu.shares=256",
             "memory.limit_in_bytes=1048576", "pids.max=9"],
        ),
        (
            "hybrid",
            {"cpu": 0, "cpu_shares": 0, "memory": 0, "pids": 0},
            ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=-1", "cpu.shares=1024",
             "memory.limit_in_bytes=-1", "pids.max=max"],
        ),
        (
            "v2",
            {"cpu": 1.5, "cpu_shares": 1024, "memory": 1 << 20, "pids": 9},
            ["cpu.max=150000 100000", "cpu.weight=39", "memory.max=1048576", "pids.max=9"],
        ),
        (
            "v2",
            {"cpu": 0.00001, "cpu_shares": 0, "memory": 0, "pids": 0},
            ["cpu.max=1000 100000", "cpu.weight=100", "memory.max=max", "pids.max=max"],
        ),
    ],
)  # fmt: skip
def test_what_is_written_for_limits(version, given, written):
    found = [f"{file}={text}" for _, file, text in cgroups.limits(version, **given)]
    assert found == written


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "1000"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture(params=["machine", "unified"])
def groups(request):
    if request.param == "machine":
        yield Cgroups()
    elif UNIFIED.is_mount():
        yield Cgroups(UNIFIED)
    else:
        pytest.skip("no version 2 tree beside version 1 here")


@pytest.fixture
def name(groups):
    name = f"jindou-test-{os.getpid()}/pods"
    yield name
    groups.kill(name.split("/")[0])
    while not groups.delete(name.split("/")[0]):
        time.sleep(0.005)


def enter(groups, name, pid):
    for path in groups.paths(name):
        (path / "cgroup.procs").write_text(str(pid))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
class TestReal:
    def test_a_group_is_made_and_taken_away_everywhere(self, groups, name):
        groups.create(name)
        groups.create(name)
        assert all(path.is_dir() for path in groups.paths(name))
        assert groups.processes(name) == []
        assert groups.delete(name)
        assert not any(path.exists() for path in groups.paths(name))
        assert groups.delete(name)

    def test_limits_are_set(self, groups, name):
        groups.create(name)
        groups.limit(name, cpu=0.5, cpu_shares=512, memory=32 << 20, pids=7)
        for controller, file, text in cgroups.limits(
            groups.version, cpu=0.5, cpu_shares=512, memory=32 << 20, pids=7
        ):
            path = groups.path(name, controller) / file
            if path.exists():
                assert path.read_text().strip() == text

    def test_processes_are_seen_frozen_and_killed(self, groups, name, sleeper):
        groups.create(f"{name}/one")
        enter(groups, f"{name}/one", sleeper.pid)
        assert groups.processes(name) == [sleeper.pid]
        assert not groups.delete(name)
        groups.freeze(name)
        groups.kill(name)
        assert sleeper.wait(timeout=5) == -signal.SIGKILL
        assert groups.processes(name) == []

    def test_a_process_is_moved_into_a_group_that_is_made_for_it(self, groups, name, sleeper):
        if groups.version != "v2":
            pytest.skip("of version 2 only")
        groups.move(sleeper.pid, f"{name}/keepers")
        groups.move(sleeper.pid, f"{name}/keepers")
        assert groups.processes(name) == [sleeper.pid]
        sleeper.kill()
        sleeper.wait()
        with pytest.raises(ProcessLookupError):
            groups.move(sleeper.pid, f"{name}/keepers")

    def test_use_is_counted(self, groups, name, sleeper):
        groups.create(name)
        with pytest.raises(FileNotFoundError):
            groups.stats(f"{name}/nosuch")
        enter(groups, name, sleeper.pid)
        stats = groups.stats(name)
        assert stats.cpu >= 0
        assert stats.memory >= stats.working_set >= 0
        assert groups.oom_kills(name) == 0
        assert groups.oom_kills(f"{name}/nosuch") == 0

    def test_the_kind_is_told(self):
        version = Cgroups().version
        if UNIFIED.is_mount():
            assert version == "hybrid"
            assert Cgroups(UNIFIED).version == "v2"
        else:
            assert version in ("v1", "v2")


@pytest.mark.root
def test_hastening_moves_leaves_us_where_we_are():
    before = own_groups()
    Cgroups().hasten()
    assert own_groups() == before
