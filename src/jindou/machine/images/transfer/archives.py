"""Images from files: what docker save, podman and skopeo write.

Two forms, told apart by what is inside: an OCI image layout in a tar (`oci-layout`, `index.json`),
and docker's (`manifest.json`). Gzip and zstd around either are taken away first. An archive is an
index of offsets here; nothing of it is unpacked but the layers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from jindou.machine.images import Image, ImageError, Progress, Report
from jindou.machine.images.content import manifests
from jindou.machine.images.content.blobs import LARGEST_DOCUMENT
from jindou.machine.images.content.contents import Contents, Hold
from jindou.machine.images.content.intake import (
    Taken,
    assemble,
    discard,
    known_layer,
    take_blob,
    take_layer,
)
from jindou.machine.images.content.layers import chain_ids
from jindou.machine.images.content.manifests import Descriptor
from jindou.machine.images.references import is_digest, parse
from jindou.machine.images.unpacking.inside import split
from jindou.machine.images.unpacking.streams import GZIP, ZSTD, inflate, read_file
from jindou.machine.images.unpacking.tar import Source, TarError, entries

READING, UNPACKING, IMPORTED = "read the archive", "unpack", "import"
MOST_MEMBERS = 200_000
MOST_IMAGES = 1000
DEEPEST_INDEX = 4


Loaded = tuple[Image, list[str]]  # and the names that the archive gives it


class Member(NamedTuple):
    offset: int
    size: int
    target: tuple[bytes, ...] = ()  # of a link inside the archive


class FileSource(Source):
    """A file whose gaps are jumped over."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(iter(()))
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def some(self, most: int) -> bytes:
        piece = self._file.read(most)
        self.position += len(piece)
        return piece

    def skip(self, size: int) -> None:
        if self.position + size > self._size:
            raise TarError("it ends in the middle of a file")
        self._file.seek(size, os.SEEK_CUR)
        self.position += size

    def drain(self) -> None:
        pass


class Archive:
    """A tar file by the names of its members."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._members: dict[tuple[bytes, ...], Member] = {}
        try:
            for entry in entries(FileSource(file), MOST_MEMBERS):
                name = split(entry.name)
                target: tuple[bytes, ...] = ()
                if entry.kind == "link":
                    target = split(entry.target)
                elif entry.kind == "symlink":
                    target = split(b"/".join([*name[:-1], entry.target]))
                self._members[name] = Member(entry.offset, entry.size, target)
        except TarError as error:
            raise ImageError(f"the archive can't be read: {error}") from None

    def __contains__(self, name: str) -> bool:
        return split(name.encode()) in self._members

    def member(self, name: str) -> Member:
        parts = split(name.encode())
        for _ in range(16):
            member = self._members.get(parts)
            if member is None:
                break
            if not member.target:
                return member
            parts = member.target
        raise ImageError(f"the archive has no {name[:200]}")

    def read(self, name: str) -> bytes:
        member = self.member(name)
        if member.size > LARGEST_DOCUMENT:
            raise ImageError(f"{name[:200]} in the archive is larger than it may be")
        return b"".join(self.pieces(member))

    def pieces(self, member: Member) -> Iterator[bytes]:
        self._file.seek(member.offset)
        return read_file(self._file, member.size)


def load(contents: Contents, path: Path, report: Report) -> list[Image]:
    """All images of an archive. Blocks; to be run in a thread."""
    if not path.is_file():
        raise ImageError(f"{path} can't be read: there is no such file")
    with open(path, "rb") as file:
        head = file.read(4)
        file.seek(0)
        if head.startswith((GZIP, ZSTD)):
            with contents.blobs.receive() as plain:
                for piece in inflate(_told(read_file(file), path, READING, report)):
                    plain.write(piece)
                plain.flush()
                plain.seek(0)
                images = _load(contents, plain, path, report)
        else:
            images = _load(contents, file, path, report)
    for count, (image, names) in enumerate(images, 1):
        name = names[0] if names else image.digest
        report(Progress(f"{IMPORTED} {count}", count, len(images), name))
    return [image for image, _ in images]


def _load(contents: Contents, file: IO[bytes], path: Path, report: Report) -> list[Loaded]:
    archive = Archive(file)
    with contents.holding() as hold:
        if "oci-layout" in archive and "index.json" in archive:
            return _load_layout(contents, hold, archive, path, report)
        if "manifest.json" in archive:
            return _load_docker(contents, hold, archive, path, report)
    raise ImageError(f"{path} holds no images: neither manifest.json nor an OCI layout is in it")


def _told(pieces: Iterator[bytes], path: Path, step: str, report: Report) -> Iterator[bytes]:
    done, total = 0, path.stat().st_size
    for piece in pieces:
        done += len(piece)
        report(Progress(step, done, total, path.name))
        yield piece


# the OCI layout


def _load_layout(
    contents: Contents, hold: Hold, archive: Archive, path: Path, report: Report
) -> list[Loaded]:
    index = manifests.document(archive.read("index.json"), "index.json")
    images = []
    for descriptor, names in _layout_images(index):
        data, media_type = _layout_manifest(archive, descriptor, DEEPEST_INDEX)
        found = manifests.manifest(manifests.document(data, "the manifest"), media_type)
        config = _layout_blob(archive, found.config)
        diffs = manifests.diff_ids(manifests.configuration(config, len(found.layers)))
        hold.add(found.config.digest)
        take_blob(contents, hold, iter((config,)), found.config.digest, found.config.size)
        taken: list[Taken] = []
        try:
            for layer, diff, chain in zip(found.layers, diffs, chain_ids(diffs)):
                taken.append(_take(contents, hold, archive, layer, diff, chain, path, report))
        except BaseException:
            discard(taken)
            raise
        images.append((assemble(contents, hold, data, media_type, taken, names), names))
    if not images:
        raise ImageError(f"{path} holds no image for this machine")
    return images


def _layout_images(index: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    listed = index.get("manifests")
    if not isinstance(listed, list) or len(listed) > MOST_IMAGES:
        raise ImageError(f"index.json lists no images, or more than {MOST_IMAGES}")
    ours = manifests.architecture()
    for one in listed:
        if not isinstance(one, dict):
            raise ImageError("index.json is not valid")
        place, notes = one.get("platform"), one.get("annotations")
        notes = notes if isinstance(notes, dict) else {}
        if "vnd.docker.reference.type" in notes:
            continue
        if len(listed) > 1 and isinstance(place, dict) and place.get("architecture") != ours:
            continue
        name = notes.get("io.containerd.image.name") or notes.get(
            "org.opencontainers.image.ref.name"
        )
        yield one, layout_names(name)


def layout_names(name: object) -> list[str]:
    """A whole name is one; a bare tag ("latest", "1.27") names no repository."""
    if not isinstance(name, str):
        return []
    bare = not {":", "/"} & set(name)
    if bare and (name == "latest" or not name[:1].isalpha()):
        return []
    try:
        return [parse(name).name]
    except ImageError:
        return []


def _layout_manifest(
    archive: Archive, descriptor: Mapping[str, Any], depth: int
) -> tuple[bytes, str]:
    if depth == 0:
        raise ImageError("the archive's index leads through too many indexes")
    media_type = str(descriptor.get("mediaType") or "")
    digest, size = descriptor.get("digest"), descriptor.get("size")
    if not isinstance(digest, str) or not is_digest(digest) or not isinstance(size, int):
        raise ImageError("index.json names an image without a proper digest and size")
    data = _layout_blob(archive, Descriptor(media_type, digest, size))
    found = manifests.document(data, "the manifest")
    if manifests.is_index(found, media_type):
        chosen = manifests.choose(found)
        return _layout_manifest(
            archive,
            {"mediaType": chosen.media_type, "digest": chosen.digest, "size": chosen.size},
            depth - 1,
        )
    return data, media_type


def _layout_blob(archive: Archive, descriptor: Descriptor) -> bytes:
    data = archive.read(blob_name(descriptor.digest))
    algorithm, _, value = descriptor.digest.partition(":")
    if hashlib.new(algorithm, data).hexdigest() != value or len(data) != descriptor.size:
        raise ImageError(f"the archive is damaged: {descriptor.digest} is not what it should be")
    return data


def blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"


def _take(
    contents: Contents,
    hold: Hold,
    archive: Archive,
    layer: Descriptor,
    diff: str,
    chain: str,
    path: Path,
    report: Report,
) -> Taken:
    if known := known_layer(contents, hold, diff, chain, layer):
        return known
    member = archive.member(blob_name(layer.digest))
    pieces = _counted(archive.pieces(member), member.size, layer.digest, report)
    return take_layer(contents, hold, pieces, diff, layer.digest, layer.size, path.name)


def _counted(pieces: Iterator[bytes], total: int, what: str, report: Report) -> Iterator[bytes]:
    done = 0
    for piece in pieces:
        done += len(piece)
        report(Progress(UNPACKING, done, total, what[:19]))
        yield piece


# docker's form


def _load_docker(
    contents: Contents, hold: Hold, archive: Archive, path: Path, report: Report
) -> list[Loaded]:
    try:
        listed = orjson.loads(archive.read("manifest.json"))
    except orjson.JSONDecodeError as error:
        raise ImageError(f"manifest.json is not JSON: {error}") from None
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_IMAGES:
        raise ImageError(f"manifest.json lists no images, or more than {MOST_IMAGES}")
    return [_load_one(contents, hold, archive, one, report) for one in listed]


def _load_one(contents: Contents, hold: Hold, archive: Archive, one: Any, report: Report) -> Loaded:
    files, config_name, tags = _parts(one)
    data = archive.read(config_name)
    config = manifests.configuration(data, len(files))
    diffs = manifests.diff_ids(config)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    hold.add(digest)
    contents.blobs.put(data)
    taken: list[Taken] = []
    layers: list[Descriptor] = []
    try:
        for name, diff, chain in zip(files, diffs, chain_ids(diffs)):
            member = archive.member(name)
            plain = Descriptor(manifests.OCI_LAYER, diff, member.size)
            if (found := known_layer(contents, hold, diff, chain, plain)) is None:
                pieces = _counted(archive.pieces(member), member.size, name, report)
                found = take_layer(contents, hold, pieces, diff)
            taken.append(found)
            layers.append(Descriptor(_layer_type(contents, found.digest), found.digest, found.size))
    except BaseException:
        discard(taken)
        raise
    manifest = manifests.compose((digest, len(data)), layers)
    return assemble(contents, hold, manifest, manifests.OCI_MANIFEST, taken, tags), tags


def _parts(one: Any) -> tuple[list[str], str, list[str]]:
    one = one if isinstance(one, dict) else {}
    files, config, tags = one.get("Layers"), one.get("Config"), one.get("RepoTags") or []
    for texts in (files, tags):
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ImageError("manifest.json is not valid")
    assert isinstance(files, list)
    if not isinstance(config, str) or len(files) > manifests.MOST_LAYERS:
        raise ImageError("manifest.json is not valid")
    return files, config, [parse(tag).name for tag in tags]


def _layer_type(contents: Contents, digest: str) -> str:
    with open(contents.blobs.path(digest), "rb") as file:
        head = file.read(4)
    if head.startswith(GZIP):
        return f"{manifests.OCI_LAYER}+gzip"
    return f"{manifests.OCI_LAYER}+zstd" if head.startswith(ZSTD) else manifests.OCI_LAYER
