"""Namespaces that outlive processes: made in a worker thread, kept by bind mounts of their files.

There is no pause process: a file such as NAME.net, on which the namespace is mounted, holds it.
`make` and `enter` move the calling thread, so they are for worker threads only, never for the one
that runs the event loop; the thread is back where it was when they return.

Sources: namespaces(7), setns(2), unshare(2), mount(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

NETWORK, UTS, IPC = 0x40000000, 0x04000000, 0x08000000
FLAGS = {"network": NETWORK, "uts": UTS, "ipc": IPC}
FILES = {"network": "net", "uts": "uts", "ipc": "ipc"}  # names in /proc/PID/ns
MS_BIND, MNT_DETACH = 0x1000, 0x2
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
