"""Images into files that docker load, podman and skopeo read.

"oci" is an image layout in a tar, with every byte as it came, so digests stay what they are;
"docker" is what docker save writes: plain layers, and no manifest. A file appears when it is whole.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import orjson

from jindou.machine.images import Image, ImageError, Progress, Report
from jindou.machine.images.content import manifests
from jindou.machine.images.content.contents import Contents
from jindou.machine.images.references import familiar, is_digest, parse
from jindou.machine.images.transfer.archives import blob_name
from jindou.machine.images.unpacking.streams import inflate, read_file

WRITING = "write"


def save(contents: Contents, reference: str, path: Path, form: str, report: Report) -> None:
    """Write an image that is here to a file that appears when it is whole. Blocks."""
    if form not in ("oci", "docker"):
        raise ImageError(f"{form!r} is not a form of archive: there are oci and docker")
    with contents.holding() as hold:
        image = contents.find(reference)
        if image is None:
            raise ImageError(f"there is no image {reference!r} here", missing=True)
        contents.take(hold, image.digest)
        names = [n for n in image.names if "@" not in n]
        if not is_digest(reference) and (one := parse(reference).name) in names:
            names = [one]
        half = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(half, "xb") as file, tarfile.open(fileobj=file, mode="w") as archive:
                write = _save_layout if form == "oci" else _save_docker
                write(contents, archive, image, names, report)
            os.rename(half, path)
        except OSError as error:
            raise ImageError(f"{path} can't be written: {error.strerror or error}") from error
        finally:
            half.unlink(missing_ok=True)


def _save_layout(
    contents: Contents, archive: tarfile.TarFile, image: Image, names: Sequence[str], report: Report
) -> None:
    record = contents.record(image.digest)
    descriptor = {
        "mediaType": record.media_type,
        "digest": image.digest,
        "size": contents.blobs.size(image.digest),
    }
    listed = [
        descriptor
        | {
            "annotations": {
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": familiar(name),
            }
        }
        for name in names
    ]
    index = {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_INDEX,
        "manifests": listed or [descriptor],
    }
    _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _add(archive, "index.json", orjson.dumps(index))
    digests = dict.fromkeys([image.digest, record.config, *record.blobs])
    for folder in ("blobs", *sorted({f"blobs/{one.partition(':')[0]}" for one in digests})):
        info = tarfile.TarInfo(folder)  # readers without root stumble over folders that are implied
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
    total = sum(contents.blobs.size(digest) for digest in digests)
    done = 0
    for digest in digests:
        size = contents.blobs.size(digest)
        report(Progress(WRITING, done, total, digest[:19]))
        with open(contents.blobs.path(digest), "rb") as file:
            _add_file(archive, blob_name(digest), file, size)
        done += size
    report(Progress(WRITING, total, total))


def _save_docker(
    contents: Contents, archive: tarfile.TarFile, image: Image, names: Sequence[str], report: Report
) -> None:
    record = contents.record(image.digest)
    diffs = manifests.diff_ids(image.config)
    written: set[str] = set()
    for step, (digest, diff) in enumerate(zip(record.blobs, diffs)):
        report(Progress(WRITING, step, len(diffs), diff[:19]))
        if diff in written:
            continue
        written.add(diff)
        with open(contents.blobs.path(digest), "rb") as packed, contents.blobs.receive() as plain:
            size = 0
            for piece in inflate(read_file(packed)):
                size += plain.write(piece)
                report(Progress(WRITING, step, len(diffs), diff[:19]))
            plain.seek(0)
            _add_file(archive, _plain_name(diff), plain, size)
    config = f"{record.config.partition(':')[2]}.json"
    _add(archive, config, contents.blobs.read(record.config))
    listing = [
        {
            "Config": config,
            "RepoTags": [familiar(name) for name in names],
            "Layers": [_plain_name(diff) for diff in diffs],
        }
    ]
    _add(archive, "manifest.json", orjson.dumps(listing))
    report(Progress(WRITING, len(diffs), len(diffs)))


def _plain_name(diff: str) -> str:
    return f"{diff.partition(':')[2]}.tar"


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    _add_file(archive, name, io.BytesIO(data), len(data))


def _add_file(archive: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    archive.addfile(info, file)
