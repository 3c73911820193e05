"""Walking below a root by descriptors, so that no link and no ".." of an image leads out of it.

Links are followed as a process whose root is that folder would follow them: an absolute target
starts at the root, ".." at the root stays there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from jindou.machine.images.unpacking.tar import TarError, shown

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_LINKS = 40
DEEPEST = 200


class Walk:
    """A stack of open folders below `root`; the next path reuses what it shares with the last.

    `implied` collects folders that had to be made because a path went through them.
    """

    def __init__(self, root: int, create: bool) -> None:
        self._root = root
        self._create = create
        self.path: list[bytes] = []
        self._open: list[int] = []
        self.implied: set[tuple[bytes, ...]] = set()

    @property
    def folder(self) -> int:
        return self._open[-1] if self._open else self._root

    def close(self, down_to: int = 0) -> None:
        while len(self._open) > down_to:
            os.close(self._open.pop())
            self.path.pop()

    def enter(self, parts: Iterable[bytes]) -> int:
        """The descriptor of that folder, open until the next call."""
        wanted = list(parts)
        shared = 0
        for ours, theirs in zip(self.path, wanted):
            if ours != theirs:
                break
            shared += 1
        self.close(shared)
        todo = wanted[shared:][::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                self.close(max(0, len(self._open) - 1))
                continue
            if len(self._open) >= DEEPEST:
                raise TarError(f"it holds folders deeper than {DEEPEST}")
            target = self._step(name)
            if target is None:
                continue
            links += 1
            if links > MOST_LINKS:
                raise TarError(f"{shown(name)} is a link that leads to itself")
            if target.startswith(b"/"):
                self.close()
            todo.extend(reversed(target.split(b"/")))
        return self.folder

    def _step(self, name: bytes) -> bytes | None:
        """Into a folder; or the target of the link that has its name."""
        try:
            descriptor = os.open(name, FOLDER, dir_fd=self.folder)
        except FileNotFoundError:
            if not self._create:
                raise
            os.mkdir(name, 0o755, dir_fd=self.folder)
            self.implied.add((*self.path, name))
            descriptor = os.open(name, FOLDER, dir_fd=self.folder)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            try:
                return os.readlink(name, dir_fd=self.folder)
            except OSError:
                raise TarError(f"{shown(name)} is a file where a folder must be") from None
        self._open.append(descriptor)
        self.path.append(name)
        return None


def split(name: bytes) -> tuple[bytes, ...]:
    """The parts of a path from the root; ".." goes up, and stays at the root."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if parts:
                parts.pop()
        elif part not in (b"", b"."):
            if len(part) > 255:
                raise TarError(f"{shown(part)} is longer than 255 bytes")
            parts.append(part)
    return tuple(parts)


def read_inside(root: int, name: bytes, largest: int) -> bytes | None:
    """A regular file below a root, links followed inside; None if it is no such thing or too large."""
    walk = Walk(root, create=False)
    try:
        for _ in range(MOST_LINKS):
            parts = split(name)
            if not parts:
                return None
            try:
                folder = walk.enter(parts[:-1])
                handle = os.open(parts[-1], os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except (OSError, TarError):
                return None
            try:
                found = os.fstat(handle)
                if stat.S_ISLNK(found.st_mode):
                    target = os.readlink(b"", dir_fd=handle)
                    name = target if target.startswith(b"/") else b"/".join([*walk.path, target])
                    continue
                if not stat.S_ISREG(found.st_mode) or found.st_size > largest:
                    return None
                with open(f"/proc/self/fd/{handle}", "rb") as file:
                    return file.read(largest + 1)[:largest]
            finally:
                os.close(handle)
        return None
    finally:
        walk.close()
