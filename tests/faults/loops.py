"""Real file systems on loop devices, small enough to fill and easy to cut off from power.

They are mounted in a mount namespace that only the test's thread and its children are in: any
other process that made one of its own meanwhile would keep them busy.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from jindou.machine.linux import mounts

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN; 2 = NOLOGFLUSH: only what was synced survives
NEWNS = 0x20000
_libc = ctypes.CDLL(None, use_errno=True)


def own_mounts(test):
    """Run the test in a thread that has a mount namespace of its own."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        failed = []

        def inside():
            try:
                if _libc.unshare(NEWNS):
                    raise OSError(ctypes.get_errno(), "making a mount namespace for a test")
                mounts.mount("", "/", flags=mounts.REC | mounts.PRIVATE)
                test(*args, **kwargs)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    return run


class Disk:
    """A file system in a file: `place` is where it is mounted."""

    def __init__(self, image: Path, place: Path, megabytes: int, *options: str) -> None:
        self.place, self._ballast = place, place / "ballast"
        place.mkdir()
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        make = ["mkfs.ext4", "-q", "-m", "0", "-b", "4096", "-E", "nodiscard", *options]
        subprocess.run([*make, str(image)], check=True)
        found = subprocess.run(
            ["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
        )
        self.device = found.stdout.strip()
        self.mount()

    def mount(self) -> None:
        mounts.mount(self.device, self.place, "ext4")

    def free(self) -> int:
        room = os.statvfs(self.place)
        return room.f_bavail * room.f_frsize

    def fill(self) -> None:
        """To the last block."""
        with open(self._ballast, "ab", buffering=0) as file:
            with contextlib.suppress(OSError):
                for size in (1 << 20, 1 << 12):
                    while (room := self.free()) > size:
                        at = os.fstat(file.fileno()).st_size
                        os.posix_fallocate(file.fileno(), at, room // size * size)
            with contextlib.suppress(OSError):
                os.lseek(file.fileno(), 0, os.SEEK_END)
                while file.write(bytes(4096)) == 4096:
                    pass

    def make_room(self) -> None:
        self._ballast.unlink()

    def cut(self) -> None:
        """As if the power went: nothing that is not synced reaches the disk any more."""
        descriptor = os.open(self.place, os.O_RDONLY)
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("i", 2))
        os.close(descriptor)

    def remount(self) -> None:
        """After a cut; the journal is replayed."""
        mounts.unmount(self.place, detach=False)
        self.mount()

    def detach(self) -> None:
        mounts.unmount(self.place)
        subprocess.run(["losetup", "-d", self.device], check=True)


@contextlib.contextmanager
def disk(megabytes: int, *options: str) -> Iterator[tuple[Path, Disk]]:
    """A folder with a short path, and a disk mounted at `data` in it."""
    with tempfile.TemporaryDirectory(prefix="jif") as name:
        folder = Path(name)
        made = Disk(folder / "image", folder / "data", megabytes, *options)
        try:
            yield folder, made
        finally:
            made.detach()
