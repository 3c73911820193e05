"""Namespaces that outlive processes: made in a worker thread, kept by bind mounts of their files.

There is no pause process: a file such as NAME.net, on which the namespace is mounted, holds it.
`make` and `enter` move the calling thread, so they are for worker threads only, never for the one
that runs the event loop; the thread is back where it was when they return. `own_mount_namespace` is the
exception: it moves the whole process, for good, before any other thread exists.

Sources: namespaces(7), setns(2), unshare(2), mount(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from jindou.machine.linux import mounts

MOUNT, NETWORK, UTS, IPC = 0x20000, 0x40000000, 0x04000000, 0x08000000
FLAGS = {"network": NETWORK, "uts": UTS, "ipc": IPC}
FILES = {"network": "net", "uts": "uts", "ipc": "ipc"}  # names in /proc/PID/ns
MS_BIND, MNT_DETACH = 0x1000, 0x2
IN_MEMORY = ("units", "pods")  # folders below the run folder
NSFS_MAGIC = 0x6E736673

_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _enter(descriptor: int, kind: str) -> None:
    _check(_libc.setns(descriptor, FLAGS[kind]), f"entering the {kind} namespace")


@contextlib.contextmanager
def _return_home(kinds: tuple[str, ...]) -> Iterator[None]:
    home = {
        kind: os.open(f"/proc/thread-self/ns/{FILES[kind]}", os.O_RDONLY | os.O_CLOEXEC)
        for kind in kinds
    }
    try:
        yield
    finally:
        for kind, descriptor in home.items():
            _enter(descriptor, kind)
            os.close(descriptor)


def make(paths: Mapping[str, Path], hostname: str, inside: Callable[[], T]) -> T:
    """New namespaces of the kinds in `paths`, kept at those files; `inside` runs within them.

    When anything fails nothing is kept.
    """
    kinds = tuple(paths)
    flags = 0
    for kind in kinds:
        flags |= FLAGS[kind]
    try:
        with _return_home(kinds):
            _check(_libc.unshare(flags), "making namespaces")
            if "uts" in paths:
                name = hostname.encode()
                _check(_libc.sethostname(name, len(name)), f"setting the host name {hostname}")
            result = inside()
            for kind, path in paths.items():
                os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o444))
                source = f"/proc/thread-self/ns/{FILES[kind]}".encode()
                target = os.fsencode(path)
                _check(_libc.mount(source, target, None, MS_BIND, None), f"keeping {path}")
            return result
    except BaseException:
        free(paths.values())
        raise


def enter(path: Path, inside: Callable[[], T], kind: str = "network") -> T:
    """Run `inside` within a kept namespace."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _return_home((kind,)):
            _enter(descriptor, kind)
            return inside()
    finally:
        os.close(descriptor)


def free(paths: Iterable[Path]) -> None:
    """Let go of kept namespaces; they end with their last process. Missing files are fine."""
    for path in paths:
        while is_kept(path):
            _check(_libc.umount2(os.fsencode(path), MNT_DETACH), f"unmounting {path}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


class _Statfs(ctypes.Structure):
    _fields_ = [("type", ctypes.c_long), ("rest", ctypes.c_char * 120)]


def is_kept(path: Path) -> bool:
    """Is a namespace mounted on this file?"""
    answer = _Statfs()
    if _libc.statfs(os.fsencode(path), ctypes.byref(answer)) < 0:
        return False
    return bool(answer.type == NSFS_MAGIC)


def own_mount_namespace(keep: Path, run: Path, hide_unified: bool) -> bool:
    """Move this process into the mount namespace kept at `keep`; False if it had to be made.

    In it the host's later mounts appear, and ours never reach the host; a tmpfs over RUN/units
    and RUN/pods holds bundles, states and published files, which would cost milliseconds each on a
    disk; and the version 2 tree
    of a hybrid machine is hidden, as crun refuses such a machine otherwise. Call it once, while
    the process has one thread. It lives until `keep` is unmounted and its last process has ended.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(keep, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(descriptor, MOUNT) == 0:
                return True
        finally:
            os.close(descriptor)
    for name in IN_MEMORY:
        (run / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(keep.parent)
    _unshare_mounts(keep)
    mounts.mount("", "/", flags=mounts.REC | mounts.SLAVE)
    for name in IN_MEMORY:
        mounts.mount("tmpfs", run / name, "tmpfs", mounts.NOSUID | mounts.NODEV, "mode=700")
    if hide_unified:
        hidden = "/sys/fs/cgroup/unified"
        mounts.mount("tmpfs", hidden, "tmpfs", mounts.NOSUID | mounts.NODEV, "mode=755")
    return False


def _unshare_mounts(keep: Path) -> None:
    """A new mount namespace, kept at a file of the one that we leave.

    The kernel lets a namespace be bound only inside an older one, going by numbers that since 6.18
    each processor hands out from a stock of its own: where ours looks older, another processor's
    may not.
    """
    host = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    processors = os.sched_getaffinity(0)
    try:
        for processor in sorted(processors):
            os.sched_setaffinity(0, {processor})
            _check(_libc.unshare(MOUNT), "making a mount namespace")
            if _keep_mounts(keep, host):
                return
        raise OSError(f"the mount namespace could not be kept at {keep}")
    finally:
        os.sched_setaffinity(0, processors)
        os.close(host)


def _make_private(folder: Path) -> None:
    """Were the mount of the kept file shared, its bind would be passed on into the very namespace
    that it holds, which the kernel refuses."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_shared(folder):
        mounts.mount(str(folder), folder, flags=mounts.BIND | mounts.REC)
        mounts.mount("", folder, flags=mounts.PRIVATE)


def _keep_mounts(keep: Path, host: int) -> bool:
    """Bind our mount namespace to a file of the host's, which only a process there can do."""
    me = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            _check(_libc.setns(host, MOUNT), "entering the host's mounts")
            os.close(os.open(keep, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o400))
            mounts.mount(f"/proc/{me}/ns/mnt", keep, flags=mounts.BIND)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _is_shared(path: Path) -> bool:
    """Does the mount that holds this path pass on what is mounted in it?"""
    held = str(os.path.realpath(path))
    best, shared = "", False
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields, _, _ = line.partition(b" - ")
            place = mounts.unescape(fields.split(b" ", 5)[4])
            inside = held == place or held.startswith(place.rstrip("/") + "/")
            if inside and len(place) >= len(best):
                best, shared = place, b" shared:" in fields
    return shared
