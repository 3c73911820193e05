"""Reads tar archives from a stream: ustar, pax, GNU long names and base-256 numbers. No file is touched.

Everything that an archive can claim is bounded here: names, extended headers, numbers and the count
of entries. What a reader would have to guess (sparse files, negative sizes, unknown types that
carry data) is refused. Sources: POSIX.1-2001 pax, the GNU tar manual.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

BLOCK = 512
PIECE = 1 << 20
LONGEST_NAME = 4096
LONGEST_HEADER = 1 << 20
MOST_ENTRIES = 5_000_000
LARGEST_ID = (1 << 32) - 2
LATEST = (1 << 34) * 1_000_000_000  # the last time that ext4 can hold, in nanoseconds

Kind = Literal["file", "link", "symlink", "char", "block", "folder", "fifo"]
KINDS: dict[bytes, Kind] = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "link", b"2": "symlink",
    b"3": "char", b"4": "block", b"5": "folder", b"6": "fifo",
}  # fmt: skip


class TarError(Exception):
    """What is wrong with an archive: part of a sentence."""


@dataclass(slots=True)
class Entry:
    name: bytes
    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int  # nanoseconds
    target: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)
    offset: int = 0  # of its data in the stream


class Source:
    """Bytes in order from pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0
        self.position = 0

    def _more(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._piece, self._at = piece, 0
                return True
        return False

    def some(self, most: int) -> bytes:
        """Up to `most` bytes; b"" only at the end."""
        if self._at >= len(self._piece) and not self._more():
            return b""
        start = self._at
        self._at = min(len(self._piece), start + most)
        self.position += self._at - start
        return self._piece[start : self._at]

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        first = self.some(size)
        if len(first) == size or not first:
            return first
        parts, have = [first], len(first)
        while have < size and (part := self.some(size - have)):
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    def take(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes in pieces. Raises TarError if there are fewer."""
        while size:
            part = self.some(min(size, PIECE))
            if not part:
                raise TarError("it ends in the middle of a file")
            size -= len(part)
            yield part

    def skip(self, size: int) -> None:
        for _ in self.take(size):
            pass

    def drain(self) -> None:
        while self.some(PIECE):
            pass


def entries(source: Source, most: int = MOST_ENTRIES) -> Iterator[Entry]:
    """Each entry; its data may be read from `source` before the next one is asked for."""
    general: dict[str, bytes] = {}
    extended: dict[str, bytes] = {}
    long_name = long_target = None
    count = 0
    while True:
        header = source.read(BLOCK)
        if not header or not header.strip(b"\0"):
            source.drain()
            return
        if len(header) < BLOCK:
            raise TarError("it ends in the middle of a header")
        _check(header)
        kind = header[156:157]
        size = number(header[124:136])
        if kind in (b"x", b"g", b"L", b"K"):
            data = _extra(source, size)
            if kind == b"x":
                extended = parse_pax(data)
            elif kind == b"g":
                general = {**general, **parse_pax(data)}
            elif kind == b"L":
                long_name = data.rstrip(b"\0")
            else:
                long_target = data.rstrip(b"\0")
            count += 1
        else:
            pax = {**general, **extended} if general else extended
            entry = _entry(header, size, pax, long_name, long_target)
            entry.offset = source.position
            end = source.position + entry.size + -entry.size % BLOCK
            extended, long_name, long_target = {}, None, None
            count += 1
            yield entry
            source.skip(end - source.position)
        if count > most:
            raise TarError(f"it holds more than {most} entries")


def _check(header: bytes) -> None:
    try:
        said = int(header[148:156].split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError:
        raise TarError("a header has no checksum") from None
    if said != sum(header) - sum(header[148:156]) + 8 * 32:
        raise TarError("a header's checksum is wrong")


def _extra(source: Source, size: int) -> bytes:
    if size > LONGEST_HEADER:
        raise TarError("an extended header is larger than 1 MiB")
    data = source.read(size)
    if len(data) < size:
        raise TarError("it ends in the middle of an extended header")
    source.skip(-size % BLOCK)
    return data


def number(field: bytes) -> int:
    """Octal, or base-256 where the first bit is set. Negative ones are refused."""
    if field[0] & 0x80:
        if field[0] & 0x40:
            raise TarError("a number in a header is negative")
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if value >= 1 << 63:
            raise TarError("a number in a header is too large")
        return value
    text = field.split(b"\0", 1)[0].strip()
    if not text:
        return 0
    if not text.isdigit():
        raise TarError("a number in a header is not octal")
    try:
        return int(text, 8)
    except ValueError:
        raise TarError("a number in a header is not octal") from None


def parse_pax(data: bytes) -> dict[str, bytes]:
    """Records of "LENGTH KEY=VALUE\\n". An empty value takes back what an earlier header said."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 8)
        digits = data[at:space] if space > 0 else b""
        if not digits.isdigit():
            raise TarError("an extended header can't be read")
        end = at + int(digits)
        record = data[space + 1 : end]
        if end > len(data) or end <= space + 1 or not record.endswith(b"\n") or b"=" not in record:
            raise TarError("an extended header can't be read")
        key, _, value = record[:-1].partition(b"=")
        name = key.decode("utf-8", "replace")
        if name.startswith("GNU.sparse."):
            raise TarError("it holds a sparse file")
        found[name] = value
        at = end
    return found


def _entry(
    header: bytes,
    size: int,
    pax: dict[str, bytes],
    long_name: bytes | None,
    long_target: bytes | None,
) -> Entry:
    flag = header[156:157]
    kind = KINDS.get(flag)
    if kind is None:
        if flag == b"S":
            raise TarError("it holds a sparse file")
        raise TarError(f"it holds an entry of the unknown type {flag.decode('latin-1')!r}")
    name = pax.get("path") or long_name or _name(header)
    target = pax.get("linkpath") or long_target or header[157:257].split(b"\0", 1)[0]
    if kind == "file" and name.endswith(b"/"):
        kind = "folder"
    for text in (name, target):
        if len(text) > LONGEST_NAME or b"\0" in text:
            raise TarError("a name is longer than 4096 bytes or holds a zero byte")
    size = _integer(pax["size"]) if pax.get("size") else size
    uid = _integer(pax["uid"]) if pax.get("uid") else number(header[108:116])
    gid = _integer(pax["gid"]) if pax.get("gid") else number(header[116:124])
    if uid > LARGEST_ID or gid > LARGEST_ID:
        raise TarError(f"{shown(name)} belongs to an id that can't exist")
    mtime = _time(pax["mtime"]) if pax.get("mtime") else _old_time(header[136:148])
    device = kind in ("char", "block")
    return Entry(
        name=name,
        kind=kind,
        size=size if kind == "file" else 0,
        mode=number(header[100:108]) & 0o7777,
        uid=uid,
        gid=gid,
        mtime=min(mtime, LATEST),
        target=target if kind in ("link", "symlink") else b"",
        major=number(header[329:337]) if device else 0,
        minor=number(header[337:345]) if device else 0,
        xattrs={
            key.removeprefix("SCHILY.xattr."): value
            for key, value in pax.items()
            if key.startswith("SCHILY.xattr.")
        },
    )


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].split(b"\0", 1)[0]):
        return prefix + b"/" + name
    return name


def _integer(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise TarError("a number in an extended header is not one")
    return int(text)


def _time(text: bytes) -> int:
    """Times before 1970 become 1970."""
    whole, _, part = text.partition(b".")
    if text.startswith(b"-"):
        return 0
    if not whole.isdigit() or (part and not part.isdigit()) or len(text) > 40:
        raise TarError("a time in an extended header is not one")
    return int(whole) * 1_000_000_000 + int((part + b"0" * 9)[:9])


def _old_time(field: bytes) -> int:
    return 0 if field[0] == 0xFF else number(field) * 1_000_000_000


def shown(name: bytes) -> str:
    """A name for a sentence: no line breaks, not too long."""
    text = repr(name.decode("utf-8", "replace"))[1:-1]
    return text if len(text) <= 120 else text[:120] + "…"
