"""Unpacked layers, shared by every image that has them.

A layer that brings an entry for each of its folders is the same wherever it lies, and is known by
its diff id. One that only goes through folders ("usr/bin/x" without "usr/") takes what those are
from the layers below; it is known by its chain id, which names it together with all below.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from jindou.machine.images import ImageError
from jindou.machine.images.content.paths import Paths
from jindou.machine.images.unpacking.inside import FOLDER
from jindou.machine.images.unpacking.streams import Ahead, counted, inflate
from jindou.machine.images.unpacking.unpack import Owner, Parts, Unpacked, unpack

MOST_ROUNDS = 8
_libc = ctypes.CDLL(None, use_errno=True)


class Layer(NamedTuple):
    key: str
    diff: str
    size: int  # bytes of its files
    entries: int
    root: Owner | None


class Fresh(NamedTuple):
    """An unpacked layer that has no name yet."""

    folder: Path  # in work/, with root/ inside
    diff: str
    unpacked: Unpacked


def key_of(digest: str) -> str:
    return digest.partition(":")[2]


def chain_ids(diffs: Sequence[str]) -> list[str]:
    chain: list[str] = []
    for diff in diffs:
        if chain:
            joined = hashlib.sha256(f"{chain[-1]} {diff}".encode()).hexdigest()
            chain.append(f"sha256:{joined}")
        else:
            chain.append(diff)
    return chain


class Layers:
    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._known: dict[str, Layer] = {}

    def root(self, key: str) -> Path:
        return self._paths.layer(key) / "root"

    def get(self, key: str) -> Layer | None:
        if (known := self._known.get(key)) is not None:
            return known
        try:
            found = orjson.loads((self._paths.layer(key) / "layer.json").read_bytes())
            owner = Owner(*found["root"]) if found["root"] else None
            layer = Layer(key, found["diff"], found["size"], found["entries"], owner)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            return None  # damaged: as good as absent, and swept at the next opening
        self._known[key] = layer
        return layer

    def find(self, diff: str, chain: str) -> Layer | None:
        return self.get(key_of(diff)) or self.get(key_of(chain))

    def all(self) -> list[str]:
        return [path.name for path in self._paths.layers.iterdir()]

    def receive(
        self, pieces: Iterator[bytes], diff: str, links: Mapping[Parts, bytes] | None = None
    ) -> Fresh:
        """Unpack packed bytes into work/ while they arrive. `diff` "" takes what it turns out to be."""
        folder = self._paths.fresh()
        root = folder / "root"
        root.mkdir(parents=True)
        root.chmod(0o755)
        try:
            for path, target in sorted((links or {}).items()):
                place = os.path.join(os.fsencode(root), *path)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                os.symlink(target, place)
            state = hashlib.new(diff.partition(":")[0] or "sha256")
            with Ahead(inflate(pieces)) as plain:
                unpacked = unpack(counted(plain, state), root)
            found = f"{state.name}:{state.hexdigest()}"
            if diff and found != diff:
                raise ImageError(f"a layer is damaged: it unpacks to {found}, not to {diff}")
            return Fresh(folder, found, unpacked)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def publish(self, fresh: Fresh, chain: str, below: Sequence[Layer], blob: Path) -> Layer:
        """Give it its name. `blob` is unpacked again where folders turn out to be links below."""
        links: dict[Parts, bytes] = {}
        key = key_of(fresh.diff)
        try:
            for _ in range(MOST_ROUNDS):
                if not fresh.unpacked.implied or not below:
                    break
                key = key_of(chain)
                lower = [self.root(layer.key) for layer in reversed(below)]
                found = settle(fresh.folder / "root", fresh.unpacked.implied, lower)
                found = {path: target for path, target in found.items() if path not in links}
                if not found:
                    break
                links |= found
                shutil.rmtree(fresh.folder)
                with open(blob, "rb") as file:
                    fresh = self.receive(iter(lambda: file.read(1 << 20), b""), fresh.diff, links)
            layer = Layer(
                key, fresh.diff, fresh.unpacked.size, fresh.unpacked.entries, fresh.unpacked.root
            )
            (fresh.folder / "layer.json").write_bytes(orjson.dumps(_record(layer)))
            try:
                os.rename(fresh.folder, self._paths.layer(key))
            except OSError:
                if (other := self.get(key)) is None:
                    raise
                shutil.rmtree(fresh.folder)
                return other
            self._known[key] = layer
            return layer
        except BaseException:
            shutil.rmtree(fresh.folder, ignore_errors=True)
            raise

    def retire(self, key: str) -> tuple[Path, int]:
        """Out of sight at once; the folder to remove, and the bytes that it holds."""
        layer = self.get(key)
        self._known.pop(key, None)
        away = self._paths.fresh()
        os.rename(self._paths.layer(key), away)
        return away, layer.size if layer else 0

    def sync(self) -> None:
        """All that was unpacked is on the disk when this returns."""
        descriptor = os.open(self._paths.layers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _libc.syncfs(descriptor) < 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), str(self._paths.layers))
        finally:
            os.close(descriptor)

    def damaged(self, key: str) -> str:
        """What is wrong with an unpacked layer, as far as its counts tell; "" for nothing."""
        layer = self.get(key)
        if layer is None:
            return f"layer {key[:12]} can't be read"
        size = 0
        seen: set[int] = set()
        for _, _, files, folder in os.fwalk(self.root(key)):
            for name in files:
                found = os.lstat(name, dir_fd=folder)
                if stat.S_ISREG(found.st_mode) and found.st_ino not in seen:
                    seen.add(found.st_ino)
                    size += found.st_size
        return "" if size <= layer.size else f"layer {key[:12]} was changed after it was unpacked"


def _record(layer: Layer) -> dict[str, Any]:
    return {
        "v": 1,
        "diff": layer.diff,
        "size": layer.size,
        "entries": layer.entries,
        "root": list(layer.root) if layer.root else None,
    }


def settle(folder: Path, implied: Sequence[Parts], lower: Sequence[Path]) -> dict[Parts, bytes]:
    """Give implied folders what the nearest layer below says of them (`lower`: nearest first).
    Returns those that are links there instead, with their targets."""
    links: dict[Parts, bytes] = {}
    for path in implied:
        for layer in lower:
            verdict = _look(layer, path)
            if verdict == "absent":
                continue
            if isinstance(verdict, bytes):
                links[path] = verdict
            elif isinstance(verdict, os.stat_result):
                place = os.path.join(os.fsencode(folder), *path)
                if os.geteuid() == 0:
                    os.chown(place, verdict.st_uid, verdict.st_gid, follow_symlinks=False)
                os.chmod(place, stat.S_IMODE(verdict.st_mode))
                os.utime(place, ns=(verdict.st_mtime_ns, verdict.st_mtime_ns))
            break
    return links


def _look(layer: Path, path: Parts) -> os.stat_result | bytes | str:
    """A folder's state, a link's target, "absent" (ask the next layer), or "hidden"."""
    descriptor = os.open(layer, FOLDER)
    hidden = False
    try:
        for index, name in enumerate(path):
            try:
                found = os.lstat(name, dir_fd=descriptor)
            except FileNotFoundError:
                return "hidden" if hidden else "absent"
            if stat.S_ISLNK(found.st_mode) and index == len(path) - 1:
                return os.readlink(name, dir_fd=descriptor)
            if not stat.S_ISDIR(found.st_mode):
                return "hidden"
            inner = os.open(name, FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
            hidden = hidden or is_opaque(descriptor)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def is_opaque(descriptor: int) -> bool:
    for key in ("trusted.overlay.opaque", "user.overlay.opaque"):
        try:
            if os.getxattr(descriptor, key) == b"y":
                return True
        except OSError:
            pass
    return False
