"""Taking content in: a layer is verified, kept as it came, and unpacked in one pass over its bytes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

from jindou.machine.images import Image, ImageError
from jindou.machine.images.content import manifests
from jindou.machine.images.content.contents import Contents, Hold
from jindou.machine.images.content.layers import Fresh, Layer, chain_ids, key_of
from jindou.machine.images.unpacking.streams import compress, read_file, verified


class Taken(NamedTuple):
    """A layer's bytes are here under `digest`; unpacked under a name already, or not yet."""

    digest: str
    size: int
    layer: Layer | Fresh


def take_layer(
    contents: Contents,
    hold: Hold,
    pieces: Iterator[bytes],
    diff: str,
    digest: str = "",
    size: int | None = None,
    what: str = "a layer",
) -> Taken:
    """`digest` "" takes what it turns out to be."""
    with contents.blobs.receive() as file:
        state = hashlib.sha256()
        pieces = (
            verified(pieces, digest, size, file, what) if digest else _copied(pieces, state, file)
        )
        try:
            fresh = contents.layers.receive(pieces, diff)
        except ImageError:
            for _ in pieces if digest else ():
                pass  # other bytes than they should be are the better reason
            raise
        try:
            for _ in pieces:
                pass
            digest = digest or f"sha256:{state.hexdigest()}"
            hold.add(digest)
            contents.blobs.keep(file, digest)
        except BaseException:
            shutil.rmtree(fresh.folder, ignore_errors=True)
            raise
        return Taken(digest, contents.blobs.size(digest), _named(contents, hold, fresh, digest))


def _named(contents: Contents, hold: Hold, fresh: Fresh, digest: str) -> Layer | Fresh:
    """A layer that no other has a say in is shared from now on."""
    if fresh.unpacked.implied:
        return fresh
    hold.add(key_of(fresh.diff))
    return contents.layers.publish(fresh, fresh.diff, (), contents.blobs.path(digest))


def take_blob(
    contents: Contents,
    hold: Hold,
    pieces: Iterator[bytes],
    digest: str,
    size: int | None,
    what: str = "a blob",
) -> None:
    with contents.blobs.receive() as file:
        for _ in verified(pieces, digest, size, file, what):
            pass
        hold.add(digest)
        contents.blobs.keep(file, digest)


def take_plain(contents: Contents, hold: Hold, path: Path) -> Taken:
    """A layer of our own making, as a plain tar file: packed while it is unpacked."""
    with ThreadPoolExecutor(1, thread_name_prefix="packing") as other:
        packing = other.submit(_pack, contents, hold, path)
        with open(path, "rb") as file:
            fresh = contents.layers.receive(read_file(file), "")
        try:
            digest = packing.result()
        except BaseException:
            shutil.rmtree(fresh.folder, ignore_errors=True)
            raise
    return Taken(digest, contents.blobs.size(digest), _named(contents, hold, fresh, digest))


def _pack(contents: Contents, hold: Hold, path: Path) -> str:
    state = hashlib.sha256()
    with contents.blobs.receive() as packed, open(path, "rb") as file:

        def write(data: bytes) -> None:
            state.update(data)
            packed.write(data)

        compress(read_file(file), write)
        digest = f"sha256:{state.hexdigest()}"
        hold.add(digest)
        contents.blobs.keep(packed, digest)
    return digest


def known_layer(
    contents: Contents, hold: Hold, diff: str, chain: str, descriptor: manifests.Descriptor
) -> Taken | None:
    """A layer that is here already, from now on held."""
    hold.add(descriptor.digest, key_of(diff), key_of(chain))
    layer = contents.layers.find(diff, chain)
    if layer is None or not contents.blobs.has(descriptor.digest):
        return None
    return Taken(descriptor.digest, descriptor.size, layer)


def assemble(
    contents: Contents,
    hold: Hold,
    manifest: bytes,
    media_type: str,
    taken: Sequence[Taken],
    names: Collection[str],
) -> Image:
    """Name the layers, from the lowest up, and then the image."""
    layers: list[Layer] = []
    chain = chain_ids([one.layer.diff for one in taken])
    try:
        for one, chain_id in zip(taken, chain):
            layer = one.layer
            if isinstance(layer, Fresh):
                hold.add(key_of(layer.diff), key_of(chain_id))
                layer = _publish(contents, one.digest, layer, chain_id, layers)
            layers.append(layer)
        return contents.add(manifest, media_type, layers, names)
    finally:
        discard(taken)


def _publish(
    contents: Contents, digest: str, fresh: Fresh, chain: str, below: Sequence[Layer]
) -> Layer:
    if (known := contents.layers.find(fresh.diff, chain)) is not None:
        return known
    blob = contents.blobs.path(digest)
    if not fresh.folder.exists():  # the same layer once more, at another height
        with open(blob, "rb") as file:
            fresh = contents.layers.receive(read_file(file), fresh.diff)
    return contents.layers.publish(fresh, chain, below, blob)


def discard(taken: Sequence[Taken]) -> None:
    """Remove what was unpacked and got no name."""
    for one in taken:
        if isinstance(one.layer, Fresh):
            shutil.rmtree(one.layer.folder, ignore_errors=True)


def _copied(pieces: Iterator[bytes], state: hashlib._Hash, file: IO[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        state.update(piece)
        file.write(piece)
        yield piece
