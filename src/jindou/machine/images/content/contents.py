"""Which images and names there are, and what no one needs any more.

The index is one small file, replaced atomically after all that it names is on the disk; so it never
names anything half-made. Content that is needed by a job that is under way is held by it until the
index names it. Readers see whole tables that are replaced, never changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from jindou.machine.images import Image, ImageError
from jindou.machine.images.content import manifests
from jindou.machine.images.content.blobs import Blobs
from jindou.machine.images.content.layers import Layer, Layers
from jindou.machine.images.content.paths import Paths, write_file
from jindou.machine.images.references import is_digest, parse
from jindou.machine.images.unpacking.unpack import Owner
from jindou.settings import Settings

log = logging.getLogger("jindou.images")


class Record(NamedTuple):
    """What the index says of one image."""

    digest: str
    config: str
    layers: tuple[str, ...]  # keys of unpacked layers, the lowest first
    blobs: tuple[str, ...]  # the layers as they came
    media_type: str
    size: int

    @property
    def content(self) -> set[str]:
        return {self.config, *self.layers, *self.blobs}


class Contents:
    def __init__(self, settings: Settings) -> None:
        self.paths = Paths(settings)
        self.paths.make()
        self._lock_file = _lock(self.paths.lock)
        self.blobs = Blobs(self.paths)
        self.layers = Layers(self.paths)
        self.problems: list[str] = []
        self.damaged: dict[str, str] = {}  # name of an image that can't be used, and why
        self._lock = threading.RLock()  # one change of the index at a time
        self._holds = threading.Lock()  # never held while the disk is waited for
        self._held: Counter[str] = Counter()
        self._records: Mapping[str, Record] = {}
        self._names: Mapping[str, str] = {}
        self._images: dict[str, Image] = {}
        self._load()
        self.leftovers = [*self.paths.work.iterdir()]  # of jobs that were killed; to be removed
        self.sweep(lambda: {*self._records})

    def close(self) -> None:
        os.close(self._lock_file)

    # reading

    def record(self, digest: str) -> Record:
        if (found := self._records.get(digest)) is None:
            raise ImageError(f"image {digest} is not here", missing=True)
        return found

    def find(self, reference: str) -> Image | None:
        """One that turns out to be damaged is not here: getting it again puts it right."""
        digest = self.resolve(reference)
        return self._image(digest) if digest else None

    def resolve(self, reference: str) -> str | None:
        """The digest of an image that is here, by name, digest, or the digest of its configuration."""
        wanted = reference
        if not is_digest(reference):
            parsed = parse(reference)
            if found := self._names.get(parsed.name):
                return found
            wanted = parsed.digest
        if wanted in self._records:
            return wanted
        return next((d for d, r in self._records.items() if wanted and r.config == wanted), None)

    def all(self) -> list[Image]:
        return [image for digest in [*self._records] if (image := self._image(digest))]

    def _image(self, digest: str) -> Image | None:
        images = self._images  # a change of the names meanwhile begins another table
        if (made := images.get(digest)) is not None:
            return made
        record = self._records.get(digest)
        if record is None:
            return None
        try:
            config = manifests.configuration(self.blobs.read(record.config), len(record.layers))
        except ImageError as error:
            for name in self._names_of(digest):
                if name not in self.damaged:
                    log.error("image %s can't be used: %s", name, error)
                self.damaged[name] = str(error)
            return None
        names = self._names_of(digest)
        made = images[digest] = Image(digest, names, config, record.size)
        return made

    def _names_of(self, digest: str) -> tuple[str, ...]:
        return tuple(sorted(name for name, of in self._names.items() if of == digest))

    def lower(self, record: Record) -> tuple[list[Path], Owner | None]:
        """The folders of an image's layers, the lowest first, and what its root is. A layer that
        comes twice counts where it comes last: all that it brings or hides, it does there again."""
        layers = [self.layers.get(key) for key in record.layers]
        here = [layer for layer in layers if layer is not None]
        if len(here) != len(layers):
            raise ImageError(f"image {record.digest} has lost a layer: delete it and get it again")
        keys = [*dict.fromkeys(layer.key for layer in reversed(here))][::-1]
        owner = next((layer.root for layer in reversed(here) if layer.root), None)
        return [self.layers.root(key) for key in keys], owner

    # holding

    @contextmanager
    def holding(self) -> Iterator[Hold]:
        """Content named to the hold survives every sweep until the block ends."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            with self._holds:
                self._held.subtract(hold.names)
                self._held += Counter()

    def take(self, hold: Hold, reference: str) -> Record:
        """Hold all of an image that is here. No sweep is under way while this decides."""
        with self._lock:
            digest = self.resolve(reference)
            if digest is None:
                raise ImageError(f"there is no image {reference!r} here", missing=True)
            record = self.record(digest)
            hold.add(digest, *record.content)
            return record

    # changing; these block on the disk

    def add(
        self, data: bytes, media_type: str, layers: Collection[Layer], names: Collection[str]
    ) -> Image:
        """Name an image whose content is here and held."""
        found = manifests.manifest(manifests.document(data, "the manifest"), media_type)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        with self.holding() as hold:
            hold.add(digest)
            self.blobs.put(data)
            self.layers.sync()
            record = Record(
                digest,
                found.config.digest,
                tuple(layer.key for layer in layers),
                tuple(layer.digest for layer in found.layers),
                found.media_type,
                sum(layer.size for layer in layers),
            )
            with self._lock:
                self._write(
                    {**self._records, digest: record},
                    {**self._names, **dict.fromkeys(names, digest)},
                )
        for name in names:
            self.damaged.pop(name, None)
        image = self._image(digest)
        assert image is not None
        return image

    def tag(self, reference: str, name: str) -> None:
        whole = parse(name).name
        with self._lock:
            digest = self.resolve(reference)
            if digest is None:
                raise ImageError(f"there is no image {reference!r} here", missing=True)
            self._write(self._records, {**self._names, whole: digest})

    def untag(self, reference: str) -> str:
        """Take a name away; a digest loses all its names. Returns the image's digest."""
        with self._lock:
            digest = self.resolve(reference)
            if digest is None:
                raise ImageError(f"there is no image {reference!r} here", missing=True)
            whole = "" if is_digest(reference) else parse(reference).name
            if whole in self._names:
                names = {name: of for name, of in self._names.items() if name != whole}
            else:
                names = {name: of for name, of in self._names.items() if of != digest}
            self._write(self._records, names)
            return digest

    def sweep(self, keep: Callable[[], Collection[str]], *, only: str = "") -> int:
        """Remove images that have no name and are not in `keep` (or just `only`), and all content
        that then belongs to no image and is not held. Returns the bytes freed. What is held is
        asked before what is to be kept: a mount lets go of its hold only when its unit is known."""
        with self._lock:
            with self._holds:
                held = {*self._held}
            needed = {*self._names.values(), *held, *keep()}
            gone = {
                digest for digest in self._records if digest not in needed and only in ("", digest)
            }
            if gone:
                self._write({d: r for d, r in self._records.items() if d not in gone}, self._names)
            with self._holds:
                away, freed = self._retire()
        for path in away:
            remove(path)
        return freed

    def _retire(self) -> tuple[list[Path], int]:
        """Content of no image that no job holds goes out of sight: who holds it from now on sees
        that it is not here."""
        needed = {*self._held}
        for digest, record in self._records.items():
            needed |= {digest, *record.content}
        away: list[Path] = []
        freed = 0
        for key in self.layers.all():
            if key not in needed:
                folder, size = self.layers.retire(key)
                away.append(folder)
                freed += size
        for digest in self.blobs.all():
            if digest not in needed:
                freed += self.blobs.size(digest)
                away.append(self.paths.fresh())
                os.rename(self.blobs.path(digest), away[-1])
        return away, freed

    def verify(self) -> list[str]:
        """Read everything, and say what is damaged."""
        found = [*self.problems]
        for digest in self.blobs.all():
            if self.blobs.damaged(digest):
                users = [d for d, r in self._records.items() if digest in {d, *r.content}]
                names = [name for name, of in self._names.items() if of in users] or users
                found.append(f"{digest} is damaged: needed by {', '.join(names) or 'nothing'}")
        found += [text for key in self.layers.all() if (text := self.layers.damaged(key))]
        return found

    # the index

    def _write(self, records: Mapping[str, Record], names: Mapping[str, str]) -> None:
        body = orjson.dumps(
            {
                "images": {digest: record._asdict() for digest, record in records.items()},
                "names": {name: digest for name, digest in names.items() if digest in records},
            },
            option=orjson.OPT_SORT_KEYS,
        )
        data = orjson.dumps({"v": 1, "sum": hashlib.sha256(body).hexdigest()})[:-1]
        try:
            os.unlink(self.paths.old_index)
        except FileNotFoundError:
            pass
        try:
            os.link(self.paths.index, self.paths.old_index)
        except FileNotFoundError:
            pass
        write_file(self.paths.index, data + b',"index":' + body + b"}\n", self.paths.fresh())
        self._records, self._names, self._images = records, names, {}

    def _load(self) -> None:
        """The index, or the one before it, or nothing; without images that have lost a part."""
        found: dict[str, Any] = {}
        for path in (self.paths.index, self.paths.old_index):
            try:
                found = read_index(path.read_bytes())
            except FileNotFoundError:
                continue
            except ValueError as error:
                self.problems.append(f"{path} is damaged ({error}); it was kept as {path}.damaged")
                os.rename(path, f"{path}.damaged")
                continue
            break
        records = {
            digest: Record(
                digest,
                one["config"],
                tuple(one["layers"]),
                tuple(one["blobs"]),
                one["media_type"],
                one["size"],
            )
            for digest, one in found.get("images", {}).items()
        }
        whole = {
            digest: record for digest, record in records.items() if self._whole(digest, record)
        }
        self._records = whole
        self._names = {n: d for n, d in found.get("names", {}).items() if d in whole}
        for name, digest in found.get("names", {}).items():
            if digest not in whole:
                self.damaged[name] = f"{name} has lost a part on disk and must be got again"
        self.problems += self.damaged.values()
        for problem in self.problems:
            log.error("images: %s", problem)
        if self.problems:
            self._write(self._records, self._names)

    def _whole(self, digest: str, record: Record) -> bool:
        return all(self.blobs.has(one) for one in (digest, record.config, *record.blobs)) and all(
            self.layers.get(key) is not None for key in record.layers
        )


class Hold:
    """The content that one job relies on."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.names: Counter[str] = Counter()

    def add(self, *names: str) -> None:
        with self._contents._holds:
            self.names.update(names)
            self._contents._held.update(names)


def read_index(data: bytes) -> dict[str, Any]:
    """Raises ValueError if it is not what was written."""
    whole = orjson.loads(data)
    if not isinstance(whole, dict) or whole.get("v") != 1 or "index" not in whole:
        raise ValueError("it is not an index of this version")
    body = orjson.dumps(whole["index"], option=orjson.OPT_SORT_KEYS)
    if hashlib.sha256(body).hexdigest() != whole.get("sum"):
        raise ValueError("its checksum is wrong")
    index: dict[str, Any] = whole["index"]
    return index


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ImageError(f"the images in {path.parent} are in use by another process") from None
    return descriptor
