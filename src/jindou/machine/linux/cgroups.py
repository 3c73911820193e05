"""Control groups of both versions: make, limit, read, freeze, kill and delete them by name.

A name such as `jindou/pods/UID` means the same place below every mounted hierarchy (version 1, or
the hybrid of both) or below the one tree of version 2. `Cgroups.base` is what stands before it:
empty where the root of the tree may be written, else the group that was delegated to us. A group
is gone only when it is gone from all hierarchies; none is deleted while a process is in it.

Sources: cgroups(7), Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from jindou.machine.linux.mounts import unescape

ROOT = Path("/sys/fs/cgroup")
PERIOD = 100_000  # microseconds that a CPU quota is counted over
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")  # of version 2, where there
FLAGS = {"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"}
CGROUP2_MAGIC, TMPFS_MAGIC = 0x63677270, 0x01021994

Version = Literal["v1", "hybrid", "v2"]
_libc = ctypes.CDLL(None, use_errno=True)


class Stats(NamedTuple):
    """CPU seconds since the group was made; bytes and processes now."""

    cpu: float
    memory: int
    working_set: int
    pids: int


class _Statfs(ctypes.Structure):
    _fields_ = [("type", ctypes.c_long), ("rest", ctypes.c_char * 120)]


def _magic(path: Path) -> int:
    answer = _Statfs()
    if _libc.statfs(os.fsencode(path), ctypes.byref(answer)) < 0:
        return 0
    return int(answer.type)


class Cgroups:
    """The groups of this machine, as they are mounted where this process sees them."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.version: Version = "v2"
        self.trees: dict[str, Path] = {}  # controller (or name=..., or unified) -> its mount
        if _magic(root) != CGROUP2_MAGIC:
            self.trees = _mounted(root)
            self.version = "hybrid" if "unified" in self.trees else "v1"
        self.base = self._base() if self.version == "v2" else ""

    def _base(self) -> str:
        if os.access(self.root / "cgroup.subtree_control", os.W_OK):
            return ""
        own = own_group()
        return own if own != "/" and _delegated(self.root / own.lstrip("/")) else ""

    @property
    def places(self) -> list[Path]:
        """The roots below which a group has a folder."""
        if self.version == "v2":
            return [self.root]
        return sorted(set(self.trees.values()))

    def path(self, name: str, controller: str = "") -> Path:
        """A group's folder; `controller` matters to version 1 only."""
        tree = self.root if self.version == "v2" else self.trees.get(controller, self.root)
        return tree / f"{self.base}/{name}".strip("/")

    def full(self, name: str) -> str:
        """The name as an OCI runtime wants it: from the root of the hierarchies."""
        return f"{self.base}/{name.strip('/')}"

    def paths(self, name: str) -> list[Path]:
        return [place / f"{self.base}/{name}".strip("/") for place in self.places]

    def create(self, name: str) -> None:
        """With its parents; in version 2 the controllers are passed down to it."""
        if self.version != "v2":
            for path in self.paths(name):
                path.mkdir(parents=True, exist_ok=True)
            self._inherit_cpuset(name)
            return
        place = self.root
        for part in f"{self.base}/{name}".strip("/").split("/"):
            _pass_down(place)
            place /= part
            place.mkdir(exist_ok=True)

    def _inherit_cpuset(self, name: str) -> None:
        """Version 1 makes a cpuset empty, and then nothing can run in it."""
        if "cpuset" not in self.trees:
            return
        place = self.trees["cpuset"]
        for part in name.strip("/").split("/"):
            parent, place = place, place / part
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not _read(place / file).strip():
                    _write(place / file, _read(parent / file).strip())

    def limit(
        self,
        name: str,
        *,
        cpu: float = 0.0,
        cpu_shares: int = 0,
        memory: int = 0,
        pids: int = 0,
    ) -> None:
        """Set all four of an existing group; zero means unlimited (of shares: the default)."""
        for controller, file, value in limits(
            self.version, cpu=cpu, cpu_shares=cpu_shares, memory=memory, pids=pids
        ):
            path = self.path(name, controller) / file
            if path.exists():
                _write(path, value)

    def move(self, pid: int, name: str) -> None:
        """A process, into a group that is made where there is none. Of version 2 only."""
        file = self.path(name) / "cgroup.procs"
        try:
            _write(file, str(pid))
        except FileNotFoundError:
            self.create(name)
            _write(file, str(pid))

    def hasten(self) -> None:
        """Make moves into groups quick for the next 10 ms or so.

        A move has to wait until every processor has taken notice (synchronize_rcu, 6 to 13 ms),
        unless another did so just before. To put ourselves where we are is such a move.
        """
        own = own_groups()
        if self.version == "v2":
            place = self.root / own.get("", "/").lstrip("/")
        else:
            name, tree = next((held for held in self.trees.items() if held[0] in own), ("", None))
            if tree is None:
                return
            place = tree / own[name].lstrip("/")
        with contextlib.suppress(OSError):  # it has waited all the same
            _write(place / "cgroup.procs", str(os.getpid()))

    def processes(self, name: str) -> list[int]:
        """Every process in the group and below it."""
        found: set[int] = set()
        for path in self._reading(name):
            for folder in _folders(path):
                found.update(int(pid) for pid in _read(folder / "cgroup.procs").split())
        return sorted(found)

    def _reading(self, name: str) -> list[Path]:
        """Where processes are listed: one hierarchy is enough, if it is there."""
        for controller in ("pids", "freezer", "memory", "cpu", "name=systemd"):
            if controller in self.trees:
                return [self.path(name, controller)]
        return self.paths(name)

    def freeze(self, name: str, frozen: bool = True) -> None:
        if self.version == "v2":
            _write(self.path(name) / "cgroup.freeze", "1" if frozen else "0")
        elif "freezer" in self.trees:
            _write(self.path(name, "freezer") / "freezer.state", "FROZEN" if frozen else "THAWED")

    def kill(self, name: str) -> None:
        """SIGKILL to all, also to the frozen (version 1 lets them die only once thawed)."""
        if self.version == "v2" and (self.path(name) / "cgroup.kill").exists():
            _write(self.path(name) / "cgroup.kill", "1")
            return
        for pid in self.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.freeze(name, False)

    def delete(self, name: str) -> bool:
        """Take the group and all below it from each hierarchy; False while a process is in one."""
        gone = True
        for path in self.paths(name):
            if _magic(path) == TMPFS_MAGIC:  # a hidden hierarchy: runtimes leave plain files there
                shutil.rmtree(path, ignore_errors=True)
                continue
            for folder in reversed(list(_folders(path))):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    pass
                except OSError as error:
                    if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                        raise
                    gone = False
        return gone

    def stats(self, name: str) -> Stats:
        """Of a group that is there; raises FileNotFoundError otherwise."""
        if self.version == "v2":
            path = self.path(name)
            events = _table((path / "cpu.stat").read_text())
            memory = _number(_read(path / "memory.current"))
            inactive = _table(_read(path / "memory.stat")).get("inactive_file", 0)
            pids = _number(_read(path / "pids.current"))
            cpu = events.get("usage_usec", 0) / 1e6
        else:
            usage = (self.path(name, "cpuacct") / "cpuacct.usage").read_text()
            cpu = _number(usage) / 1e9
            path = self.path(name, "memory")
            memory = _number(_read(path / "memory.usage_in_bytes"))
            inactive = _table(_read(path / "memory.stat")).get("total_inactive_file", 0)
            pids = _number(_read(self.path(name, "pids") / "pids.current"))
        return Stats(cpu, memory, max(0, memory - inactive), pids)

    def oom_kills(self, name: str) -> int:
        """Processes of the group that the kernel killed for want of memory; 0 if it is gone."""
        if self.version == "v2":
            return _table(_read(self.path(name) / "memory.events")).get("oom_kill", 0)
        return _table(_read(self.path(name, "memory") / "memory.oom_control")).get("oom_kill", 0)

    def counts_swap(self) -> bool:
        """Can memory and swap be limited together?"""
        if self.version != "v2":
            tree = self.trees.get("memory")
            return tree is not None and (tree / "memory.memsw.limit_in_bytes").exists()
        own = self.root / own_group().lstrip("/")
        return (own / "memory.swap.max").exists() or any(self.root.glob("*/memory.swap.max"))


def limits(
    version: Version, *, cpu: float, cpu_shares: int, memory: int, pids: int
) -> Iterator[tuple[str, str, str]]:
    """(controller, file, text) for each limit."""
    quota = max(1000, round(cpu * PERIOD))
    if version == "v2":
        yield "cpu", "cpu.max", f"{quota if cpu else 'max'} {PERIOD}"
        yield "cpu", "cpu.weight", str(weight(cpu_shares))
        yield "memory", "memory.max", str(memory or "max")
        yield "pids", "pids.max", str(pids or "max")
        return
    yield "cpu", "cpu.cfs_period_us", str(PERIOD)
    yield "cpu", "cpu.cfs_quota_us", str(quota if cpu else -1)
    yield "cpu", "cpu.shares", str(max(2, cpu_shares) if cpu_shares else 1024)
    yield "memory", "memory.limit_in_bytes", str(memory or -1)
    yield "pids", "pids.max", str(pids or "max")


def weight(shares: int) -> int:
    """Shares (2 to 262144) as the weight of version 2 (1 to 10000), as OCI runtimes map them."""
    if not shares:
        return 100
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def own_group() -> str:
    """This process's group in the version 2 tree."""
    return own_groups().get("", "/")


def own_groups() -> dict[str, str]:
    """Controller (or name=...; "" for the version 2 tree) -> this process's group there."""
    found = {}
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, place = line.rstrip("\n").split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), place))
    return found


def _delegated(path: Path) -> bool:
    for name in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return False


def _mounted(root: Path) -> dict[str, Path]:
    """Version 1 hierarchies by controller, and `unified` for a version 2 tree beside them."""
    found: dict[str, Path] = {}
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            before, _, after = line.partition(b" - ")
            place = Path(unescape(before.split(b" ", 5)[4]))
            kind, _, options = after.split(b" ", 2)
            if place.parent != root:
                continue
            if place.name == "unified":  # the topmost mount counts: a tmpfs hides the tree
                found = {name: tree for name, tree in found.items() if tree != place}
                found["unified" if kind == b"cgroup2" else "hidden"] = place
            elif kind == b"cgroup":
                for option in options.split()[-1].decode().split(","):
                    if option not in FLAGS and not option.startswith("release_agent="):
                        found[option] = place
    return found


def _pass_down(place: Path) -> None:
    """Enable what there is for the groups below. A tree that we got whole (a container's) has
    its processes in its root, where they are in the way: they move into a leaf."""
    there = set(_read(place / "cgroup.controllers").split())
    enabled = set(_read(place / "cgroup.subtree_control").split())
    lacking = [f"+{name}" for name in CONTROLLERS if name in there - enabled]
    if not lacking:
        return
    try:
        _write(place / "cgroup.subtree_control", " ".join(lacking))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        leaf = place / "init"
        leaf.mkdir(exist_ok=True)
        for pid in _read(place / "cgroup.procs").split():
            with contextlib.suppress(OSError):
                _write(leaf / "cgroup.procs", pid)
        _write(place / "cgroup.subtree_control", " ".join(lacking))


def _folders(path: Path) -> Iterator[Path]:
    """The folder and those below it, parents first."""
    for place, _, _ in os.walk(path):
        yield Path(place)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _table(text: str) -> dict[str, int]:
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0
