"""The busybox image: this machine's static busybox, a link for each of its commands, a few files."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jindou.machine.images import ImageError

PLACES = ("/bin/busybox", "/usr/bin/busybox")
FOLDERS = {
    "bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o755, "root": 0o700,
    "run": 0o755, "sbin": 0o755, "sys": 0o755, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755,
    "usr/sbin": 0o755, "var": 0o755, "var/spool": 0o755, "var/spool/mail": 0o755,
    "var/tmp": 0o1777, "var/www": 0o755,
}  # fmt: skip
FILES = {
    "etc/passwd": """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
""",
    "etc/group": """root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
mail:x:8:
www-data:x:33:
users:x:100:
nogroup:x:65534:
""",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/localtime": "",
}


def program() -> Path:
    """Raises ImageError where there is no static one."""
    for place in map(Path, PLACES):
        if place.exists() and is_static(place.read_bytes()):
            return place
    raise ImageError("this machine has no static busybox: install the package busybox-static")


def is_here() -> bool:
    return any(Path(place).exists() for place in PLACES)


def is_static(data: bytes) -> bool:
    """An ELF program that asks for no interpreter (PT_INTERP, type 3, in its program headers)."""
    if data[:4] != b"\x7fELF" or data[4] != 2:
        return False
    order = "little" if data[5] == 1 else "big"
    start = int.from_bytes(data[32:40], order)  # type: ignore[arg-type]
    size, count = (int.from_bytes(data[at : at + 2], order) for at in (54, 56))  # type: ignore[arg-type]
    return all(
        int.from_bytes(data[at : at + 4], order) != 3  # type: ignore[arg-type]
        for at in range(start, start + size * count, size)
    )


def commands(busybox: Path) -> list[str]:
    listed = subprocess.run([busybox, "--list-full"], capture_output=True, check=True, timeout=30)
    return sorted({*listed.stdout.decode().split()} - {"bin/busybox"})


def write(file: IO[bytes]) -> None:
    """The layer, the same bytes for the same busybox."""
    busybox = program()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in _members(busybox):
            archive.addfile(info, io.BytesIO(data))


def _members(busybox: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    root = tarfile.TarInfo(".")
    root.type, root.mode = tarfile.DIRTYPE, 0o755
    yield root, b""
    for name, mode in FOLDERS.items():
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, mode
        yield info, b""
    for name, mode, data in (
        ("bin/busybox", 0o755, busybox.read_bytes()),
        *((name, 0o644, text.encode()) for name, text in FILES.items()),
    ):
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), mode
        yield info, data
    for name in commands(busybox):
        if name.rpartition("/")[0] in FOLDERS:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, "/bin/busybox", 0o777
            yield info, b""
