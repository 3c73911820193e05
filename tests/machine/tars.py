"""Layers and archives for tests, made by hand, entry for entry."""

from __future__ import annotations

import io
import tarfile

TYPES = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
}


def entry(name, kind="file", data=b"", target="", mode=None, uid=0, gid=0, pax=None, device=(1, 3)):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.uid, info.gid = TYPES[kind], target, uid, gid
    info.mode = mode if mode is not None else 0o755 if kind == "folder" else 0o644
    info.size = len(data)
    info.pax_headers = dict(pax or {})
    if kind == "char":
        info.devmajor, info.devminor = device
    return info, data


def tar(*entries, form=tarfile.PAX_FORMAT):
    """Names are written as they are; TarInfo would not change them, and neither do we."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def pieces(data, size=1 << 16):
    return iter([data[at : at + size] for at in range(0, len(data), size)])
