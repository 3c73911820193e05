"""A folder whose files all change at one instant, as the kubelet's do.

    folder/..2026_11_24_10_00_00.1234/key    the files, in a folder that is never changed
    folder/..data -> ..2026_11_24_10_00_00.1234    swapped by one rename
    folder/key -> ..data/key

A reader that has opened `..data` sees one state of all files. What must stay true: at every moment
each published name leads to a whole file of one state.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from jindou.machine.volumes import File, VolumesError

DATA, NEXT = "..data", "..data_tmp"
SETGID = stat.S_ISGID


def check_name(name: str) -> None:
    """A relative path below the folder whose parts can't be mistaken for ours."""
    parts = PurePosixPath(name).parts
    if not name or name.startswith("/") or "\0" in name or ".." in parts or name != "/".join(parts):
        raise VolumesError(f"{name!r} is not a path below the volume")
    if parts[0].startswith(".."):
        raise VolumesError(f"{name!r} must not start with '..'")
    if any(len(part.encode()) > 255 for part in parts):
        raise VolumesError(f"{name!r} holds a name that is too long")


def publish(path: Path, files: Mapping[str, File], gid: int | None = None) -> bool:
    for name in files:
        check_name(name)
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    old = current(path)
    if old is not None and same(old, files, gid):
        link(path, files)
        return False
    fresh = write(path, files, gid)
    aside = path / NEXT
    aside.unlink(missing_ok=True)
    os.symlink(fresh.name, aside)
    os.rename(aside, path / DATA)
    link(path, files)
    for entry in os.scandir(path):
        if entry.name.startswith("..") and entry.name not in (DATA, fresh.name):
            shutil.rmtree(entry.path, ignore_errors=True)
    return True


def current(path: Path) -> Path | None:
    try:
        return path / os.readlink(path / DATA)
    except OSError:
        return None


def wanted_mode(file: File, gid: int | None) -> int:
    return file.mode | (0o440 if gid is not None else 0)


def same(folder: Path, files: Mapping[str, File], gid: int | None) -> bool:
    """Does the folder hold exactly these files, with these modes and owners?"""
    found = 0
    for _, _, names in os.walk(folder):
        found += len(names)
    if found != len(files):
        return False
    for name, file in files.items():
        try:
            with open(folder / name, "rb") as held:
                status = os.fstat(held.fileno())
                if (
                    status.st_size != len(file.data)
                    or stat.S_IMODE(status.st_mode) != wanted_mode(file, gid)
                    or (gid is not None and status.st_gid != gid)
                    or (file.uid is not None and status.st_uid != file.uid)
                    or held.read() != file.data
                ):
                    return False
        except OSError:
            return False
    return True


def write(path: Path, files: Mapping[str, File], gid: int | None) -> Path:
    folder = path / f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{secrets.randbelow(10**9)}"
    folder.mkdir(mode=0o755)
    made = {folder}
    for name, file in files.items():
        target = folder / name
        for parent in reversed(target.parents):
            if folder in parent.parents and parent not in made:
                parent.mkdir(mode=0o755)
                made.add(parent)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(file.data)
            while view:
                view = view[os.write(descriptor, view) :]
            if gid is not None or file.uid is not None:
                os.fchown(
                    descriptor,
                    -1 if file.uid is None else file.uid,
                    -1 if gid is None else gid,
                )
            os.fchmod(descriptor, wanted_mode(file, gid))
        finally:
            os.close(descriptor)
    for place in made:
        if gid is not None:
            os.chown(place, -1, gid)
            os.chmod(place, 0o755 | SETGID)
        else:
            os.chmod(place, 0o755)
    return folder


def link(path: Path, files: Mapping[str, File]) -> None:
    """The names that a user sees: one link for each first part of a path; others go."""
    wanted = {PurePosixPath(name).parts[0] for name in files}
    there = set()
    for entry in list(os.scandir(path)):
        if entry.name.startswith(".."):
            continue
        if entry.name in wanted and entry.is_symlink():
            there.add(entry.name)
        elif entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    for name in wanted - there:
        os.symlink(f"{DATA}/{name}", path / name)
