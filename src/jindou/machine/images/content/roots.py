"""The root file systems of units: a fresh writable layer over an image's, by overlayfs.

A unit's folder and the note of its image are made before anything is mounted, so that after a kill
at any moment both `mount` and `unmount` find out what is there. The writable layer ends with the
unit: it is mounted `volatile` (no sync when it goes), so one that a reboot left is thrown away.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson

from jindou.machine.images import ImageError
from jindou.machine.images.content.contents import remove
from jindou.machine.images.content.paths import Paths
from jindou.machine.images.unpacking.inside import FOLDER
from jindou.machine.images.unpacking.unpack import Owner
from jindou.machine.linux import mounts

LONGEST_OPTIONS = 4000
AWKWARD = frozenset(",:\\")
PLAIN_ROOT = Owner(0o755, 0, 0)


class Roots:
    def __init__(self, paths: Paths, discard: Callable[[Path], object] = remove) -> None:
        """`discard` removes a folder that is out of sight; it may take its time."""
        self._paths = paths
        self._discard = discard
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._volatile = True
        self._lock = threading.Lock()
        self._user_xattrs = _only_user_xattrs(paths.empty)
        self.images: Mapping[str, str] = {}  # unit -> digest; replaced, never changed
        for folder in paths.units.iterdir():
            try:
                note = orjson.loads((folder / "image.json").read_bytes())
                digest, boot = str(note["image"]), note["boot"]
            except (OSError, ValueError, KeyError, TypeError):
                digest, boot = "", ""
            if boot == self._boot:
                self.images = {**self.images, folder.name: digest}
            else:
                self._clear(folder)

    def mount(self, unit: str, digest: str, lower: Sequence[Path], owner: Owner | None) -> Path:
        """`lower`: the lowest first. The same again for a unit that has it."""
        folder = self._paths.unit(unit)
        root = folder / "root"
        try:
            folder.mkdir(mode=0o711)
        except FileExistsError:
            if self.images.get(unit) == digest and os.path.ismount(root):
                return root
            self._clear(folder)
            folder.mkdir(mode=0o711)
        self._note(unit, digest)
        try:
            (folder / "image.json").write_bytes(orjson.dumps({"image": digest, "boot": self._boot}))
            for name in ("upper", "work", "root"):
                (folder / name).mkdir(mode=0o755)
            mode, uid, gid = owner or PLAIN_ROOT
            if os.geteuid() == 0:
                os.chown(folder / "upper", uid, gid)
            (folder / "upper").chmod(mode)
            self._overlay([*lower] or [self._paths.empty], folder)
        except BaseException as error:
            self.unmount(unit)
            if isinstance(error, OSError):
                raise ImageError(f"the root of unit {unit} can't be mounted: {error}") from error
            raise
        return root

    def _overlay(self, lower: Sequence[Path], folder: Path) -> None:
        """Overlayfs names the uppermost first. Long or awkward paths go in as descriptors."""
        places = [*reversed(lower), folder / "upper", folder / "work"]
        names = [str(place) for place in places]
        opened: list[int] = []
        try:
            if sum(map(len, names)) + len(names) > LONGEST_OPTIONS - 80 or any(
                AWKWARD & set(name) for name in names
            ):
                for place in places:
                    opened.append(os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                names = [f"/proc/self/fd/{number}" for number in opened]
            *below, upper, work = names
            options = f"lowerdir={':'.join(below)},upperdir={upper},workdir={work}"
            if self._user_xattrs:
                options += ",userxattr"
            self._try(folder / "root", options)
        finally:
            for number in opened:
                os.close(number)

    def _try(self, root: Path, options: str) -> None:
        if self._volatile:
            try:
                mounts.mount("overlay", root, "overlay", data=f"{options},volatile")
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        mounts.mount("overlay", root, "overlay", data=options)
        self._volatile = False

    def unmount(self, unit: str) -> None:
        folder = self._paths.unit(unit)
        self._clear(folder)
        self._note(unit, "")

    def _note(self, unit: str, digest: str) -> None:
        with self._lock:
            others = {name: of for name, of in self.images.items() if name != unit}
            self.images = {**others, unit: digest} if digest else others

    def _clear(self, folder: Path) -> None:
        if not folder.exists():
            return
        for place in (*mounts.mount_points(folder), str(folder / "root")):
            mounts.unmount(place)
        away = self._paths.fresh()
        os.rename(folder, away)
        self._discard(away)

    def usage(self, unit: str) -> int:
        """Bytes on disk that its writable layer takes."""
        upper = self._paths.unit(unit) / "upper"
        try:
            top = os.open(upper, FOLDER)
        except FileNotFoundError:
            return 0
        try:
            return disk_usage(top)
        finally:
            os.close(top)


def disk_usage(top: int) -> int:
    """Of a folder, given as a descriptor; files with several names once, other mounts not at all."""
    device = os.fstat(top).st_dev
    total = 0
    seen: set[int] = set()
    for _, folders, files, folder in os.fwalk(".", dir_fd=top, follow_symlinks=False):
        for name in (*files, *folders):
            try:
                found = os.lstat(name, dir_fd=folder)
            except FileNotFoundError:
                continue
            if found.st_dev != device:
                if name in folders:
                    folders.remove(name)
                continue
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if found.st_ino in seen:
                    continue
                seen.add(found.st_ino)
            total += found.st_blocks * 512
    return total


def _only_user_xattrs(folder: Path) -> bool:
    """In a user namespace overlayfs keeps its marks in `user.` attributes."""
    try:
        os.setxattr(folder, "trusted.overlay.jindou", b"")
        os.removexattr(folder, "trusted.overlay.jindou")
    except PermissionError:
        return True
    except OSError:
        return False
    return False
