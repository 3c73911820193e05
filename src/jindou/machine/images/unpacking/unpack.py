"""Turning the tar archive of a layer into a folder that overlayfs can take as it is.

Every call works on a folder's descriptor and one name below it, never on a path, and never follows
a link that it did not resolve itself; so nothing an archive says reaches outside its folder.
Whiteouts become what overlayfs reads: a character device 0:0, or `trusted.overlay.opaque` on a
folder. They hide what lower layers hold, never what the same layer brings, whatever the order.
Sources: the OCI image layer specification, Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jindou.machine.images import ImageError
from jindou.machine.images.unpacking.inside import FOLDER, Walk, split
from jindou.machine.images.unpacking.tar import Entry, Source, TarError, entries, shown

WHITEOUT, OPAQUE, AUFS = b".wh.", b".wh..wh..opq", b".wh..wh."
LARGEST_XATTR = 64 * 1024
ROOM = 256 << 20  # bytes that the disk keeps free
CHECK_ROOM = 64 << 20  # ask the disk once for so many bytes
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
Parts = tuple[bytes, ...]


class Owner(NamedTuple):
    mode: int
    uid: int
    gid: int


class Unpacked(NamedTuple):
    """What a layer turned out to hold. `implied` folders have no entry of their own, so a lower
    layer decides what they are; `root` is what it says of the root, if it does."""

    size: int
    entries: int
    root: Owner | None
    implied: tuple[Parts, ...]


def unpack(pieces: Iterator[bytes], folder: Path) -> Unpacked:
    """Into an empty folder. Raises ImageError; what was made so far is then worthless."""
    root = os.open(folder, FOLDER)
    unpacker = Unpacker(root)
    try:
        source = Source(pieces)
        for entry in entries(source):
            unpacker.apply(entry, source)
        unpacker.finish()
        return Unpacked(
            unpacker.size, unpacker.count, unpacker.root_owner, tuple(sorted(unpacker.implied))
        )
    except TarError as error:
        raise ImageError(f"a layer can't be unpacked: {error}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ImageError(
                f"a layer can't be unpacked in {folder.parent}: the disk is full"
            ) from error
        raise ImageError(f"a layer can't be unpacked: {error}") from error
    finally:
        unpacker.close()
        os.close(root)


class Unpacker:
    """The state of one layer in the making."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._walk = Walk(root, create=True)
        self._links = Walk(root, create=False)
        self._whiteouts: list[Parts] = []
        self._opaque: set[Parts] = set()
        self._times: dict[Parts, int] = {}
        self._privileged = os.geteuid() == 0
        self._unasked = CHECK_ROOM
        self.size = 0
        self.count = 0
        self.root_owner: Owner | None = None

    @property
    def implied(self) -> set[Parts]:
        return self._walk.implied

    def close(self) -> None:
        self._walk.close()
        self._links.close()

    def apply(self, entry: Entry, source: Source) -> None:
        self.count += 1
        parts = split(entry.name)
        if not parts:
            if entry.kind != "folder":
                raise TarError(f"its root is not a folder but a {entry.kind}")
            self._finish_folder(self._root, entry)
            self.root_owner = Owner(entry.mode, entry.uid, entry.gid)
            self._times[()] = entry.mtime
            return
        if any(part.startswith(WHITEOUT) for part in parts):
            self._whiteout(parts)
            return
        folder, name = self._walk.enter(parts[:-1]), parts[-1]
        if entry.kind == "folder":
            self._make_folder(folder, name, entry)
            return
        if entry.kind == "link" and self._is_itself(folder, name, entry):
            return
        try:
            self._make(folder, name, entry, source)
        except FileExistsError:
            self._remove(folder, name)
            self._make(folder, name, entry, source)

    def _whiteout(self, parts: Parts) -> None:
        *above, last = parts
        if any(part.startswith(AUFS) for part in above) or (
            last.startswith(AUFS) and last != OPAQUE
        ):
            return
        if any(part.startswith(WHITEOUT) for part in above):
            raise TarError("it holds something below a whiteout")
        if last == OPAQUE:
            self._walk.enter(above)
            self._opaque.add(tuple(self._walk.path))
            return
        hidden = last.removeprefix(WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise TarError(f"{shown(last)} is not a whiteout")
        self._walk.enter(above)
        self._whiteouts.append((*self._walk.path, hidden))

    def _make_folder(self, folder: int, name: bytes, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                os.unlink(name, dir_fd=folder)
                os.mkdir(name, 0o700, dir_fd=folder)
        path = (*self._walk.path, name)
        self._walk.implied.discard(path)
        self._finish_folder(self._walk.enter(path), entry)
        self._times[path] = entry.mtime

    def _finish_folder(self, descriptor: int, entry: Entry) -> None:
        if self._privileged:
            os.fchown(descriptor, entry.uid, entry.gid)
        os.fchmod(descriptor, entry.mode)
        self._set_xattrs(descriptor, entry)

    def _make(self, folder: int, name: bytes, entry: Entry, source: Source) -> None:
        if entry.kind == "file":
            self._make_file(folder, name, entry, source)
            return
        if entry.kind == "link":
            self._link(folder, name, entry)
            return
        if entry.kind == "symlink":
            if not entry.target:
                raise TarError(f"{shown(name)} is a link to nothing")
            os.symlink(entry.target, name, dir_fd=folder)
        elif not self._make_node(folder, name, entry):
            return
        if self._privileged:
            os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        if entry.kind != "symlink":
            os.chmod(name, entry.mode, dir_fd=folder)  # a node that we just made, not a link
        self._set_time(folder, name, entry)

    def _make_file(self, folder: int, name: bytes, entry: Entry, source: Source) -> None:
        descriptor = os.open(name, CREATE, 0o600, dir_fd=folder)
        try:
            self._claim(entry.size)
            for piece in source.take(entry.size):
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
            if self._privileged:
                os.fchown(descriptor, entry.uid, entry.gid)
            os.fchmod(descriptor, entry.mode)
            if entry.xattrs:
                self._set_xattrs(descriptor, entry)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _make_node(self, folder: int, name: bytes, entry: Entry) -> bool:
        if entry.kind == "fifo":
            os.mkfifo(name, 0o600, dir_fd=folder)
            return True
        if entry.kind == "char" and entry.major == entry.minor == 0:
            raise TarError(f"{shown(name)} is a device that overlayfs takes for a whiteout")
        kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
        try:
            os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=folder)
        except PermissionError:
            return False  # without privilege units get their devices from the runtime
        return True

    def _link(self, folder: int, name: bytes, entry: Entry) -> None:
        target = split(entry.target)
        if not target:
            raise TarError(f"{shown(name)} is a hard link to the root")
        try:
            at = self._links.enter(target[:-1])
            os.link(target[-1], name, src_dir_fd=at, dst_dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            raise TarError(
                f"{shown(name)} is a hard link to {shown(entry.target)}, which the layer does not hold"
            ) from None
        except PermissionError:
            raise TarError(f"{shown(name)} is a hard link to a folder") from None

    def _is_itself(self, folder: int, name: bytes, entry: Entry) -> bool:
        """A link whose target it is already: making it anew would lose the only copy."""
        target = split(entry.target)
        with contextlib.suppress(OSError):
            old = os.lstat(name, dir_fd=folder)
            at = self._links.enter(target[:-1])
            new = os.lstat(target[-1], dir_fd=at) if target else old
            return not stat.S_ISDIR(old.st_mode) and os.path.samestat(old, new)
        return False

    def _remove(self, folder: int, name: bytes) -> None:
        if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            shutil.rmtree(name, dir_fd=folder)
            self._links.close()
            gone = (*self._walk.path, name)
            # What the name was made to hide of lower layers stays hidden, should a folder come back.
            self._opaque.difference_update(
                [p for p in self._opaque if p[: len(gone)] == gone and p != gone]
            )
            self.implied.difference_update([p for p in self.implied if p[: len(gone)] == gone])
        else:
            os.unlink(name, dir_fd=folder)

    def _set_time(self, folder: int, name: bytes, entry: Entry) -> None:
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)

    def _set_xattrs(self, descriptor: int, entry: Entry) -> None:
        for key, value in entry.xattrs.items():
            if key.startswith(("trusted.overlay.", "user.overlay.")):
                raise TarError(f"{shown(entry.name)} has the attribute {key}, which is overlayfs's")
            if len(value) > LARGEST_XATTR or len(key) > 255:
                raise TarError(f"{shown(entry.name)} has an attribute larger than 64 KiB")
            if not key.startswith(("user.", "security.capability", "system.posix_acl_")):
                continue
            try:
                os.setxattr(descriptor, key, value)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                    raise

    def _claim(self, size: int) -> None:
        """Count bytes, and refuse before the disk is full."""
        self.size += size
        self._unasked += size
        if self._unasked >= CHECK_ROOM:
            self._unasked = 0
            room = os.fstatvfs(self._root)
            if room.f_bavail * room.f_frsize - size < ROOM:
                raise OSError(errno.ENOSPC, "the disk is full")

    def finish(self) -> None:
        """What must wait for all entries: whiteouts, and the times of folders."""
        for path in self._whiteouts:
            self._hide(path)
        for path in self._opaque:
            descriptor = self._folder(path)
            if descriptor is not None:
                set_opaque(descriptor)
        for path, time in sorted(self._times.items(), reverse=True):
            descriptor = self._folder(path)
            if descriptor is not None:
                os.utime(descriptor, ns=(time, time))

    def _hide(self, path: Parts) -> None:
        folder = self._folder(path[:-1])
        if folder is None:
            return
        try:
            found = os.lstat(path[-1], dir_fd=folder)
        except FileNotFoundError:
            os.mknod(path[-1], stat.S_IFCHR, os.makedev(0, 0), dir_fd=folder)
            return
        if stat.S_ISDIR(found.st_mode):
            self._opaque.add(path)

    def _folder(self, path: Parts) -> int | None:
        """The folder of exactly that path, or None where a later entry put something else."""
        try:
            descriptor = self._links.enter(path)
        except (OSError, TarError):
            return None
        return descriptor if tuple(self._links.path) == path else None


def set_opaque(descriptor: int) -> None:
    """Hide what lower layers hold in this folder. In a user namespace only `user.` is allowed."""
    try:
        os.setxattr(descriptor, "trusted.overlay.opaque", b"y")
    except PermissionError:
        os.setxattr(descriptor, "user.overlay.opaque", b"y")
